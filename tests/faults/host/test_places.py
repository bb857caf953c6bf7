"""Odd folders, locales, zones, clocks and masks: a correct record, whatever they are."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from fake_index import FakeIndex
from small_project import GOOD, Folder, environment, make_project, serve_wheels

FOLDERS: dict[str, str | bytes] = {
    "blanks": "a  b c ",
    "quotes": 'it\'s "so" `id`',
    "a break": "two\nlines",
    "a tab and an escape": "tab\tesc\x1b[31m",
    "a dash": "-rf",
    "marks": "$HOME ${x} %s {y} a:b;c,d#e?f&g%20h",
    "other letters": "Größe-日本-🚀",
    "not UTF-8": b"caf\xe9-\xff",
    "very long": "/".join(["x" * 200] * 12),
    "longer than the kernel takes": "/".join(["x" * 200] * 20),
}

Odd = dict[str, str | None]
ODD: dict[str, Odd] = {
    "no home": {"HOME": None},
    "a home that is not there": {"HOME": "/nowhere/at/all"},
    "a home that is a file": {"HOME": "/etc/passwd"},
    "the locale C": {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "a locale that is none": {"LC_ALL": "xx_YY.nothing"},
    "the Turkish locale": {"LC_ALL": "tr_TR.UTF-8"},
    "an ASCII output": {"PYTHONIOENCODING": "ascii"},
    "a zone far ahead": {"TZ": "Pacific/Kiritimati"},
    "a zone that is none": {"TZ": "Nowhere/Else"},
    "a zone of one's own": {"TZ": "XYZ-13:59"},
}

CHANGING = {"generated_at", "host", "seconds", "log", "reused"}
"""What may differ between two records of the same cell."""


def steady(data: Any) -> Any:
    """Return a document without what differs from run to run."""
    if isinstance(data, dict):
        return {name: steady(value) for name, value in data.items() if name not in CHANGING}
    return [steady(value) for value in data] if isinstance(data, list) else data


def record(project: Folder) -> Any:
    """Return the kept evidence of the good cell."""
    path = project.root / ".envmatrix" / "cells" / f"{GOOD}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def run_as(project: Folder, *arguments: str, mask: int = 0o022, odd: Odd | None = None) -> Any:
    """Run a command with some variables changed or unset, and a mask of rights."""
    changed = {**project.environment, **(odd or {})}
    return subprocess.run(
        project.command(*arguments),
        cwd=project.root,
        env={name: value for name, value in changed.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        umask=mask,
        check=False,
    )


@dataclass(frozen=True)
class Plain:
    """What a run gave that has nothing odd about it: the record, and the contexts of builds."""

    record: Any
    contexts: Sequence[bytes]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """A run of the good cell in a plain folder."""
    with FakeEngine() as fake, FakeIndex() as index:
        serve_wheels(index)
        root = tmp_path_factory.mktemp("plain") / "project"
        project = make_project(root, environment(fake.url, index.url))
        done = project.run("run", GOOD)
        assert done.returncode == 0, done.stderr
        return Plain(steady(record(project)), contexts(fake))


def contexts(fake: FakeEngine) -> list[bytes]:
    """Return what the engine was given to build, as the bytes of tars."""
    return [request.body for request in fake.asked("POST /build") if request.body]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_project_in_an_odd_folder(
    name: str, plain: Plain, fake: FakeEngine, index: FakeIndex, tmp_path: Path
) -> None:
    """The record is that of any other folder, or the error says what is wrong with this one."""
    given = FOLDERS[name]
    root = tmp_path / (os.fsdecode(given) if isinstance(given, bytes) else given)
    variables = environment(fake.url, index.url)
    try:
        project = make_project(root, variables)
    except OSError:  # No program can name such a path as a whole. It goes there step by step.
        done = run_far_below(tmp_path, str(given), variables)
        assert done.returncode in {2, 3}
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert done.stderr.startswith(b"error: ")
        return
    done = run_as(project, "run", GOOD)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert steady(record(project)) == plain.record
    for command in ("explain", "report"):
        done = run_as(project, command, GOOD)
        assert done.returncode == 0, done.stderr.decode()
        assert b"works" in done.stdout
        assert b"\x1b" not in done.stdout + done.stderr


def run_far_below(
    start: Path, below: str, variables: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run a plan in a folder whose whole path is longer than the kernel takes."""
    steps = "".join(f"mkdir -p {part} && cd {part} && " for part in below.split("/"))
    command = " ".join(Folder(start).command("plan"))
    return subprocess.run(
        ["bash", "-c", f"{steps} echo 'schema: 1' >matrix.yaml && exec {command}"],
        cwd=start,
        env=variables,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("name", ODD)
def test_odd_surroundings(name: str, plain: Plain, unlocked: Folder) -> None:
    """They change neither the record nor its time, which is in UTC."""
    done = run_as(unlocked, "run", GOOD, "--json", odd=ODD[name])
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.returncode == 0, done.stderr.decode()
    found = record(unlocked)
    assert steady(found) == plain.record
    assert found["generated_at"].endswith(("Z", "+00:00"))


@pytest.mark.parametrize("mask", [0o077, 0o000, 0o777], ids=oct)
def test_masks_of_rights(mask: int, plain: Plain, unlocked: Folder, fake: FakeEngine) -> None:
    """What is built is the same. A mask that forbids everything is an error, where it binds."""
    done = run_as(unlocked, "run", GOOD, mask=mask)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    if mask == 0o777 and os.geteuid():
        assert done.returncode == 3
        return
    assert done.returncode == 0, done.stderr.decode()
    assert steady(record(unlocked)) == plain.record
    assert plain.contexts
    assert contexts(fake) == plain.contexts


def test_a_clock_that_was_set_back(here: Folder) -> None:
    """What was done in the future counts as done. No age is less than none, and nothing fails."""
    assert here.run("run", GOOD).returncode == 0
    path = here.root / ".envmatrix" / "cells" / f"{GOOD}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["generated_at"] = data["generated_at"].replace("20", "21", 1)
    path.write_text(json.dumps(data), encoding="utf-8")
    for one in (here.root / ".envmatrix").rglob("*"):
        os.utime(one, (4_000_000_000, 4_000_000_000))
    done = here.run("run", GOOD)
    assert done.returncode == 0, done.stderr
    assert "nothing built, nothing probed" in done.stdout
    for arguments in (("plan",), ("explain", GOOD), ("report", GOOD, "--max-age", "90d")):
        done = here.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "works" in done.stdout
    assert here.run("run", GOOD, "--fresh").returncode == 0
    assert "works" in here.run("plan").stdout
