"""The verdict of a run on the fake engine: what is the fault of a cell, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import (
    BuildWithoutImage,
    DiskFull,
    Exit,
    FakeEngine,
    ImageLost,
    PullRefused,
    RunRequest,
    StartRefused,
    StepFails,
    VanishesMidBuild,
    VanishesMidRun,
)
from fake_index import FakeIndex, Status
from small_project import (
    BASE,
    EXCLUDED,
    GOOD,
    IMPOSSIBLE,
    NEWER,
    OLD,
    Folder,
    Told,
    environment,
    judged,
    make_project,
    run,
    run_one,
    serve_wheels,
)

from envmatrix.model.errors import EngineError
from envmatrix.model.verdicts import Verdict
from envmatrix.store.files import names

# --- broken: it is about the cell ------------------------------------------------------------


def test_a_step_that_fails_breaks_the_cell(project: Folder, fake: FakeEngine) -> None:
    """A build that fails for a reason of its own is broken, with the last lines as its cause."""
    fake.fail(StepFails("jinja2===3.1.6", output="one\n\n\x1b[31mno room for jinja2\x1b[0m\n"))
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "build", "build-step")
    assert "no room for jinja2" in found.cause
    assert "\x1b" not in found.cause
    assert found.remedy == "read the build log"
    assert found.log == f".envmatrix/logs/build/{GOOD}.log"
    assert "no room for jinja2" in project.read(found.log)
    assert (found.image, found.probes) == (None, ())


def test_a_step_that_fails_with_a_known_cause_is_told_in_its_words(
    project: Folder, fake: FakeEngine
) -> None:
    """The output of a build that fails is searched for the known causes."""
    fake.fail(StepFails("jinja2===3.1.6", output="ModuleNotFoundError: No module named 'six'\n"))
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "build", "module-missing")
    assert found.cause == "the module six is not installed"


def test_a_base_that_fails_says_nothing_about_the_cells_on_it(
    project: Folder, fake: FakeEngine
) -> None:
    """Each cell names its base, the failure and the log of the base; the user is told once."""
    fake.fail(StepFails("groupadd", output="groupadd: no\n"))
    told = Told()
    done = run(project, GOOD, OLD, progress=told)
    assert {("unknown", "base", "base-failed")} == {judged(found) for found in done.cells}
    assert all(f"its base {BASE} could not be built" in found.cause for found in done.cells)
    assert all("groupadd: no" in found.cause for found in done.cells)
    assert [f"logs/base/{BASE}.log" in text for text in told.texts] == [True]
    assert {f".envmatrix/logs/base/{BASE}.log"} == {found.log for found in done.cells}
    assert len(fake.build_records) == 1


def ending(probe: str, exit_: Exit, fake: FakeEngine) -> None:
    """Let one probe end in some way, and let the others pass."""

    def on_run(request: RunRequest) -> Exit:
        return exit_ if request.probe == probe else fake.containers.pass_probe(request)

    fake.on_run = on_run


def test_an_import_that_fails(project: Folder, fake: FakeEngine) -> None:
    """A framework that cannot be imported is broken at the import, with the cause of its error."""
    error = "ImportError: libx.so.1: cannot open shared object file: No such file or directory\n"
    ending("jinja2-import", Exit(1, stderr=error), fake)
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "import", "missing-library")
    assert found.cause == "jinja2-import: the shared library libx.so.1 is missing"
    assert error.strip() in found.probes[0].log_tail


def test_a_probe_that_fails(project: Folder, fake: FakeEngine) -> None:
    """A required probe that fails after the import makes the cell broken at the probe."""
    ending("jinja2-render", Exit(1, stderr="AssertionError: 2 is not 1\n"), fake)
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "probe", "assertion")
    assert found.cause == "jinja2-render: 2 is not 1"


def test_an_image_that_holds_something_else_is_a_mismatch(
    project: Folder, fake: FakeEngine
) -> None:
    """An image in which another version is observed than its name says is broken."""
    fake.observed["jinja2-import"] = {"version": "3.0.0", "python": "3.11"}
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "mismatch", "mismatch")
    assert found.cause == "version: declared 3.1.6, observed 3.0.0"


def test_an_image_without_python_breaks_the_cell(project: Folder, fake: FakeEngine) -> None:
    """A container that the engine created and cannot start tells of the image."""
    fake.fail(StartRefused.not_found(), times=None)
    found = run_one(project, GOOD)
    assert judged(found) == ("broken", "import", "could-not-start")


# --- impossible ------------------------------------------------------------------------------


def test_a_version_that_does_not_exist_is_impossible(project: Folder, fake: FakeEngine) -> None:
    """A cell that the resolver proves impossible needs no engine and has no image."""
    found = run_one(project, IMPOSSIBLE)
    assert judged(found) == ("impossible", "lock", "no-such-version")
    assert "9.9.9" in found.cause
    assert (found.image, found.inputs) == (None, None)
    assert fake.requests == []


def test_a_cell_that_a_rule_excludes_tells_the_reason(project: Folder, fake: FakeEngine) -> None:
    """The reason of the rule is the cause, and nothing is locked or built."""
    found = run_one(project, EXCLUDED)
    assert judged(found) == ("impossible", "rule", "rule")
    assert found.cause == "nobody asked for it"
    assert fake.requests == []


# --- unknown: it is about the surroundings ---------------------------------------------------


def test_an_engine_that_vanishes_during_a_build_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """The cell stays unknown, and the next run builds it as if nothing had been."""
    fake.fail(VanishesMidBuild("jinja2===3.1.6"))
    found = run_one(project, GOOD)
    assert judged(found) == ("unknown", "build", "engine")
    assert "Docker engine" in found.cause
    assert found.remedy
    fake.come_back()
    assert Verdict.WORKS is run_one(project, GOOD).verdict


def test_an_engine_that_vanishes_during_a_probe_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """The cell stays unknown, and its image is kept in the evidence."""
    fake.fail(VanishesMidRun("jinja2-import"))
    found = run_one(project, GOOD)
    assert judged(found) == ("unknown", "probe", "engine")
    assert found.image is not None
    assert found.probes == ()
    fake.come_back()
    again = run(project, GOOD)
    assert (again.built, again.probed) == (0, 2)
    assert Verdict.WORKS is again.cells[0].verdict


def test_an_engine_that_does_not_answer_ends_the_run(project: Folder, fake: FakeEngine) -> None:
    """Without an engine nothing can be judged, so the run ends with an error."""
    fake.vanish()
    with pytest.raises(EngineError, match="no Docker engine answers"):
        run(project, GOOD)
    assert frozenset() == names(project.root / ".envmatrix/cells")


def test_a_full_disk_of_the_engine_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """A build for which the disk is full leaves the cell unknown."""
    run(project, OLD)
    fake.fail(DiskFull("build"))
    found = run_one(project, GOOD)
    assert judged(found) == ("unknown", "build", "disk-full")
    assert found.cause == "the disk is full"


def test_a_full_disk_at_the_probes_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """A container that cannot be created for want of disk leaves the cell unknown."""
    fake.fail(DiskFull("create"))
    assert judged(run_one(project, GOOD)) == ("unknown", "probe", "disk-full")


def test_an_engine_that_loses_an_image_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """Images that something else removes during a build leave the cell unknown.

    Which image is missed first, the new one or one below, depends on the moment.
    """
    run(project, OLD)
    fake.fail(ImageLost(), times=2)
    assert judged(run_one(project, GOOD))[:2] == ("unknown", "build")


def test_a_build_that_ends_without_an_image_says_nothing_about_the_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """An engine that ends a build without an image and without an error leaves it unknown."""
    fake.fail(BuildWithoutImage(step="build"))
    assert judged(run_one(project, GOOD)) == ("unknown", "build", "engine")


def test_an_engine_that_fails_once_costs_one_cell(project: Folder, fake: FakeEngine) -> None:
    """What befalls one cell does not stop the others."""
    fake.fail(StepFails("jinja2===3.1.6", output="could not resolve: no such host\n"))
    good, old = run(project, GOOD, OLD).cells
    assert judged(good) == ("unknown", "build", "blocked")
    assert Verdict.WORKS is old.verdict


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "credentials"),
        (403, "credentials"),
        (404, "registry"),
        (429, "rate-limited"),
        (500, "registry"),
    ],
)
@pytest.mark.parametrize("in_stream", [False, True])
def test_a_registry_that_refuses_blocks_the_base(
    project: Folder, fake: FakeEngine, status: int, kind: str, in_stream: bool
) -> None:
    """A system that cannot be pulled leaves its cells unknown: the registry is to blame."""
    fake.fail(PullRefused(status, in_stream=in_stream), times=None)
    found = run_one(project, NEWER)
    assert judged(found) == ("unknown", "base", kind)
    assert "debian:13-slim" in found.cause
    assert found.remedy
    assert found.base is not None
    assert found.base.origin is None


def test_without_a_registry_and_without_a_bootstrap_the_base_is_blocked(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cause tells of both ways that were tried, and the registry is asked once."""
    monkeypatch.setenv("PATH", str(tmp_path))
    said = "Get https://registry.example/v2/: dial tcp: lookup registry.example: no such host"
    fake.fail(PullRefused(500, said), times=None)
    done = run(project, GOOD, OLD, NEWER)
    assert {("unknown", "base", "blocked")} == {judged(found) for found in done.cells}
    good, _, newer = done.cells
    assert "no image registry can be reached to pull debian:12-slim" in good.cause
    assert "mmdebstrap is not installed" in good.cause
    assert newer.cause == "no image registry can be reached to pull debian:13-slim"
    assert len(fake.asked("POST /images/create")) == 1


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index that serves the wheels of the small matrix, and which no test may break."""
    with FakeIndex() as served:
        serve_wheels(served)
        yield served
    assert served.errors == []


@pytest.fixture
def unlocked(fake: FakeEngine, index: FakeIndex, tmp_path: Path) -> Iterator[Folder]:
    """A project that knows nothing yet, on the fake engine and the fake index."""
    folder = make_project(tmp_path / "unlocked", environment(fake.url, index.url))
    with folder.inside():
        yield folder


def test_the_whole_way_of_a_cell(unlocked: Folder, index: FakeIndex) -> None:
    """A cell of which nothing is known is locked, fetched, built and probed."""
    told = Told()
    done = run(unlocked, GOOD, progress=told)
    assert Verdict.WORKS is done.cells[0].verdict
    assert told.expected == {"lock": 2, "base": 1, "fetch": 1, "build": 1, "probe": 1}
    assert [reused for kind, *_, reused in told.finished_items if kind == "fetch"] == [False]
    assert len(index.asked("GET /files/jinja2/*.whl")) == 1


def test_an_index_that_fails_while_locking_leaves_the_cell_unknown(
    unlocked: Folder, index: FakeIndex, fake: FakeEngine
) -> None:
    """A cell that cannot be locked because the index fails stays unknown at its lock."""
    index.fail(Status(503), name="jinja2")
    found = run_one(unlocked, GOOD)
    assert judged(found) == ("unknown", "lock", "blocked")
    assert "503" in found.cause
    assert fake.requests == []


def test_a_base_that_cannot_be_locked_leaves_its_cells_unknown(
    unlocked: Folder, index: FakeIndex, fake: FakeEngine
) -> None:
    """The cells of a base whose lock is not known tell so, and nothing is built."""
    index.fail(Status(503), name="uv")
    found = run_one(unlocked, GOOD)
    assert judged(found) == ("unknown", "base", "blocked")
    assert "it answered 503 for uv" in found.cause
    assert fake.build_records == []


@pytest.fixture
def online(project: Folder, fake: FakeEngine, index: FakeIndex) -> Iterator[Folder]:
    """A project that is locked, and that reaches an index."""
    folder = Folder(project.root, environment(fake.url, index.url))
    with folder.inside():
        yield folder


def wheel_of(project: Folder, name: str) -> Path:
    """Return where a wheel lies in the wheelhouse."""
    (path,) = (project.root / ".envmatrix/wheelhouse/wheels").glob(f"*/{name}*.whl")
    return path


@pytest.mark.parametrize(
    ("wheel", "stage"), [("markupsafe-3.0.1-cp311", "fetch"), ("uv-0.13.9", "base")]
)
def test_a_wheel_that_no_index_has_leaves_the_cell_unknown(
    online: Folder, index: FakeIndex, wheel: str, stage: str
) -> None:
    """A wheel that a lock names and that the index no longer has leaves the cell unknown.

    The wheels of a base are fetched when the base is built, so their absence is told of it.
    """
    wheel_of(online, wheel).unlink()
    index.remove(wheel.partition("-")[0])
    found = run_one(online, GOOD)
    assert ("unknown", stage, "blocked") == judged(found)
    assert f"{wheel}" in found.cause
    assert "cannot be downloaded" in found.cause


def test_a_wheel_that_was_damaged_is_fetched_again(online: Folder) -> None:
    """A damaged wheel is put aside and fetched again, and the user is told."""
    path = wheel_of(online, "jinja2-3.1.6")
    path.write_bytes(b"x" * path.stat().st_size)
    told = Told()
    assert Verdict.WORKS is run(online, GOOD, progress=told).cells[0].verdict
    assert "was corrupted" in told.texts[0]
