"""The check that a plan fits on the disk. It runs before any work starts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
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


def check_disk(builder: Builder, ahead: Sequence[Locked], options: Options) -> None:
    """Refuse a plan that cannot fit on the disk; `ahead` are the cells to build, in their order.

    Raises:
        DiskError: with how much is needed and how much there is.
    """
    capacity = builder.engine.capacity
    lanes = options.lanes(capacity)[ENGINE] if options.prune else None
    _check_space(
        [
            (
                made(builder.wheelhouse.root),
                wheels_needed(builder.wheelhouse, ahead, options.ahead(capacity)),
            ),
            (builder.engine.root, images_needed(builder.building.sharing, ahead, lanes)),
        ],
        "free some disk, or select fewer cells"
        + ("" if options.prune else ", or give --prune: it removes what no cell ahead needs"),
    )


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


def images_needed(sharing: Sharing, ahead: Sequence[Locked], width: int | None) -> float:
    """Return the bytes of the images of any `width` cells in a row, and of all their bases."""
    needed = _Needed()
    for place, one in enumerate(ahead):
        for layer in sharing.beginnings(one.cell, one.lock):
            needed.add(layer, sum(wheel.size for last in layer[1][-1:] for wheel in last), place)
    cells = [one.cell for one in ahead]
    bases = {cell.base_id for cell in cells}
    packages = {(cell.base_id, cell.packages) for cell in cells if cell.packages}
    return UNPACKED * needed.peak(width) + BASE_BYTES * len(bases) + PACKAGES_BYTES * len(packages)


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


def _check_space(needs: Iterable[tuple[Path | None, float]], remedy: str) -> None:
    by_device: dict[int, tuple[Path, float]] = {}
    for folder, size in needs:
        if folder is not None and folder.exists():
            device = folder.stat().st_dev
            by_device[device] = (folder, by_device.get(device, (folder, 0.0))[1] + size)
    for folder, size in by_device.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DiskError(
                f"this needs about {decimal(int(size))} of disk and {decimal(free)} are free",
                where=str(folder),
                next_step=remedy,
            )
