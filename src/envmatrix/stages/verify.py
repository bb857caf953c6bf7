"""The verify stage: it builds each image again from nothing, and compares.

Two comparisons are made. The image of this engine is compared with its twin, which is the same
image built again. Where the evidence of a cell tells of an image with other layers, from another
machine or another day, that image is compared with the one that is here.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from envmatrix.engine.image import Image
from envmatrix.engine.layer_content import content_digest
from envmatrix.engine.layerdiff import EMPTY, differences, entries
from envmatrix.engine.process import Cancelled
from envmatrix.model.cells import Cell
from envmatrix.model.digests import moved, short
from envmatrix.model.errors import EngineError, EnvmatrixError
from envmatrix.model.evidence import Difference, Evidence, Reproducibility, Reproducible
from envmatrix.model.verdicts import Judgement
from envmatrix.stages.build import Builder
from envmatrix.stages.elsewhere import Here, compare, instruction, together, verified_at
from envmatrix.stages.graph import Item, run_graph
from envmatrix.stages.inspection import packages_of
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import ENGINE, Options, Origin
from envmatrix.stages.progress import Progress
from envmatrix.stages.recipes import Built
from envmatrix.stages.run import Runner
from envmatrix.store.contents import Contents
from envmatrix.store.packages import SystemPackages, between
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
class Twins:
    """The image of a cell on this engine, which was compared with its twin, and its system."""

    built: Built
    system: Built


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of rebuilding one step. `note` says what could not be compared, and why."""

    differences: tuple[Difference, ...] = ()
    note: str = ""
    checked: bool = True
    twins: Twins | None = None
    """The image of a cell that was compared."""

    @property
    def said(self) -> str:
        """The outcome in a few words."""
        if not self.checked:
            return f"not checked: {self.note}"
        if self.differences:
            return f"differs: {self.differences[0].path}"
        return "the same" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, slots=True)
class _Rebuilt:
    """What came of rebuilding a cell, with the version of the engine."""

    found: Reproducibility
    compared: Twins | None
    engine: str


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies cells, and puts the result into their evidence."""

    runner: Runner
    rebuilds: Rebuilds
    packages: SystemPackages

    @property
    def contents(self) -> Contents:
        """What is known of the contents of layers."""
        return self.runner.maker.contents

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
        rebuilt: Mapping[str, _Rebuilt] = {}
        if locked:
            with self.runner.building.open(options, progress) as builder:
                rebuilt = self._rebuild(locked, builder, options, progress)
        kept = (self._keep(cell, rebuilt.get(cell.id)) for cell in cells)
        return [evidence for evidence in kept if evidence is not None]

    def _rebuild(
        self, cells: Sequence[Locked], builder: Builder, options: Options, progress: Progress
    ) -> Mapping[str, _Rebuilt]:
        """Rebuild cells; return what came of each, by cell id."""
        items: dict[str, Item] = {}
        for one in cells:
            cell = one.cell
            for kind, subject in (
                (Kind.OS, cell.system_id),
                (Kind.BASE, cell.base_id),
                (Kind.CELL, cell.id),
            ):
                item = Item(kind, subject, cell.id, ENGINE)
                items.setdefault(item.key, item)
        progress.expect("verify", len(items))
        by_id = {one.cell.id: one for one in cells}
        comparer = _Comparer(by_id, builder, progress, self.contents)
        results = run_graph(
            list(items.values()),
            options.lanes(builder.engine.capacity),
            comparer.do,
            builder.engine.cancelled.set,
        )
        found = {}
        for one in cells:
            cell = one.cell
            below = [results[f"{Kind.OS}:{cell.system_id}"], results[f"{Kind.BASE}:{cell.base_id}"]]
            compared = results[f"{Kind.CELL}:{cell.id}"]
            reproducibility = _reproducibility([*below, compared])
            if twins := compared.twins:
                self.rebuilds.keep(twins.built.image.layers, reproducibility)
            found[cell.id] = _Rebuilt(reproducibility, twins, builder.engine.version)
        return found

    def _keep(self, cell: Cell, rebuilt: _Rebuilt | None) -> Evidence | None:
        """Put what came of rebuilding the image of a cell into the evidence of the cell.

        What could not be checked this time does not replace what is known from before.
        """
        runner = self.runner
        evidence = runner.knowledge.current(cell) or runner.book.evidence(cell.id)
        if evidence is None:
            return None
        before = evidence.reproducibility
        found = rebuilt.found if rebuilt else Reproducibility()
        if rebuilt and rebuilt.compared and evidence.layers:
            here = self._here(rebuilt.compared, rebuilt.engine)
            if evidence.layers == here.layers:
                evidence = evidence.with_contents(here.contents)
            else:
                found = together(found, self._compare(cell, evidence, here, rebuilt.compared))
        checked = found.status is not Reproducible.NOT_CHECKED
        known = before.status is not Reproducible.NOT_CHECKED
        kept = before if known and not checked else found
        runner.book.keep(evidence.with_reproducibility(kept))
        return evidence.with_reproducibility(found)

    def _here(self, compared: Twins, engine: str) -> Here:
        contents, layers = self.contents, compared.built.image.layers
        known = [contents.get(layer) for layer in layers]
        return Here(
            layers,
            contents.of(layers),
            tuple(record.step if record else "" for record in known),
            len(compared.system.image.layers),
            engine,
        )

    def _compare(
        self, cell: Cell, evidence: Evidence, here: Here, compared: Twins
    ) -> Reproducibility:
        """Compare an image with other layers, which the evidence tells of, with the one here."""
        if other := _other_packages(evidence, compared.built):
            return Reproducibility(notes=(other,))
        return compare(evidence, here, lambda: self._other_system(cell, evidence, compared.system))

    def _other_system(self, cell: Cell, evidence: Evidence, system: Built) -> str:
        """Say why the operating system below the image that was probed may be another than here."""
        base = evidence.base
        if base is None or base.origin is None:
            return f"where the {cell.os} of the image that was probed came from is not known"
        if base.origin != system.origin:
            return (
                f"the {cell.os} of the image that was probed came by {base.origin}, and the one "
                f"here by {system.origin}"
            )
        if system.origin == Origin.PULL:
            reference = self.runner.building.matrix.axes.os[cell.os].image
            if not (base.digest and system.digest):
                whose = "here" if base.digest else "of the image that was probed"
                return f"the digest of the {reference} {whose} is not known"
            digests = {*system.image.digests_of(reference), system.digest}
            return moved(reference, base.digest, digests)
        before = self.packages.held(evidence.layers) or self.packages.published(cell.system_id)
        now = self.packages.held(system.image.layers)
        if not (before and now):
            return f"the packages of the {cell.os} of the image that was probed are not known"
        drift = between(before, now)
        return drift and (
            f"the image that was probed stands on another {cell.os} than can be made now: {drift}"
        )


def _other_packages(evidence: Evidence, built: Built) -> str:
    """Say why the packages of the image that was probed are others than here; nothing if not."""
    if not (evidence.packages and built.packages):
        return ""
    drift = between(evidence.packages, built.packages)
    return drift and (
        f"the image that was probed has other packages than can be had now: {drift}; to judge what "
        f"is here: `envmatrix run {evidence.id}`, then `envmatrix verify {evidence.id}`"
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
        verified_at=verified_at(status),
        differences=found,
        notes=tuple(step.note for step in steps if step.note),
    )


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Rebuilds and compares one thing at a time."""

    cells: Mapping[str, Locked]
    builder: Builder
    progress: Progress
    contents: Contents
    _reading: threading.Lock = field(default_factory=threading.Lock)

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
                return self._cell(one)

    def _os(self, cell: Cell) -> Compared:
        systems = self.builder.systems
        built = systems.get(cell)
        if isinstance(built, Judgement):
            return Compared(note=built.cause, checked=False)
        if built.origin != Origin.BOOTSTRAP:
            return Compared(note=_of_registry(cell, built))
        before = systems.packages.held(built.image.layers)
        again = systems.bootstrap(cell)
        now = systems.packages.held(again.layers)
        if before != now:
            self.builder.engine.images.remove(again.id)
            return Compared(
                note=f"{cell.os} cannot be made again: its mirror has moved on "
                f"({len(set(before) ^ set(now))} packages)"
            )
        return self._compare(built, again)

    def _cell(self, one: Locked) -> Compared:
        found = self.builder.rebuild_cell(one.cell, one.lock)
        if not isinstance(found, Judgement) and (moved_on := self._moved_on(one.cell, *found)):
            return moved_on
        compared = self._twins(found)
        system = self.builder.systems.get(one.cell)
        if isinstance(found, Judgement) or isinstance(system, Judgement):
            return compared
        built, _ = found
        return replace(compared, note=self._read(one.cell, built.image), twins=Twins(built, system))

    def _moved_on(self, cell: Cell, built: Built, again: Image) -> Compared | None:
        """Return that a cell cannot be made again, if its packages are others by now."""
        engine = self.builder.engine
        drift = between(built.packages, packages_of(engine, again, cell))
        if not drift:
            return None
        engine.images.remove(again.id)
        return Compared(
            note=f"{cell.id} cannot be made again: its mirror has moved on ({drift})", checked=False
        )

    def _read(self, cell: Cell, image: Image) -> str:
        """Take the digests of what layers contain that are not known yet; say what hindered that.

        One image is read at a time: a base that several cells stand on is read once.
        """
        engine = self.builder.engine
        folder = self.builder.building.layout.state / "verify"
        with self._reading:
            ahead = {layer for layer in image.layers if not self.contents.get(layer)}
            if not ahead:
                return ""
            try:
                with engine.images.saved(image.id, folder) as saved:
                    for layer, file, step in zip(
                        image.layers, saved.layers, saved.steps, strict=True
                    ):
                        if engine.cancelled.is_set():
                            raise Cancelled
                        if layer in ahead:
                            self.contents.keep(layer, content_digest(file), instruction(step))
                            ahead.discard(layer)
            except EngineError as error:
                # The note is published. What an engine says may name places of its machine.
                self.progress.tell(
                    f"what the layers of {cell.id} contain could not be read: {error.what}"
                )
                return "what its layers contain could not be read: the engine failed"
        return ""

    def _twins(self, found: tuple[Built, Image] | Judgement) -> Compared:
        if isinstance(found, Judgement):
            return Compared(note=found.cause, checked=False)
        return self._compare(*found)

    def _compare(self, built: Built, again: Image) -> Compared:
        """Compare an image with its rebuilt twin, and remove the twin."""
        images = self.builder.engine.images
        try:
            found = [
                *_config_differences(built.image.config, again.config),
                *self._layer_differences(built.image, again),
            ]
        finally:
            images.remove(again.id)
        return Compared(tuple(found))

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


def _of_registry(cell: Cell, built: Built) -> str:
    """Say what a pulled system is compared by."""
    if built.digest:
        return f"{cell.os} is what the registry gave, by its digest {short(built.digest)}"
    return f"{cell.os} is an image of this engine, and no registry's digest of it is known"


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
