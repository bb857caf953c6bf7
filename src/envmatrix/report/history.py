"""The history of verdicts: one event for each change of a cell, and what follows from them.

The file history.jsonl holds an event a line and only grows. The events are read in the order of
their times, so a merge in git that puts lines in another order, or one twice, changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.part import Handle, Part
from envmatrix.model.text import name
from envmatrix.model.verdicts import Verdict
from envmatrix.report.states import State, Time, utc

GONE: Final = "gone"
"""What stands in place of the verdict of a cell that left the report."""
LONGEST_LINE: Final = 1_000
"""The characters of an event. A longer line is none."""
AGO: Final = {"day": 1, "week": 7, "month": 30}
"""Words for a time of the past, with their days."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIELDS: Final = {"at", "id", "verdict", "class"}


class Event(Part):
    """A change of what is known of a cell."""

    at: Annotated[Time, Field(description="When it was found, in UTC.")]
    id: Annotated[Handle, Field(description="The id of the cell.")]
    verdict: Annotated[
        Verdict | Literal["gone"],
        Field(description="What is known since then; gone: it left the report."),
    ]
    class_: Annotated[
        str,
        StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]*)?$", max_length=80),
        Field(alias="class", description="The class of the cause; empty where there is none."),
    ] = ""

    @property
    def state(self) -> State | None:
        """The state of the cell since then; None: it left."""
        return State(self.verdict, self.class_) if isinstance(self.verdict, Verdict) else None


class History:
    """The events of all cells, oldest first. What repeats the event before it is left out."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._by_cell: dict[str, list[Event]] = {}
        changes = []
        for event in sorted(events, key=lambda one: one.at):
            before = self._by_cell.setdefault(event.id, [])
            if not before or before[-1].state != event.state:
                before.append(event)
                changes.append(event)
        self.events = tuple(changes)

    @property
    def begins(self) -> datetime | None:
        """The time of the first event; None where there is none."""
        return self.events[0].at if self.events else None

    def of(self, cell_id: str) -> tuple[Event, ...]:
        """Return the events of a cell, oldest first."""
        return tuple(self._by_cell.get(cell_id, ()))

    def at(self, moment: datetime) -> dict[str, State]:
        """Return the state of each cell at a time. Cells that had left are not there."""
        found: dict[str, State] = {}
        for event in self.events:
            if event.at > moment:
                break
            if event.state:
                found[event.id] = event.state
            else:
                found.pop(event.id, None)
        return found

    def since(self, cell_id: str) -> datetime | None:
        """Return since when a cell has the verdict that it has; None where it has none."""
        first: Event | None = None
        for event in reversed(self._by_cell.get(cell_id, ())):
            if event.verdict == GONE or (first and event.verdict != first.verdict):
                break
            first = event
        return first.at if first else None

    def works_since(self, cell_id: str) -> datetime | None:
        """Return since when a cell works without a break; None where it does not work now.

        A time without evidence is a break: nobody knows what was then.
        """
        events = self._by_cell.get(cell_id, ())
        return self.since(cell_id) if events and events[-1].verdict is Verdict.WORKS else None

    def next(self, cells: Iterable[Evidence], now: datetime) -> tuple[Event, ...]:
        """Return the events that a report of these cells adds, in the order of their times.

        An event has the time of its evidence, unless that would put it before the last event of
        the cell, or after `now`.
        """
        added = []
        there = set()
        for cell in cells:
            there.add(cell.id)
            kind = name(cell.class_) if cell.class_ else ""
            event = Event(
                at=min(utc(cell.generated_at), now), id=cell.id, verdict=cell.verdict, class_=kind
            )
            added += self._after_the_last(event)
        for cell_id, events in self._by_cell.items():
            if cell_id not in there and events[-1].verdict != GONE:
                added += self._after_the_last(Event(at=now, id=cell_id, verdict="gone"))
        return tuple(sorted(added, key=lambda event: (event.at, event.id)))

    def _after_the_last(self, event: Event) -> list[Event]:
        last = self._by_cell.get(event.id, [None])[-1]
        if last is None:
            return [event]
        if last.state == event.state:
            return []
        return [event.model_copy(update={"at": max(event.at, last.at)})]


def read_history(text: str, where: str) -> History:
    """Read the text of a history.jsonl, which `where` names.

    Raises:
        InputError: a line is no event; it names the line.
    """
    lines = enumerate(text.split("\n"), 1)
    return History(_event(line, f"{where}:{number}") for number, line in lines if line)


def _event(text: str, where: str) -> Event:
    try:
        if len(text) > LONGEST_LINE:
            raise ValueError(f"it is longer than {LONGEST_LINE} characters")  # noqa: TRY301
        data = json.loads(text)
        if not isinstance(data, dict) or not all(isinstance(one, str) for one in data.values()):
            raise ValueError("it is no object of texts")  # noqa: TRY301
        if data.keys() != _FIELDS:
            wrong = sorted(data.keys() ^ _FIELDS)
            raise ValueError(f"it lacks or adds {', '.join(wrong)}")  # noqa: TRY301
        return Event.model_validate(data)
    except ValidationError as error:
        field = error.errors(include_url=False)[0]["loc"][0]
        why = f"its field {field} holds what is not allowed there"
    except json.JSONDecodeError:
        why = "it is not JSON"
    except (ValueError, RecursionError) as error:
        why = str(error)
    path = where.rpartition(":")[0]
    raise InputError(
        f"this line of the history is no event: {why}",
        where=where,
        next_step=f"correct the line, or restore the file: `git checkout -- {path}`",
    )


def to_lines(events: Iterable[Event]) -> str:
    """Return events as lines of history.jsonl."""
    return "".join(json.dumps(event.to_json(), separators=(",", ":")) + "\n" for event in events)


def moment_of(named: str, now: datetime) -> datetime | None:
    """Return the time that a word or a day names; None where it names none.

    `day`, `week` and `month` are 1, 7 and 30 days before `now`. A day such as 2026-11-20 is its
    end in UTC.
    """
    if named in AGO:
        return now - timedelta(days=AGO[named])
    try:
        day = date.fromisoformat(named) if _DAY.fullmatch(named) else None
    except ValueError:
        return None
    return datetime.combine(day, time(23, 59, 59), UTC) if day else None
