"""Frees what this project made and can make again: on the engine, and in the state.

An image is ours where this checkout recorded it, and the image itself has a name or a label of this
project: names are shared by all checkouts on an engine, and a record alone may be forged. What is
in use, has a name that somebody else gave, or carries an image that is not ours, is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from envmatrix.engine.leftovers import Held, Leftovers, exclusive_bytes, stands_on
from envmatrix.model.errors import EngineError
from envmatrix.stages.image_records import NameRecord
from envmatrix.stages.options import Origin
from envmatrix.stages.recipes import BuiltRecord, Step
from envmatrix.store.holdings import Kind as Holdings
from envmatrix.store.holdings import empty, holdings
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records

YOUNG_SECONDS = 600.0
"""A container that does not run and is younger may be one that a run is just about to start."""
_MADE = (Step.LAYER.value, Step.BASE.value, Step.CELL.value, "pulled")
"""The records of images that this checkout made, or pulled as the image of a cell."""


class Kind(StrEnum):
    """What can be freed."""

    CONTAINERS = "containers"
    IMAGES = "images"
    CACHE = "cache"
    WHEELHOUSE = "wheelhouse"
    LOGS = "logs"
    TEMPORARY = "temporary"
    ENGINES = "engines"
    EVIDENCE = "evidence"


ON_ENGINE = (Kind.CONTAINERS, Kind.IMAGES, Kind.CACHE)
BY_DEFAULT = tuple(kind for kind in Kind if kind is not Kind.EVIDENCE)
"""All but what cannot be made again at once."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What can be freed of a kind: things by their names, and their bytes together.

    `left` are the things of this kind that stay, and why.
    """

    kind: Kind
    things: tuple[str, ...]
    size: int
    left: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Freed:
    """The bytes of a kind that are gone, measured, and the things that stayed and why."""

    kind: Kind
    size: int
    stayed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Frees what a checkout made. `leftovers` are those of the engine; None: it is not asked."""

    layout: Layout
    records: Records
    leftovers: Leftovers | None
    now: Callable[[], float] = time.time

    def look(self, kinds: Sequence[Kind]) -> list[Portion]:
        """Return what can be freed of these kinds. Nothing is changed.

        Raises:
            EngineError: the engine failed.
        """
        there = {one.kind.value: one for one in holdings(self.layout)}
        found = []
        for kind in kinds:
            if kind in ON_ENGINE:
                if self.leftovers:
                    found.append(self._on_engine(kind, self.leftovers))
            elif one := there.get(kind.value):
                left = tuple((self.layout.short(path), why) for path, why in one.left)
                things = tuple(self.layout.short(path) for path in one.paths)
                found.append(Portion(kind, things, one.size, left))
        return found

    def free(self, shown: Sequence[Portion]) -> Iterator[Freed]:
        """Remove what was shown, and yield what came of each kind. The state must be held alone.

        What appeared since it was shown stays. A failure of the engine ends no other kind.
        """
        for portion in shown:
            if not portion.things and not portion.size:
                continue
            if portion.kind in ON_ENGINE:
                yield self._free_on_engine(portion)
            else:
                yield self._empty(portion)

    # --- the state

    def _empty(self, portion: Portion) -> Freed:
        paths = [self.layout.root / name for name in portion.things]
        emptied = empty(self.layout, Holdings(portion.kind.value), paths, portion.size)
        stayed = tuple((self.layout.short(path), why) for path, why in emptied.stayed)
        return Freed(portion.kind, emptied.freed, stayed)

    # --- the engine

    def _on_engine(self, kind: Kind, leftovers: Leftovers) -> Portion:
        if kind is Kind.CONTAINERS:
            return self._containers(leftovers)
        if kind is Kind.CACHE:
            size = leftovers.cache()
            return Portion(
                kind,
                ("steps that no image uses, of every folder of envmatrix on this engine",)
                if size
                else (),
                size,
            )
        images = leftovers.images()
        going, left = self._images(images)
        named = tuple(one.said for one in going)
        size = exclusive_bytes(images, {one.id for one in going})
        return Portion(kind, named, size, left)

    def _images(self, images: Sequence[Held]) -> tuple[list[Held], tuple[tuple[str, str], ...]]:
        """Return the images of this checkout that can go, the highest first, and which stay."""
        recorded = self._recorded()
        ours = [one for one in images if one.id in recorded and one.is_marked]
        others = [one for one in images if one not in ours]
        going, left = [], []
        for image in sorted(ours, key=lambda one: (-len(one.steps), one.said)):
            above = next((one for one in others if stands_on(one, image)), None)
            if image.foreign_names:
                left.append((image.said, f"you gave it the name {image.foreign_names[0]}"))
            elif above:
                left.append((image.said, f"{above.said} stands on it, which is not of this folder"))
            else:
                going.append(image)
        return going, tuple(left)

    def _recorded(self) -> frozenset[str]:
        """Return the ids of the images that this checkout made."""
        found: set[str] = set()
        for kind in (*_MADE, "os"):
            for key in self.records.keys(kind):
                record = self.records.get(kind, key, BuiltRecord)
                # A pulled system is the user's: other projects stand on it, too.
                if record and (kind != "os" or record.origin == Origin.BOOTSTRAP):
                    found.add(record.id)
        for key in self.records.keys("name"):
            if named := self.records.get("name", key, NameRecord):
                found.add(named.id)
        return frozenset(found)

    def _containers(self, leftovers: Leftovers) -> Portion:
        recorded = self._recorded()
        ours = [one for one in leftovers.containers() if one.image in recorded]
        going, left = [], []
        for one in ours:
            name = one.id[:12]
            if one.running:
                left.append((name, f"it runs; if no run needs it: `docker rm --force {name}`"))
            elif self.now() - one.created < YOUNG_SECONDS:
                left.append((name, "it was made a moment ago, and a run may need it"))
            else:
                going.append(name)
        return Portion(Kind.CONTAINERS, tuple(going), 0, tuple(left))

    def _free_on_engine(self, portion: Portion) -> Freed:
        assert self.leftovers is not None  # noqa: S101  (for the type checker: it was looked at)
        try:
            before = self.leftovers.used()
            stayed = tuple(self._remove(portion, self.leftovers))
            return Freed(portion.kind, max(0, before - self.leftovers.used()), stayed)
        except EngineError as error:
            return Freed(portion.kind, 0, ((portion.kind.value, error.what),))

    def _remove(self, portion: Portion, leftovers: Leftovers) -> Iterator[tuple[str, str]]:
        if portion.kind is Kind.CONTAINERS:
            for one in leftovers.containers():
                if one.id[:12] in portion.things and (why := leftovers.remove_container(one)):
                    yield one.id[:12], why
        if portion.kind is Kind.IMAGES:
            # They are looked up again: a name may have gone to another image meanwhile.
            going, _ = self._images(leftovers.images())
            for image in going:
                if image.said in portion.things and (why := leftovers.remove_image(image)):
                    yield image.said, why
        # The build cache holds the layers of an image as long as it holds the steps.
        if portion.kind in (Kind.IMAGES, Kind.CACHE):
            leftovers.prune_cache()
