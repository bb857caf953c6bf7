"""Which wheels of a cell go into which layer, so that cells on one base share heavy layers.

Steps that are equal from the base upward are built once and stored once. The group of heavy wheels
that saves the most bytes comes first. It saves its size for each cell that need not store it again.
Light wheels are in no group: they differ between cells, and a change of one of them would change
every layer above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from envmatrix.model.cells import Cell
from envmatrix.model.locks import Lock, Wheel

HEAVY = 50_000_000
"""Bytes from which a wheel counts as heavy. A layer of its own costs about a second to build."""

MOST_SHARED = 3
"""How many shared layers a cell has at most, below its own two."""

Step = tuple[Wheel, ...]
Place = tuple[str, tuple[str, ...], str]
"""A base, by id, the packages above it, and the index that is named before the first wheels.

All of them are below the layers of wheels.
"""
Beginning = tuple[Place, tuple[Step, ...]]
"""Where a cell begins, and its first steps; without any, it ends after the packages of its system.

No index counts there: it is named later.
"""


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

    A cell belongs to the first group all of whose wheels it holds. The candidates are what all
    holders of one wheel have in common. The candidate that saves most is taken first, even where
    another choice would save more in all: so one more cell seldom changes the layers of others.
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


class Sharing:
    """How the cells of a matrix share layers.

    What is shared follows from the committed locks of the published cells alone, which
    `committed_lock` gives. Other knowledge of this machine must not change what a cell is rendered
    to.
    """

    def __init__(
        self, published: Sequence[Cell], committed_lock: Callable[[Cell], Lock | None]
    ) -> None:
        self._published = published
        self._committed_lock = committed_lock
        self._groups: dict[Place, Sequence[Group]] = {}

    @cached_property
    def _by_place(self) -> Mapping[Place, Sequence[Cell]]:
        cells: dict[Place, list[Cell]] = {}
        for cell in self._published:
            cells.setdefault(_place(cell), []).append(cell)
        return cells

    def groups(self, cell: Cell) -> Sequence[Group]:
        """Return the groups of wheels that cells on the base of this cell share."""
        place = _place(cell)
        if place not in self._groups:
            locks = map(self._committed_lock, self._by_place.get(place, ()))
            self._groups[place] = share([lock for lock in locks if lock])
        return self._groups[place]

    def steps(self, cell: Cell, lock: Lock) -> tuple[Step, ...]:
        """Return the steps that install the wheels of a cell."""
        return steps(lock, self.groups(cell))

    def beginnings(self, cell: Cell, lock: Lock) -> list[Beginning]:
        """Return what a cell begins with, after each step. Equal beginnings are one layer."""
        all_steps, place = self.steps(cell, lock), _place(cell)
        found = [(place, all_steps[: count + 1]) for count in range(len(all_steps))]
        return [((*place[:2], ""), ()), *found] if cell.packages else found


def _place(cell: Cell) -> Place:
    return cell.base_id, cell.packages, cell.index or ""
