"""What is known of distributions of a lock that own the same files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envmatrix.model.evidence import Overlap
from envmatrix.model.locks import Lock
from envmatrix.model.overlaps import known_overlaps
from envmatrix.model.part import Part
from envmatrix.store.records import Records

_KIND = "overlaps"


class OverlapsRecord(Part):
    """What was found in the wheels of a lock."""

    overlaps: tuple[Overlap, ...]


def recorded_overlaps(records: Records, lock: Lock) -> tuple[Overlap, ...] | None:
    """Return what was found in the wheels of a lock; None where nobody looked."""
    record = records.get(_KIND, lock.sha256, OverlapsRecord)
    return record.overlaps if record else None


def keep_overlaps(records: Records, lock: Lock, overlaps: Sequence[Overlap]) -> None:
    """Record what was found in the wheels of a lock."""
    records.put(_KIND, lock.sha256, OverlapsRecord(overlaps=tuple(overlaps)))


def overlaps_of(records: Records, lock: Lock) -> tuple[Overlap, ...]:
    """Return the overlaps of a lock: what was found in its wheels, or what their names tell."""
    found = recorded_overlaps(records, lock)
    return known_overlaps(wheel.name for wheel in lock.wheels) if found is None else found


def said_of_locks(records: Records, locks: Iterable[Lock]) -> list[str]:
    """Return a sentence for each overlap of some locks, each once, with how many locks have it."""
    counts: dict[str, int] = {}
    for lock in locks:
        for overlap in overlaps_of(records, lock):
            counts[overlap.said] = counts.get(overlap.said, 0) + 1
    return [f"{said} ({count} lock{'s' if count != 1 else ''})" for said, count in counts.items()]
