"""The checks of the disk: that a plan fits, and during the run that there is room to go on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from envmatrix.model.errors import DiskError
from envmatrix.render.sharing import Sharing
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import ENGINE, Options

if TYPE_CHECKING:
    from envmatrix.stages.build import Builder

UNPACKED = 3.5
"""An installed cell takes this many times the bytes of its wheels (measured: 2.5 to 3.5)."""
BASE_BYTES = 400_000_000
PACKAGES_BYTES = 300_000_000
"""A compiler with what it needs, installed (measured: 286 MB)."""
HEADROOM = 10_000_000
"""What a run needs on each disk beside wheels and images: logs, records, the engine's own files."""


def check_disk(builder: Builder, ahead: Sequence[Locked], options: Options) -> None:
    """Refuse a plan that cannot fit on the disk; `ahead` are the cells to build, in their order.

    Raises:
        DiskError: with how much is needed and how much there is.
    """
    if not ahead:
        return
    capacity = builder.engine.capacity
    lanes = options.lanes(capacity)[ENGINE] if options.prune else None
    bases = {one.cell.base_id: one.cell for one in ahead}.values()
    missing = sum(not builder.has_base(cell) for cell in bases)
    _check_space(
        builder,
        wheels_needed(builder.wheelhouse, ahead, options.ahead(capacity)),
        images_needed(builder.building.sharing, ahead, missing, lanes),
        options,
    )


@dataclass
class Gate:
    """Lets work begin only while there is room for it: other programs fill the disk meanwhile.

    The cells whose ids are in `unbuilt` need room. Once work has failed for want of disk, another
    cell is begun only where all that it needs is free.
    """

    builder: Builder
    options: Options
    unbuilt: Collection[str]
    _was_full: bool = False

    def check(self, one: Locked) -> None:
        """Refuse to begin a piece of work for a cell.

        Raises:
            DiskError: with how much is needed and how much there is.
        """
        if one.cell.id not in self.unbuilt:
            return
        if self._was_full:
            check_disk(self.builder, [one], self.options)
        else:
            _check_space(self.builder, 0, 0, self.options)

    def hear(self, kind: str) -> None:
        """Hear the class of a judgement that ended a piece of work."""
        self._was_full = self._was_full or kind == DiskError.kind


def made(folder: Path) -> Path:
    """Return a folder, or the one above that is there: a first download makes the wheelhouse."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def wheels_needed(wheelhouse: Wheelhouse, ahead: Sequence[Locked], width: int | None) -> int:
    """Return the bytes of wheels to download for any `width` cells in a row. None: for all."""
    needed = _Needed()
    for place, one in enumerate(ahead):
        for wheel in wheelhouse.missing(one.lock):
            needed.add(wheel.sha256, wheel.size, place)
    return needed.peak(width)


def images_needed(
    sharing: Sharing, ahead: Sequence[Locked], bases: int, width: int | None
) -> float:
    """Return the bytes of the images of any `width` cells in a row, and of so many bases."""
    needed = _Needed()
    for place, one in enumerate(ahead):
        for layer in sharing.beginnings(one.cell, one.lock):
            needed.add(layer, sum(wheel.size for last in layer[1][-1:] for wheel in last), place)
    packages = {(one.cell.base_id, one.cell.packages) for one in ahead if one.cell.packages}
    return UNPACKED * needed.peak(width) + BASE_BYTES * bases + PACKAGES_BYTES * len(packages)


class _Needed:
    """Things with a size that cells need, each from the first cell to the last that needs it."""

    def __init__(self) -> None:
        self._spans: dict[Hashable, tuple[int, int, int]] = {}

    def add(self, thing: Hashable, size: int, place: int) -> None:
        """Say that the cell at a place needs a thing. Places come in their order."""
        first, _, _ = self._spans.get(thing, (place, place, size))
        self._spans[thing] = first, place, size

    def peak(self, width: int | None) -> int:
        """Return the most bytes that any `width` cells in a row need. None: all cells."""
        if width is None:
            return sum(size for _, _, size in self._spans.values())
        changes: Counter[int] = Counter()
        for first, last, size in self._spans.values():
            changes[first - width + 1] += size
            changes[last + 1] -= size
        return max(accumulate(changes[place] for place in sorted(changes)), default=0)


def _check_space(builder: Builder, wheels: float, images: float, options: Options) -> None:
    """Refuse where the disk of wheels or that of images, which may be one, has too little free."""
    needs = [(made(builder.wheelhouse.root), wheels), (builder.engine.root, images)]
    by_device: dict[int, tuple[Path, float]] = {}
    for folder, size in needs:
        if folder is not None and folder.exists():
            device = folder.stat().st_dev
            before = by_device.get(device, (folder, 0.0))[1]
            by_device[device] = (folder, before + size + HEADROOM)
    for folder, size in by_device.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DiskError(
                f"this needs about {decimal(int(size))} of disk and {decimal(free)} are free",
                where=str(folder),
                next_step="free some disk, or select fewer cells"
                + (
                    ""
                    if options.prune
                    else ", or give --prune: it removes what no cell ahead needs"
                ),
            )
