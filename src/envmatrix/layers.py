"""Which wheels of a cell go into which layer, so that cells on one base share heavy layers. Pure.

Steps that are equal from the base upward are built once and stored once. A group of heavy wheels
comes the earlier, the more bytes it saves: its size times the cells that need not store it again.
Light wheels stay out of it: they differ between cells, and one of them that changes would change
every layer above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a lock is only read here: no network is needed for that
    from envmatrix.lock import Lock, Wheel

HEAVY = 50_000_000
"""Bytes from which a wheel counts as heavy. A layer of its own costs about a second to build."""

MOST_SHARED = 3
"""Shared layers below a cell's own two."""

Step = tuple["Wheel", ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Heavy wheels that several cells hold, and the groups that some of those share above it."""

    wheels: Step
    cells: int
    above: tuple[Group, ...]

    @property
    def size(self) -> int:
        """Bytes of its wheels."""
        return _size(self.wheels)

    def to_json(self) -> dict[str, Any]:
        """Return the group as `plan --layers --json` prints it."""
        return {
            "wheels": [wheel.name for wheel in self.wheels],
            "bytes": self.size,
            "cells": self.cells,
            "above": [group.to_json() for group in self.above],
        }


def share(locks: Sequence[Lock], depth: int = MOST_SHARED) -> tuple[Group, ...]:
    """Return the groups that pay for these cells, all on one base.

    A cell belongs to the first group all of whose wheels it holds. The choice is among what all
    holders of some wheel have in common: that which saves most comes first, and is not given up
    for a better whole, so one more cell seldom changes the layers of the others.
    """
    held = [_heavy(lock.wheels) for lock in locks]
    return tuple(_share(held, depth))


def _share(held: Sequence[frozenset[Wheel]], depth: int) -> Iterator[Group]:
    while depth and (found := _best(held)):
        members = [wheels for wheels in held if found <= wheels]
        yield Group(
            _ordered(found),
            len(members),
            tuple(_share([wheels - found for wheels in members], depth - 1)),
        )
        held = [wheels for wheels in held if not found <= wheels]


def _best(held: Sequence[frozenset[Wheel]]) -> frozenset[Wheel]:
    """Return what the holders of some wheel have in common, for the wheel that saves most."""
    candidates = {
        frozenset.intersection(*(wheels for wheels in held if wheel in wheels))
        for wheel in frozenset().union(*held)
    }

    def saved(group: frozenset[Wheel]) -> tuple[int, list[str]]:
        others = sum(group <= wheels for wheels in held) - 1
        return others * _size(group), sorted(wheel.sha256 for wheel in group)

    best = max(candidates, key=saved, default=frozenset())
    return best if best and saved(best)[0] else frozenset()


def steps(lock: Lock, groups: Sequence[Group]) -> tuple[Step, ...]:
    """Return the steps that install a lock: shared groups, other heavy wheels, light ones."""
    shared = list(_path(_heavy(lock.wheels), groups))
    placed = {wheel for step in shared for wheel in step}
    heavy = _heavy(lock.wheels) - placed
    light = frozenset(lock.wheels) - placed - heavy
    return tuple(step for step in (*shared, _ordered(heavy), _ordered(light)) if step)


def _path(wheels: frozenset[Wheel], groups: Sequence[Group]) -> Iterator[Step]:
    for group in groups:
        if wheels.issuperset(group.wheels):
            yield group.wheels
            yield from _path(wheels.difference(group.wheels), group.above)
            return


def _heavy(wheels: Iterable[Wheel]) -> frozenset[Wheel]:
    return frozenset(wheel for wheel in wheels if wheel.size >= HEAVY)


def _ordered(wheels: Iterable[Wheel]) -> Step:
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _size(wheels: Iterable[Wheel]) -> int:
    return sum(wheel.size for wheel in wheels)
