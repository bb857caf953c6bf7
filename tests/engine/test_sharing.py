"""Probes that share a container: the same outcomes as alone, and no harm from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Folder
from test_isolation import ENDINGS, HARM, REPORT, listening

from envmatrix.engine.client import Engine
from envmatrix.model.probe_results import Outcome, ProbeResult, Way
from envmatrix.probes.headers import Probe
from envmatrix.probes.sharing import Group, run_shared

pytestmark = pytest.mark.engine

__all__ = ["listening"]
Cells = dict[str, dict[str, Any]]
RUNNER = Path(REPOSITORY, "scripts/probes/runner/probe_runner.py").read_text(encoding="utf-8")
BEFORE, AFTER = "none-before", "none-later"
PASSING = "report(observed={})"


def made(name: str, source: str, timeout: int = 60) -> Probe:
    """Return a probe of this source, which may call `report`."""
    start = REPORT.replace("a-probe", name)
    return Probe(name, "none", "something", required=True, timeout=timeout, source=start + source)


def beside(
    engine: Engine, image: str, source: str, name: str = "none-hostile", timeout: int = 60
) -> Mapping[str, ProbeResult]:
    """Run a probe between two that do nothing but pass."""
    probes = (made(BEFORE, PASSING), made(name, source, timeout), made(AFTER, PASSING))
    group = Group(("json",), 30, probes)
    return run_shared(engine.containers, image, group, RUNNER, gpu=False)


def outcomes(cells: Cells) -> dict[tuple[str, str], str]:
    """Return how each probe of each cell ended."""
    return {
        (cell_id, probe["probe"]): probe["outcome"]
        for cell_id, cell in cells.items()
        for probe in cell["probes"]
    }


def test_every_probe_ends_the_same_in_both_ways(quick: tuple[int, Cells], checkout: Folder) -> None:
    """Each probe of the quick cells, beside the others of its cell and in its own container."""
    _, shared = quick
    _, alone = checkout.run_json("probe", "--profile", "quick", "--isolated")

    assert outcomes(alone) == outcomes(shared)
    ways = {(probe["needs"], probe["ran"]) for one in shared.values() for probe in one["probes"]}
    assert ways == {("", "shared"), ("gpu", "alone")}
    assert {probe["ran"] for one in alone.values() for probe in one["probes"]} == {"alone"}


@pytest.mark.parametrize("name", ["none-hostile", "none-import"])
@pytest.mark.parametrize(("expected", "source"), ENDINGS.items())
def test_each_ending_is_told_apart_beside_others(
    engine: Engine, base_image: str, expected: Outcome, source: str, name: str
) -> None:
    """Of a fork as of a new process; the probe before it and the one after it pass."""
    found = beside(engine, base_image, source, name)

    assert found[name].outcome == expected, found[name]
    assert (found[BEFORE].outcome, found[AFTER].outcome) == (Outcome.PASSED, Outcome.PASSED)
    assert {result.ran for result in found.values()} == {Way.SHARED}


def test_a_probe_that_takes_too_long_is_ended_beside_others(
    engine: Engine, base_image: str
) -> None:
    """And the next one runs."""
    found = beside(engine, base_image, "import time; time.sleep(60)", timeout=1)

    assert found["none-hostile"].outcome == Outcome.TIMED_OUT
    assert found[AFTER].outcome == Outcome.PASSED


@pytest.mark.parametrize("source", HARM.values(), ids=HARM)
def test_a_probe_beside_others_cannot_do_harm(
    engine: Engine, base_image: str, listening: str, source: str
) -> None:
    """What it tries ends as it does alone, and the others pass."""
    found = beside(engine, base_image, f"{listening}{source}\n{PASSING}")
    result = found["none-hostile"]

    assert result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY), result.log_tail
    assert result.outcome is Outcome.OUT_OF_MEMORY or "Error" in result.log_tail
    assert (found[BEFORE].outcome, found[AFTER].outcome) == (Outcome.PASSED, Outcome.PASSED)


LEAVES = {
    "a daemon": "import time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n",
    "files": "open('/tmp/left', 'w'); open('/dev/shm/left', 'w')",
    "a process that forks without end": "if os.fork() == 0:\n"
    "    while True:\n        if os.fork(): os._exit(0)\n",
    "a signal for the supervisor": "import signal\n"
    "for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):\n"
    "    os.kill(1, number)",
}
CLEAN = (
    "others = [name for name in os.listdir('/proc') if name.isdigit() and int(name) > 1]\n"
    "assert len(others) == 2, others\n"  # the importer, and itself
    "assert os.listdir('/tmp') == ['probe_none_later.py'], os.listdir('/tmp')\n"
    "assert os.listdir('/dev/shm') == []\n"
)


@pytest.mark.parametrize("source", LEAVES.values(), ids=LEAVES)
def test_nothing_that_a_probe_leaves_is_there_for_the_next(
    engine: Engine, base_image: str, source: str
) -> None:
    """Both pass: what one leaves is no failure of it, and gone when the next begins."""
    probes = (made("none-leaves", f"{source}\n{PASSING}"), made(AFTER, CLEAN + PASSING))
    group = Group(("json",), 30, probes)
    found = run_shared(engine.containers, base_image, group, RUNNER, gpu=False)

    assert [result.outcome for result in found.values()] == [Outcome.PASSED] * 2, found


FORGES = {
    "by the output of the container": "open('/proc/1/fd/1', 'w').write('x')",
    "by the nonces": "open('/proc/1/environ').read()",
    "by the memory of the supervisor": "open('/proc/1/mem', 'r+b')",
    "by the memory of the importer": "ids = [int(name) for name in os.listdir('/proc') "
    "if name.isdigit()]\nopen(f'/proc/{min(set(ids) - {1})}/mem', 'r+b')",
}


@pytest.mark.parametrize("source", FORGES.values(), ids=FORGES)
def test_a_probe_cannot_forge_the_result_of_another(
    engine: Engine, base_image: str, source: str
) -> None:
    """What decides about others cannot be opened."""
    found = beside(engine, base_image, f"{source}\n{PASSING}")

    assert "PermissionError" in found["none-hostile"].log_tail, found["none-hostile"]
    assert found[AFTER].outcome == Outcome.PASSED


def test_a_probe_that_kills_everything_spoils_only_the_sharing(
    engine: Engine, base_image: str
) -> None:
    """The pass before it counts. It has no result, nor have those after it: they run alone."""
    found = beside(engine, base_image, f"os.kill(-1, 9)\n{PASSING}")

    assert {name: result.outcome for name, result in found.items()} == {BEFORE: Outcome.PASSED}
