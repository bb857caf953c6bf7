"""Cells of another architecture than the engine: emulated and marked so, or unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import Exit, Facts, FakeEngine, RunRequest, StepFails
from fake_mmdebstrap import FakeMmdebstrap, fake_mmdebstrap
from small_project import (
    ARM,
    ARM_MATRIX,
    GOOD,
    Folder,
    environment,
    judged,
    make_locked_project,
    run,
    run_one,
)

from envmatrix.model.emulation import SLOWDOWN
from envmatrix.model.probe_results import Outcome
from envmatrix.report.table import page, row
from envmatrix.stages.options import Options, Origin

BOOTSTRAPPED = Options(jobs=1, origin=Origin.BOOTSTRAP)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The small project on two architectures, locked. Tests take copies."""
    root = tmp_path_factory.mktemp("both") / "project"
    return make_locked_project(root, ARM_MATRIX, (GOOD, ARM))


@pytest.fixture
def project(both: Folder, fake: FakeEngine, tmp_path: Path) -> Iterator[Folder]:
    """A project of this test's own, on an engine that is amd64 and emulates arm64."""
    fake.facts = Facts(emulates=("arm64",))
    folder = both.copy(tmp_path / "project", environment(fake.url))
    with folder.inside():
        yield folder


@pytest.fixture
def debian(project: Folder, tmp_path: Path) -> Iterator[FakeMmdebstrap]:
    """A fake mmdebstrap on PATH."""
    with fake_mmdebstrap(tmp_path / "bin") as program:
        yield program


def test_an_emulated_cell_works_and_says_so(project: Folder, fake: FakeEngine) -> None:
    """Evidence, table and plan tell that it was emulated; that of the other cell does not."""
    native, emulated = run(project, GOOD, ARM).cells
    assert judged(native) == judged(emulated) == ("works", "probe", "")
    assert (native.emulated, emulated.emulated) == (False, True)
    assert emulated.observed.arch == "arm64"
    assert (row(native)[0], row(emulated)[0]) == ("✓ works", "✓ works (emulated)")
    assert (row(native)[3], row(emulated)[3]) == ("debian12", "debian12 arm64")
    assert "no time of it means anything" in page([native, emulated])
    assert "no time of it means anything" not in page([native])
    known = project.workspace().knowledge
    (cell,) = project.cells(ARM)
    assert known.judgement(cell).cause == "under emulation"


def test_builds_name_the_platform_of_a_foreign_image(project: Folder, fake: FakeEngine) -> None:
    """BuildKit takes no local image of another platform; builds for the engine's own name none."""
    run(project, GOOD, ARM)
    asked = [
        (record.dockerfile.count("arm64") > 0, record.platform) for record in fake.build_records
    ]
    assert {(False, ""), (True, "linux/arm64")} == set(asked)
    for cell_id, arch in ((GOOD, "amd64"), (ARM, "arm64")):
        assert fake.images.get(f"envmatrix/cell:{cell_id}").architecture == arch


def test_a_build_from_nothing_names_it_too(project: Folder, fake: FakeEngine) -> None:
    """The classic builder gets the platform as well."""
    run(project, ARM, options=Options(jobs=1, fresh=True))
    assert {("classic", "linux/arm64")} == {
        (record.builder, record.platform) for record in fake.build_records
    }


def test_a_system_of_each_architecture_is_bootstrapped_under_its_own_name(
    project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """Its program gets the architecture, and the engine an image of it."""
    found = run(project, GOOD, ARM, options=BOOTSTRAPPED).cells
    assert [one.verdict for one in found] == ["works", "works"]
    asked = {one for call in debian.calls for one in call if one.startswith("--architectures")}
    assert asked == {"--architectures=amd64", "--architectures=arm64"}
    for name, arch in (("debian12", "amd64"), ("debian12-arm64", "arm64")):
        assert fake.images.get(f"envmatrix/os:{name}").architecture == arch
    project.workspace().reporting.write(found, project.root / "out")
    names = {path.name for path in (project.root / "out/packages").iterdir()}
    assert names == {"debian12.txt", "debian12-arm64.txt"}


def test_a_pulled_system_is_known_for_each_architecture(project: Folder, fake: FakeEngine) -> None:
    """One tag names one image at a time, and a second run takes both from its records."""
    run(project, GOOD, ARM)
    platforms = [one.one("platform") for one in fake.asked("POST /images/create")]
    assert sorted(platforms) == ["linux/amd64", "linux/arm64"]
    fake.requests.clear()
    again = run(project, GOOD, ARM)
    assert (again.built, again.probed) == (0, 0)
    assert fake.asked("POST /images/create") == []


def test_an_engine_that_does_not_emulate_leaves_the_cell_unknown(
    project: Folder, fake: FakeEngine
) -> None:
    """The remedy names the script, another engine and the selector. Nothing is pulled or built."""
    fake.facts = Facts()
    found = run_one(project, ARM)
    assert judged(found) == ("unknown", "base", "engine")
    assert "nothing there emulates arm64" in found.cause
    for part in ("scripts/setup-engine --emulate arm64", "DOCKER_HOST=", "arch=amd64"):
        assert part in found.remedy
    assert not found.emulated
    assert fake.asked("POST /images/create") == []
    assert fake.build_records == []


def test_an_engine_of_arm64_leaves_the_cells_of_amd64_unknown(
    project: Folder, fake: FakeEngine
) -> None:
    """Neither architecture is special to an engine."""
    fake.facts = Facts(architecture="aarch64")
    amd64, arm64 = run(project, GOOD, ARM).cells
    assert judged(amd64) == ("unknown", "base", "engine")
    assert judged(arm64) == ("works", "probe", "")
    assert not arm64.emulated


def test_a_crash_under_emulation_alone_is_unknown(project: Folder, fake: FakeEngine) -> None:
    """The same end of the same probe breaks a cell that ran natively."""
    fake.on_run = lambda request: (
        Exit(139) if request.probe == "jinja2-render" else fake.containers.pass_probe(request)
    )
    native, emulated = run(project, GOOD, ARM).cells
    assert judged(native) == ("broken", "probe", "crash")
    assert judged(emulated) == ("unknown", "probe", "emulation")
    assert emulated.emulated
    assert {Outcome.PASSED, Outcome.CRASHED} == {probe.outcome for probe in emulated.probes}


def test_an_exception_under_emulation_is_about_the_cell(project: Folder, fake: FakeEngine) -> None:
    """It counts before a crash of another probe."""

    def on_run(request: RunRequest) -> Exit:
        if request.probe == "jinja2-import":
            return Exit(139)
        if request.probe:
            return Exit(1, stderr="Traceback (most recent call last):\nValueError: wrong\n")
        return Exit()

    fake.on_run = on_run
    assert judged(run_one(project, ARM))[:2] == ("broken", "probe")


def test_probes_have_more_time_under_emulation(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each limit grows by the same factor."""
    monkeypatch.setattr("envmatrix.model.emulation.SLOWDOWN", 1)
    fake.on_run = lambda request: (
        Exit(0, seconds=60) if request.probe else fake.containers.pass_probe(request)
    )
    monkeypatch.setattr("envmatrix.stages.probe.SLOWDOWN", 1 / 30)
    found = run_one(project, ARM)
    assert judged(found) == ("unknown", "import", "emulation")
    assert "not done after 1" in found.cause
    assert SLOWDOWN > 1


@pytest.mark.parametrize(
    ("output", "verdict", "kind"),
    [
        ("qemu: uncaught target signal 11 (Segmentation fault)\n", "unknown", "emulation"),
        ("RuntimeError: it is about the cell\n", "broken", "exception"),
    ],
)
def test_a_build_step_that_the_emulator_ended_is_unknown(
    project: Folder, fake: FakeEngine, output: str, verdict: str, kind: str
) -> None:
    """A step that tells an error of its own breaks the cell under emulation, too."""
    fake.fail(StepFails("uv pip install", output=output, code=1), times=None)
    native, emulated = run(project, GOOD, ARM).cells
    assert judged(native)[:2] == ("broken", "build")
    assert judged(emulated) == (verdict, "build", kind)
