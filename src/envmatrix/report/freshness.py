"""How old evidence is. A table whose newest evidence is old may tell of a world that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.report.states import utc

_AGE = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class Freshness:
    """When the first and the last of some cells were run, in UTC; None where none was."""

    oldest: datetime | None
    newest: datetime | None

    @property
    def said(self) -> str:
        """The days in words; empty where no cell was run."""
        if self.oldest is None or self.newest is None:
            return ""
        first, last = self.oldest.date(), self.newest.date()
        return f"Evidence from {first}" + (f" to {last}" if last != first else "")


def executed(cells: Iterable[Evidence]) -> list[Evidence]:
    """Return the evidence of cells that were run. Nothing else has an age: it is made anew."""
    return [cell for cell in cells if cell.verdict.was_run]


def freshness(cells: Iterable[Evidence]) -> Freshness:
    """Return when the first and the last of some cells were run."""
    times = [utc(cell.generated_at) for cell in executed(cells)]
    return Freshness(min(times, default=None), max(times, default=None))


def older(cells: Iterable[Evidence], age: timedelta, now: datetime) -> list[Evidence]:
    """Return the evidence of executed cells that is older than `age`, the oldest first."""
    found = [cell for cell in executed(cells) if now - utc(cell.generated_at) > age]
    return sorted(found, key=lambda cell: utc(cell.generated_at))


def age_of(text: str) -> timedelta:
    """Read an age such as 90d, 12w or 36h.

    Raises:
        InputError: it is none.
    """
    if not (found := _AGE.fullmatch(text)):
        raise InputError(
            f"{text!r} is no age",
            where="--max-age",
            next_step="give hours, days or weeks, such as `--max-age 36h`, `90d` or `12w`",
        )
    return int(found[1]) * _UNITS[found[2]]
