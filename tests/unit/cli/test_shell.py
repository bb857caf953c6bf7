"""The command shell: it opens what is here, and brings nothing in."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from fake_engine import Facts, FakeEngine
from shown import Commands
from small_project import CUDA, GOOD, NEWER, Folder, run_one

from envmatrix.engine.client import Engine

TAG = f"envmatrix/cell:{GOOD}"


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that a shell became."""
    found: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, command: found.append(command))
    return found


def test_a_shell_opens_the_image_of_a_cell_and_never_pulls(
    project: Folder, command: Commands, fake: FakeEngine, started: list[list[str]]
) -> None:
    """The image is named by its id, which no registry serves, and pulling is forbidden."""
    run_one(project, GOOD)
    asked = len(fake.asked("POST /images/create"))
    assert command(project, "shell", GOOD).code == 0
    (line,) = started
    assert line[:5] == ["docker", "run", "--rm", "--pull", "never"]
    assert line[-1] == "bash"
    assert line[-2].startswith("sha256:")
    assert asked == len(fake.asked("POST /images/create"))


def test_a_shell_as_json_is_a_command_that_is_not_run(
    project: Folder, command: Commands, fake: FakeEngine, started: list[list[str]]
) -> None:
    """A program gets the command that a person would have got."""
    run_one(project, GOOD)
    shown = command(project, "shell", GOOD, "--json", "python")
    assert not started
    told = json.loads(shown.out)
    command(project, "shell", GOOD, "python")
    assert [told["command"]] == started
    assert (told["cell"], told["image"]) == (GOOD, started[0][-2])


def test_a_shell_is_of_this_checkout(
    project: Folder, command: Commands, fake: FakeEngine, started: list[list[str]]
) -> None:
    """Where another checkout took the name of the image, the shell opens the image of this one."""
    found = run_one(project, GOOD)
    fake.add_image(TAG)
    command(project, "shell", GOOD)
    opened = fake.images.get(started[0][-2])
    assert found.image
    assert tuple(found.image.layers) == opened.diff_ids


@pytest.mark.parametrize(
    ("stdin", "stdout", "options"),
    [
        (Terminal(), Terminal(), ["--interactive", "--tty"]),
        (StringIO(), Terminal(), ["--interactive"]),
        (Terminal(), StringIO(), ["--interactive"]),
        (None, StringIO(), []),
    ],
    ids=["terminal", "input from a pipe", "output to a file", "no input"],
)
def test_a_shell_takes_a_terminal_only_where_there_is_one(  # noqa: PLR0917
    project: Folder,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    stdin: StringIO | None,
    stdout: StringIO,
    options: list[str],
) -> None:
    """Docker is asked for a terminal only where both input and output are one."""
    run_one(project, GOOD)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert project.main("shell", GOOD) == 0
    assert started[0][5:-4] == options


def test_a_shell_runs_a_command_instead(
    project: Folder, command: Commands, started: list[list[str]]
) -> None:
    """Everything after the cell is the command, with its options after a double dash."""
    run_one(project, GOOD)
    assert command(project, "shell", GOOD, "--", "python", "-c", "print(1)").code == 0
    assert started[0][-3:] == ["python", "-c", "print(1)"]


def test_a_shell_gives_the_gpus_of_the_engine_to_a_cell_that_uses_them(
    project: Folder, fake: FakeEngine, command: Commands, started: list[list[str]]
) -> None:
    """A cell for CUDA gets them where there are any, and no other cell does."""
    for name in (GOOD, CUDA):
        fake.add_image(f"envmatrix/cell:{name}")
    shown = [command(project, "shell", name) for name in (GOOD, CUDA)]
    fake.facts = Facts(nvidia=True)
    shown += [command(project, "shell", name) for name in (GOOD, CUDA)]
    assert [one.code for one in shown] == [0] * 4
    assert ["--gpus" in line for line in started] == [False, False, False, True]


@pytest.mark.parametrize("name", ["plain", 'a,b "c":d'])
def test_a_shell_mounts_the_current_folder_on_request(
    project: Folder,
    command: Commands,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Whatever its name is, the folder is mounted as it is, and belongs to the caller."""
    run_one(project, GOOD)
    folder = project.root / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert command(project, "--matrix", "../matrix.yaml", "shell", GOOD, "--mount").code == 0
    (line,) = started
    value = next(csv.reader([line[line.index("--mount") + 1]]))
    assert value == ["type=bind", f"source={folder}", "target=/workspace"]
    assert line[line.index("--workdir") + 1] == "/workspace"
    assert line[line.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"


@pytest.mark.parametrize(
    ("facts", "user"),
    [
        (Facts(operating_system="Docker Desktop"), f"1234:{os.getgid()}"),
        (Facts(rootless=True), "0:0"),
    ],
    ids=["in a virtual machine", "rootless"],
)
def test_a_folder_is_mounted_for_whom_the_engine_takes_for_the_caller(  # noqa: PLR0917
    project: Folder,
    fake: FakeEngine,
    command: Commands,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    facts: Facts,
    user: str,
) -> None:
    """Docker Desktop shows folders of this machine. Root of a rootless engine is the caller."""
    run_one(project, GOOD)
    fake.facts = facts
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert command(project, "shell", GOOD, "--mount").code == 0
    (line,) = started
    assert f"source={project.root}" in line[line.index("--mount") + 1]
    assert line[line.index("--user") + 1] == user


def test_no_folder_of_this_machine_is_mounted_elsewhere(
    project: Folder,
    command: Commands,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine on another machine does not have the folder: the command says so."""
    run_one(project, GOOD)
    monkeypatch.setattr(Engine, "shows_folders", False)
    shown = command(project, "shell", GOOD, "--mount")
    assert shown.is_refusal(2, "another machine", "leave --mount out")
    assert started == []


def test_a_shell_without_an_image_says_how_to_build_it(
    project: Folder, command: Commands, started: list[list[str]]
) -> None:
    """A cell that was not built ends with 3 and the command that builds it, and starts nothing."""
    shown = command(project, "shell", NEWER)
    assert shown.is_refusal(3, f"there is no image of {NEWER}", f"`envmatrix build {NEWER}`")
    assert started == []


def test_a_shell_without_an_engine_says_so(offline: Folder, command: Commands) -> None:
    """Without an engine the command ends with 3."""
    assert command(offline, "shell", GOOD).is_refusal(3, "no Docker engine answers")


def test_a_shell_is_the_docker_command(project: Folder, tmp_path: Path) -> None:
    """The process of envmatrix becomes that of docker, without a terminal where there is none."""
    run_one(project, GOOD)
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = Folder(project.root, {**project.environment, "PATH": path}).run("shell", GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        "run --rm --pull never --interactive --shm-size 1g sha256:[0-9a-f]{64} bash\n",
        done.stdout,
    )


def test_a_shell_without_the_docker_command_says_so(
    project: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the docker command the error names it."""
    run_one(project, GOOD)

    def absent(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "execvp", absent)
    assert command(project, "shell", GOOD).is_refusal(3, "docker command", "install the Docker CLI")


@pytest.mark.parametrize("cell", ["--privileged", "-v/:/x", "../x", "a b", "\x1b[31m"])
def test_no_cell_becomes_an_option(
    project: Folder, command: Commands, started: list[list[str]], cell: str
) -> None:
    """What is no cell of the matrix ends with 2, and reaches no command line."""
    code, out, err = command(project, "shell", "--", cell)
    assert (code, out) == (2, "")
    assert "\x1b" not in err
    assert started == []
