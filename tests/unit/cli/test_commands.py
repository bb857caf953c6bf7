"""Every command as a process of its own: its happy path, and its likeliest misuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from small_project import (
    GOOD,
    Folder,
    environment,
    make_project,
)


@pytest.fixture(scope="module")
def shared(locked: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A project and an engine for commands as processes, which all tests here share."""
    with FakeEngine() as fake:
        root = tmp_path_factory.mktemp("shared") / "project"
        folder = locked.copy(root, environment(fake.url))
        folder.write("bad/probe.py", "print()\n")
        folder.write("old/report.json", NO_CELLS)
        yield folder
    assert fake.errors == []


NO_CELLS = '{"schema": 2, "generated_at": "2026-11-20T00:00:00Z", "cells": []}'
HAPPY = {
    "--version": ["--version"],
    "plan": ["plan"],
    "lock": ["lock"],
    "render": ["render", GOOD],
    "build": ["build", GOOD],
    "probe": ["probe", GOOD],
    "run": ["run", GOOD],
    "report": ["report"],
    "verify": ["verify", GOOD],
    "explain": ["explain", GOOD],
    "recommend": ["recommend"],
    "plan --grid": ["plan", "--grid"],
    "probes": ["probes"],
    "schema": ["schema"],
    "diff": ["diff", "old", "old"],
}
MISUSES = {
    "plan": (["plan", "no-such-cell"], ["plan", "-p", "no-such-profile"]),
    "lock": (["lock", "version=9"], ["lock", "colour=red"]),
    "render": (["render", "no-such-cell"], ["render", "-p", "no-such-profile"]),
    "build": (["build", "no-such-cell"], ["build", "--base", "steal"]),
    "probe": (["probe", "--host", GOOD], ["probe", "--host", "--python", "/no/python"]),
    "run": (["run", "no-such-cell"], ["run", "--base", "steal"]),
    "report": (["report", "--readme", "no.md"], ["report", "no-such-cell"]),
    "verify": (["verify", "no-such-cell"], ["verify", "--base", "steal"]),
    "explain": (["explain", "jinja2*"], ["explain", "no-such-cell"]),
    "recommend": (["recommend", "--framework", "x"], ["recommend", "--gpu", "x"]),
    "probes": (["--probes", "nowhere", "probes"], ["--probes", "bad", "probes"]),
    "shell": (["shell", "no-such-cell"], ["shell", "jinja2*"]),
    "schema": (["schema", "lock"], ["schema", "Matrix"]),
    "diff": (["diff", "nowhere"], ["diff", "a..b"]),
}


@pytest.mark.parametrize("arguments", HAPPY.values(), ids=HAPPY)
def test_a_command_as_a_process(shared: Folder, arguments: list[str]) -> None:
    """Every command ends with 0, answers on stdout, and writes no traceback."""
    done = shared.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [arguments for both in MISUSES.values() for arguments in both],
    ids=" ".join,
)
def test_a_misuse_as_a_process(shared: Folder, arguments: list[str]) -> None:
    """Every misuse ends with 2, tells what, where and what next on stderr, and nothing else."""
    done = shared.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    what, *more = done.stderr.splitlines()
    assert what.startswith("error: ")
    assert any(line.startswith("  where: ") for line in more), done.stderr
    assert any(line.startswith("  next:  ") for line in more), done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_project_has_a_plan(tmp_path: Path) -> None:
    """A project in which nothing was done yet has a plan of unknown cells."""
    project = make_project(tmp_path / "new", environment("unix:///nowhere"))
    done = project.run("plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing was tried yet" in done.stdout
    assert not (project.root / ".envmatrix").exists()
