"""Proof that images rebuild bit for bit: each is built from nothing beside itself and compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from envmatrix.build import Builder, Built, Origin
from envmatrix.cells import Cell
from envmatrix.engine import Cancelled, Image
from envmatrix.errors import EnvmatrixError
from envmatrix.evidence import Judgement, Reproducible
from envmatrix.graph import Task, run_graph
from envmatrix.layerdiff import EMPTY, Difference, differences, entries
from envmatrix.lock import Lock
from envmatrix.project import Project
from envmatrix.render import REPOSITORY
from envmatrix.run import (
    Options,
    Progress,
    building,
    default_jobs,
    lock_cells,
    locked_cells,
    run_cells,
)

SHOWN = 20
"""Differences that are kept of one step; one cause often touches thousands of paths."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of rebuilding one step. `note` says what could not be compared, and why."""

    differences: tuple[Difference, ...] = ()
    note: str = ""
    checked: bool = True
    layers: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The outcome in a few words."""
        if not self.checked:
            return f"not checked: {self.note}"
        if self.differences:
            return f"differs: {self.differences[0].path}"
        return "the same" + (f" ({self.note})" if self.note else "")


def verify_cells(
    project: Project, cells: Sequence[Cell], options: Options, progress: Progress
) -> list[dict[str, Any]]:
    """Rebuild cells and what they stand on; return their evidence with what came of it.

    What is not built yet is built first. Cells that cannot be built stay `not checked`.

    Raises:
        EnvmatrixError: the surroundings fail before anything can be compared.
    """
    run_cells(project, cells, replace(options, probing=False), progress)
    found = lock_cells(project, cells, progress, jobs=options.jobs)
    locks = {one.cell: one.lock for one in locked_cells(project, cells, found)}
    verified: Mapping[Cell, Sequence[str]] = {}
    if locks:
        with building(project, options, progress) as builder:
            verified = _Verification(project, builder, options, progress).run(locks)
    kept = [project.keep_verified(cell, verified.get(cell, ())) for cell in cells]
    return [evidence for evidence in kept if evidence is not None]


@dataclass(frozen=True, slots=True)
class _Verification:
    project: Project
    builder: Builder
    options: Options
    progress: Progress

    def run(self, locks: Mapping[Cell, Lock]) -> Mapping[Cell, Sequence[str]]:
        """Verify cells; return the layers that were verified of each."""
        tasks: dict[str, Task] = {}
        for cell, lock in locks.items():
            for kind, name, check in (
                ("os", cell.os, lambda cell=cell: self._os(cell)),
                (
                    "base",
                    cell.base_id,
                    lambda cell=cell: self._twins(self.builder.rebuild_base(cell)),
                ),
                (
                    "cell",
                    cell.id,
                    lambda cell=cell, lock=lock: self._twins(self.builder.rebuild_cell(cell, lock)),
                ),
            ):
                key = f"{kind}:{name}"
                tasks.setdefault(key, Task(key, (), "engine", self._told(name, check)))
        self.progress.expect("verify", len(tasks))
        lanes = {"engine": self.options.jobs or default_jobs()}
        results = run_graph(list(tasks.values()), lanes, self.builder.engine.cancelled.set)
        for cell in locks:
            self._keep(
                results[f"cell:{cell.id}"],
                [results[f"os:{cell.os}"], results[f"base:{cell.base_id}"]],
            )
        return {cell: results[f"cell:{cell.id}"].layers for cell in locks}

    def _told(
        self, name: str, check: Callable[[], Compared]
    ) -> Callable[[Mapping[str, Any]], Compared]:
        def work(_: Mapping[str, Any]) -> Compared:
            self.progress.started("verify", name)
            try:
                compared = check()
            except Cancelled:
                raise KeyboardInterrupt from None
            except EnvmatrixError as error:
                compared = Compared(note=error.what, checked=False)
            self.progress.finished("verify", name, compared.said, reused=False)
            return compared

        return work

    def _keep(self, cell: Compared, below: Sequence[Compared]) -> None:
        steps = [*below, cell]
        found = list(itertools.chain.from_iterable(step.differences for step in steps))
        if found:
            verdict = Reproducible.DIFFERS
        elif all(step.checked for step in steps):
            verdict = Reproducible.PROVEN
        else:
            verdict = Reproducible.NOT_CHECKED
        self.project.keep_verification(
            cell.layers,
            {
                "reproducible": verdict.value,
                "verified_at": datetime.now(UTC).date().isoformat(),
                "differences": [difference.to_json() for difference in found],
                "verify_notes": [step.note for step in steps if step.note],
            },
        )

    def _os(self, cell: Cell) -> Compared:
        built = self.builder.os(cell)
        if isinstance(built, Judgement):
            return Compared(note=built.cause, checked=False)
        if built.origin != Origin.BOOTSTRAP:
            return Compared(note=f"{cell.os} is what the registry gave, by digest")
        before = self.project.packages(built.image.layers[0])
        again = self.builder.bootstrap(cell, f"{REPOSITORY}/verify:{cell.os}")
        now = self.project.packages(again.layers[0])
        if before != now:
            self.builder.engine.remove_image(again.id)
            return Compared(
                note=f"{cell.os} cannot be made again: its mirror has moved on "
                f"({len(set(before) ^ set(now))} packages)"
            )
        return self._compare(built, again)

    def _twins(self, found: tuple[Built, Image] | Judgement) -> Compared:
        if isinstance(found, Judgement):
            return Compared(note=found.cause, checked=False)
        return self._compare(*found)

    def _compare(self, built: Built, again: Image) -> Compared:
        """Compare an image with its rebuilt twin, and remove the twin."""
        engine = self.builder.engine
        try:
            found = [
                *_config_differences(engine.config(built.image.id), engine.config(again.id)),
                *self._layer_differences(built.image, again),
            ]
        finally:
            engine.remove_image(again.id)
        return Compared(tuple(found), layers=built.image.layers)

    def _layer_differences(self, first: Image, again: Image) -> Iterator[Difference]:
        held, held_again = _holding(first), _holding(again)
        if len(held) != len(held_again):
            counts = f"{len(held)} / {len(held_again)} layers"
            yield Difference("(layers)", counts, "a step that changes nothing makes no layer")
            return
        pairs = zip(held, held_again, strict=True)
        changed = [(one[0], other[0]) for one, other in pairs if one[1] != other[1]]
        if not changed:
            return
        folder, engine = self.project.store.root / "verify", self.builder.engine
        with engine.layers(first.id, folder) as ours, engine.layers(again.id, folder) as theirs:
            for place, again_place in changed:
                found = differences(entries(ours[place]), entries(theirs[again_place]))
                yield from list(itertools.islice(found, SHOWN)) or [
                    Difference(f"(layer {place + 1})", "the order of its paths", _ORDER)
                ]


def _holding(image: Image) -> list[tuple[int, str]]:
    """Return the layers of an image that hold anything, each after its place.

    BuildKit makes one that holds nothing for a WORKDIR, the classic builder none.
    """
    return [(place, layer) for place, layer in enumerate(image.layers) if layer != EMPTY]


_ORDER = "the engine wrote the same paths in another order"


def _config_differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in first:
        if first[name] != second[name]:
            yield Difference(
                f"({name} of the configuration)",
                f"{first[name]!s:.300} / {second[name]!s:.300}",
                "an instruction or a build argument is not the same in each build",
            )
