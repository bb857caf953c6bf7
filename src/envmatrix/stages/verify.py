"""The verify stage: it builds each image again from nothing, and compares the two."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from envmatrix.engine.image import Image
from envmatrix.engine.layerdiff import EMPTY, differences, entries
from envmatrix.engine.process import Cancelled
from envmatrix.model.cells import Cell
from envmatrix.model.errors import EnvmatrixError
from envmatrix.model.evidence import Difference, Evidence, Reproducibility, Reproducible
from envmatrix.model.image_names import REPOSITORY
from envmatrix.model.verdicts import Judgement
from envmatrix.stages.build import Builder
from envmatrix.stages.graph import Item, run_graph
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import ENGINE, Options, Origin
from envmatrix.stages.progress import Progress
from envmatrix.stages.recipes import Built
from envmatrix.stages.run import Runner
from envmatrix.store.packages import SystemPackages
from envmatrix.store.rebuilds import Rebuilds

SHOWN = 20
"""Differences that are kept of one step. One cause often touches thousands of paths."""
_ORDER = "the engine wrote the same paths in another order"


class Kind(StrEnum):
    """What is built again."""

    OS = "os"
    BASE = "base"
    CELL = "cell"


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of rebuilding one step. `note` says what could not be compared, and why."""

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


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies cells, and puts the result into their evidence."""

    runner: Runner
    rebuilds: Rebuilds
    packages: SystemPackages

    def verify(self, cells: Sequence[Cell], options: Options, progress: Progress) -> list[Evidence]:
        """Rebuild cells and the images below them; return their evidence with the result.

        What is not built yet is built first. Cells that cannot be built stay `not checked`.

        Raises:
            EnvmatrixError: the surroundings fail before anything can be compared.
        """
        self.runner.run(cells, replace(options, probing=False), progress)
        locking = self.runner.locking
        found = locking.lock(cells, progress, jobs=options.jobs)
        locked = list(locking.locked(cells, found))
        verified: Mapping[str, Sequence[str]] = {}
        if locked:
            with self.runner.building.open(options, progress) as builder:
                verified = self._rebuild(locked, builder, options, progress)
        kept = (self._keep(cell, verified.get(cell.id, ())) for cell in cells)
        return [evidence for evidence in kept if evidence is not None]

    def _rebuild(
        self, cells: Sequence[Locked], builder: Builder, options: Options, progress: Progress
    ) -> Mapping[str, Sequence[str]]:
        """Rebuild cells; return the layers of each that were verified, by cell id."""
        items: dict[str, Item] = {}
        for one in cells:
            cell = one.cell
            for kind, subject in (
                (Kind.OS, cell.os),
                (Kind.BASE, cell.base_id),
                (Kind.CELL, cell.id),
            ):
                item = Item(kind, subject, cell.id, ENGINE)
                items.setdefault(item.key, item)
        progress.expect("verify", len(items))
        comparer = _Comparer({one.cell.id: one for one in cells}, builder, progress)
        results = run_graph(
            list(items.values()), options.lanes, comparer.do, builder.engine.cancelled.set
        )
        layers = {}
        for one in cells:
            cell = one.cell
            below = [results[f"{Kind.OS}:{cell.os}"], results[f"{Kind.BASE}:{cell.base_id}"]]
            compared = results[f"{Kind.CELL}:{cell.id}"]
            self.rebuilds.keep(compared.layers, _reproducibility([*below, compared]))
            layers[cell.id] = compared.layers
        return layers

    def _keep(self, cell: Cell, layers: Sequence[str]) -> Evidence | None:
        """Put the result of rebuilding an image of these layers into the evidence of a cell."""
        evidence = self.runner.book.evidence(cell.id)
        if evidence is None:
            return None
        found = self.rebuilds.of(layers)
        if layers and evidence.layers and evidence.layers != tuple(layers):
            found = self._of_another_image(cell, evidence.layers, layers, found)
        evidence = evidence.with_reproducibility(found)
        self.runner.book.keep(evidence)
        return evidence

    def _of_another_image(
        self, cell: Cell, probed: Sequence[str], layers: Sequence[str], found: Reproducibility
    ) -> Reproducibility:
        """Return the result for a cell whose probes ran in an image with other layers."""
        drift = self.packages.drift_below(cell, layers) if probed[0] != layers[0] else ""
        if not drift:
            note = "the image that was probed had other layers, though its inputs are the same"
            return found.model_copy(update={"status": Reproducible.DIFFERS, "notes": (note,)})
        note = (
            f"the image that was probed stands on another {cell.os} than can be made now: {drift}"
            "; run it again, then verify"
        )
        return found.model_copy(
            update={"status": Reproducible.NOT_CHECKED, "verified_at": None, "notes": (note,)}
        )


def _reproducibility(steps: Sequence[Compared]) -> Reproducibility:
    found = tuple(itertools.chain.from_iterable(step.differences for step in steps))
    if found:
        status = Reproducible.DIFFERS
    elif all(step.checked for step in steps):
        status = Reproducible.PROVEN
    else:
        status = Reproducible.NOT_CHECKED
    return Reproducibility(
        status=status,
        verified_at=datetime.now(UTC).date(),
        differences=found,
        notes=tuple(step.note for step in steps if step.note),
    )


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Rebuilds and compares one thing at a time."""

    cells: Mapping[str, Locked]
    builder: Builder
    progress: Progress

    def do(self, item: Item, _: Mapping[str, Compared]) -> Compared:
        self.progress.started("verify", item.subject)
        try:
            compared = self._compared(item)
        except Cancelled:
            raise KeyboardInterrupt from None
        except EnvmatrixError as error:
            compared = Compared(note=error.what, checked=False)
        self.progress.finished("verify", item.subject, compared.said, reused=False)
        return compared

    def _compared(self, item: Item) -> Compared:
        one = self.cells[item.cell_id]
        match Kind(item.kind):
            case Kind.OS:
                return self._os(one.cell)
            case Kind.BASE:
                return self._twins(self.builder.rebuild_base(one.cell))
            case Kind.CELL:
                return self._twins(self.builder.rebuild_cell(one.cell, one.lock))

    def _os(self, cell: Cell) -> Compared:
        systems = self.builder.systems
        built = systems.get(cell)
        if isinstance(built, Judgement):
            return Compared(note=built.cause, checked=False)
        if built.origin != Origin.BOOTSTRAP:
            return Compared(note=f"{cell.os} is what the registry gave, by digest")
        before = systems.packages.held(built.image.layers)
        again = systems.bootstrap(cell, f"{REPOSITORY}/verify:{cell.os}")
        now = systems.packages.held(again.layers)
        if before != now:
            self.builder.engine.images.remove(again.id)
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
        images = self.builder.engine.images
        try:
            found = [
                *_config_differences(images.config(built.image.id), images.config(again.id)),
                *self._layer_differences(built.image, again),
            ]
        finally:
            images.remove(again.id)
        return Compared(tuple(found), layers=built.image.layers)

    def _layer_differences(self, first: Image, again: Image) -> Iterator[Difference]:
        held, held_again = _holding(first), _holding(again)
        if len(held) != len(held_again):
            counts = f"{len(held)} / {len(held_again)} layers"
            why = "a step that changes nothing makes no layer"
            yield Difference(path="(layers)", what=counts, cause=why)
            return
        pairs = zip(held, held_again, strict=True)
        changed = [(one[0], other[0]) for one, other in pairs if one[1] != other[1]]
        if not changed:
            return
        folder = self.builder.building.layout.state / "verify"
        images = self.builder.engine.images
        with images.layers(first.id, folder) as ours, images.layers(again.id, folder) as theirs:
            for place, again_place in changed:
                found = differences(entries(ours[place]), entries(theirs[again_place]))
                yield from list(itertools.islice(found, SHOWN)) or [
                    Difference(
                        path=f"(layer {place + 1})", what="the order of its paths", cause=_ORDER
                    )
                ]


def _holding(image: Image) -> list[tuple[int, str]]:
    """Return the layers of an image that hold anything, each after its place.

    BuildKit makes an empty layer for a WORKDIR, and the classic builder makes none.
    """
    return [(place, layer) for place, layer in enumerate(image.layers) if layer != EMPTY]


def _config_differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[Difference]:
    ours, theirs = ({**config, **config["config"]} for config in (first, second))
    for name in sorted({*ours, *theirs} - {"config"}):
        if ours.get(name) != theirs.get(name):
            before, after = _apart(ours.get(name), theirs.get(name))
            yield Difference(
                path=f"({name} of the configuration)",
                what=f"{before!s:.300} / {after!s:.300}",
                cause="an instruction or a build argument is not the same in each build",
            )


def _apart(one: object, other: object) -> tuple[object, object]:
    """Return what only one of two lists or mappings holds; of anything else all."""
    if isinstance(one, list) and isinstance(other, list):
        alone = [x for x in one if x not in other], [x for x in other if x not in one]
        return alone if any(alone) else (one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return dict(one.items() - other.items()), dict(other.items() - one.items())
    return one, other
