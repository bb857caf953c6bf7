"""The engine is killed or frozen under a run: no cell is blamed, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import Folder
from disturbed import (
    MOST_SECONDS,
    RUN,
    forget_step,
    is_running,
    judged,
    left,
    run_with_writes,
    send,
    settled,
    started,
    wait_for_container,
    write_probe,
    write_step,
)
from private_engine import PrivateEngine, wait_until
from small_project import GOOD

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import API_SECONDS

WAITING = "import time\ntime.sleep(300)"


@pytest.fixture(autouse=True)
def _back(machine: PrivateEngine) -> Iterator[None]:
    """After each test the engine is at work again."""
    yield
    if not machine.answers():
        machine.gone()
        machine.start()


def goes_on(folder: Folder, quick: dict[str, Any]) -> None:
    """Assert that the next run is one that nothing disturbed, and that nothing is left."""
    code, cells = folder.run_json(*RUN)
    assert (code, settled(quick)) == (0, settled(cells[GOOD]))
    with Engine.connect() as engine:
        assert left(folder, engine) == []


def assert_unknown(folder: Folder, code: int, said: str) -> None:
    """Assert that a run blamed the engine and said what to do."""
    assert code == 3, said
    assert "Traceback" not in said
    assert "unknown" in folder.run("plan", "--profile", "good").stdout


@pytest.mark.parametrize("stage", ["build", "probe"])
def test_an_engine_that_is_killed_at_work(
    folder: Folder, machine: PrivateEngine, quick: dict[str, Any], stage: str
) -> None:
    """The cell is unknown, not broken; with the engine back, the next run finishes it."""
    step = f"sleep 2920.{os.getpid()}"
    if stage == "build":
        write_step(folder, step)
    else:
        write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        if stage == "build":
            wait_until(lambda: is_running(step))
        else:
            with Engine.connect() as engine:
                wait_for_container(process, engine)
        machine.kill()
        out, said = process.communicate(timeout=MOST_SECONDS)
    assert_unknown(folder, process.returncode, out + said)
    assert judged(folder) == ("unknown", stage, "engine")

    machine.start()
    if stage == "build":
        forget_step(folder)
    else:
        (folder.root / "scripts/probes/jinja2_waiting.py").unlink()
    goes_on(folder, quick)


def test_an_engine_that_is_killed_between_stages(
    folder: Folder, machine: PrivateEngine, quick: dict[str, Any]
) -> None:
    """What was built is kept: the next run builds nothing again."""
    done, _ = run_with_writes(
        folder, "*/records/build/*", do=f"kill -KILL {machine.process}; sleep 1"
    )
    assert_unknown(folder, done.returncode, done.stdout + done.stderr)
    machine.gone()

    machine.start()
    again = folder.run(*RUN)
    assert "0 images built, 1 probe run" in again.stdout, again.stdout + again.stderr
    goes_on(folder, quick)


@contextmanager
def frozen(folder: Folder, machine: PrivateEngine) -> Iterator[subprocess.Popen[str]]:
    """Yield a run whose engine froze while it probes. The engine goes on afterwards."""
    write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        with Engine.connect() as engine:
            wait_for_container(process, engine)
        machine.freeze()
        try:
            yield process
        finally:
            machine.thaw()


def test_ctrl_c_ends_a_run_whose_engine_is_frozen(
    folder: Folder, machine: PrivateEngine, quick: dict[str, Any]
) -> None:
    """The user does not wait for an engine that answers nothing; the next run removes the rest."""
    with frozen(folder, machine) as process:
        time.sleep(1)
        began = time.monotonic()
        said = send(process, signal.SIGINT)
        took = time.monotonic() - began

    assert process.returncode == 130
    assert "stopped; what was done is kept" in said
    assert took < 60
    (folder.root / "scripts/probes/jinja2_waiting.py").unlink()
    goes_on(folder, quick)


def test_a_run_whose_engine_stays_frozen_ends(
    folder: Folder, machine: PrivateEngine, quick: dict[str, Any]
) -> None:
    """One request waits for two minutes, no other one does. The next run removes the rest."""
    with frozen(folder, machine) as process:
        out, said = process.communicate(timeout=2 * API_SECONDS)

    assert_unknown(folder, process.returncode, out + said)
    assert judged(folder) == ("unknown", "probe", "engine")
    (folder.root / "scripts/probes/jinja2_waiting.py").unlink()
    goes_on(folder, quick)


def test_an_engine_that_is_frozen_for_a_while_costs_nothing(
    folder: Folder, machine: PrivateEngine, quick: dict[str, Any]
) -> None:
    """A probe that ran meanwhile is judged by how it ended."""
    write_probe(folder, "jinja2-short", "import time\ntime.sleep(3)\nreport(observed={})")
    with started(folder, *RUN) as process:
        with Engine.connect() as engine:
            wait_for_container(process, engine)
        machine.freeze()
        time.sleep(5)
        machine.thaw()
        out, said = process.communicate(timeout=MOST_SECONDS)

    assert process.returncode == 0, out + said
