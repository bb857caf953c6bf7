"""The items of a run: which pieces of work there are for which cells, and what waits for what."""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from graphlib import TopologicalSorter

import pytest
from small_project import MATRIX

from envmatrix.model.cells import Cell, expand
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.matrix_file import load
from envmatrix.render.sharing import HEAVY, Sharing
from envmatrix.stages.graph import Item
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import DOWNLOAD, ENGINE, Options
from envmatrix.stages.work import Kind, in_order, items_of


def wheel(name: str, megabytes: int) -> Wheel:
    """Return a wheel of a size."""
    return Wheel(name, "1", f"{name}-1-py3-none-any.whl", name.ljust(64, "0"), megabytes * 10**6)


HUGE, BIG, SMALL = wheel("huge", 2000), wheel("big", 600), wheel("small", 1)
assert SMALL.size < HEAVY <= BIG.size


@cache
def some_cell() -> Cell:
    """Return a cell of the small matrix."""
    return expand(load(MATRIX, "matrix.yaml"))[0]


def cell(name: str, *wheels: Wheel) -> Locked:
    """Return a cell with a lock of some wheels. All such cells stand on one base."""
    return Locked(replace(some_cell(), id=name), Lock("problem", "target", "2026", wheels))


def sharing(cells: Collection[Locked]) -> Sharing:
    """Return how cells share layers, all of them published."""
    locks = {one.cell.id: one.lock for one in cells}
    return Sharing([one.cell for one in cells], lambda one: locks.get(one.id))


ONE = Options(jobs=1)


def items(
    cells: Sequence[Locked],
    options: Options = ONE,
    *,
    unbuilt: Sequence[Locked] | None = None,
    ahead: int | None = None,
) -> dict[str, Item]:
    """Return the items of a run by key, in their order."""
    unbuilt = cells if unbuilt is None else unbuilt
    found = items_of(in_order(cells, options), unbuilt, sharing(cells), options, ahead)
    by_key = {item.key: item for item in found}
    assert len(found) == len(by_key)
    return by_key


def waits_for(found: Mapping[str, Item], key: str) -> set[str]:
    """Return everything that is done before an item, whatever the order of the list."""
    inputs = found[key].inputs
    return set(inputs).union(*(waits_for(found, one) for one in inputs))


THREE = (cell("a", HUGE, BIG, SMALL), cell("b", HUGE, BIG, SMALL), cell("c", SMALL))
PAIR = THREE[:2]


def layers(found: Mapping[str, Item]) -> list[Item]:
    """Return the layers, the lowest first."""
    return sorted(
        (item for item in found.values() if item.kind == Kind.LAYER), key=lambda one: one.steps
    )


def test_a_cell_alone_has_a_base_a_download_a_build_and_a_probe() -> None:
    """A cell that shares nothing is fetched beside its base, then built, then probed."""
    found = items([THREE[0]])
    base = f"base:{some_cell().base_id}"
    assert [
        Item("base", some_cell().base_id, "a", ENGINE),
        Item("fetch", "a", "a", DOWNLOAD),
        Item("build", "a", "a", ENGINE, (base, "fetch:a")),
        Item("probe", "a", "a", ENGINE, ("build:a",)),
    ] == list(found.values())


def worked_on(ahead: int | None) -> list[str]:
    """Return the builds and probes of five cells in their order, two being done at a time."""
    cells = [cell(name, SMALL) for name in "abcde"]
    found = items_of(cells, cells, sharing(cells), ONE, ahead, beside=2)
    return [item.key for item in found if item.kind in (Kind.BUILD, Kind.PROBE)]


def test_the_last_cells_are_built_before_one_of_them_is_probed() -> None:
    """Else the last one would be built and probed alone. The first ones are finished first."""
    first = ["build:a", "probe:a", "build:b", "probe:b"]
    last = ["build:c", "build:d", "build:e", "probe:c", "probe:d", "probe:e"]
    assert worked_on(None) == [*first, *last]


def test_a_run_that_prunes_finishes_every_cell_first() -> None:
    """An image that waits for its probes takes room."""
    each = [(f"build:{name}", f"probe:{name}") for name in "abcde"]
    assert worked_on(2) == [key for both in each for key in both]


def test_cells_on_one_base_have_one_item_for_it() -> None:
    """A base is built once, however many cells stand on it."""
    found = items(THREE)
    assert [f"base:{some_cell().base_id}"] == [key for key in found if key.startswith("base:")]


def test_what_several_cells_begin_with_is_an_item_of_its_own() -> None:
    """Each beginning that cells share is built once, on the beginning below it."""
    lower, upper = layers(items(PAIR))
    assert (lower.steps, upper.steps) == (1, 2)
    assert lower.key in upper.inputs


def with_packages(one: Locked, index: str | None = None) -> Locked:
    """Return a cell that begins with a compiler."""
    return replace(one, cell=replace(one.cell, packages=("g++",), index=index))


def test_packages_that_cells_begin_with_are_installed_once_whatever_the_index() -> None:
    """Cells of one framework wait for its packages, and other cells on the base do not."""
    cells = [with_packages(THREE[0]), with_packages(THREE[1], "https://wheels.example"), THREE[2]]
    found = items(cells)
    (layer,) = layers(found)
    assert layer.steps == 0
    assert layer.key in waits_for(found, "build:a")
    assert layer.key in waits_for(found, "build:b")
    assert layer.key not in waits_for(found, "build:c")
    assert not layers(items(cells[1:]))


def test_cells_are_built_on_what_they_share() -> None:
    """The cells that share a layer wait for it, and a cell that shares nothing does not."""
    found = items(THREE)
    top = layers(found)[-1].key
    assert top in waits_for(found, "build:a")
    assert top in waits_for(found, "build:b")
    assert top not in waits_for(found, "build:c")


def test_a_layer_is_let_go_after_everything_that_stands_on_it() -> None:
    """A layer loses its name after the layers, the builds and the probes above it are done."""
    found = items(PAIR)
    lower, upper = (replace(layer, kind=Kind.DROP).key for layer in layers(found))
    assert {"build:a", "build:b", "probe:a", "probe:b"} <= waits_for(found, upper)
    assert layers(found)[1].key in waits_for(found, lower)
    assert found[upper].inputs[:2] == layers(found)[1].inputs[:2]


def test_a_layer_is_let_go_before_work_on_other_cells_begins() -> None:
    """Items that let go of layers stand first, so that they wait for nothing that is queued."""
    kinds = [item.kind for item in items(THREE).values()]
    assert kinds[:2] == ["drop"] * 2
    assert "drop" not in kinds[2:]


def test_a_cell_that_is_built_already_shares_nothing() -> None:
    """A layer is built only where several cells that are not built yet begin with it."""
    found = items(PAIR, unbuilt=PAIR[:1])
    assert layers(found) == []


def test_a_fresh_run_shares_nothing() -> None:
    """A fresh run has no shared layers, so each cell is built as if it was alone."""
    found = items(PAIR, Options(fresh=True))
    assert {"base", "fetch", "build", "probe"} == {item.kind for item in found.values()}
    assert (f"base:{some_cell().base_id}", "fetch:a") == found["build:a"].inputs


def test_a_build_without_probes_has_no_items_for_them() -> None:
    """Without probing a layer is let go after the builds above it."""
    found = items(PAIR, Options(probing=False))
    assert "probe:a" not in found
    drop = replace(layers(found)[-1], kind=Kind.DROP).key
    assert {"build:a", "build:b"} <= waits_for(found, drop)


def test_a_cell_whose_probes_took_long_before_comes_first() -> None:
    """Known seconds of probes count beside bytes, which stand for seconds of the build."""
    seconds = {"c": 1000.0, "b": 10.0}
    assert [one.cell.id for one in in_order(THREE, ONE, seconds)] == ["c", "b", "a"]


def test_the_cell_with_the_most_bytes_comes_first() -> None:
    """Cells are begun in the order of the bytes of their wheels, the heaviest first."""
    found = items([THREE[2], THREE[0]])
    builds = [key for key in found if key.startswith("build:")]
    assert builds == ["build:a", "build:c"]


STREAM = Options(jobs=1, prune=True)
FOUR = (cell("a", BIG), cell("b", SMALL), cell("c", HUGE), cell("d", BIG))


def test_a_stream_downloads_wheels_for_a_few_cells_ahead() -> None:
    """The wheels of a cell wait for the build of the cell that many places before it."""
    found = items(FOUR, STREAM, ahead=2)
    assert found["fetch:a"].inputs == found["fetch:b"].inputs == ()
    assert found["fetch:c"].inputs == ("build:a",)
    assert found["fetch:d"].inputs == ("build:b",)


def test_a_stream_discards_a_wheel_after_the_last_build_that_needs_it() -> None:
    """A wheel that two cells need is discarded after both are built; others after their one."""
    found = items(FOUR, STREAM, ahead=2)
    assert found["discard:b"].inputs == ("build:b",)
    assert found["discard:c"].inputs == ("build:c",)
    assert set(found["discard:d"].inputs) == {"build:a", "build:d"}
    assert "discard:a" not in found


def test_a_run_that_keeps_everything_discards_nothing() -> None:
    """Without a limit every download can start at once, and no wheel is discarded."""
    found = items(FOUR)
    assert not any(item.inputs for item in found.values() if item.kind == Kind.FETCH)
    assert not [item for item in found.values() if item.kind == Kind.DISCARD]


def test_a_stream_runs_cells_with_the_same_wheels_one_after_the_other() -> None:
    """Cells of one framework, accelerator and version follow each other, whatever their size."""
    one, two, three = (
        replace(cell(name, wheel), cell=replace(some_cell(), id=name, accelerator=line))
        for name, wheel, line in (("x", HUGE, "cu2"), ("y", BIG, "cu1"), ("z", SMALL, "cu2"))
    )
    assert [found.cell.id for found in in_order([one, two, three], STREAM)] == ["y", "x", "z"]
    assert [found.cell.id for found in in_order([three, two, one], ONE)] == ["x", "y", "z"]


@pytest.mark.parametrize("ahead", [None, 1, 2])
@pytest.mark.parametrize("options", [ONE, STREAM, Options(fresh=True), Options(probing=False)])
def test_the_items_of_every_run_are_plain_data_without_a_circle(
    options: Options, ahead: int | None
) -> None:
    """All items survive pickle and JSON, every input is an item, and no item waits for itself."""
    found = items(THREE, options, ahead=ahead)
    assert list(found.values()) == pickle.loads(pickle.dumps(list(found.values())))  # noqa: S301
    json.dumps([asdict(item) for item in found.values()])
    order = TopologicalSorter({item.key: item.inputs for item in found.values()})
    assert set(found) == set(order.static_order())
