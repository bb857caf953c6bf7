"""Ctrl-C, SIGTERM and SIGHUP: the program ends, leaves nothing at work, and keeps what was done."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_engine import Exit, FakeEngine, StepTakes
from fake_index import FakeIndex, Hang
from small_project import GOOD, Folder, environment, make_project, serve_wheels

SECONDS = 60.0
STEP_LABEL = "io.envmatrix.step"


@pytest.fixture
def project(locked: Folder, fake: FakeEngine, tmp_path: Path) -> Folder:
    """A locked project of this test's own, for commands as processes."""
    return locked.copy(tmp_path / "project", environment(fake.url))


def wait_until(done: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something happens, as long as the process lives."""
    end = time.monotonic() + SECONDS
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.02)


def interrupt(
    process: subprocess.Popen[str],
    begun: Callable[[], object],
    number: signal.Signals = signal.SIGINT,
    times: int = 1,
) -> None:
    """Press Ctrl-C once something has begun, and wait for the program to end as it should.

    A terminal sends the signal to the program and to everything that the program started.
    """
    with process:
        try:
            wait_until(begun, process)
            for _ in range(times):
                os.killpg(process.pid, number)
                time.sleep(0.02)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out) == (128 + number, "")
    assert err.endswith("stopped; what was done is kept\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "times"),
    [(signal.SIGINT, 1), (signal.SIGINT, 5), (signal.SIGTERM, 1), (signal.SIGHUP, 1)],
)
def test_ctrl_c_during_a_probe(
    project: Folder, fake: FakeEngine, number: signal.Signals, times: int
) -> None:
    """The container is removed, the image is kept, and the next run takes it."""
    fake.on_run = lambda _: Exit(seconds=SECONDS)
    interrupt(project.start("run", GOOD), lambda: fake.runs, number, times)
    assert fake.containers.by_id == {}
    fake.on_run = fake.containers.pass_probe
    builds = len(fake.build_records)
    assert project.run("run", GOOD).returncode == 0
    assert builds == len(fake.build_records)


def test_ctrl_c_during_a_build(project: Folder, fake: FakeEngine) -> None:
    """The engine is told to cancel the build, and no image of it appears."""
    fake.fail(StepTakes("jinja2===3.1.6", seconds=SECONDS))
    process = project.start("build", GOOD)
    interrupt(process, lambda: any(one.labels[STEP_LABEL] == "build" for one in fake.build_records))
    assert len(fake.builds.cancelled) == 1
    assert fake.images.find(f"envmatrix/cell:{GOOD}") is None
    assert project.run("build", GOOD).returncode == 0


def test_ctrl_c_during_verify(project: Folder, fake: FakeEngine) -> None:
    """A twin that is at work is dropped, and the evidence of the cell stays as it was."""
    assert project.run("run", GOOD).returncode == 0
    before = project.read(f".envmatrix/cells/{GOOD}.json")
    fake.fail(StepTakes("jinja2===3.1.6", seconds=SECONDS))
    process = project.start("verify", GOOD)
    interrupt(process, lambda: any(one.no_cache for one in fake.build_records))
    assert before == project.read(f".envmatrix/cells/{GOOD}.json")


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index that serves the wheels of the small matrix."""
    with FakeIndex() as served:
        serve_wheels(served)
        yield served


def test_ctrl_c_during_a_lock(tmp_path: Path, fake: FakeEngine, index: FakeIndex) -> None:
    """What was being resolved stays unknown: the next lock asks for it again."""
    index.fail(Hang(SECONDS), name="jinja2")
    project = make_project(tmp_path / "new", environment(fake.url, index.url))
    process = project.start("lock", GOOD)
    interrupt(process, lambda: index.asked("GET /simple/jinja2/"))
    assert not (project.root / "images").exists()
    index.heal()
    code, cells = project.run_json("lock", GOOD)
    assert (code, cells[GOOD]["locked"]) == (0, True)
