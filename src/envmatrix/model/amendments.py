"""Amendments: evidence that somebody marked invalid, with a reason. Nothing is deleted by them.

They stand in `amendments.yaml` beside the matrix. Evidence is named by the id of its cell and by
the time at which it was recorded, so what is recorded after that time counts again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from envmatrix.model.checked import Problem, checked, schema_of, text_of_file
from envmatrix.model.fields import Given, Prose, as_list, text_of
from envmatrix.model.yamldoc import Location

CellPattern = Annotated[
    str,
    text_of(
        "the id of a cell or a glob on ids, such as torch-2.13.0-py3.11-debian12-cpu or torch-*",
        r"[A-Za-z0-9*?][A-Za-z0-9._+*?-]*",
        220,
    ),
]
CellPatterns = Annotated[
    Sequence[CellPattern],
    Field(min_length=1),
    BeforeValidator(
        as_list,
        json_schema_input_type=CellPattern | Annotated[Sequence[CellPattern], Field(min_length=1)],
    ),
]
_DAY = r"20[0-9]{2}-[0-9]{2}-[0-9]{2}"
_TIME = _DAY + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
Time = Annotated[str, text_of('a time in UTC in quotes, such as "2026-11-26T06:06:18Z"', _TIME)]
Moment = Annotated[
    str,
    text_of(
        'a day or a time in UTC in quotes, such as "2026-11-20" or "2026-11-26T06:06:18Z"',
        rf"{_DAY}|{_TIME}",
    ),
]


class Recorded(Given):
    """When evidence was recorded: both ends belong to it, and a day counts as a whole."""

    since: Annotated[Moment | None, Field(alias="from")] = None
    until: Moment


class Mark(Given):
    """Evidence that is invalid: of which cells, recorded when, and why."""

    cells: CellPatterns
    recorded: Recorded | None = None
    recorded_at: Time | None = None
    reason: Prose

    @property
    def moments(self) -> Sequence[tuple[tuple[str, ...], str]]:
        """The moments that are given, the last one last, each after its keys."""
        if self.recorded is None:
            return [(("recorded_at",), self.recorded_at)] if self.recorded_at else []
        ends = (("from", self.recorded.since), ("until", self.recorded.until))
        return [(("recorded", key), moment) for key, moment in ends if moment]


class AmendmentsFile(Given):
    """All of `amendments.yaml`."""

    version: Annotated[Literal[1], Field(alias="schema")]
    amendments: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Amendment:
    """Evidence that is invalid: of the cells that a pattern matches, recorded from first to last.

    Without `first` there is no first moment. `recorded` says the moments as they were written.
    """

    cells: tuple[str, ...]
    first: datetime | None
    last: datetime
    recorded: str
    reason: str

    def names(self, cell_id: str) -> bool:
        """Return whether a cell is one of those that are meant."""
        return any(fnmatchcase(cell_id, pattern) for pattern in self.cells)

    def marks(self, cell_id: str, recorded: datetime) -> bool:
        """Return whether the evidence of a cell that was recorded at a time is marked invalid."""
        at = recorded.replace(microsecond=0)  # Both ends are whole seconds.
        return self.names(cell_id) and (self.first is None or self.first <= at) and at <= self.last

    @property
    def said(self) -> str:
        """What is marked, in words."""
        return f"{', '.join(self.cells)}, recorded {self.recorded}"


@dataclass(frozen=True, slots=True)
class Amendments:
    """All amendments of a project."""

    all: tuple[Amendment, ...] = ()

    def of(self, cell_id: str, recorded: datetime) -> Amendment | None:
        """Return the first amendment that marks evidence invalid, if one does."""
        return next((one for one in self.all if one.marks(cell_id, recorded)), None)

    def until(self, cell_id: str) -> datetime | None:
        """Return the last moment for which an amendment names a cell; None where none does.

        What was recorded of the cell up to then may be what made its evidence invalid.
        """
        return max((one.last for one in self.all if one.names(cell_id)), default=None)


NO_AMENDMENTS = Amendments()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `amendments.yaml`, for editors."""
    return schema_of(AmendmentsFile)


def read_amendments(path: Path, now: datetime) -> Amendments:
    """Read and check the amendments of a file; there are none where there is no file.

    Raises:
        InputError: it cannot be read, or the first thing that is wrong with it.
    """
    if not path.exists():
        return Amendments()
    return load(text_of_file(path, "the amendments", "check its permissions"), path.name, now)


def load(text: str, name: str, now: datetime) -> Amendments:
    """Read and check amendments. Their last moments are not after `now`.

    Raises:
        InputError: the first thing that is wrong, with file, line, key and remedy.
    """

    def contradictions(file: AmendmentsFile) -> Iterator[Problem]:
        for index, mark in enumerate(file.amendments):
            yield from _wrong(mark, ("amendments", index), now)

    is_a = "amendments are a mapping with the keys schema and amendments"
    found = checked(text, name, AmendmentsFile, contradictions, is_a=is_a, docs="docs/evidence.md")
    return Amendments(tuple(_amendment(mark) for mark in found.amendments))


def _amendment(mark: Mark) -> Amendment:
    texts = {keys[-1]: moment for keys, moment in mark.moments}
    last = mark.moments[-1][1]
    first = texts.get("from", texts.get("recorded_at"))
    words = {"recorded_at": "at", "from": "from", "until": "until"}
    return Amendment(
        tuple(mark.cells),
        _first(first) if first else None,
        _last(last),
        " ".join(f"{words[key]} {moment}" for key, moment in texts.items()),
        mark.reason,
    )


def _wrong(mark: Mark, place: Location, now: datetime) -> Iterator[Problem]:
    """Yield what the schema cannot see of an amendment. Only the first counts."""
    if (mark.recorded is None) == (mark.recorded_at is None):
        yield (
            place,
            "an amendment says in one way when the evidence was recorded",
            'give either `recorded: {until: "2026-11-20"}` or `recorded_at: "..."`',
        )
    for keys, moment in mark.moments:
        if not _is_moment(moment):
            yield (
                (*place, *keys),
                f"{moment} is no day and no time",
                'write "YYYY-MM-DD" or "YYYY-MM-DDTHH:MM:SSZ"',
            )
    where = (*place, *mark.moments[-1][0])
    amendment = _amendment(mark)
    if amendment.first and amendment.first > amendment.last:
        yield where, "this ends before it begins", "exchange the two, or leave `from` out"
    if amendment.last > now:
        yield (
            where,
            (
                f"{mark.moments[-1][1]} is not over yet in UTC: evidence that is recorded before "
                "its end would be invalid, too"
            ),
            f'for everything up to now, write "{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"',
        )


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _first(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _last(text: str) -> datetime:
    first = _first(text)
    return first if "T" in text else datetime.combine(first.date(), time(23, 59, 59), UTC)
