"""A run on the fake engine: what becomes of each cell, and what is not done twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from fake_engine import (
    Facts,
    FakeEngine,
    StartRefused,
    VanishesMidRun,
)
from small_project import (
    BASE,
    CUDA,
    EXCLUDED,
    GOOD,
    GPU_PROBE,
    IMPOSSIBLE,
    OLD,
    Folder,
    Told,
    judged,
    run,
    run_one,
)

from envmatrix.model.errors import InputError
from envmatrix.model.probe_results import Outcome
from envmatrix.model.verdicts import Verdict
from envmatrix.stages.options import Options
from envmatrix.store.files import names


def test_a_cell_that_works(project: Folder, fake: FakeEngine) -> None:
    """The evidence of a cell that works holds everything that was seen on the way."""
    found = run_one(project, GOOD)
    image = fake.images.find(f"envmatrix/cell:{GOOD}")
    assert image is not None
    assert judged(found) == ("works", "probe", "")
    assert image.diff_ids == found.layers
    assert found.observed.version == "3.1.6"
    assert found.base is not None
    assert (found.base.id, found.base.origin) == (BASE, "pull")
    assert found.lock is not None
    assert found.lock.wheels == {"jinja2": "3.1.6", "markupsafe": "3.0.1", "pip": "26.0"}
    assert found.host.engine == fake.facts.version
    assert [probe.outcome for probe in found.probes] == ["passed", "passed"]
    assert found.serves is None
    assert None not in (found.seconds.base, found.seconds.build, found.seconds.probe)
    assert found.log == f".envmatrix/logs/build/{GOOD}.log"


def test_evidence_is_kept_and_is_current(project: Folder) -> None:
    """The evidence of a run is what is known of the cell from then on."""
    found = run_one(project, GOOD)
    workspace = project.workspace()
    (cell,) = project.cells(GOOD)
    assert found == workspace.knowledge.current(cell)
    assert names(project.root / ".envmatrix/cells") == {GOOD}


def test_evidence_comes_in_the_order_of_the_cells(project: Folder) -> None:
    """Whatever is done first, evidence is returned in the order that was asked for."""
    asked = [IMPOSSIBLE, OLD, EXCLUDED, GOOD]
    assert asked == [cell.id for cell in run(project, *asked).cells]


@pytest.mark.parametrize("published", [True, False])
def test_other_packages_than_were_published_are_told(
    project: Folder, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    """Packages of the cell that differ are named; where none are published, nothing is told."""
    held = [f"g++ {version} amd64 {version * 64}" for version in "12"]
    monkeypatch.setattr("envmatrix.stages.build.packages_of", lambda *_: (held.pop(0),))
    before = run_one(project, GOOD)
    if published:
        project.write(f"reports/cells/{GOOD}.json", json.dumps(before.to_json()))
    told = Told()
    (now,) = run(project, GOOD, options=Options(jobs=1, fresh=True), progress=told).cells
    assert (before.packages, now.packages) != (now.packages, before.packages)
    drift = "1 package: g++ 1 (11111111) -> 2 (22222222)"
    expected = [f"{GOOD} has other packages than were published: {drift}"] if published else []
    assert [text for text in told.texts if "packages" in text] == expected


@pytest.mark.parametrize("probe_changed", [False, True])
def test_evidence_is_as_old_as_what_was_executed_for_it(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, probe_changed: bool
) -> None:
    """A run that only finds results of before makes no evidence newer; one that probes does."""
    first, later = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)
    monkeypatch.setattr("envmatrix.stages.evidence._now", lambda: first)
    before = run_one(project, GOOD)
    file = project.root / f".envmatrix/cells/{GOOD}.json"
    kept = file.read_bytes(), file.stat().st_mtime_ns
    monkeypatch.setattr("envmatrix.stages.evidence._now", lambda: later)
    fake.facts = Facts(version="99.0")
    if probe_changed:
        probe = "scripts/probes/jinja2_render.py"
        project.write(probe, project.read(probe) + "# changed\n")
    now = run_one(project, GOOD)
    assert now.generated_at == (later if probe_changed else first)
    assert (now.host.engine == "99.0") is probe_changed
    assert ((file.read_bytes(), file.stat().st_mtime_ns) == kept) is not probe_changed
    assert (now == before) is not probe_changed


def test_a_run_with_nothing_to_do_asks_once_for_each_image(
    project: Folder, fake: FakeEngine
) -> None:
    """Cells on one base, and the stages of a run, do not ask the engine for the same image."""
    run(project, GOOD, OLD)
    before = len(fake.requests)
    run(project, GOOD, OLD)
    paths = [request.path for request in fake.requests[before:] if "/images/" in request.path]
    asked = Counter(path for path in paths if path.endswith("/json") and "sha256:" in path)
    assert len(asked) == len({GOOD, OLD, "their base", "its system"})
    assert set(asked.values()) == {1}


def test_nothing_is_done_twice(project: Folder, fake: FakeEngine) -> None:
    """A second run of the same inputs builds nothing, probes nothing and says so."""
    first = run(project, GOOD, OLD)
    builds, runs = len(fake.build_records), len(fake.runs)
    told = Told()
    second = run(project, GOOD, OLD, progress=told)
    assert (first.built, first.probed, first.failed) == (3, 4, 0)
    assert first.said == "3 images built, 4 probes run"
    assert (second.built, second.probed, second.failed) == (0, 0, 0)
    assert second.said == "nothing built, nothing probed: no input has changed"
    assert (builds, runs) == (len(fake.build_records), len(fake.runs))
    assert all(reused for *_, reused in told.finished_items)
    assert [one.layers for one in first.cells] == [one.layers for one in second.cells]


def test_a_probe_that_changed_is_run_alone(project: Folder, fake: FakeEngine) -> None:
    """A changed probe is run again in the image that is there, and no other probe is."""
    run(project, GOOD)
    path = project.root / "scripts/probes/jinja2_render.py"
    path.write_text(path.read_text() + "\n# changed\n")
    again = run(project, GOOD)
    assert (again.built, again.probed) == (0, 1)
    assert fake.runs[-1].probe == "jinja2-render"


def test_a_fresh_run_takes_nothing_from_earlier_runs(project: Folder, fake: FakeEngine) -> None:
    """A fresh run builds with no cache, probes again, and removes the image that it replaces."""
    run(project, GOOD)
    before = set(fake.images.by_id)
    fresh = run(project, GOOD, options=Options(jobs=1, fresh=True))
    assert (fresh.built, fresh.probed) == (2, 2)
    assert [record.no_cache for record in fake.build_records[-2:]] == [True, True]
    assert len(before) == len(fake.images.by_id)


def test_cells_that_share_heavy_wheels_share_layers(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that two cells begin with is built once, and its name is gone after the run."""
    monkeypatch.setattr("envmatrix.render.sharing.HEAVY", 1)
    workspace = project.workspace()
    found = workspace.locking.lock(workspace.published, Told(), jobs=1)
    workspace.resolutions.write_locks(found, workspace.published)
    told = Told()
    done = run(project, GOOD, OLD, progress=told)
    assert [cell.verdict for cell in done.cells] == ["works", "works"]
    assert told.expected["layer"] == 1
    assert [one for one in told.started_items if one[0] == "layer"] == [
        ("layer", "markupsafe and 1 more")
    ]
    assert "drop" not in told.expected
    layers = [cell.layers for cell in done.cells]
    base = fake.images.find(f"envmatrix/base:{BASE}")
    assert base is not None
    assert len(base.layers) + 1 == sum(one == other for one, other in zip(*layers, strict=False))
    assert [name for name in fake.images.names if name.startswith("envmatrix/layer")] == []


# --- options ---------------------------------------------------------------------------------

PRUNE = Options(jobs=1, prune=True)


def test_a_pruned_image_is_removed_after_its_probes(project: Folder, fake: FakeEngine) -> None:
    """With prune the image of a cell is gone after the run, and its evidence stays."""
    found = run_one(project, GOOD, PRUNE)
    assert judged(found) == ("works", "probe", "")
    assert fake.images.find(f"envmatrix/cell:{GOOD}") is None


def test_a_pruned_cell_is_not_run_again(project: Folder, fake: FakeEngine) -> None:
    """With prune a cell whose evidence is current needs no image, so nothing is done for it."""
    first = run(project, GOOD, options=PRUNE)
    asked = len(fake.requests)
    again = run(project, GOOD, options=PRUNE)
    assert first.cells == again.cells
    assert again.said == "nothing built, nothing probed: no input has changed"
    assert asked == len(fake.requests)


def test_prune_keeps_an_image_that_was_there_before(project: Folder, fake: FakeEngine) -> None:
    """With prune only an image that this run built is removed."""
    run(project, GOOD)
    (project.root / f".envmatrix/cells/{GOOD}.json").unlink()
    run(project, GOOD, options=PRUNE)
    assert fake.images.find(f"envmatrix/cell:{GOOD}") is not None


def test_prune_tries_again_what_stayed_unknown(project: Folder, fake: FakeEngine) -> None:
    """With prune only evidence that the cell works or is broken spares a run."""
    fake.fail(VanishesMidRun("jinja2-import"))
    assert Verdict.UNKNOWN is run_one(project, GOOD, PRUNE).verdict
    fake.come_back()
    assert Verdict.WORKS is run_one(project, GOOD, PRUNE).verdict


class StopsAtSecondProbe(Told):
    """A progress at which the user presses Ctrl-C when the second cell is about to be probed."""

    probed = 0

    def started(self, stage: str, subject: str) -> None:
        """Take note of a piece of work that begins."""
        super().started(stage, subject)
        if stage == "probe":
            self.probed += 1
            if self.probed > 1:
                raise KeyboardInterrupt


def test_a_run_that_is_stopped_keeps_what_it_has_found(project: Folder, fake: FakeEngine) -> None:
    """The evidence of a cell lasts from the end of its probes, and the next run goes on from it."""
    cells = project.cells(GOOD, OLD)
    with pytest.raises(KeyboardInterrupt):
        project.workspace().runner.run(cells, PRUNE, StopsAtSecondProbe())
    (kept,) = names(project.root / ".envmatrix/cells")
    again = run(project, GOOD, OLD, options=PRUNE)
    assert {GOOD, OLD} == {cell.id for cell in again.cells if cell.verdict is Verdict.WORKS}
    assert again.probed == 2  # those of one cell
    assert kept in (GOOD, OLD)


def test_a_build_alone_leaves_the_cell_unknown(project: Folder, fake: FakeEngine) -> None:
    """A cell that is built and not probed is unknown, and has its image."""
    found = run_one(project, GOOD, Options(jobs=1, probing=False))
    assert judged(found) == ("unknown", "build", "not-attempted")
    assert found.image is not None
    assert fake.runs == []


def test_a_build_alone_keeps_the_evidence_of_probes(project: Folder) -> None:
    """The results of probes that are current are kept when the cell is built again."""
    probed = run_one(project, GOOD)
    run(project, GOOD, options=Options(jobs=1, probing=False))
    (cell,) = project.cells(GOOD)
    assert probed == project.workspace().knowledge.current(cell)


def test_probes_that_need_a_gpu_are_not_run_without_one(project: Folder, fake: FakeEngine) -> None:
    """A CUDA cell is partial on a machine without a GPU, and says that the GPU was not run."""
    project.write("scripts/probes/jinja2_gpu.py", GPU_PROBE)
    found = run_one(project, CUDA)
    assert (found.verdict, found.class_) == (Verdict.PARTIAL, "gpu-not-run")
    assert "GPU not run: jinja2-gpu: " in found.cause
    assert Outcome.NOT_RUN is found.probes[-1].outcome
    assert found.serves is not None
    assert found.serves.driver == "580"


def test_probes_that_need_a_gpu_get_it_in_a_cuda_cell(project: Folder, fake: FakeEngine) -> None:
    """An engine with a GPU gives it to the probes of a CUDA cell, and to no others."""
    fake.facts = Facts(nvidia=True)
    project.write("scripts/probes/jinja2_gpu.py", GPU_PROBE)
    cuda, cpu = run(project, CUDA, GOOD).cells
    assert Outcome.PASSED is cuda.probes[-1].outcome
    assert Outcome.NOT_RUN is cpu.probes[-1].outcome
    assert {f"envmatrix/cell:{CUDA}"} == {
        name for request in fake.runs if request.wants_gpu for name in request.image_names
    }


def test_a_bad_probe_is_told_before_anything_is_done(project: Folder, fake: FakeEngine) -> None:
    """A probe without a header ends the run before the engine is asked for anything."""
    project.write("scripts/probes/bad.py", "# /// probe\nprint()\n")
    with pytest.raises(InputError, match="no header"):
        run(project, GOOD)
    assert fake.requests == []


def test_no_container_is_left(project: Folder, fake: FakeEngine) -> None:
    """After a run the engine has no container of it, also where a container did not start."""
    fake.fail(StartRefused(probe="jinja2-render"))
    run(project, GOOD, OLD, options=Options(jobs=2))
    assert fake.containers.by_id == {}
