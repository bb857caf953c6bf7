"""The check that a plan fits on the disk. It runs before any work starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
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
    """Refuse a plan that cannot fit on the disk; `ahead` are the cells to build.

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
        [(builder.wheelhouse.root, _missing(builder, ahead)), (builder.engine.root, images)],
        "free some disk, or select fewer cells"
        + ("" if options.prune else ", or give --prune: each image is removed after its probes"),
    )


def _missing(builder: Builder, ahead: Sequence[Locked]) -> int:
    """Return the bytes of the wheels that have to be downloaded."""
    missing = {w.sha256: w.size for one in ahead for w in builder.wheelhouse.missing(one.lock)}
    return sum(missing.values())


def _installed(builder: Builder, ahead: Sequence[Locked], options: Options) -> int:
    """Return the bytes of the wheels that are installed at the same time."""
    if options.prune:
        sizes = sorted((one.lock.size for one in ahead), reverse=True)
        return sum(sizes[: options.lanes(builder.engine.capacity)[ENGINE]])
    sharing = builder.building.sharing
    layers = {step for one in ahead for step in sharing.beginnings(one.cell, one.lock)}
    return sum(wheel.size for _, steps in layers for last in steps[-1:] for wheel in last)


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
