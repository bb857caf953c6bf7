"""Which wheels go into which layer: what cells share lies below, what is theirs above."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import the_cell, the_lock, the_wheel

from envmatrix.model.cells import Cell
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.matrix import Matrix
from envmatrix.render.sharing import (
    HEAVY,
    MOST_SHARED,
    Beginning,
    Group,
    Sharing,
    Step,
    share,
    steps,
)


def all_steps(*locks: Lock) -> list[tuple[Step, ...]]:
    """Return the steps of each of some cells on one base."""
    groups = share(locks)
    return [steps(lock, groups) for lock in locks]


def flat(
    groups: Sequence[Group], below: tuple[Step, ...] = ()
) -> Iterator[tuple[Group, tuple[Step, ...]]]:
    """Yield every group, with the steps up to it."""
    for group in groups:
        path = (*below, group.wheels)
        yield group, path
        yield from flat(group.above, path)


def heavy(lock: Lock) -> set[Wheel]:
    """Return the heavy wheels of a lock."""
    return {wheel for wheel in lock.wheels if wheel.size >= HEAVY}


NAMES = "abcdef"
# Few sizes, so that many groups save the same.
SIZES = st.sampled_from((0, HEAVY - 1, HEAVY, HEAVY + 1, 3 * HEAVY, 40 * HEAVY))


@st.composite
def some_locks(draw: st.DrawFn) -> tuple[Lock, ...]:
    """Draw locks out of a few wheels, two versions of each distribution."""
    sizes = draw(
        st.fixed_dictionaries({(name, version): SIZES for name in NAMES for version in "12"})
    )
    held: Sequence[Mapping[str, str]] = draw(
        st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from("12")), max_size=7)
    )
    return tuple(
        the_lock(*(the_wheel(name, version, sizes[name, version]) for name, version in one.items()))
        for one in held
    )


CUBLAS, CUDNN = the_wheel("cublas", size=8 * HEAVY), the_wheel("cudnn", "9.20", 7 * HEAVY)
SMALL_CUDNN = the_wheel("cudnn", "9.20", HEAVY)
OTHER_CUDNN = the_wheel("cudnn", "9.10", HEAVY)
TORCH, XLA = the_wheel("torch", size=4 * HEAVY), the_wheel("torch-xla", size=3 * HEAVY)
TENSORFLOW = the_wheel("tensorflow", size=6 * HEAVY)
NUMPY, PIP = the_wheel("numpy", size=16_000_000), the_wheel("pip", size=0)
STAIRS = [the_wheel(f"w{n}", size=HEAVY * 10 ** (9 - n)) for n in range(MOST_SHARED + 3)]
"""Each so much larger than the next that it is worth a layer below it."""
CLIMBING = tuple(the_lock(*STAIRS[: n + 1], PIP) for n in range(len(STAIRS)))
"""Cells that hold one of them more, each."""


# --- what always holds -----------------------------------------------------------------------


@given(some_locks())
def test_every_wheel_of_a_lock_is_in_exactly_one_step(locks: tuple[Lock, ...]) -> None:
    """Each wheel is in one step, in the order of names, and no step is empty."""
    for lock, found in zip(locks, all_steps(*locks), strict=True):
        placed = [wheel for step in found for wheel in step]
        assert sorted(placed, key=lambda wheel: wheel.name) == list(lock.wheels)
        assert all(found)
        for step in found:
            assert list(step) == sorted(step, key=lambda wheel: wheel.name)


@given(some_locks())
def test_light_wheels_are_in_the_last_step_alone(locks: tuple[Lock, ...]) -> None:
    """Light wheels are in the last step, and in no other."""
    for lock, found in zip(locks, all_steps(*locks), strict=True):
        light = [wheel for wheel in lock.wheels if wheel.size < HEAVY]
        assert not light or list(found[-1]) == light
        assert all(wheel.size >= HEAVY for step in found[: -1 if light else None] for wheel in step)


@given(some_locks())
@example(CLIMBING)
def test_a_cell_has_at_most_so_many_layers(locks: tuple[Lock, ...]) -> None:
    """A cell has at most two steps more than the shared ones."""
    assert all(len(found) <= MOST_SHARED + 2 for found in all_steps(*locks))
    assert all(len(path) <= MOST_SHARED for _, path in flat(share(locks)))


@given(some_locks())
def test_a_group_holds_heavy_wheels_alone(locks: tuple[Lock, ...]) -> None:
    """A group holds at least one wheel, and every wheel in it is heavy."""
    for group, _ in flat(share(locks)):
        assert group.wheels
        assert all(wheel.size >= HEAVY for wheel in group.wheels)
        assert group.size == sum(wheel.size for wheel in group.wheels)


@given(some_locks())
def test_a_group_is_taken_by_as_many_cells_as_it_says(locks: tuple[Lock, ...]) -> None:
    """A group is taken by at least two cells, and by as many as it says."""
    found = all_steps(*locks)
    for group, path in flat(share(locks)):
        assert group.cells >= 2
        assert group.cells == sum(one[: len(path)] == path for one in found)


@given(some_locks().flatmap(lambda locks: st.tuples(st.just(locks), st.permutations(locks))))
def test_the_order_of_the_cells_does_not_matter(
    orders: tuple[Sequence[Lock], Sequence[Lock]],
) -> None:
    """The groups are the same in whatever order the cells are given."""
    locks, shuffled = orders
    assert share(shuffled) == share(locks)


@given(some_locks())
def test_light_wheels_decide_nothing(locks: tuple[Lock, ...]) -> None:
    """The groups are the same without the light wheels."""
    assert share([the_lock(*heavy(lock)) for lock in locks]) == share(locks)


@given(some_locks())
def test_no_wheel_alone_saves_more_than_the_first_group(locks: tuple[Lock, ...]) -> None:
    """There is a group where two cells hold a heavy wheel, and the first group saves most."""
    saved = [
        wheel.size * (sum(wheel in lock.wheels for lock in locks) - 1)
        for wheel in set().union(*map(heavy, locks))
    ]
    groups = share(locks)
    assert bool(groups) == any(saved)
    assert not groups or groups[0].size * (groups[0].cells - 1) >= max(saved)


@given(some_locks(), st.lists(SIZES, max_size=3))
def test_one_more_unrelated_cell_changes_no_other_cells_steps(
    locks: tuple[Lock, ...], sizes: list[int]
) -> None:
    """A cell that shares no wheel with any other changes the steps of no other."""
    unrelated = the_lock(*(the_wheel(f"other-{n}", size=size) for n, size in enumerate(sizes)))
    assert all_steps(*locks, unrelated)[:-1] == all_steps(*locks)
    assert share([*locks, unrelated]) == share(locks)


@given(some_locks(), some_locks())
def test_a_cell_that_is_not_among_those_shared_takes_the_groups_it_holds(
    locks: tuple[Lock, ...], others: tuple[Lock, ...]
) -> None:
    """Of each level a cell takes the first group whose wheels are all in its lock."""
    for lock in others:
        expected: list[Step] = []
        level = share(locks)
        while fitting := [group for group in level if set(group.wheels) <= set(lock.wheels)]:
            expected.append(fitting[0].wheels)
            level = fitting[0].above
        assert list(steps(lock, share(locks))[: len(expected)]) == expected
        assert len(steps(lock, share(locks))) <= len(expected) + 2


# --- examples --------------------------------------------------------------------------------


def test_three_cells_share_their_cuda_libraries_and_one_with_another_cudnn_stands_alone() -> None:
    """Where the library is large, three cells share all, and the fourth shares nothing."""
    *same, other = all_steps(
        the_lock(CUBLAS, CUDNN, PIP),
        the_lock(CUBLAS, CUDNN, NUMPY),
        the_lock(CUBLAS, CUDNN),
        the_lock(CUBLAS, OTHER_CUDNN, PIP),
    )
    assert same == [
        ((CUBLAS, CUDNN), (PIP,)),
        ((CUBLAS, CUDNN), (NUMPY,)),
        ((CUBLAS, CUDNN),),
    ]
    assert other == ((CUBLAS, OTHER_CUDNN), (PIP,))


def test_all_share_the_rest_where_the_cudnn_that_one_has_another_of_is_small() -> None:
    """Where the library is small, all four cells share the rest, and three share it above."""
    *same, other = all_steps(
        the_lock(CUBLAS, SMALL_CUDNN, PIP),
        the_lock(CUBLAS, SMALL_CUDNN, NUMPY),
        the_lock(CUBLAS, SMALL_CUDNN),
        the_lock(CUBLAS, OTHER_CUDNN, PIP),
    )
    assert same == [
        ((CUBLAS,), (SMALL_CUDNN,), (PIP,)),
        ((CUBLAS,), (SMALL_CUDNN,), (NUMPY,)),
        ((CUBLAS,), (SMALL_CUDNN,)),
    ]
    assert other == ((CUBLAS,), (OTHER_CUDNN,), (PIP,))


def test_a_group_says_what_stands_on_it() -> None:
    """A group tells its cells, its bytes, and the groups that stand on it."""
    both = the_lock(TORCH, XLA, PIP)
    assert share([both, both, the_lock(TORCH)]) == (Group((TORCH,), 3, (Group((XLA,), 2, ()),)),)
    assert share([both, both])[0].size == 7 * HEAVY


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        ({TORCH: 2, TENSORFLOW: 2}, TENSORFLOW),  # 4 and 6
        ({TORCH: 3, TENSORFLOW: 2}, TORCH),  # 8 and 6
        ({XLA: 4, TENSORFLOW: 2, TORCH: 2}, XLA),  # 9, 6 and 4
    ],
)
def test_the_group_that_saves_more_comes_first(cells: dict[Wheel, int], first: Wheel) -> None:
    """Groups come in the order of the bytes that they save, and not of their size or cells."""
    groups = share([the_lock(wheel) for wheel, count in cells.items() for _ in range(count)])
    saved = [group.size * (group.cells - 1) for group in groups]
    assert groups[0].wheels == (first,)
    assert saved == sorted(saved, reverse=True)


def test_groups_that_save_the_same_come_in_the_order_of_their_hashes() -> None:
    """Groups that save the same come in an order that is the same in every process."""
    wheels = [the_wheel(f"w{n}", size=HEAVY) for n in range(12)]
    groups = share([the_lock(wheel) for wheel in wheels for _ in range(2)])
    hashes = [wheel.sha256 for group in groups for wheel in group.wheels]
    assert len(hashes) == len(wheels)
    assert hashes == sorted(hashes, reverse=True)


def test_one_more_unrelated_cell_changes_no_other() -> None:
    """An unrelated cell changes no other, though it is larger than all of them."""
    locks = [the_lock(TORCH, XLA, PIP), the_lock(TORCH, NUMPY)]
    larger = the_lock(the_wheel("jax", size=99 * HEAVY), PIP)
    assert all_steps(*locks, larger)[:-1] == all_steps(*locks)
    assert all_steps(*locks, larger)[-1] == ((the_wheel("jax", size=99 * HEAVY),), (PIP,))


def test_a_light_wheel_that_changes_changes_no_shared_step() -> None:
    """Another version of a light wheel changes the last step of its cells, and no other."""
    newer = the_wheel("numpy", "2", 17_000_000)
    before = all_steps(the_lock(TORCH, XLA, NUMPY), the_lock(TORCH, NUMPY))
    after = all_steps(the_lock(TORCH, XLA, newer), the_lock(TORCH, newer))
    assert before == [((TORCH,), (XLA,), (NUMPY,)), ((TORCH,), (NUMPY,))]
    assert after == [((TORCH,), (XLA,), (newer,)), ((TORCH,), (newer,))]


def test_a_cell_that_is_not_published_takes_what_it_holds_all_wheels_of() -> None:
    """A cell takes a group if its lock holds all wheels of the group, and not otherwise."""
    groups = share([the_lock(CUBLAS, CUDNN, TORCH), the_lock(CUBLAS, CUDNN, PIP)])
    assert [group.wheels for group in groups] == [(CUBLAS, CUDNN)]
    holding = the_lock(CUBLAS, CUDNN, TENSORFLOW, NUMPY)
    lacking = the_lock(CUBLAS, OTHER_CUDNN, TENSORFLOW)
    assert steps(holding, groups) == ((CUBLAS, CUDNN), (TENSORFLOW,), (NUMPY,))
    assert steps(lacking, groups) == ((CUBLAS, OTHER_CUDNN, TENSORFLOW),)


@pytest.mark.parametrize(("size", "groups"), [(HEAVY - 1, 0), (HEAVY, 1)])
def test_a_wheel_is_heavy_from_a_size_on(size: int, groups: int) -> None:
    """A wheel of less than 50 MB is not shared."""
    lock = the_lock(the_wheel("some", size=size))
    assert len(share([lock, lock])) == groups


def test_no_cells_or_one_share_nothing() -> None:
    """One cell shares nothing, and its heavy and its light wheels are two steps."""
    assert share([]) == share([the_lock(TORCH, XLA, PIP)]) == ()
    assert steps(the_lock(TORCH, XLA, PIP), ()) == ((TORCH, XLA), (PIP,))
    assert steps(the_lock(PIP), ()) == ((PIP,),)
    assert steps(the_lock(TORCH), ()) == ((TORCH,),)
    assert steps(the_lock(), ()) == ()


def test_sharing_ends_at_a_depth() -> None:
    """At most three groups lie on each other, and what is left is one step."""
    assert all_steps(*CLIMBING)[-1] == (
        *((wheel,) for wheel in STAIRS[:MOST_SHARED]),
        tuple(STAIRS[MOST_SHARED:]),
        (PIP,),
    )
    assert share(CLIMBING, 0) == ()
    assert [len(path) for _, path in flat(share(CLIMBING, 1))] == [1]


def test_a_group_is_told_as_json() -> None:
    """The JSON of a group names its wheels, bytes and cells, and the groups above it."""
    both = the_lock(TORCH, XLA)
    (group,) = share([both, both, the_lock(TORCH)])
    above = {"wheels": ["torch-xla"], "bytes": 3 * HEAVY, "cells": 2, "above": []}
    assert group.to_json() == {
        "wheels": ["torch"],
        "bytes": 4 * HEAVY,
        "cells": 3,
        "above": [above],
    }


# --- the cells of a matrix -------------------------------------------------------------------


def test_cells_share_on_one_base_and_index_alone(small: Matrix) -> None:
    """Groups come from the published cells on the same base with the same index."""
    on_cpu = "torch-{}-py3.11-debian12-cpu"
    cells = [the_cell(small, on_cpu.format(version)) for version in ("2.9.1", "2.10.0")]
    elsewhere = the_cell(small, "torch-2.10.0-py3.11-debian11-cpu")
    without_index = the_cell(small, "tensorflow-2.21.0-py3.11-debian12-cpu")
    lock = the_lock(TORCH, PIP)

    def committed(cell: Cell) -> Lock | None:
        return lock if cell in cells else None

    sharing = Sharing([*cells, elsewhere, without_index], committed)
    assert sharing.groups(cells[0]) == sharing.groups(cells[1]) == (Group((TORCH,), 2, ()),)
    assert sharing.groups(elsewhere) == ()
    assert sharing.groups(without_index) == ()
    assert sharing.steps(cells[0], lock) == ((TORCH,), (PIP,))
    place = ("debian12-py3.11-cpu", (), "https://wheels.example/whl/cpu")
    beginnings: list[Beginning] = [(place, ((TORCH,),)), (place, ((TORCH,), (PIP,)))]
    assert sharing.beginnings(cells[0], lock) == beginnings


def test_a_cell_with_packages_begins_with_them_whatever_its_index(small: Matrix) -> None:
    """Cells on one base with the same packages have a first layer in common, and no other cells."""
    plain = the_cell(small, "torch-2.10.0-py3.11-debian12-cpu")
    with_packages = replace(plain, packages=("g++",))
    elsewhere = replace(with_packages, index=None)
    sharing, lock = Sharing([], lambda _: None), the_lock(TORCH)
    first, *others = sharing.beginnings(with_packages, lock)
    assert first == (("debian12-py3.11-cpu", ("g++",), ""), ())
    assert first == sharing.beginnings(elsewhere, lock)[0]
    assert others != sharing.beginnings(elsewhere, lock)[1:]
    assert not {first, *others}.intersection(sharing.beginnings(plain, lock))


def test_published_images_share_the_layers_of_the_steps_they_share(
    published_locks: Sequence[tuple[Cell, Lock]], sharing: Sharing, root: Path
) -> None:
    """Two published images share a layer for each step that they share, and not one more."""
    seen = []
    for cell, lock in published_locks:
        evidence = read_evidence(
            (root / "reports" / "cells" / f"{cell.id}.json").read_text(encoding="utf-8"), cell.id
        )
        if evidence.layers:
            seen.append((sharing.beginnings(cell, lock), evidence.layers))
    pairs = [pair for pair in combinations(seen, 2) if pair[0][0][0][0] == pair[1][0][0][0]]
    common_steps = 0
    for (steps_a, layers_a), (steps_b, layers_b) in pairs:
        # Above the base: a layer a step, and one for the constraints.
        base = len(layers_a) - len(steps_a) - 1
        common = sum(one == other for one, other in zip(steps_a, steps_b, strict=False))
        assert layers_a[: base + common] == layers_b[: base + common]
        assert layers_a[base + common] != layers_b[base + common]
        common_steps += common > 0
    assert common_steps > 0
