"""A compact grid of each framework: its releases by Pythons, as text and as Markdown.

A field holds the mark of the best verdict over all cells of its release and Python. What differs
between these cells, and why cells are broken or partial, is told below the grid and not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from envmatrix.model.matrix import STACKED
from envmatrix.model.text import line
from envmatrix.model.verdicts import Verdict
from envmatrix.report.document import summary
from envmatrix.report.entries import BEST_FIRST, Entry, Group, grouped, place
from envmatrix.report.table import MARKS, escaped

SUMMARY_LIMIT = 1_000_000
"""The bytes of a page with grids. GitHub drops a job summary of more than 1,024 KiB whole."""
WIDTH = 80
"""The columns of a grid as text."""

_TOLD = (Verdict.BROKEN, Verdict.PARTIAL)
_FIELD = 6
"""The columns of one field of a grid as text."""
_CAUSE_LIMIT = 300
_CELLS = 6
"""How many cells of one cause are named. The others are counted."""
_MEANING = "A mark is the best verdict of a release on a Python, of any OS and accelerator."


@dataclass(frozen=True, slots=True)
class Row:
    """A release, with its stack where it has one, and its cells by Python."""

    version: str
    stack: str
    cells: Mapping[str, Sequence[Entry]]

    @property
    def label(self) -> str:
        """The release as the first field of its row."""
        return f"{self.version} + {self.stack}" if self.stack else self.version


@dataclass(frozen=True, slots=True)
class Grid:
    """The releases of one framework, the newest first, those with a stack last."""

    framework: str
    pythons: tuple[str, ...]
    rows: tuple[Row, ...]


def grids(entries: Iterable[Entry]) -> list[Grid]:
    """Return the grid of each framework, in the order of the cells."""
    found: dict[str, dict[tuple[str, str], dict[str, list[Entry]]]] = {}
    for entry in entries:
        family, _, stack = entry.axes.framework.partition(STACKED)
        row = found.setdefault(family, {}).setdefault((entry.axes.version, stack), {})
        row.setdefault(entry.axes.python, []).append(entry)
    return [_grid(framework, rows) for framework, rows in found.items()]


def _grid(framework: str, rows: Mapping[tuple[str, str], Mapping[str, Sequence[Entry]]]) -> Grid:
    newest = sorted(rows, key=lambda row: Version(row[0]), reverse=True)
    ordered = sorted(newest, key=lambda row: row[1])
    pythons = {python for row in rows.values() for python in row}
    return Grid(
        framework,
        tuple(sorted(pythons, key=Version)),
        tuple(Row(version, stack, rows[version, stack]) for version, stack in ordered),
    )


def best(entries: Sequence[Entry]) -> Entry:
    """Return the best of some cells. Every native one that was run comes before an emulated one."""
    return min(entries, key=lambda one: one.rank)


def to_json(grid: Grid) -> dict[str, Any]:
    """Return a grid for programs: by release and Python the best cell, and how many there are."""
    return {
        "framework": grid.framework,
        "pythons": list(grid.pythons),
        "rows": [
            {
                "version": row.version,
                "stack": row.stack or None,
                "cells": {
                    python: {
                        "verdict": best(entries).verdict.value,
                        "best": best(entries).id,
                        "count": len(entries),
                    }
                    for python, entries in row.cells.items()
                },
            }
            for row in grid.rows
        ],
    }


# --- as text ---------------------------------------------------------------------------------


def grid_lines(grid: Grid) -> Iterator[str]:
    """Yield the lines of a grid, each of at most `WIDTH` columns. Many Pythons take several parts.

    A label of a release that leaves no room is cut.
    """
    labels = [row.label[: WIDTH - 2 * _FIELD] for row in grid.rows]
    width = max(map(len, (grid.framework[: WIDTH - 2 * _FIELD], *labels)))
    count = max(1, (WIDTH - width) // _FIELD)
    for start in range(0, len(grid.pythons), count):
        pythons = grid.pythons[start : start + count]
        yield f"{grid.framework:<{width}}" + "".join(f"{name:>{_FIELD}}" for name in pythons)
        for label, row in zip(labels, grid.rows, strict=True):
            marks = (_mark(row, python) for python in pythons)
            fields = "".join(f"{mark:>{_FIELD}}" for mark in marks)
            yield f"{label:<{width}}{fields}".rstrip()


def legend() -> tuple[str, str]:
    """Return what the marks of a grid mean, in two lines."""
    marks = ", ".join(f"{MARKS[verdict]} {verdict}" for verdict in Verdict)
    return (f"{marks}, blank: no cell.", _MEANING)


def _mark(row: Row, python: str) -> str:
    entries = row.cells.get(python)
    return MARKS[best(entries).verdict] if entries else ""


# --- as Markdown -----------------------------------------------------------------------------


def markdown(entries: Sequence[Entry], evidence: str = "", limit: int = SUMMARY_LIMIT) -> str:
    """Return the grids in Markdown, what the marks mean, and below that what differs and why.

    A mark of what was run links to its file in the folder `evidence`, where that is given. What
    would make the text larger than `limit` bytes is left out, and the text says so. The grids are
    kept the longest. Where nothing fits, the text is empty.
    """
    made = grids(entries)
    blocks = [_table(grid, evidence) for grid in made]
    blocks.append("\n".join(legend()) + "\n")
    blocks += [f"- {said}" for grid in made for said in (*_differences(grid), *_causes(grid))]
    size = sum(len(block.encode()) + 1 for block in blocks)
    if size <= limit:
        return "\n".join(blocks).rstrip() + "\n"
    kept, size = [], len(_LEFT_OUT.encode())
    for block in blocks:
        size += len(block.encode()) + 1
        if size > limit:
            break
        kept.append(block)
    return "\n".join([*kept, _LEFT_OUT]) if kept else ""


_LEFT_OUT = "\nThe rest is left out: it is too large for this page. `table.md` has it.\n"


def _table(grid: Grid, evidence: str) -> str:
    lines = [
        f"| {escaped(grid.framework)} on Python | " + " | ".join(grid.pythons) + " |",
        "| --- |" + " :-: |" * len(grid.pythons),
    ]
    for row in grid.rows:
        fields = (_linked(row, python, evidence) for python in grid.pythons)
        lines.append(f"| {escaped(row.label)} | " + " | ".join(fields) + " |")
    return "\n".join(lines) + "\n"


def _linked(row: Row, python: str, evidence: str) -> str:
    mark = _mark(row, python)
    if not mark or not evidence:
        return mark
    entry = best(row.cells[python])
    path = quote(f"{evidence}/{entry.id}.json", safe="/+")
    return f"[{mark}]({path})" if entry.was_run else mark


def _differences(grid: Grid) -> Iterator[str]:
    """Yield, for each field whose cells differ, which of them the mark is about.

    A field of which nothing was run has nothing to tell.
    """
    for row in grid.rows:
        for python, entries in row.cells.items():
            kinds = {(entry.verdict, entry.emulated) for entry in entries}
            emulated = any(entry.emulated for entry in entries)
            was_run = any(entry.verdict.was_run for entry in entries)
            if was_run and (len(kinds) > 1 or emulated):
                what = escaped(f"{grid.framework} {row.label}")
                yield f"{what} on Python {python}: " + "; ".join(_parts(entries))


def _parts(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield each verdict of some cells with the cells that have it. What was not run is counted."""
    for verdict in BEST_FIRST:
        having = [entry for entry in entries if entry.verdict is verdict]
        if having and verdict.was_run:
            places = [
                escaped(place(one.axes)) + (" (emulated)" if one.emulated else "") for one in having
            ]
            yield f"{MARKS[verdict]} {', '.join(places)}"
        elif having:
            yield f"{MARKS[verdict]} {len(having)} more"


def _causes(grid: Grid) -> Iterator[str]:
    """Yield a line for each cause of broken and of partial cells."""
    entries = [one for row in grid.rows for ours in row.cells.values() for one in ours]
    groups = grouped(one for one in entries if one.verdict in _TOLD)
    for group in sorted(groups, key=lambda one: _TOLD.index(one.judgement.verdict)):
        yield f"{MARKS[group.judgement.verdict]} {_reason(group)}: {_cells(group)}"


def _reason(group: Group) -> str:
    known = group.judgement
    why = ": ".join(part for part in (known.kind or known.stage, known.cause) if part)
    return escaped(line(why, _CAUSE_LIMIT))


def _cells(group: Group) -> str:
    named = [f"`{one.id}`" for one in group.entries[:_CELLS]]
    more = len(group.entries) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def job_summary(entries: Sequence[Entry], room: int = SUMMARY_LIMIT) -> str:
    """Return the grids as a part of the summary of a job, with the counts before them.

    `room` is how many bytes the summary still takes. Where that is too little, the text is empty.
    """
    head = f"## envmatrix\n\n{summary([entry.verdict for entry in entries])}\n\n"
    grid = markdown(entries, limit=max(0, room - len(head.encode()) - 1))
    return f"{head}{grid}\n" if grid else ""
