"""envmatrix is killed or told to end, at each write and at any moment: nothing stays behind."""

from __future__ import annotations

import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder
from disturbed import (
    MOST_SECONDS,
    RUN,
    forget_step,
    is_running,
    left,
    run_with_writes,
    send,
    settled,
    started,
    wait_for_container,
    write_probe,
    write_step,
)
from private_engine import wait_until
from small_project import GOOD

from envmatrix.engine.client import Engine

SEED = int(os.environ.get("ENVMATRIX_FAULTS_SEED", random.randrange(10**6)))  # noqa: S311
"""Decides the moments at which runs are disturbed. The messages of failures tell it."""
WAITING = "import time\ntime.sleep(300)"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def evidence_of(folder: Folder) -> dict[str, Any]:
    """Run the good cell to its end, and return its evidence."""
    code, cells = folder.run_json(*RUN)
    assert code == 0, cells[GOOD]["cause"]
    return cells[GOOD]


def copy_of(folder: Folder, name: str) -> Folder:
    """Return a copy of a project beside it."""
    root = folder.root.parent / name
    return Folder(Path(shutil.copytree(folder.root, root, symlinks=True)))


def test_a_run_that_is_killed_at_each_write_ends_as_if_it_was_not(
    folder: Folder, engine: Engine
) -> None:
    """Each time it goes on, and in the end its evidence is that of a run that nothing disturbed."""
    calm = copy_of(folder, "calm")
    done, writes = run_with_writes(calm)
    assert done.returncode == 0, done.stderr
    # The name of a note is another in each run.
    paths = dict.fromkeys(re.sub(r"records/run/.*", "records/run/*", path) for path in writes)
    assert len(paths) > 10

    killed = [path for path in paths if run_with_writes(folder, path)[0].returncode < 0]

    assert list(paths) == killed
    assert settled(evidence_of(calm)) == settled(evidence_of(folder))
    assert left(folder, engine) == []


@pytest.mark.parametrize("number", [*CODES, signal.SIGKILL], ids=lambda one: one.name)
def test_a_run_that_is_ended_at_any_moment_ends_as_if_it_was_not(
    folder: Folder, engine: Engine, quick: dict[str, Any], number: signal.Signals
) -> None:
    """A signal that asks leaves nothing at once. After SIGKILL, the next run removes the rest."""
    chosen = random.Random(f"{SEED} {number}")  # noqa: S311
    for moment in sorted(chosen.uniform(0.3, 5) for _ in range(3)):
        told = f"seed {SEED}, {number.name} after {moment:.2f} s"
        with started(folder, *RUN) as process:
            time.sleep(moment)
            said = send(process, number)
        assert "Traceback" not in said, told
        if number in CODES:
            # Before it listens, Python ends it; after its end, nothing does.
            assert process.returncode in (CODES[number], -number, 0), told
            assert left(folder, engine) == [], told

    assert settled(quick) == settled(evidence_of(folder)), SEED
    assert left(folder, engine) == [], SEED


def test_ctrl_c_in_the_first_seconds_leaves_no_container(folder: Folder, engine: Engine) -> None:
    """The image is there already, so a container begins at once, and is caught at any moment."""
    evidence_of(folder)
    shutil.rmtree(folder.root / ".envmatrix/records/probe")
    began = time.monotonic()
    evidence_of(folder)
    took = time.monotonic() - began
    chosen = random.Random(SEED)  # noqa: S311
    for moment in [chosen.uniform(0.3, took) for _ in range(15)]:
        shutil.rmtree(folder.root / ".envmatrix/records/probe", ignore_errors=True)
        with started(folder, *RUN) as process:
            time.sleep(moment)
            send(process, signal.SIGINT)
        assert process.returncode in (130, -signal.SIGINT, 0)
        assert left(folder, engine) == [], f"seed {SEED}, after {moment:.2f} s"


@pytest.mark.parametrize("number", CODES, ids=lambda one: one.name)
@pytest.mark.parametrize("stage", ["build", "probe"])
def test_a_signal_that_asks_ends_a_run_as_ctrl_c_does(
    folder: Folder, engine: Engine, stage: str, number: signal.Signals
) -> None:
    """It is said, the exit code tells the signal, and nothing is left at work."""
    step = f"sleep 2918.{os.getpid()}"
    if stage == "build":
        write_step(folder, step)
    else:
        write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        if stage == "build":
            wait_until(lambda: is_running(step))
        else:
            wait_for_container(process, engine)
        said = send(process, number)

    assert CODES[number] == process.returncode
    assert said.endswith("stopped; what was done is kept\n")
    assert left(folder, engine) == []
    wait_until(lambda: not is_running(step), 20)


def test_a_closed_terminal_ends_a_run(folder: Folder, engine: Engine) -> None:
    """It cleans up, though nothing can be printed any more."""
    write_probe(folder, "jinja2-waiting", WAITING)
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder.root)
        os.execv(sys.executable, folder.command(*RUN))  # noqa: S606
    os.set_blocking(terminal, False)
    shown = b""

    def is_probing() -> bool:
        nonlocal shown
        # A terminal that nobody reads is full soon, and then holds up who prints to it.
        with suppress(BlockingIOError):
            shown += os.read(terminal, 65536)
        return bool(engine.containers.running())

    try:
        wait_until(is_probing)
        assert shown
    finally:
        os.close(terminal)
    ended: list[int] = []

    def has_ended() -> bool:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(found)

    wait_until(has_ended, MOST_SECONDS)

    assert ended == [129]
    assert left(folder, engine) == []


def test_a_second_ctrl_c_breaks_nothing(folder: Folder, engine: Engine) -> None:
    """An impatient user gets the same end."""
    write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        wait_for_container(process, engine)
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        said = process.communicate(timeout=MOST_SECONDS)[1]

    assert process.returncode == 130
    assert "Traceback" not in said
    assert left(folder, engine) == []


@pytest.mark.parametrize("way", ["alone", "shared"])
def test_no_probe_outlives_its_limit_when_envmatrix_is_killed(
    folder: Folder, engine: Engine, way: str
) -> None:
    """The limit holds inside of the container. What the probe started ends with it."""
    stubborn = (
        "import signal, time\n"
        "for number in (signal.SIGALRM, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "signal.alarm(0)\n"
        "if not os.fork(): os.setsid()\n"
        "time.sleep(300)"
    )
    write_probe(folder, "jinja2-stubborn", stubborn, timeout=3)
    if way == "shared":
        importing = folder.root / "scripts/probes/jinja2_import.py"
        text = importing.read_text(encoding="utf-8")
        importing.write_text(text.replace("# timeout", '# preload = ["jinja2"]\n# timeout'))
        write_probe(folder, "jinja2-second", "report(observed={})", timeout=3)
    with started(folder, *RUN) as process:
        wait_for_container(process, engine)
        if way == "alone":
            wait_until(lambda: is_running("/opt/venv/bin/python /tmp/probe_jinja2_stubborn.py"))
        send(process, signal.SIGKILL)

    wait_until(lambda: not engine.containers.running(), 63)


def test_the_next_run_removes_what_a_killed_one_left(folder: Folder, engine: Engine) -> None:
    """The names of a build, which the engine ended by itself, and a container that probes."""
    step = f"sleep 2919.{os.getpid()}"
    write_step(folder, step)
    with started(folder, *RUN) as process:
        wait_until(lambda: is_running(step))
        send(process, signal.SIGKILL)
    assert engine.images.names("envmatrix/below:*")
    wait_until(lambda: not is_running(step), 20)
    forget_step(folder)
    write_probe(folder, "jinja2-waiting", WAITING)

    with started(folder, *RUN) as process:
        wait_for_container(process, engine)
        assert engine.images.names("envmatrix/below:*") == frozenset()
        send(process, signal.SIGKILL)
    assert engine.containers.running()
    (folder.root / "scripts/probes/jinja2_waiting.py").unlink()

    evidence_of(folder)
    assert left(folder, engine) == []


def test_nobody_removes_what_is_of_another_checkout(folder: Folder, engine: Engine) -> None:
    """Also where one is a copy of the other, made while that was at work."""
    write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        wait_until(lambda: is_running("/opt/venv/bin/python /tmp/probe_jinja2_waiting.py"))
        theirs = engine.containers.running()
        copied = copy_of(folder, "copied")
        (copied.root / "scripts/probes/jinja2_waiting.py").unlink()

        evidence_of(copied)

        assert theirs == engine.containers.running()
        assert process.poll() is None
        send(process, signal.SIGTERM)
    assert left(folder, engine) == []


def test_the_next_run_removes_the_twin_of_a_verify_that_was_killed(
    folder: Folder, engine: Engine
) -> None:
    """A twin is large, and has no use any more."""
    evidence_of(folder)
    before = engine.images.names("envmatrix/*")
    with started(folder, "verify", GOOD, "--jobs", "1") as process:
        wait_until(lambda: engine.images.names("envmatrix/made:*"))
        send(process, signal.SIGKILL)
    assert engine.images.names("envmatrix/made:*")

    evidence_of(folder)

    assert left(folder, engine) == []
    assert before == engine.images.names("envmatrix/*")


def test_a_signal_that_is_ignored_stays_so(folder: Folder, engine: Engine) -> None:
    """A run under nohup goes on when its terminal is closed."""
    write_probe(folder, "jinja2-short", "import time\ntime.sleep(3)\nreport(observed={})")
    with subprocess.Popen(
        ["nohup", *folder.command(*RUN)],
        cwd=folder.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_container(process, engine)
        send(process, signal.SIGHUP)

    assert process.returncode == 0
