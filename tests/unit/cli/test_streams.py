"""stdout and stderr as users have them: other encodings, closed, full, left early, in colour."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from small_project import GOOD, IMPOSSIBLE, Folder, environment, make_project

UTF8 = {"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "0"}
COLOUR = "\x1b["


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project in which nothing was done, without an engine and without an index."""
    root = tmp_path_factory.mktemp("streams") / "project"
    made = make_project(root, environment("unix:///nowhere"))
    made.write(
        "old/report.json", '{"schema": 2, "generated_at": "2026-11-20T00:00:00Z", "cells": []}'
    )
    made.write("failed.log", "ModuleNotFoundError: No module named 'jinja2'\n")
    return made


def shell(
    folder: Folder, script: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a script of bash in which `envmatrix` is our program."""
    python, *rest = folder.command()
    start = f'set -o pipefail; envmatrix() {{ "{python}" {" ".join(rest)} "$@"; }}; '
    kept = {name: value for name, value in folder.environment.items() if name != "NO_COLOR"}
    return subprocess.run(
        ["bash", "-c", start + script],
        cwd=folder.root,
        env=kept | {"NO_COLOR": "1"} | (variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


@cache
def usual(folder_root: Path, arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Return what a command does on usual streams."""
    folder = Folder(folder_root, environment("unix:///nowhere"))
    return shell(folder, f"envmatrix {arguments}", UTF8)


PRINTING = {
    "--help": "--help",
    "--version": "--version",
    "plan": "plan",
    "plan --json": "plan --json",
    "plan --grid": "plan --grid",
    "explain": f"explain {GOOD} --verbose",
    "recommend": "recommend --no-host",
    "diagnose": "diagnose failed.log",
    "diff": "diff old old",
    "probes": "probes",
    "schema": "schema evidence",
    "report": f"report {GOOD}",
    "completion": "completion bash",
    "render --check": "render --check",
    "a mistake": "plan no-such-cell",
}


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_a_reader_that_leaves_at_once_changes_nothing(folder: Folder, arguments: str) -> None:
    """The command keeps its exit code, and says nothing about the pipe."""
    whole = usual(folder.root, arguments)
    left = shell(folder, f"envmatrix {arguments} | true; exit ${{PIPESTATUS[0]}}")
    assert (left.returncode, left.stderr) == (whole.returncode, whole.stderr)


CLOSED = [
    *((arguments, ">&-") for arguments in PRINTING.values()),
    *((f"report {GOOD}", closed) for closed in ("2>&-", ">&- 2>&-", "<&- >&- 2>&-")),
    ("plan no-such-cell", "2>&-"),
]


@pytest.mark.parametrize(("arguments", "closed"), CLOSED)
def test_a_closed_stream_is_like_dev_null(folder: Folder, arguments: str, closed: str) -> None:
    """No stream has to be there, and none of our files takes the place of one."""
    whole = usual(folder.root, arguments)
    done = shell(folder, f"envmatrix {arguments} {closed}")
    assert done.returncode == whole.returncode, done.stderr
    assert b"Traceback" not in done.stderr
    if closed == ">&-":
        assert (done.stdout, done.stderr) == (b"", whole.stderr)


def test_stdin_that_is_closed_is_told(folder: Folder) -> None:
    """A command that reads stdin says what it needs instead."""
    done = shell(folder, "envmatrix diagnose - <&-")
    assert done.returncode == 2
    assert b"stdin is closed" in done.stderr


@pytest.mark.parametrize("arguments", ["plan", "schema evidence", "--help"])
def test_a_full_disk_behind_stdout_is_told(folder: Folder, arguments: str) -> None:
    """What cannot be printed is a failure of the surroundings, told once."""
    done = shell(folder, f"envmatrix {arguments} >/dev/full")
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: the operating system refused: No space left on device\n")
    assert b"  where: stdout\n" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_stderr_that_is_full_loses_only_what_it_was_told(folder: Folder) -> None:
    """An error that nobody can read keeps its exit code."""
    assert shell(folder, "envmatrix plan no-such-cell 2>/dev/full").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [*((arguments, "ascii") for arguments in PRINTING.values()), ("plan --grid", "latin-1")],
)
def test_an_encoding_without_our_marks(folder: Folder, arguments: str, encoding: str) -> None:
    """Every command prints what it prints, in characters that the encoding has."""
    whole = usual(folder.root, arguments)
    done = shell(folder, f"envmatrix {arguments}", {"PYTHONIOENCODING": encoding})
    assert done.returncode == whole.returncode, done.stderr
    assert b"Traceback" not in done.stderr
    text = done.stdout.decode(encoding)
    assert len(text.splitlines()) == len(whole.stdout.decode().splitlines())


def test_a_locale_without_unicode(folder: Folder) -> None:
    """The locale C, without the help that Python gives it, is ASCII."""
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = shell(folder, "envmatrix plan --grid", variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"+ works, ~ partial, x broken" in done.stdout


def test_json_is_json_in_every_encoding(folder: Folder) -> None:
    """A character that the encoding lacks is a number, and a reader gets the same data."""
    matrix = folder.read("matrix.yaml")
    try:
        folder.write(
            "matrix.yaml", matrix.replace("nobody asked for it", "nobody likes żółw \U0001d4b3")
        )
        whole = shell(folder, "envmatrix plan version=2.9.6 --json", UTF8)
        done = shell(folder, "envmatrix plan version=2.9.6 --json", {"PYTHONIOENCODING": "latin-1"})
    finally:
        folder.write("matrix.yaml", matrix)
    assert "żółw \U0001d4b3".encode() in whole.stdout
    assert json.loads(done.stdout.decode("latin-1")) == json.loads(whole.stdout)


# --- colours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "", "FORCE_COLOR": ""}, False),
        ({"NO_COLOR": "1"}, False),
    ],
)
@pytest.mark.parametrize("script", ["envmatrix plan", "envmatrix plan no-such-cell 2>&1"])
def test_colours_that_a_user_asks_for(
    folder: Folder, variables: dict[str, str], coloured: bool, script: str
) -> None:
    """FORCE_COLOR turns colours on in a pipe, NO_COLOR wins, and an empty value is no value."""
    done = shell(folder, script, {"NO_COLOR": "", "TERM": "xterm"} | variables)
    assert (COLOUR in done.stdout.decode()) is coloured


def test_a_help_has_no_colours(folder: Folder) -> None:
    """A help is plain text everywhere."""
    done = shell(folder, "envmatrix plan --help", {"NO_COLOR": "", "FORCE_COLOR": "1"})
    assert COLOUR not in done.stdout.decode()


def test_forced_colours_make_no_bars(folder: Folder) -> None:
    """Progress in a log has lines, which no cursor moves over, in colours or not."""
    done = shell(
        folder, f"envmatrix lock {GOOD}", {"NO_COLOR": "", "FORCE_COLOR": "1", "TERM": "xterm"}
    )
    assert b"\x1b[?25l" not in done.stderr
    assert b"\x1b[2K" not in done.stderr


# --- other surroundings ----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["plan", f"report {IMPOSSIBLE}", "recommend", "run"])
def test_without_a_home(folder: Folder, arguments: str) -> None:
    """No command needs HOME, or says what it needs."""
    done = shell(folder, f"unset HOME; envmatrix {arguments}")
    assert done.returncode in (0, 3)
    assert b"Traceback" not in done.stderr
    assert b"defect" not in done.stderr


@pytest.mark.parametrize("arguments", ["plan", "run", "init", "--help", "diagnose failed.log"])
def test_a_current_folder_that_was_removed(folder: Folder, tmp_path: Path, arguments: str) -> None:
    """A folder that is gone is told as that."""
    gone = tmp_path / "gone"
    done = shell(folder, f"mkdir {gone}; cd {gone}; rmdir {gone}; envmatrix {arguments}")
    assert b"Traceback" not in done.stderr
    if arguments == "--help":
        assert done.returncode == 0
    else:
        assert done.returncode == 3
        assert b"the current folder is not there any more" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Folder, tmp_path: Path) -> None:
    """A folder of another user is told with what to do."""
    (tmp_path / "locked").mkdir(mode=0o500)
    done = shell(folder, f"envmatrix report {GOOD} --out {tmp_path}/locked/out")
    assert done.returncode == 3
    assert b"make it writable" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "report --out taken",
        "report --junit taken/x.xml",
        "report --summary taken/x.md",
        "report --readme taken/x.md",
        "report --readme no-readme.md",
        "init taken",
        "diff taken old",
        "plan --changed-from old",
        "merge taken",
        "--probes taken probes",
        "--matrix old plan",
        "--matrix taken/matrix.yaml plan",
        "diagnose old",
    ],
)
def test_a_file_where_a_folder_is_expected_and_the_reverse(folder: Folder, arguments: str) -> None:
    """The wrong kind of thing is told by its path, with what to do next, and never as a defect."""
    folder.write("taken", "mine\n")
    done = shell(folder, f"envmatrix {arguments}")
    assert done.returncode in (2, 3), done.stderr
    assert done.stderr.startswith(b"error: ")
    assert b"  where: " in done.stderr
    assert b"  next:  " in done.stderr
    assert b"defect" not in done.stderr
    assert folder.read("taken") == "mine\n"
