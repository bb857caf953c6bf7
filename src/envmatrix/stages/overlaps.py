"""Looking for overlaps: once the wheels of a lock are here, their directories are compared."""

from __future__ import annotations

from collections.abc import Callable

from envmatrix.model.locks import Lock
from envmatrix.resolve.overlaps import found_overlaps
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.store.overlaps import keep_overlaps, recorded_overlaps
from envmatrix.store.records import Records


def look_for_overlaps(
    records: Records, wheelhouse: Wheelhouse, lock: Lock, tell: Callable[[str], None]
) -> None:
    """Look into the wheels of a lock, once; record what is there, and tell it."""
    if recorded_overlaps(records, lock) is not None:
        return
    overlaps = found_overlaps(wheelhouse, lock)
    if overlaps is None:
        return
    keep_overlaps(records, lock, overlaps)
    for overlap in overlaps:
        tell(overlap.said)
