"""The probe stage: which probes of a cell share a container, and which results count."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fake_engine import Exit, Facts, FakeEngine, RunRequest
from small_project import (
    CUDA,
    GOOD,
    GPU_PROBE,
    IMPORT_PROBE,
    ONE,
    RENDER_PROBE,
    Folder,
    Told,
    run,
    run_one,
)

from envmatrix.model.evidence import Evidence, Logs
from envmatrix.model.probe_results import Outcome, Way
from envmatrix.stages.options import Options
from envmatrix.stages.probe import Probed, Probing

ISOLATED = Options(jobs=1, isolated=True)
LOOP = "jinja2-loop"


@pytest.fixture
def sharing(project: Folder) -> Folder:
    """The small project, with three probes that may share a container."""
    preload = IMPORT_PROBE.replace("# ///\nimp", '# preload = ["jinja2"]\n# ///\nimp')
    assert preload != IMPORT_PROBE
    project.write("scripts/probes/jinja2_import.py", preload)
    project.write("scripts/probes/jinja2_loop.py", RENDER_PROBE.replace("jinja2-render", LOOP))
    return project


def ways(found: Evidence) -> dict[str, str]:
    """Return how each probe was run."""
    return {result.probe: result.ran.value for result in found.probes}


def beside(asked: RunRequest) -> Exit:
    """Let one probe fail beside others, and pass alone."""
    if asked.beside and asked.probe == LOOP:
        return Exit(1, stderr="AssertionError: not now")
    return Exit(0, asked.report(OBSERVED if asked.probe == "jinja2-import" else {}))


OBSERVED = {
    "version": "3.1.6",
    "python": "3.11",
    "distribution": "debian",
    "codename": "bookworm",
    "glibc": "2.36",
    "accelerator": "cpu",
    "arch": "amd64",
}
SHARED = {"jinja2-import": "shared", LOOP: "shared", "jinja2-render": "shared"}
ALONE = dict.fromkeys(SHARED, "alone")


def test_the_probes_of_a_cell_share_a_container(sharing: Folder, fake: FakeEngine) -> None:
    """One container runs all; the evidence says so, and names the runner among its inputs."""
    found = run_one(sharing, GOOD)

    assert (found.verdict, ways(found), len(fake.runs)) == ("works", SHARED, 1)
    assert found.inputs is not None
    assert len(found.inputs.runner) == 64
    assert sharing.workspace().knowledge.current(sharing.cells(GOOD)[0]) == found


def test_an_isolated_run_shares_nothing(sharing: Folder, fake: FakeEngine) -> None:
    """Its evidence depends on no runner."""
    found = run_one(sharing, GOOD, ISOLATED)

    assert (found.verdict, ways(found), len(fake.runs)) == ("works", ALONE, 3)
    assert found.inputs is not None
    assert found.inputs.runner == ""


def test_an_isolated_run_takes_only_what_ran_alone(sharing: Folder, fake: FakeEngine) -> None:
    """And what ran alone serves every run."""
    run_one(sharing, GOOD)
    run_one(sharing, GOOD, ISOLATED)
    assert len(fake.runs) == 1 + 3
    assert ways(run_one(sharing, GOOD)) == ALONE
    assert ways(run_one(sharing, GOOD, ISOLATED)) == ALONE
    assert len(fake.runs) == 1 + 3


def test_a_shared_pass_serves_the_next_run(sharing: Folder, fake: FakeEngine) -> None:
    """Nothing is run again until the runner changes."""
    run_one(sharing, GOOD)
    assert ways(run_one(sharing, GOOD)) == SHARED
    assert len(fake.runs) == 1

    workspace = sharing.workspace()
    workspace.__dict__["probe_runner"] = "another runner"
    workspace.runner.run(sharing.cells(GOOD), ONE, Told())
    assert len(fake.runs) == 2


def test_a_failure_beside_others_is_run_again_alone(sharing: Folder, fake: FakeEngine) -> None:
    """The result alone counts, both are kept, and the difference is told."""
    fake.on_run = beside
    told = Told()
    (found,) = run(sharing, GOOD, progress=told).cells

    assert (found.verdict, ways(found)) == ("works", SHARED | {LOOP: "alone"})
    (flaky,) = (result for result in found.probes if result.flaky)
    assert flaky.shared is not None
    assert (flaky.shared.outcome, flaky.shared.kind) == (Outcome.FAILED, "assertion")
    assert (flaky.outcome, flaky.cause) == (Outcome.PASSED, "")
    assert [asked.probe for asked in fake.runs[1:]] == [LOOP]
    assert told.said("probe") == ["3 of 3 passed, 1 flaky"]
    assert run_one(sharing, GOOD).probes == found.probes
    assert len(fake.runs) == 2


ENDS: dict[str, Callable[[RunRequest], Exit]] = {
    "crashed": lambda _: Exit(139),
    "bad report": lambda _: Exit(0, "nothing"),
    "timed out": lambda _: Exit(137, seconds=10_000),
    "out of memory": lambda _: Exit(137, oom=True),
    "not run": lambda asked: Exit(77, asked.report({}).replace('"observed": {}', '"not_run": "x"')),
}


@pytest.mark.parametrize("outcome", ENDS)
def test_whatever_does_not_pass_is_run_again(
    sharing: Folder, fake: FakeEngine, outcome: str
) -> None:
    """Also what says that it cannot run."""

    def ends(asked: RunRequest) -> Exit:
        if asked.beside and asked.probe == LOOP:
            return ENDS[outcome](asked)
        return beside(asked)

    fake.on_run = ends
    found = run_one(sharing, GOOD)
    (flaky,) = (result for result in found.probes if result.flaky)
    assert flaky.shared is not None
    assert (flaky.shared.outcome, flaky.outcome, found.verdict) == (outcome, "passed", "works")


def test_a_failure_that_is_the_same_alone_is_not_flaky(sharing: Folder, fake: FakeEngine) -> None:
    """It breaks the cell."""
    fake.on_run = lambda asked: (
        Exit(1, stderr="AssertionError: no") if asked.probe == LOOP else beside(asked)
    )
    found = run_one(sharing, GOOD)
    (result,) = (one for one in found.probes if one.probe == LOOP)
    assert (found.verdict, result.ran, result.flaky) == ("broken", Way.ALONE, False)
    assert result.shared is not None


def test_what_the_runner_did_not_reach_runs_alone(sharing: Folder, fake: FakeEngine) -> None:
    """A pass before counts; the others never ran beside anything."""

    def ends(asked: RunRequest) -> Exit:
        if asked.beside and asked.probe == LOOP:
            return Exit(ends_the_runner=True)
        return beside(asked)

    fake.on_run = ends
    found = run_one(sharing, GOOD)
    assert (found.verdict, ways(found)) == ("works", ALONE | {"jinja2-import": "shared"})
    assert [result.shared for result in found.probes] == [None] * 3


def test_a_single_probe_that_is_missing_runs_alone(sharing: Folder, fake: FakeEngine) -> None:
    """One import for one probe saves nothing."""
    run_one(sharing, GOOD)
    changed = RENDER_PROBE.replace("render(x=1)", "render(x=1 )")
    sharing.write("scripts/probes/jinja2_render.py", changed)
    found = run_one(sharing, GOOD)
    assert ways(found) == SHARED | {"jinja2-render": "alone"}


def test_without_a_preload_each_runs_alone(project: Folder, fake: FakeEngine) -> None:
    """As before."""
    found = run_one(project, GOOD)
    assert set(ways(found).values()) == {"alone"}
    assert len(fake.runs) == len(found.probes)


def test_a_pruning_run_that_is_isolated_runs_shared_results_again(
    sharing: Folder, fake: FakeEngine
) -> None:
    """Evidence that is current is not enough for it."""
    run_one(sharing, GOOD)
    pruning = Options(jobs=1, prune=True)
    assert ways(run_one(sharing, GOOD, pruning)) == SHARED
    assert ways(run_one(sharing, GOOD, Options(jobs=1, prune=True, isolated=True))) == ALONE


@pytest.mark.parametrize(("cell_id", "expected"), [(CUDA, 1), (GOOD, 2)])
def test_one_cell_at_a_time_uses_the_gpus(
    sharing: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, cell_id: str, expected: int
) -> None:
    """Two cells with a GPU never run a probe at once; other cells do."""
    fake.facts = Facts(nvidia=True)
    both = threading.Barrier(2)
    most = [1]

    def meets(asked: RunRequest) -> Exit:
        if not asked.beside:
            return fake.containers.pass_probe(asked)
        try:
            both.wait(0.5)
            most.append(2)
        except threading.BrokenBarrierError:
            both.reset()
        return fake.containers.pass_probe(asked)

    def twice(probing: Probing, *arguments: Any) -> Probed:
        """Probe a cell in two threads at once, as two cells of a run are."""
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(once, probing, *arguments) for _ in range(2)]
            return next(one.result() for one in runs)

    once = Probing.run
    monkeypatch.setattr(Probing, "run", twice)
    fake.on_run = meets
    run_one(sharing, cell_id, Options(jobs=1, fresh=True))
    assert max(most) == expected


def test_a_probe_that_needs_the_gpu_runs_alone(sharing: Folder, fake: FakeEngine) -> None:
    """The others of its cell get the GPU, too, and share a container."""
    fake.facts = Facts(nvidia=True)
    sharing.write("scripts/probes/jinja2_gpu.py", GPU_PROBE)
    found = run_one(sharing, CUDA)
    assert ways(found) == SHARED | {"jinja2-gpu": "alone"}
    assert [asked.wants_gpu for asked in fake.runs] == [True, True]


def test_the_whole_output_of_each_probe_is_kept(sharing: Folder, fake: FakeEngine) -> None:
    """It lies in a log of its own, which the evidence names; it is inert, and of the last run."""
    text = "".join(f"line {number}\n" for number in range(100)) + "\x1b[31mred\x07"
    fake.on_run = lambda asked: (
        Exit(1, "on stdout", f"{text}") if asked.probe == LOOP else Exit(0, asked.report(OBSERVED))
    )
    found = run_one(sharing, GOOD)
    folder = f".envmatrix/logs/probe/{GOOD}"
    assert (found.verdict, found.log) == ("broken", folder)
    log = sharing.read(f"{folder}/{LOOP}.log")
    assert log.startswith("failed: ")
    assert "on stdout\nline 0\nline 1\n" in log
    assert log.endswith("line 99\nred\n")
    assert {one.probe: one.log for one in found.probes} == {
        one.probe: f"{folder}/{one.probe}.log" for one in found.probes
    }
    for one in found.probes:
        assert sharing.read(one.log or "").startswith(one.outcome)

    fake.on_run = lambda asked: Exit(0, asked.report(OBSERVED))
    passed = run_one(sharing, GOOD, Options(jobs=1, fresh=True))
    assert (passed.verdict, passed.log) == ("works", f".envmatrix/logs/build/{GOOD}.log")
    assert sharing.read(f"{folder}/{LOOP}.log").startswith("passed\n")
    assert {one.outcome for one in passed.probes} == {"passed"}
    for one in passed.probes:
        assert '"nonce"' in sharing.read(one.log or "")


def test_a_log_that_is_gone_is_not_named(sharing: Folder, fake: FakeEngine) -> None:
    """Evidence names files that are there: results of an earlier run may have no log any more."""
    run_one(sharing, GOOD)
    shutil.rmtree(sharing.root / ".envmatrix/logs")
    again = run_one(sharing, GOOD)
    assert again.verdict == "works"
    assert [one.log for one in again.probes] == [None] * len(again.probes)
    assert (again.log, again.logs) == (None, Logs())
