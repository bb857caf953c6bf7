"""The mistakes of a newcomer: each message leads out, and what it says to run is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

import pytest
from shown import Commands, Shown
from small_project import GOOD, MATRIX, Folder


def told(shown: Shown) -> list[str]:
    """Return the commands in the message of a command that was refused."""
    assert shown.out == ""
    what, where, following = shown.err.splitlines()[-3:]
    assert what.startswith("error: ")
    assert where.startswith("  where: ")
    assert following.startswith("  next:  ")
    return re.findall("`([^`]+)`", following)


def arguments_of(command: str) -> list[str]:
    """Return the arguments of a command of envmatrix."""
    program, *arguments = shlex.split(command)
    assert program == "envmatrix"
    return arguments


LEADING_OUT: dict[str, tuple[Sequence[str], str]] = {
    "a wrong profile": (["plan", "-p", "quik"], "envmatrix plan -p quick"),
    "a wrong profile in one word": (["plan", "--profile=quik"], "envmatrix plan --profile=quick"),
    "a typo of a cell": (["plan", GOOD.replace("jinja", "jnja")], f"envmatrix plan {GOOD}"),
    "a word that no cell has": (["plan", "nonsense"], "envmatrix plan '*'"),
    "an option without its value": (["plan", "--profile"], "envmatrix plan --help"),
    "a word of another program": (["plan", "accelerator=cuda"], "envmatrix plan 'accelerator=cu*'"),
    "an axis that is misspelled": (["plan", "acelerator=cpu"], "envmatrix plan accelerator=cpu"),
    "an axis by another name": (["plan", "distro=debian12"], "envmatrix plan os=debian12"),
    "a value without its axis": (["plan", "debian12"], "envmatrix plan '*debian12*'"),
    "a value by another name": (["plan", "bookworm"], "envmatrix plan os=debian12"),
    "a part of a cell": (["plan", "jinja2-3.1"], "envmatrix plan '*jinja2-3.1*'"),
    "a command that is misspelled": (["pln"], "envmatrix plan"),
    "a command by another name": (["list"], "envmatrix plan"),
    "an option that is misspelled": (["plan", "--jsn"], "envmatrix plan --json"),
    "an option at the wrong place": (["plan", "-v"], "envmatrix -v plan"),
    "a verdict that is misspelled": (["plan", "verdict=unknwn"], "envmatrix plan verdict=unknown"),
    "help as a command": (["help"], "envmatrix --help"),
    "version as a command": (["version"], "envmatrix --version"),
    "a form that is misspelled": (["plan", "--format", "id"], "envmatrix plan --format ids"),
    "a schema that is misspelled": (["schema", "evidense"], "envmatrix schema evidence"),
    "a framework by its title": (
        ["recommend", "--no-host", "--framework", "Jinja"],
        "envmatrix recommend --no-host --framework jinja2",
    ),
}


@pytest.mark.parametrize(("given", "meant"), LEADING_OUT.values(), ids=LEADING_OUT)
def test_a_word_that_is_wrong(
    offline: Folder, command: Commands, given: Sequence[str], meant: str
) -> None:
    """The message shows the whole command that was meant, and that command works."""
    shown = command(offline, *given)
    assert shown.code == 2
    assert told(shown) == [meant]
    assert command(offline, *arguments_of(meant)).code == 0


def in_matrix(project: Folder, old: str, new: str) -> None:
    """Change the matrix."""
    assert old in MATRIX
    project.write("matrix.yaml", MATRIX.replace(old, new, 1))


def test_ten_mistakes_in_a_row(offline: Folder, command: Commands) -> None:
    """A newcomer makes ten mistakes, and gets out of each by what the message says."""
    # 1. No matrix: init writes one. It was called in the wrong folder.
    (offline.root / "new").mkdir()
    (offline.root / "new" / ".git").mkdir()
    with Folder(offline.root / "new", offline.environment).inside():
        first, _ = told(command(offline, "plan"))
        assert command(offline, *arguments_of(first)).code == 0
        assert command(offline, "plan").code == 0

    # 2. A folder instead of a file.
    (led,) = told(command(offline, "--matrix", "new", "plan"))
    assert command(offline, *arguments_of(led)).code == 0

    # 3. A tab in YAML: the message has a command that mends the file.
    in_matrix(offline, "  os:\n", "\tos:\n")
    shown = command(offline, "plan")
    assert "matrix.yaml:4:1" in shown.err
    (mending,) = told(shown)
    assert shlex.split(mending)[0] == "sed"
    subprocess.run(shlex.split(mending), check=True)
    assert command(offline, "plan").code == 0

    # 4. A Python that YAML reads as a number.
    in_matrix(offline, '"3.11", "3.13"]', '3.10, "3.11", "3.13"]')
    shown = command(offline, "plan")
    assert shown.is_refusal(
        2, "3.10 is read as the number 3.1", 'quote it: "3.10"', "matrix.yaml:9:"
    )
    in_matrix(offline, '"3.11", "3.13"]', '"3.10", "3.11", "3.13"]')
    assert command(offline, "plan").code == 0

    # 5. A key that is misspelled.
    in_matrix(offline, "versions:", "version:")
    assert command(offline, "plan").is_refusal(2, 'unknown key "version"', "did you mean versions")

    # 6. A key that is missing: the message shows a line that is right.
    in_matrix(offline, "    title: Jinja\n", "")
    assert command(offline, "plan").is_refusal(
        2, 'the key "title" is missing', 'title: "TensorFlow"'
    )

    # 7. A text where a list belongs.
    in_matrix(offline, 'python: ["3.11", "3.13"]', 'python: "3.11"')
    assert command(offline, "plan").is_refusal(2, 'python: ["3.11"]')
    offline.write("matrix.yaml", MATRIX)

    # 8. A wrong profile, then 9. a cell with a typo.
    (led,) = told(command(offline, "plan", "-p", "god"))
    assert command(offline, *arguments_of(led)).code == 0
    (led,) = told(command(offline, "explain", GOOD.replace("py3.11", "3.11")))
    assert command(offline, *arguments_of(led)).code == 0

    # 10. No engine is running.
    shown = command(offline, "build", GOOD)
    assert shown.code == 3
    assert "no Docker engine answers" in shown.err or "Docker" in shown.err
    assert "  next:  " in shown.err


def test_a_value_that_is_no_number(offline: Folder, command: Commands) -> None:
    """An option tells what it takes by its help."""
    shown = command(offline, "build", "--jobs", "many")
    (led,) = told(shown)
    assert led == "envmatrix build --help"
    assert "--jobs" in shown.err
    assert command(offline, *arguments_of(led)).code == 0


def test_a_missing_argument(offline: Folder, command: Commands) -> None:
    """A command that needs a cell says so."""
    shown = command(offline, "explain")
    assert shown.is_refusal(2, "CELL", "`envmatrix explain --help`")


@pytest.mark.parametrize("mark", [":100:", ":smile:", "[/b]", "[red]x[/red]", "[link=x]"])
def test_marks_are_printed_as_they_are(offline: Folder, command: Commands, mark: str) -> None:
    """Nothing that a user typed becomes an emoji or a style in the message about it."""
    for given in (
        ["plan", mark],
        ["plan", "-p", mark],
        ["plan", f"os={mark}"],
        [mark],
    ):
        assert mark in command(offline, *given).err
    assert f"--{mark}".partition("=")[0] in command(offline, "plan", f"--{mark}").err
    offline.write("matrix.yaml", MATRIX.replace("trixie", f'"{mark}"'))
    assert mark in command(offline, "plan").err
