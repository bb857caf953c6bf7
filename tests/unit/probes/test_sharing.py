"""Running the probes of a cell in one container: what the engine is asked, and what counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Exit, Facts, FakeEngine, Refuses, RunRequest, StartRefused

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import Address, Connection
from envmatrix.engine.containers import isolation
from envmatrix.engine.process import OUTPUT_LIMIT, Limits, Ran
from envmatrix.model.probe_results import Outcome, ProbeResult, SharedRun, Way
from envmatrix.probes import sharing
from envmatrix.probes.headers import Probe, parse_probe
from envmatrix.probes.running import alarmed
from envmatrix.probes.sharing import (
    LONGEST_CONTAINER,
    SECONDS_BESIDE,
    SOURCES_LIMIT,
    START,
    Group,
    after,
    group_of,
    preload_of,
    run_shared,
)

IMAGE = "envmatrix/cell:a"
RUNNER = "the runner"


def made(name: str, more: str = "", code: str = "") -> Probe:
    """Return a probe, with some more lines in its header."""
    source = (
        f'# /// probe\n# name = "demo-{name}"\n# framework = "demo"\n# proves = "Something."\n'
        f"# required = true\n# timeout = 7\n{more}# ///\n{code}"
    )
    return parse_probe(source, Path("x.py"))


IMPORT = made("import", '# preload = ["demo", "demo.more"]\n')
ONE, TWO = made("one"), made("two-words")
GPU = made("gpu", '# needs = "gpu"\n')
LONE = made("lone", "# alone = true\n")
ALL = (IMPORT, GPU, LONE, ONE, TWO)
GROUP = Group(("demo", "demo.more"), 7, (IMPORT, ONE, TWO))


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """A fake engine with an image, which no test may break from the inside."""
    with FakeEngine() as engine:
        engine.add_image(IMAGE)
        yield engine
    assert engine.errors == []


def run(fake: FakeEngine, group: Group = GROUP, **more: Any) -> Mapping[str, ProbeResult]:
    """Run probes on the fake engine."""
    engine = Engine(Connection(Address(fake.url)))
    with closing(engine.connection.client):
        return run_shared(engine.containers, IMAGE, group, RUNNER, **({"gpu": False} | more))


# --- which probes share -----------------------------------------------------------------------


def names(group: Group | None) -> list[str]:
    """Return the names of the probes of a group."""
    return [probe.name for probe in group.probes] if group else []


def test_probes_share_unless_they_need_a_gpu_or_want_to_be_alone() -> None:
    """They keep their order; the import is named by the probe that imports the framework."""
    group = group_of(ALL, {probe.name for probe in ALL})
    assert group == GROUP
    assert preload_of(ALL) == ("demo", "demo.more")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (ALL, ["demo-import", "demo-one", "demo-two-words"]),
        ((ONE, TWO), ["demo-one", "demo-two-words"]),
        ((IMPORT, ONE), []),
        ((ONE,), []),
        ((IMPORT, LONE, GPU), []),
        ((), []),
    ],
)
def test_two_that_can_be_forked_are_enough(missing: tuple[Probe, ...], expected: list[str]) -> None:
    """For one, the import in the container costs what it saves."""
    assert names(group_of(ALL, {probe.name for probe in missing})) == expected


def test_a_framework_that_names_no_module_shares_nothing() -> None:
    """Neither do probes without one that imports, or probes too long for a command."""
    everything = {probe.name for probe in ALL}
    assert group_of((made("import"), ONE, TWO), everything) is None
    assert group_of((ONE, TWO), everything) is None
    assert preload_of((ONE, TWO)) == ()
    huge = made("one", code="#" * SOURCES_LIMIT)
    assert group_of((IMPORT, huge, TWO), everything) is None


def test_an_import_that_wants_to_be_alone_is_still_shared_by_others() -> None:
    """Its own probe has a container of its own."""
    lone = made("import", '# preload = ["demo"]\n# alone = true\n')
    found = group_of((lone, ONE, TWO), {"demo-import", "demo-one", "demo-two-words"})
    assert names(found) == ["demo-one", "demo-two-words"]


# --- what the engine is asked -----------------------------------------------------------------


def test_the_runner_is_the_first_process_of_an_isolated_container(fake: FakeEngine) -> None:
    """It runs no code of a wheel, and the nonces are in its environment, not in its arguments."""
    found = run(fake)

    (asked,) = fake.runs
    assert asked.command == (
        *("python", "-I", "-S", "-c", alarmed(START, 4 * 7 + 60), RUNNER, "supervise"),
        *(probe.source for probe in GROUP.probes),
    )
    assert set(asked.environment) == {"ENVMATRIX_PLAN", "HOME"}
    plan = json.loads(asked.environment["ENVMATRIX_PLAN"])
    nonces = [probe.pop("nonce") for probe in plan["probes"]]
    assert [len(nonce) for nonce in nonces] == [16] * 3
    assert len(set(nonces)) == 3
    assert plan == {
        "first": True,
        "scratch": ["/tmp", "/dev/shm", "/dev/mqueue"],  # noqa: S108
        "preload": ["demo", "demo.more"],
        "import_seconds": 7,
        "output_limit": OUTPUT_LIMIT,
        "probes": [
            {"file": "probe_demo_import.py", "timeout": 7, "forked": False},
            {"file": "probe_demo_one.py", "timeout": 7, "forked": True},
            {"file": "probe_demo_two_words.py", "timeout": 7, "forked": True},
        ],
    }
    assert not asked.wants_gpu
    assert asked.host_config["Init"] is False
    assert {result.ran for result in found.values()} == {Way.SHARED}
    assert [(name, result.outcome) for name, result in found.items()] == [
        ("demo-import", "passed"),
        ("demo-one", "passed"),
        ("demo-two-words", "passed"),
    ]


def test_only_the_first_process_differs_from_a_probe_alone() -> None:
    """Every other setting of isolation is the same."""
    alone, shared = isolation(Limits()), isolation(Limits(), first=True)
    assert (alone.pop("init"), shared.pop("init")) == (True, False)
    assert alone == shared


def test_the_stack_and_the_gpu_are_handed_on(fake: FakeEngine) -> None:
    """As to a probe alone."""
    fake.facts = Facts(nvidia=True)
    run(fake, gpu=True, stack=("a", "b"))
    assert fake.runs[0].environment["ENVMATRIX_STACK"] == "a b"
    assert fake.runs[0].wants_gpu


@pytest.mark.parametrize(
    ("timeout", "expected"), [(7, 4 * 7 + SECONDS_BESIDE), (5000, LONGEST_CONTAINER)]
)
def test_the_container_has_the_time_of_its_probes(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, timeout: int, expected: int
) -> None:
    """It is the sum of their limits and of the import's, up to a bound."""
    given = []

    def limits(**limits: float) -> Limits:
        given.append(limits)
        return Limits()

    monkeypatch.setattr(sharing, "Limits", limits)
    run(fake, Group(("demo",), 7, tuple(_with_timeout(one, timeout) for one in GROUP.probes)))
    assert given == [{"seconds": expected, "output": 6 * OUTPUT_LIMIT}]


def _with_timeout(probe: Probe, seconds: int) -> Probe:
    return parse_probe(probe.source.replace("timeout = 7", f"timeout = {seconds}"), Path("x.py"))


# --- what counts ------------------------------------------------------------------------------

ENDS = {
    Outcome.FAILED: Exit(1, stderr="AssertionError: no"),
    Outcome.CRASHED: Exit(139),
    Outcome.OUT_OF_MEMORY: Exit(137, oom=True),
    Outcome.TIMED_OUT: Exit(137, seconds=60),
    Outcome.BAD_REPORT: Exit(0, "no report"),
}


@pytest.mark.parametrize(("outcome", "exit_"), ENDS.items())
def test_each_end_is_told_apart(fake: FakeEngine, outcome: Outcome, exit_: Exit) -> None:
    """As that of a probe in a container of its own; the others pass."""
    fake.on_run = lambda asked: exit_ if asked.probe == "demo-one" else Exit(0, asked.report({}))
    found = run(fake)
    assert [result.outcome for result in found.values()] == ["passed", outcome, "passed"]
    assert outcome is Outcome.OUT_OF_MEMORY or found["demo-one"].exit_code in (exit_.code, None)


def test_what_has_no_line_has_no_result(fake: FakeEngine) -> None:
    """Where the runner ended early, the passes before count."""

    def ends(asked: RunRequest) -> Exit:
        return Exit(0, asked.report({}), ends_the_runner=asked.probe == "demo-one")

    fake.on_run = ends
    assert list(run(fake)) == ["demo-import"]


def test_an_image_without_python_gives_no_result(fake: FakeEngine) -> None:
    """Each probe alone says so."""
    fake.fail(StartRefused.not_found("python"))
    assert run(fake) == {}


def test_an_engine_that_fails_gives_no_result(fake: FakeEngine) -> None:
    """A probe can end the supervisor, which looks so. Each runs alone next, and that counts."""
    fake.fail(Refuses("POST /containers/create", 500, "no such runtime"), times=None)
    assert run(fake) == {}


LINE = {
    "nonce": "n",
    "exit_code": 0,
    "seconds": 1.5,
    "timed_out": False,
    "flooded": False,
    "out_of_memory": False,
    "stdout": "b3V0",
    "stderr": "ZXJy",
}


def test_a_line_tells_how_a_probe_ended() -> None:
    """Output of an image beside the lines is passed over."""
    found = sharing._lines(f"noise\n{json.dumps(LINE)}\n{{}}\nnull\n")
    assert {"n": Ran(0, "out", "err", 1.5)} == {
        nonce: line.ran(Ran(0, "", "", 9)) for nonce, line in found.items()
    }


def test_the_first_line_of_a_probe_counts() -> None:
    """No later line changes a result."""
    found = sharing._lines(f"{json.dumps(LINE | {'exit_code': 1})}\n{json.dumps(LINE)}\n")
    assert found["n"].exit_code == 1


@pytest.mark.parametrize(
    "change",
    [
        {"exit_code": None},
        {"exit_code": -9},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": 1e300},
        {"stdout": "b3V0b"},
        {"stdout": 5},
        {"more": 1},
        {"flooded": None},
    ],
)
def test_a_line_that_is_not_one_is_no_result(change: dict[str, Any]) -> None:
    """Its values come from an image."""
    assert sharing._lines(json.dumps(LINE | change)) == {}


@pytest.mark.parametrize("told", [True, False, None])
@pytest.mark.parametrize("container", [True, False])
def test_memory_counts_for_the_probe_that_the_kernel_told_of(
    told: bool | None, container: bool
) -> None:
    """Where the kernel does not tell, it may have been any probe of the container."""
    (line,) = sharing._lines(json.dumps(LINE | {"out_of_memory": told})).values()
    found = line.ran(Ran(0, "", "", 9, out_of_memory=container))
    assert found.out_of_memory is (container if told is None else told)


def test_a_probe_that_was_ended_has_no_exit_code() -> None:
    """It is 137 for the runner, and would look like a crash."""
    for reason in ("timed_out", "flooded"):
        (line,) = sharing._lines(json.dumps(LINE | {"exit_code": 137, reason: True})).values()
        assert line.ran(Ran(0, "", "", 9)).exit_code is None


def test_both_results_are_kept() -> None:
    """The one of the run alone counts, and tells how the probe ended beside others."""
    alone = ProbeResult(probe="p", required=True, outcome=Outcome.PASSED)
    earlier = ProbeResult(
        probe="p", required=True, outcome=Outcome.FAILED, kind="other", cause="x", ran=Way.SHARED
    )
    told = SharedRun(outcome=Outcome.FAILED, kind="other", cause="x")
    assert after(None, alone) == alone
    assert after(earlier, alone) == alone.model_copy(update={"shared": told})
