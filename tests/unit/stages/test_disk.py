"""The check of the disk: what a plan needs, and how it is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_engine import Facts, FakeEngine
from small_project import CUDA, GOOD, OLD, Folder, Told

from envmatrix.model.errors import DiskError
from envmatrix.model.locks import Lock, Wheel
from envmatrix.stages.build import Builder
from envmatrix.stages.disk import HEADROOM, Gate, check_disk
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import Options

GIGABYTE = 10**9


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The bytes that are free on every disk; a test sets them."""
    disk = SimpleNamespace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    return disk


@pytest.fixture
def builder(project: Folder, fake: FakeEngine, free: SimpleNamespace) -> Iterator[Builder]:
    """A builder whose engine keeps its images on the disk of the project."""
    fake.facts = Facts(root=str(project.root))
    with project.workspace().runner.building.open(Options(), Told()) as opened:
        yield opened


def ahead(project: Folder, **gigabytes: int) -> list[Locked]:
    """Return cells to build, each with one wheel of its own of a size."""
    names = {"good": GOOD, "old": OLD, "cuda": CUDA}
    return [
        Locked(cell, Lock("problem", "target", "2026", (wheel(name, size),)))
        for name, size in gigabytes.items()
        for cell in project.cells(names[name])
    ]


def wheel(name: str, gigabytes: int) -> Wheel:
    """Return a wheel that is not here."""
    filename = f"{name}-1-py3-none-any.whl"
    return Wheel(
        name, "1", filename, hashlib.sha256(name.encode()).hexdigest(), gigabytes * GIGABYTE
    )


def refusal(builder: Builder, cells: list[Locked], *, prune: bool = False) -> DiskError:
    """Return how a plan is refused on a full disk."""
    with pytest.raises(DiskError) as caught:
        check_disk(builder, cells, Options(1, prune=prune))
    return caught.value


def test_a_plan_that_does_not_fit_is_refused(
    builder: Builder, project: Folder, free: SimpleNamespace
) -> None:
    """The refusal tells how much is needed, how much is free, where, and what to do.

    One cell of 1 GB of wheels needs 1 GB for the wheels, 3.5 GB for its layers, and 0.4 GB for its
    base.
    """
    free.free = 2 * GIGABYTE
    error = refusal(builder, ahead(project, good=1))
    assert error.what == "this needs about 4.9 GB of disk and 2.0 GB are free"
    assert str(project.root) == error.where
    assert error.next_step == (
        "free some disk, or select fewer cells, or give --prune: it removes what no cell ahead "
        "needs"
    )


def test_a_plan_that_fits_is_accepted(
    builder: Builder, project: Folder, free: SimpleNamespace
) -> None:
    """A plan that needs no more than is free goes on."""
    free.free = 5 * GIGABYTE
    check_disk(builder, ahead(project, good=1), Options(1))


def test_nothing_to_build_needs_nothing(builder: Builder) -> None:
    """A run whose images are all there fits on a full disk."""
    check_disk(builder, [], Options(1))


def test_every_wheel_and_every_base_is_counted(builder: Builder, project: Folder) -> None:
    """Two cells on two bases need both: 3 GB of wheels, 10.5 GB of layers, 0.8 GB of bases."""
    assert "about 14.3 GB" in refusal(builder, ahead(project, good=1, cuda=2)).what


def test_a_layer_that_cells_share_is_counted_once(builder: Builder, project: Folder) -> None:
    """Cells on one base with the same wheels have the same layers."""
    one, other = ahead(project, good=1, old=1)
    assert "about 4.9 GB" in refusal(builder, [one, Locked(other.cell, one.lock)]).what


def test_pruned_images_lie_side_by_side_only_while_they_are_at_work(
    builder: Builder, project: Folder
) -> None:
    """With prune only the largest cells count, as many as are at work at once.

    Two cells of 1 GB and 2 GB need 3 GB for wheels, since those of the next cells are downloaded
    ahead, 7 GB for the larger one, and 0.4 GB for the base. The remedy does not name what the user
    has chosen already.
    """
    error = refusal(builder, ahead(project, good=1, old=2), prune=True)
    assert "about 10.4 GB" in error.what
    assert error.next_step == "free some disk, or select fewer cells"


def with_wheels(project: Folder, *names: str) -> list[Locked]:
    """Return as many cells of one base as names are given, each with a wheel of 1 GB."""
    (cell,) = project.cells(GOOD)
    return [
        Locked(replace(cell, id=f"cell-{at}"), Lock("problem", "target", "2026", (wheel(name, 1),)))
        for at, name in enumerate(names)
    ]


def test_a_run_that_prunes_has_wheels_for_a_few_cells_at_a_time(
    builder: Builder, project: Folder
) -> None:
    """With one cell at work, wheels are there for it and for two cells ahead of it.

    Six cells of 1 GB each need 3 GB for wheels, 3.5 GB for one of them, and 0.4 GB for the base.
    Without prune they need 6 GB, 21 GB and 0.4 GB.
    """
    cells = with_wheels(project, *"abcdef")
    assert "about 6.9 GB" in refusal(builder, cells, prune=True).what
    assert "about 27.4 GB" in refusal(builder, cells).what


def test_a_wheel_is_there_from_the_first_cell_that_needs_it_to_the_last(
    builder: Builder, project: Folder
) -> None:
    """A wheel that the first and the last cell need is there all the time, and counts once.

    Beside it there are the wheels of three cells. Its layer is there for as long, beside one more.
    """
    error = refusal(builder, with_wheels(project, *"abcdea"), prune=True)
    assert "about 11.4 GB" in error.what  # 4 of wheels, 7 of layers, 0.4 of the base


def test_wheels_that_are_here_need_no_disk(
    builder: Builder, project: Folder, free: SimpleNamespace
) -> None:
    """Only wheels that have to be downloaded count."""
    one = ahead(project, good=1)[0]
    path = builder.wheelhouse.path(one.lock.wheels[0])
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(GIGABYTE)
    assert "about 3.9 GB" in refusal(builder, [one]).what


def test_the_images_of_an_engine_elsewhere_need_no_disk_here(
    builder: Builder, project: Folder, fake: FakeEngine, free: SimpleNamespace
) -> None:
    """Only its wheels lie on a disk of this machine, before they are copied to the engine."""
    fake.facts = Facts(operating_system="Docker Desktop", reaches=False, root=str(project.root))
    with project.workspace().runner.building.open(Options(), Told()) as elsewhere:
        assert "about 1.0 GB" in refusal(elsewhere, ahead(project, good=1)).what


def test_a_run_that_does_not_fit_builds_nothing(
    project: Folder, fake: FakeEngine, free: SimpleNamespace
) -> None:
    """A run asks for the disk before it builds anything, and ends with the refusal."""
    fake.facts = Facts(root=str(project.root))
    with pytest.raises(DiskError, match="0 bytes are free"):
        project.workspace().runner.run(project.cells(GOOD), Options(1), Told())
    assert fake.build_records == []


def test_the_disk_of_a_folder_that_is_not_made_yet_counts(
    builder: Builder, project: Folder, fake: FakeEngine, free: SimpleNamespace
) -> None:
    """A first run has no wheelhouse. Its wheels need disk all the same."""
    shutil.rmtree(builder.wheelhouse.root)
    fake.facts = Facts(operating_system="Docker Desktop", reaches=False, root="")
    with project.workspace().runner.building.open(Options(), Told()) as elsewhere:
        assert not elsewhere.wheelhouse.root.exists()
        assert "about 1.0 GB" in refusal(elsewhere, ahead(project, good=1)).what


def test_a_base_that_is_there_needs_no_disk(
    project: Folder, fake: FakeEngine, free: SimpleNamespace
) -> None:
    """Only the wheel and its layers count then."""
    fake.facts = Facts(root=str(project.root))
    free.free = GIGABYTE
    project.workspace().runner.run(project.cells(GOOD), Options(1), Told())
    with project.workspace().runner.building.open(Options(), Told()) as builder:
        assert "about 4.5 GB" in refusal(builder, ahead(project, good=1)).what


def test_work_begins_while_there_is_some_room(
    builder: Builder, project: Folder, free: SimpleNamespace
) -> None:
    """The plan was found to fit, so only what logs and records need is asked for."""
    (one,) = ahead(project, good=1)
    gate = Gate(builder, Options(1), {one.cell.id})
    free.free = HEADROOM * 2
    gate.check(one)
    free.free = HEADROOM * 2 - 1
    with pytest.raises(DiskError, match=r"about 20\.0 MB of disk"):
        gate.check(one)


def test_work_begins_only_where_all_fits_once_the_disk_was_full(
    builder: Builder, project: Folder, free: SimpleNamespace
) -> None:
    """Another failure changes nothing."""
    (one,) = ahead(project, good=1)
    gate = Gate(builder, Options(1), {one.cell.id})
    free.free = GIGABYTE
    gate.hear("blocked")
    gate.check(one)
    gate.hear("disk-full")
    with pytest.raises(DiskError, match=r"about 4\.9 GB"):
        gate.check(one)
    free.free = 5 * GIGABYTE
    gate.check(one)


def test_a_cell_that_is_built_begins_on_a_full_disk(builder: Builder, project: Folder) -> None:
    """It needs nothing: its image is there."""
    (one,) = ahead(project, good=1)
    gate = Gate(builder, Options(1), ())
    gate.hear("disk-full")
    gate.check(one)
