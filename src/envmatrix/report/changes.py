"""What changed between two reports: each cell is in exactly one group, so the counts add up.

`unknown` is never broken: a cell that was run, and of which nothing is known now, is `no longer
run`, whether an engine, a disk or a network failed, or its inputs changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.verdicts import Verdict
from envmatrix.report.states import Snapshot, State
from envmatrix.report.table import escaped

NAMED = 100
"""The cells of a group that Markdown names. A job summary of more than 1024 kB is dropped whole."""


class Group(StrEnum):
    """What became of a cell. The order is that in which people want to read it."""

    NEWLY_BROKEN = "newly-broken"
    NO_LONGER_WORKS = "no-longer-works"
    NO_LONGER_RUN = "no-longer-run"
    NEWLY_WORKS = "newly-works"
    CHANGED = "otherwise-changed"
    NEW = "new"
    GONE = "gone"
    STILL_BROKEN = "still-broken"
    UNCHANGED = "unchanged"

    @property
    def said(self) -> str:
        """The group in words."""
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True)
class Change:
    """A cell, what was known of it, and what is known of it now; None where it is not there."""

    id: str
    old: State | None
    new: State | None

    @property
    def group(self) -> Group:  # noqa: PLR0911  (one line for each group)
        """The group that the cell is in."""
        old, new = self.old, self.new
        if old is None:
            return Group.NEW
        if new is None:
            return Group.GONE
        if new.verdict is Verdict.BROKEN:
            return Group.STILL_BROKEN if old.verdict is Verdict.BROKEN else Group.NEWLY_BROKEN
        if new.verdict is old.verdict:
            return Group.UNCHANGED
        if new.verdict is Verdict.WORKS:
            return Group.NEWLY_WORKS
        if new.verdict is Verdict.UNKNOWN and old.verdict.was_run:
            return Group.NO_LONGER_RUN
        return Group.NO_LONGER_WORKS if old.verdict is Verdict.WORKS else Group.CHANGED

    @property
    def said(self) -> str:
        """The change in words."""
        if self.old is None or self.new is None:
            there = self.new or self.old
            was = "" if self.new else "was "
            return f"{was}{there.said if there else ''}"
        if self.old.said == self.new.said:
            return self.new.said
        return f"{self.old.said} -> {self.new.said}"


@dataclass(frozen=True, slots=True)
class Root:
    """One class and cause, and the changes that it stands behind."""

    kind: str
    cause: str
    changes: tuple[Change, ...]

    @property
    def said(self) -> str:
        """The class and the cause, as far as they are known."""
        return ": ".join(text for text in (self.kind, self.cause) if text) or "cause not known"


@dataclass(frozen=True, slots=True)
class Changes:
    """Every cell of two reports, with what became of it."""

    cells: tuple[Change, ...]

    def of(self, group: Group) -> tuple[Change, ...]:
        """Return the cells of a group."""
        return tuple(one for one in self.cells if one.group is group)

    @property
    def counts(self) -> dict[Group, int]:
        """How many cells are in each group; all groups are named."""
        found = Counter(one.group for one in self.cells)
        return {group: found[group] for group in Group}

    @property
    def regressed(self) -> bool:
        """Whether a cell is newly broken. One that is new in the report was never better."""
        return self.counts[Group.NEWLY_BROKEN] > 0

    @property
    def headline(self) -> str:
        """The counts in a sentence."""
        number = len(self.cells)
        parts = [f"{many} {group.said}" for group, many in self.counts.items() if many]
        return f"{number} cell{'s' if number != 1 else ''}: {', '.join(parts) or 'none'}"

    def shown(self) -> Iterator[tuple[Group, tuple[Change, ...]]]:
        """Yield each group that has cells, with them. What is unchanged is only counted."""
        for group in Group:
            if group is not Group.UNCHANGED and (cells := self.of(group)):
                yield group, cells


def compare(old: Mapping[str, State], new: Mapping[str, State]) -> Changes:
    """Return what became of each cell, in the order of the new report; those that left follow."""
    ids = [*new, *(cell_id for cell_id in old if cell_id not in new)]
    return Changes(tuple(Change(one, old.get(one), new.get(one)) for one in ids))


def regressions(
    old: Snapshot, cells: Iterable[Evidence], known: Mapping[str, Known]
) -> tuple[Change, ...]:
    """Return the cells that are newly broken. What is broken as the matrix knows is none."""
    new = {
        cell.id: State(cell.verdict, cell.class_, cell.cause)
        for cell in cells
        if cell.id not in known or known[cell.id].standing is not Standing.AS_KNOWN
    }
    return compare(old.states, new).of(Group.NEWLY_BROKEN)


def roots(changes: Sequence[Change]) -> list[Root]:
    """Group cells that are broken now by class and cause, the root of most cells first."""
    found: dict[tuple[str, str], list[Change]] = {}
    for one in changes:
        if one.new and one.new.verdict is Verdict.BROKEN:
            found.setdefault((one.new.kind, one.new.cause), []).append(one)
    made = [Root(kind, cause, tuple(cells)) for (kind, cause), cells in found.items()]
    return sorted(made, key=lambda root: -len(root.changes))


def to_json(changes: Changes, old: Snapshot, new: Snapshot) -> dict[str, Any]:
    """Return the document of `envmatrix diff --json`."""
    return {
        "schema": 1,
        "old": old.title,
        "new": new.title,
        "counts": {group.value: many for group, many in changes.counts.items()},
        "roots": [
            {"class": root.kind, "cause": root.cause, "cells": [one.id for one in root.changes]}
            for root in roots(changes.cells)
        ],
        "cells": [
            {
                "id": one.id,
                "group": one.group.value,
                "old": one.old.to_json() if one.old else None,
                "new": one.new.to_json() if one.new else None,
            }
            for one in changes.cells
        ],
    }


def to_lines(changes: Changes, old: Snapshot, new: Snapshot) -> list[str]:
    """Return the changes as lines for a terminal, the answer first."""
    lines = [changes.headline, f"from {old.title}", f"to {new.title}"]
    for group, cells in changes.shown():
        lines += ["", f"{group.said}: {len(cells)}"]
        caused = roots(cells)
        for root in caused:
            lines.append(f"  {root.said}")
            lines += [f"    {one.id}: {one.said}" for one in root.changes]
        in_roots = {one.id for root in caused for one in root.changes}
        lines += [f"  {one.id}: {one.said}" for one in cells if one.id not in in_roots]
    return lines


def to_markdown(changes: Changes, old: Snapshot, new: Snapshot) -> list[str]:
    """Return the changes as lines of Markdown for the summary of a job.

    A group names `NAMED` cells at most, and counts the others.
    """
    lines = ["## What changed", "", f"**{changes.headline}**", ""]
    lines += [f"From {escaped(old.title)} to {escaped(new.title)}."]
    for group, cells in changes.shown():
        lines += ["", f"### {group.said}: {len(cells)}", ""]
        named = cells[:NAMED]
        caused = roots(named)
        for root in caused:
            lines.append(f"- {escaped(root.said)}")
            lines += [f"  - `{one.id}`: {escaped(one.said)}" for one in root.changes]
        in_roots = {one.id for root in caused for one in root.changes}
        lines += [f"- `{one.id}`: {escaped(one.said)}" for one in named if one.id not in in_roots]
        if len(cells) > NAMED:
            lines.append(f"- and {len(cells) - NAMED} more")
    return lines
