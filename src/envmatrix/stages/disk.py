"""The check that a plan fits on the disk. It runs before any work starts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from rich.filesize import decimal

from envmatrix.model.errors import DiskError
from envmatrix.stages.build import Builder
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import ENGINE, Options

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
    images = UNPACKED * _installed(builder, ahead, options)
    cells = [one.cell for one in ahead]
    images += BASE_BYTES * len({cell.base_id for cell in cells})
    images += PACKAGES_BYTES * len(
        {(cell.base_id, cell.packages) for cell in cells if cell.packages}
    )
    _check_space(
        [
            (_made(builder.wheelhouse.root), _missing(builder, ahead, options)),
            (builder.engine.root, images),
        ],
        "free some disk, or select fewer cells"
        + ("" if options.prune else ", or give --prune: it removes what no cell ahead needs"),
    )


def _made(folder: Path) -> Path:
    """Return a folder, or the one above that is there: a first download makes the wheelhouse."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _missing(builder: Builder, ahead: Sequence[Locked], options: Options) -> int:
    """Return the bytes of downloaded wheels that are there at the same time."""
    needed = _Needed()
    for place, one in enumerate(ahead):
        for wheel in builder.wheelhouse.missing(one.lock):
            needed.add(wheel.sha256, wheel.size, place)
    return needed.peak(options.ahead(builder.engine.capacity))


def _installed(builder: Builder, ahead: Sequence[Locked], options: Options) -> int:
    """Return the bytes of the wheels that are installed at the same time."""
    sharing = builder.building.sharing
    needed = _Needed()
    for place, one in enumerate(ahead):
        for layer in sharing.beginnings(one.cell, one.lock):
            needed.add(layer, sum(wheel.size for last in layer[1][-1:] for wheel in last), place)
    lanes = options.lanes(builder.engine.capacity)[ENGINE]
    return needed.peak(lanes if options.prune else None)


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
