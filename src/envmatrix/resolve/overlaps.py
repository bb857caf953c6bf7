"""Overlaps of wheels that are here: paths that two of them own, with other contents."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from envmatrix.model.evidence import Overlap
from envmatrix.model.locks import Lock
from envmatrix.resolve.wheelhouse import Wheelhouse


def found_overlaps(wheelhouse: Wheelhouse, lock: Lock) -> tuple[Overlap, ...] | None:
    """Return the overlaps of the wheels of a lock; None while a wheel is not here or not readable.

    Only the directories of the wheels are read. Files of equal contents, such as the `__init__.py`
    of a namespace that many wheels share, do no harm and are left out.
    """
    try:
        held = {wheel.name: _contents(wheelhouse.path(wheel)) for wheel in lock.wheels}
    except (OSError, zipfile.BadZipFile):
        return None
    found = []
    for first, second in combinations(sorted(held), 2):
        ours, theirs = held[first], held[second]
        paths = sorted(path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path])
        if paths:
            found.append(
                Overlap(distributions=(first, second), files=len(paths), example=paths[0][:200])
            )
    return tuple(found)


def _contents(path: Path) -> Mapping[str, tuple[int, int]]:
    """Return the checksum and the size of each file of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return {
            info.filename: (info.CRC, info.file_size)
            for info in wheel.infolist()
            if not info.is_dir()
        }
