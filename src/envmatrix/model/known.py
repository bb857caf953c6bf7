"""How a known failure is written down: patterns, the cause in a sentence, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

Names = dict[str, str]
"""The names of a failure: what its pattern found, and what is known of that."""
Learn = Callable[[Names], Mapping[str, str] | None]
"""Gives further names from those that a pattern found, or None where the entry does not fit."""


class Pattern:
    """A regular expression that is compiled at its first use: there are hundreds of them.

    Most commands use none, and to compile all takes a tenth of the time of a short command.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self._text)

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match in a text."""
        return self._compiled.search(text)


@dataclass(frozen=True, slots=True)
class Known:
    """A known failure. The cause and the remedy are filled with the names that were found.

    `pattern` is looked for in what decides: the last exception with its message, or the last lines
    of a crash. An entry with `supports` is about an earlier line or a warning: it counts only where
    what decides matches `supports`.
    """

    kind: str
    pattern: Pattern
    cause: str
    remedy: str
    learn: Learn | None = None
    supports: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """What an end without words means."""

    kind: str
    cause: str
    remedy: str


def known(
    kind: str,
    pattern: str,
    cause: str,
    remedy: str,
    learn: Learn | None = None,
    *,
    supports: str | None = None,
) -> Known:
    """Return a known failure from the texts of its patterns."""
    when = Pattern(supports) if supports else None
    return Known(kind, Pattern(pattern), cause, remedy, learn, when)


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of things by their names: the first pattern that matches counts."""

    rows: tuple[tuple[Pattern, tuple[str, ...]], ...]

    @classmethod
    def of(cls, rows: Mapping[str, str | tuple[str, ...]]) -> Table:
        """Return a table from patterns and what is known of the names that they match."""
        return cls(
            tuple(
                (Pattern(pattern), (value,) if isinstance(value, str) else value)
                for pattern, value in rows.items()
            )
        )

    def find(self, name: str) -> tuple[str, ...] | None:
        """Return what is known of a name, with the groups of its pattern filled in."""
        for pattern, values in self.rows:
            if match := pattern.search(name):
                groups = [group or "" for group in match.groups()]
                return tuple(value.format(*groups) for value in values)
        return None


def look_up(group: str, table: Table, *names: str) -> Learn:
    """Return a `Learn` that fits where a table knows the name that a group of the pattern found."""

    def learn(found: Names) -> Mapping[str, str] | None:
        values = table.find(found.get(group, ""))
        return None if values is None else dict(zip(names, values, strict=False))

    return learn
