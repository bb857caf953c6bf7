"""The worker: it does an item of each kind, and tells why an item cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from fake_engine import Exit, FakeEngine, StepFails, VanishesMidBuild
from small_project import BASE, GOOD, OLD, Folder, Told

from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.stages.disk import Gate
from envmatrix.stages.graph import Item
from envmatrix.stages.options import Options
from envmatrix.stages.probe import Probed
from envmatrix.stages.recipes import Built
from envmatrix.stages.work import Fetched, Kind, Result, Worker, items_of

BLOCKED = Judgement(Verdict.UNKNOWN, "base", "blocked", "no registry")


@dataclass
class Shift:
    """A worker, the items of its run by kind, and the results so far."""

    worker: Worker
    told: Told
    items: dict[str, Item]
    results: dict[str, Result] = field(default_factory=dict)

    def do(self, kind: Kind) -> Result:
        """Do the item of a kind, and keep its result."""
        item = self.items[kind]
        self.results[item.key] = self.worker.do(item, self.results)
        return self.results[item.key]

    def give(self, kind: Kind, result: Result) -> None:
        """Say what the item of a kind gave."""
        self.results[self.items[kind].key] = result


@pytest.fixture(params=[Options(jobs=1)])
def options(request: pytest.FixtureRequest) -> Options:
    """The options of the run."""
    found: Options = request.param
    return found


@pytest.fixture
def shift(project: Folder, options: Options, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shift]:
    """A worker for two cells that share a layer; of each kind the item of the first cell."""
    monkeypatch.setattr("envmatrix.render.sharing.HEAVY", 1)
    workspace = project.workspace()
    found = workspace.locking.lock(workspace.published, Told(), jobs=1)
    workspace.resolutions.write_locks(found, workspace.published)
    cells = list(workspace.locking.locked(project.cells(GOOD, OLD), found))
    runner, told = workspace.runner, Told()
    with runner.building.open(options, told) as builder:
        by_id = {one.cell.id: one for one in cells}
        gate = Gate(builder, options, ())
        worker = Worker(by_id, builder, runner.probing, options, told, gate)
        items = items_of(cells, cells, workspace.sharing, options)
        yield Shift(worker, told, {item.kind: item for item in reversed(items)})


def built(result: Result) -> Built:
    """Return what was built, where nothing else may be."""
    assert isinstance(result, Built), result
    return result


def test_each_item_of_a_cell_is_done_from_the_results_of_others(
    shift: Shift, fake: FakeEngine
) -> None:
    """A base, a download, a layer, a build, a probe and a drop are done one after another."""
    base = built(shift.do(Kind.BASE))
    assert (f"envmatrix/base:{BASE}",) == base.image.names
    assert Fetched(0) == shift.do(Kind.FETCH)
    layer = built(shift.do(Kind.LAYER))
    assert base.image.layers == layer.image.layers[:-1]
    cell = built(shift.do(Kind.BUILD))
    assert layer.image.layers == cell.image.layers[: len(layer.image.layers)]
    probed = shift.do(Kind.PROBE)
    assert isinstance(probed, Probed)
    assert probed.said == "2 of 2 passed"
    for item in shift.items.values():
        shift.results.setdefault(item.key, None)
    shift.results |= dict.fromkeys(shift.items[Kind.DROP].inputs, None) | shift.results
    assert shift.do(Kind.DROP) is None
    assert [name for name in fake.images.names if name.startswith("envmatrix/layer")] == []


def test_a_layer_is_told_by_its_wheels(shift: Shift) -> None:
    """A layer has no name that a person knows, so its first wheel and their number are told."""
    shift.do(Kind.BASE)
    shift.do(Kind.FETCH)
    shift.do(Kind.LAYER)
    assert shift.told.started_items[-1] == ("layer", "markupsafe and 1 more")


def test_a_layer_of_packages_is_told_by_them(shift: Shift) -> None:
    """Before the first wheel, a layer holds packages of the operating system."""
    item = shift.items[Kind.LAYER]
    one = shift.worker.cells[item.cell_id]
    cell = replace(one.cell, packages=("g++", "libpython3.11-dev"))
    cells = {item.cell_id: replace(one, cell=cell)}
    shift = replace(shift, worker=replace(shift.worker, cells=cells))
    shift.items[Kind.LAYER] = replace(item, steps=0)
    shift.do(Kind.BASE)
    shift.do(Kind.FETCH)
    shift.do(Kind.LAYER)
    assert shift.told.started_items[-1] == ("layer", "g++ and 1 more")


@pytest.mark.parametrize("failed", [Kind.BASE, Kind.FETCH])
def test_what_stands_on_something_that_failed_is_not_built(
    shift: Shift, fake: FakeEngine, failed: Kind
) -> None:
    """Without its base or its wheels a layer gives nothing, and a cell and its probes tell why."""
    shift.give(Kind.BASE, None)
    shift.do(Kind.BASE)
    shift.give(Kind.FETCH, Fetched(0))
    shift.give(failed, BLOCKED)
    builds = len(fake.build_records)
    assert shift.do(Kind.LAYER) is None
    assert shift.do(Kind.BUILD) == BLOCKED
    assert shift.do(Kind.PROBE) == BLOCKED
    assert builds == len(fake.build_records)
    assert list(shift.told.said("build")) == ["blocked"]
    assert list(shift.told.said("probe")) == ["not run"]


def test_a_layer_on_a_base_that_failed_is_not_dropped(shift: Shift, fake: FakeEngine) -> None:
    """There is no layer to let go of where the base of it failed."""
    shift.results |= dict.fromkeys(shift.items[Kind.DROP].inputs, None)
    shift.give(Kind.BASE, BLOCKED)
    asked = len(fake.requests)
    assert shift.do(Kind.DROP) is None
    assert asked == len(fake.requests)


def test_a_layer_that_fails_is_told_by_the_cells(shift: Shift, fake: FakeEngine) -> None:
    """A layer that fails gives nothing, and the cell that begins with it fails with its cause."""
    shift.do(Kind.BASE)
    shift.do(Kind.FETCH)
    fake.fail(StepFails("markupsafe===", output="no markupsafe\n"), times=2)
    assert shift.do(Kind.LAYER) is None
    found = shift.do(Kind.BUILD)
    assert isinstance(found, Judgement)
    assert (found.verdict, found.stage, found.kind) == ("broken", "build", "build-step")
    assert "no markupsafe" in found.cause
    assert list(shift.told.said("layer")) == ["build-step"]


def test_surroundings_that_fail_become_a_judgement(shift: Shift, fake: FakeEngine) -> None:
    """An engine that vanishes is told of the item, with what to do next."""
    fake.fail(VanishesMidBuild("groupadd"))
    found = shift.do(Kind.BASE)
    assert isinstance(found, Judgement)
    assert (found.verdict, found.stage, found.kind) == ("unknown", "base", "engine")
    assert found.remedy
    assert list(shift.told.said("base")) == ["engine"]


@pytest.mark.parametrize("kind", [Kind.BASE, Kind.BUILD, Kind.PROBE])
def test_work_that_was_cancelled_ends_the_run(shift: Shift, fake: FakeEngine, kind: Kind) -> None:
    """After Ctrl-C a build or a probe that is at work raises it, and tells no judgement."""
    fake.on_run = lambda _: Exit(seconds=30)
    if kind is not Kind.BASE:
        shift.do(Kind.BASE)
        shift.do(Kind.FETCH)
        shift.give(Kind.LAYER, None)
    if kind is Kind.PROBE:
        shift.do(Kind.BUILD)
    shift.worker.builder.engine.cancelled.set()
    with pytest.raises(KeyboardInterrupt):
        shift.do(kind)


def test_a_download_is_told_in_megabytes() -> None:
    """Wheels that were all here are reused, and others are told by their size."""
    assert (Fetched(0).reused, Fetched(0).said) == (True, "0 MB")
    assert (Fetched(12_300_000).reused, Fetched(12_300_000).said) == (False, "12 MB")


@pytest.mark.parametrize("options", [Options(jobs=1, prune=True)], indirect=True)
def test_a_pruned_image_is_removed_once(shift: Shift, fake: FakeEngine) -> None:
    """With prune the image that this run built is removed after its probes."""
    shift.do(Kind.BASE)
    shift.do(Kind.FETCH)
    shift.give(Kind.LAYER, None)
    image = built(shift.do(Kind.BUILD)).image
    shift.do(Kind.PROBE)
    assert fake.images.find(image.id) is None


def test_a_worker_does_not_keep_what_it_is_given(shift: Shift) -> None:
    """The same item with the same results gives the same again: the image that is there."""
    first = built(shift.do(Kind.BASE))
    second = built(shift.do(Kind.BASE))
    assert (first.image, False, True) == (second.image, first.reused, second.reused)
