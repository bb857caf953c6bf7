"""The helps: every command has one, with examples that are right and the exit codes."""

from __future__ import annotations

import shlex

import pytest
import typer
from shown import Commands
from small_project import Folder

from envmatrix.cli.app import BY_PURPOSE, app
from envmatrix.cli.exits import TOLD
from envmatrix.cli.helping import EXAMPLES

NAMES = [command.__name__ for commands in BY_PURPOSE.values() for command in commands]
WIDTH = 80


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_help(offline: Folder, command: Commands, name: str) -> None:
    """-h and --help are one, and show examples and exit codes as lines that nothing rewraps."""
    code, out, err = command(offline, name, "-h")
    assert (code, err) == (0, "")
    assert out == command(offline, name, "--help").out
    for line in (*EXAMPLES[name], *TOLD):
        assert f"  {line}\n" in out
    assert " --json " in out
    assert max(map(len, out.splitlines())) <= WIDTH + 20


def test_commands_are_grouped_by_purpose(offline: Folder, command: Commands) -> None:
    """The help of the program lists each command once, under what it is for."""
    shown = command(offline, "--help")
    assert shown == command(offline, "-h")
    assert shown == command(offline)
    listed = [line.split()[0] for line in shown.out.splitlines() if line.startswith("  ")]
    assert [one for one in listed if one in NAMES] == NAMES
    for purpose in BY_PURPOSE:
        assert f"\n{purpose}:\n" in shown.out


def test_examples_are_commands_that_can_be_typed() -> None:
    """Each example is accepted by the program that shows it."""
    program = typer.main.get_command(app)
    for name in NAMES:
        for example in EXAMPLES[name]:
            words = shlex.split(example.partition(" > ")[0].rpartition("| ")[2])
            if words[0] == "eval":
                words = shlex.split(words[1].strip("$()"))
            assert words[0] == "envmatrix"
            at = words.index(name)
            program.make_context("envmatrix", words[1 : at + 1]).close()
            command = program.commands[name]  # type: ignore[attr-defined]
            with command.make_context(name, words[at + 1 :]):
                pass


def test_quiet_and_verbose(project: Folder, command: Commands) -> None:
    """Quiet leaves results and errors; verbose tells also what an earlier run did."""
    project.write("scripts/probes/notes.py", "print()\n")
    normal = command(project, "build")
    assert "passed over" in command(project, "plan").err + command(project, "run").err
    quiet = command(project, "-q", "run")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out
    again = command(project, "run").err
    verbose = command(project, "-v", "run").err
    assert normal.err
    assert len(verbose.splitlines()) > len(again.splitlines())
    assert "matrix: " in verbose
    assert command(project, "-q", "plan", "no-such-cell").is_refusal(2)
    assert command(project, "-q", "-v", "plan").is_refusal(2, "exclude each other")


def test_options_of_the_program_after_the_command(offline: Folder, command: Commands) -> None:
    """Such an option is put where it belongs, and the whole command is shown."""
    shown = command(offline, "plan", "--matrix", "matrix.yaml", "--json")
    assert shown.is_refusal(2, "`envmatrix --matrix matrix.yaml plan --json`")
    shown = command(offline, "run", "-q")
    assert shown.is_refusal(2, "`envmatrix -q run`")


JSON = [
    ["plan", "--json"],
    ["plan", "--grid", "--json"],
    ["plan", "--layers", "--json"],
    ["plan", "--shards", "2", "--json"],
    ["probes", "--json"],
    ["render", "--json"],
    ["schema", "--json"],
    ["recommend", "--no-host", "--json"],
    ["completion", "bash", "--json"],
]


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_json(offline: Folder, command: Commands, arguments: list[str]) -> None:
    """One document on one line, with a number of its form."""
    document = command(offline, *arguments).document()
    assert "$schema" in document if arguments[0] == "schema" else document["schema"] >= 1


def test_the_grid_as_json(offline: Folder, command: Commands) -> None:
    """A grid tells for each release and Python the best cell, and how many there are."""
    (grid,) = command(offline, "plan", "-p", "quick", "--grid", "--json").document()["grids"]
    assert (grid["framework"], grid["pythons"]) == ("jinja2", ["3.11"])
    assert [row["version"] for row in grid["rows"]] == ["3.1.6", "2.9.6"]
    (cell,) = grid["rows"][0]["cells"].values()
    assert (cell["verdict"], cell["count"]) == ("unknown", 1)
