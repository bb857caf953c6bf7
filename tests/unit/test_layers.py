"""Which wheels go into which layer: what cells share lies below, what is theirs above."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envmatrix.layers import HEAVY, MOST_SHARED, Group, Step, share, steps
from envmatrix.lock import Lock, Wheel
from envmatrix.project import Project


def the_wheel(name: str, size: int, version: str = "1") -> Wheel:
    """Return a wheel of a distribution."""
    sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    return Wheel(name, version, f"{name}-{version}-py3-none-any.whl", sha256, size)


def the_lock(*wheels: Wheel) -> Lock:
    """Return a lock of wheels, one for each distribution, in the order of their names."""
    assert len(wheels) == len({wheel.name for wheel in wheels})
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    return Lock("key", "Python 3.11", "2026-11-20", ordered)


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
        the_lock(*(the_wheel(name, sizes[name, version], version) for name, version in one.items()))
        for one in held
    )


CUBLAS, CUDNN = the_wheel("cublas", 8 * HEAVY), the_wheel("cudnn", 7 * HEAVY, "9.20")
SMALL_CUDNN = the_wheel("cudnn", HEAVY, "9.20")
OTHER_CUDNN = the_wheel("cudnn", HEAVY, "9.10")
TORCH, XLA = the_wheel("torch", 4 * HEAVY), the_wheel("torch-xla", 3 * HEAVY)
TENSORFLOW = the_wheel("tensorflow", 6 * HEAVY)
NUMPY, PIP = the_wheel("numpy", 16_000_000), the_wheel("pip", 0)
STAIRS = [the_wheel(f"w{n}", HEAVY * 10 ** (9 - n)) for n in range(MOST_SHARED + 3)]
"""Each so much larger than the next that it is worth a layer below it."""
CLIMBING = tuple(the_lock(*STAIRS[: n + 1], PIP) for n in range(len(STAIRS)))
"""Cells that hold one of them more, each."""


# --- what always holds -----------------------------------------------------------------------


@given(some_locks())
def test_every_wheel_of_a_lock_is_in_exactly_one_step(locks: tuple[Lock, ...]) -> None:
    """In the order of names within it; no step is empty."""
    for lock, found in zip(locks, all_steps(*locks), strict=True):
        placed = [wheel for step in found for wheel in step]
        assert sorted(placed, key=lambda wheel: wheel.name) == list(lock.wheels)
        assert all(found)
        for step in found:
            assert list(step) == sorted(step, key=lambda wheel: wheel.name)


@given(some_locks())
def test_light_wheels_are_in_the_last_step_alone(locks: tuple[Lock, ...]) -> None:
    """So one of them that changes, changes no other step."""
    for lock, found in zip(locks, all_steps(*locks), strict=True):
        light = [wheel for wheel in lock.wheels if wheel.size < HEAVY]
        assert not light or list(found[-1]) == light
        assert all(wheel.size >= HEAVY for step in found[: -1 if light else None] for wheel in step)


@given(some_locks())
@example(CLIMBING)
def test_a_cell_has_at_most_so_many_layers(locks: tuple[Lock, ...]) -> None:
    """The shared ones, one of its other heavy wheels, one of its light ones."""
    assert all(len(found) <= MOST_SHARED + 2 for found in all_steps(*locks))
    assert all(len(path) <= MOST_SHARED for _, path in flat(share(locks)))


@given(some_locks())
def test_a_group_holds_heavy_wheels_alone(locks: tuple[Lock, ...]) -> None:
    """And at least one."""
    for group, _ in flat(share(locks)):
        assert group.wheels
        assert all(wheel.size >= HEAVY for wheel in group.wheels)
        assert group.size == sum(wheel.size for wheel in group.wheels)


@given(some_locks())
def test_a_group_is_taken_by_as_many_cells_as_it_says(locks: tuple[Lock, ...]) -> None:
    """At least two: what one cell alone holds is no group."""
    found = all_steps(*locks)
    for group, path in flat(share(locks)):
        assert group.cells >= 2
        assert group.cells == sum(one[: len(path)] == path for one in found)


@given(some_locks().flatmap(lambda locks: st.tuples(st.just(locks), st.permutations(locks))))
def test_the_order_of_the_cells_does_not_matter(
    orders: tuple[Sequence[Lock], Sequence[Lock]],
) -> None:
    """Nor does a cell that is named first get the better of others."""
    locks, shuffled = orders
    assert share(shuffled) == share(locks)


@given(some_locks())
def test_light_wheels_decide_nothing(locks: tuple[Lock, ...]) -> None:
    """The groups are the same without them."""
    assert share([the_lock(*heavy(lock)) for lock in locks]) == share(locks)


@given(some_locks())
def test_no_wheel_alone_saves_more_than_the_first_group(locks: tuple[Lock, ...]) -> None:
    """And there is one wherever two cells hold the same heavy wheel."""
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
    """Unrelated: it shares no wheel with any."""
    unrelated = the_lock(*(the_wheel(f"other-{n}", size) for n, size in enumerate(sizes)))
    assert all_steps(*locks, unrelated)[:-1] == all_steps(*locks)
    assert share([*locks, unrelated]) == share(locks)


@given(some_locks(), some_locks())
def test_a_cell_that_is_not_among_those_shared_takes_the_groups_it_holds(
    locks: tuple[Lock, ...], others: tuple[Lock, ...]
) -> None:
    """The first of each level all of whose wheels are in its lock, and then of those above it."""
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
    """Where the library is large, all four sharing the rest would save less."""
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
    """The three share theirs above it."""
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
    """With the cells that hold each, and the bytes of its wheels."""
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
    """Its size times the cells that need not store it again, not its size, nor its cells."""
    groups = share([the_lock(wheel) for wheel, count in cells.items() for _ in range(count)])
    saved = [group.size * (group.cells - 1) for group in groups]
    assert groups[0].wheels == (first,)
    assert saved == sorted(saved, reverse=True)


def test_groups_that_save_the_same_come_in_the_order_of_their_hashes() -> None:
    """Not in one that differs from process to process, as that of a set does."""
    wheels = [the_wheel(f"w{n}", HEAVY) for n in range(12)]
    groups = share([the_lock(wheel) for wheel in wheels for _ in range(2)])
    hashes = [wheel.sha256 for group in groups for wheel in group.wheels]
    assert len(hashes) == len(wheels)
    assert hashes == sorted(hashes, reverse=True)


def test_one_more_unrelated_cell_changes_no_other() -> None:
    """Though it is larger than all of them."""
    locks = [the_lock(TORCH, XLA, PIP), the_lock(TORCH, NUMPY)]
    larger = the_lock(the_wheel("jax", 99 * HEAVY), PIP)
    assert all_steps(*locks, larger)[:-1] == all_steps(*locks)
    assert all_steps(*locks, larger)[-1] == ((the_wheel("jax", 99 * HEAVY),), (PIP,))


def test_a_light_wheel_that_changes_changes_no_shared_step() -> None:
    """Only the last of the cells that hold it."""
    newer = the_wheel("numpy", 17_000_000, "2")
    before = all_steps(the_lock(TORCH, XLA, NUMPY), the_lock(TORCH, NUMPY))
    after = all_steps(the_lock(TORCH, XLA, newer), the_lock(TORCH, newer))
    assert before == [((TORCH,), (XLA,), (NUMPY,)), ((TORCH,), (NUMPY,))]
    assert after == [((TORCH,), (XLA,), (newer,)), ((TORCH,), (newer,))]


def test_a_cell_that_is_not_published_takes_what_it_holds_all_wheels_of() -> None:
    """One wheel that it lacks, and it does not take the group."""
    groups = share([the_lock(CUBLAS, CUDNN, TORCH), the_lock(CUBLAS, CUDNN, PIP)])
    assert [group.wheels for group in groups] == [(CUBLAS, CUDNN)]
    holding = the_lock(CUBLAS, CUDNN, TENSORFLOW, NUMPY)
    lacking = the_lock(CUBLAS, OTHER_CUDNN, TENSORFLOW)
    assert steps(holding, groups) == ((CUBLAS, CUDNN), (TENSORFLOW,), (NUMPY,))
    assert steps(lacking, groups) == ((CUBLAS, OTHER_CUDNN, TENSORFLOW),)


@pytest.mark.parametrize(("size", "groups"), [(HEAVY - 1, 0), (HEAVY, 1)])
def test_a_wheel_is_heavy_from_a_size_on(size: int, groups: int) -> None:
    """Below it, sharing does not pay for a layer."""
    lock = the_lock(the_wheel("some", size))
    assert len(share([lock, lock])) == groups


def test_no_cells_or_one_share_nothing() -> None:
    """Its heavy wheels and its light ones are two steps; a lock without either has none."""
    assert share([]) == share([the_lock(TORCH, XLA, PIP)]) == ()
    assert steps(the_lock(TORCH, XLA, PIP), ()) == ((TORCH, XLA), (PIP,))
    assert steps(the_lock(PIP), ()) == ((PIP,),)
    assert steps(the_lock(TORCH), ()) == ((TORCH,),)
    assert steps(the_lock(), ()) == ()


def test_sharing_ends_at_a_depth() -> None:
    """What more could be shared goes with the other heavy wheels of a cell."""
    assert all_steps(*CLIMBING)[-1] == (
        *((wheel,) for wheel in STAIRS[:MOST_SHARED]),
        tuple(STAIRS[MOST_SHARED:]),
        (PIP,),
    )
    assert share(CLIMBING, 0) == ()
    assert [len(path) for _, path in flat(share(CLIMBING, 1))] == [1]


def test_published_images_share_the_layers_of_the_steps_they_share(root: Path) -> None:
    """Seen in the engine's own diff ids: as many as the steps in common, and not one more."""
    project = Project(root / "matrix.yaml")
    seen = []
    for cell in project.published():
        found = project.cell_resolution(cell)
        path = project.reports / "cells" / f"{cell.id}.json"
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        if layers and found and found.lock:
            seen.append((project.beginnings(cell, found.lock), layers))
    pairs = [pair for pair in combinations(seen, 2) if pair[0][0][0][0] == pair[1][0][0][0]]
    sharing = 0
    for (steps_a, layers_a), (steps_b, layers_b) in pairs:
        # Above the base: a layer a step, and one for the constraints.
        base = len(layers_a) - len(steps_a) - 1
        common = sum(one == other for one, other in zip(steps_a, steps_b, strict=False))
        assert layers_a[: base + common] == layers_b[: base + common]
        assert layers_a[base + common] != layers_b[base + common]
        sharing += common > 0
    assert sharing > 0
