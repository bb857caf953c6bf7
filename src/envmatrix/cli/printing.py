"""Everything that commands print: tables, stories, JSON. Text from outside is inert.

Commands print by the functions of this module, and by those of `stories`, which print by these. No
console here knows markup or names of emoji, and each line is cleaned as it is printed, wherever its
text came from.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from envmatrix.cli.streams import can_encode
from envmatrix.model.cells import Cell
from envmatrix.model.errors import EnvmatrixError
from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known, Standing, counts_said
from envmatrix.model.text import json_line, line
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.document import summary
from envmatrix.report.entries import Entry
from envmatrix.report.grid import grid_lines, grids, legend
from envmatrix.report.table import HEADINGS, MARKS, commands, row

if TYPE_CHECKING:
    from envmatrix.probes.headers import Probe
    from envmatrix.stages.clean import Freed, Portion
    from envmatrix.stages.doctor import Finding

NAMED_WHEELS = 4
"""The wheels of a group that are named. The others are counted."""
PIPE_WIDTH = 200
"""Columns of output that goes to no terminal: enough for every table."""
TAIL_LINES = 8

COLOURS = {
    Verdict.WORKS: "green",
    Verdict.PARTIAL: "cyan",
    Verdict.BROKEN: "red",
    Verdict.IMPOSSIBLE: "bright_black",
    Verdict.UNKNOWN: "yellow",
}


class Level(Enum):
    """How much is told beside results and errors."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass
class Loudness:
    """How much this process tells. The options before the command set it."""

    level: Level = Level.NORMAL


loudness = Loudness()


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


out = _console(width=None if sys.stdout and sys.stdout.isatty() else PIPE_WIDTH)
err = _console(stderr=True)


def say(*lines: str, style: str | None = None) -> None:
    """Print lines of text to stdout. A break within one of them is a space."""
    _print(out, lines, style)


def warn(*lines: str, style: str | None = None) -> None:
    """Print lines of text to stderr. A break within one of them is a space."""
    _print(err, lines, style)


def note(*lines: str) -> None:
    """Print to stderr what a person may want to know; nothing where they asked for quiet."""
    if loudness.level is not Level.QUIET:
        warn(*lines)


def detail(*lines: str) -> None:
    """Print to stderr what only a person wants to know who asked for more."""
    if loudness.level is Level.VERBOSE:
        warn(*lines)


def _print(console: Console, lines: Sequence[str], style: str | None) -> None:
    for text in lines:
        console.print(Text(line(text)), style=style, soft_wrap=True)


def say_error(error: EnvmatrixError) -> None:
    """Print to stderr what went wrong, where, and what to do next."""
    warn(*f"error: {error}".split("\n"), style="red")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an s unless there is one."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def print_json(data: object) -> None:
    """Print one JSON document to stdout.

    An encoding that lacks a character gets its number, which every reader of JSON understands.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if not can_encode(text):
        text = json.dumps(data, separators=(",", ":"))
    sys.stdout.write(json_line(text) + "\n")


def print_plan(
    cells: Sequence[tuple[Cell, Judgement]], known: Mapping[str, Known] | None = None
) -> None:
    """Print a line a cell, with what is known of it, and the counts.

    `known` is what the matrix knows of cells, by their ids.
    """
    width = max((len(cell.id) for cell, _ in cells), default=0)
    for cell, judgement in cells:
        why = line(": ".join(text for text in (judgement.kind, judgement.cause) if text))
        if one := (known or {}).get(cell.id):
            why = "; ".join(filter(None, (line(one.said), why)))
        mark = f"{MARKS[judgement.verdict]} {judgement.verdict:<10}"
        # A rich table would take a second for thousands of rows, and cut the ids.
        sys.stdout.write(f"{_in_colour(mark, judgement.verdict)}  {cell.id:<{width}}  {why}\n")
    _say_counts([judgement.verdict for _, judgement in cells], known or {})


def _in_colour(text: str, verdict: Verdict) -> str:
    coloured = out.color_system is not None and not out.no_color
    return typer.style(text, fg=COLOURS[verdict]) if coloured else text


def print_table(cells: Sequence[Evidence], known: Mapping[str, Known] | None = None) -> None:
    """Print the table, the reason of each cell that does not work below it, and the counts.

    `known` is what the matrix knows of cells, by their ids.
    """
    known = known or {}
    shown = [row(cell, known.get(cell.id)) for cell in cells]
    # A reason needs whole lines, so it is no column here.
    used = [
        index
        for index, name in enumerate(HEADINGS)
        if name != "why" and any(fields[index] for fields in shown)
    ]
    table = Table(
        # In a narrow terminal the framework's column is broken into lines, and no column is cut.
        *(
            Column(HEADINGS[index], no_wrap=HEADINGS[index] != "framework", overflow="fold")
            for index in used
        ),
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    for cell, fields in zip(cells, shown, strict=True):
        verdict, *others = (Text(line(fields[index])) for index in used)
        verdict.stylize(COLOURS[cell.verdict])
        table.add_row(verdict, *others)
    out.print(table)
    for cell, fields in zip(cells, shown, strict=True):
        if fields[-1]:
            say(f"{fields[0]}: {cell.id}: {fields[-1]}")
    _say_counts([cell.verdict for cell in cells], known)


def _say_counts(verdicts: Sequence[Verdict], known: Mapping[str, Known]) -> None:
    standings = counts_said(known.values())
    say(summary(verdicts) + (f" ({standings})" if standings else ""))


def tell_of_known(known: Mapping[str, Known]) -> None:
    """Say on stderr which cells are not as the matrix knows them."""
    for cell_id, one in known.items():
        if one.standing is Standing.PASSED:
            warn(f"note: {cell_id} {one.said}; remove it from `known` in the matrix")
        if one.standing is Standing.OTHERWISE:
            warn(f"note: {cell_id} is broken, {one.said}")


def print_commands(cells: Sequence[Evidence]) -> None:
    """Print the command that starts each image that can be used."""
    found = commands(cells)
    if len(found) == 1:
        say(f"start it: {next(iter(found.values()))}")
    elif found:
        say("start one:", *(f"  {command}" for command in found.values()))


def print_failures(
    cells: Iterable[Evidence],
    known: Mapping[str, Known] | None = None,
    shown: Callable[[str], str] = str,
) -> None:
    """Print the cause and the remedy of each broken cell, with the end of its output.

    `known` is what the matrix knows of cells, by their ids. `shown` makes a path that can be pasted
    of one that is relative to the matrix.
    """
    for cell in cells:
        if cell.verdict is not Verdict.BROKEN:
            continue
        say("", f"{cell.id}: broken at {cell.stage} ({cell.class_})")
        print_known((known or {}).get(cell.id))
        say(f"  cause:  {cell.cause}")
        say(f"  remedy: {cell.remedy}")
        for probe in cell.probes:
            if probe.required and probe.log_tail:
                tail = probe.log_tail.splitlines()[-TAIL_LINES:]
                say(*(f"  | {text}" for text in tail))
        say(*(f"  log:    {shown(path)}" for path in logs_of(cell)))


def logs_of(cell: Evidence) -> list[str]:
    """Return the paths of the logs that tell why a cell does not work."""
    failed = [probe for probe in cell.probes if probe.failed]
    if named := [probe.log for probe in failed if probe.log]:
        return named
    # Evidence of before 2026-11-26 names the folder alone.
    if cell.log and failed and cell.log.endswith(f"/{cell.id}"):
        return [f"{cell.log}/{probe.probe}.log" for probe in failed]
    return [cell.log] if cell.log else []


def print_layers(bases: Sequence[Mapping[str, Any]]) -> None:
    """Print the groups of wheels that cells on a base share, and the steps of each cell."""
    for base in bases:
        say(base["base"] + (f", with {base['index']}" if base["index"] else ""))
        for group in base["groups"]:
            _print_group(group, 1)
        for cell in base["cells"]:
            sizes = " + ".join(
                f"{step['bytes'] / 1e6:.0f} ({len(step['wheels'])})" for step in cell["steps"]
            )
            say(f"  {cell['id']}: {sizes}")
    say(
        "Each step from the base up: wheels in MB, and how many. Steps that are equal up to there "
        "are one layer.",
        "Cells without a lock are left out. What is shared follows from the "
        "committed locks of the published profile.",
    )


def _print_group(group: Mapping[str, Any], depth: int) -> None:
    names = group["wheels"]
    more = len(names) - NAMED_WHEELS
    shown = ", ".join(names[:NAMED_WHEELS]) + (f" and {more} more" if more > 0 else "")
    megabytes, cells = group["bytes"] / 1e6, group["cells"]
    say(
        f"{'  ' * depth}{megabytes:.0f} MB shared by {cells} cells, "
        f"saves {megabytes * (cells - 1):.0f} MB: {shown}"
    )
    for above in group["above"]:
        _print_group(above, depth + 1)


def print_verified(cells: Iterable[Evidence]) -> None:
    """Print what came of rebuilding each cell, with the paths that differ."""
    for cell in cells:
        found = cell.reproducibility
        say(f"{found.status:<12}{cell.id}  {len(cell.layers)} layers")
        for difference in found.differences:
            say(f"  {difference.path}: {difference.what}")
            say(f"      {difference.cause}")
        for note in found.notes:
            say(f"  note: {note}")
        if not cell.layers:
            say(f"  there is no image: {cell.cause}")


def print_grids(entries: Sequence[Entry]) -> None:
    """Print a grid of releases by Pythons for each framework, what its marks mean, the counts."""
    for grid in grids(entries):
        say(*grid_lines(grid), "")
    say(*legend(), summary([entry.verdict for entry in entries]))


def print_probes(probes: Iterable[Probe]) -> None:
    """Print a line for each probe: what it is called, needs and proves."""
    table = Table("probe", "required", "needs", "limit", "proves", box=None, pad_edge=False)
    for one in probes:
        required = "yes" if one.required else "no"
        fields = (one.name, required, one.needs, f"{one.timeout} s", one.proves)
        table.add_row(*(Text(line(field)) for field in fields))
    out.print(table)


def print_known(known: Known | None) -> None:
    """Print what the matrix knows of a cell."""
    if known:
        link = f" ({known.link})" if known.link else ""
        say(f"  matrix:  {known.said}{link}")


_STATES = {"ok": "green", "warning": "yellow", "missing": "red", "unknown": "bright_black"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each finding of a machine, and below it the remedy where there is one."""
    width = max((len(one.topic) for one in findings), default=0)
    for one in findings:
        said = f"{one.state:<8} {one.topic:<{width}}  {one.said}"
        say(said, style=None if one.state == "ok" else _STATES[one.state])
        if one.remedy:
            say(f"{'':<8} {'':<{width}}  -> {one.remedy}")
    counts = Counter(one.state for one in findings)
    say(", ".join(f"{counts[state]} {state}" for state in counts))


def print_portions(portions: Sequence[Portion]) -> None:
    """Print what can be freed, by kind with the bytes, and what stays and why."""
    for one in portions:
        if one.things or one.left:
            say(f"{one.kind:<11} {decimal(one.size):>9}")
        say(*(f"    {thing}" for thing in one.things))
        say(*(f"    stays: {thing}: {why}" for thing, why in one.left))
    say(f"about {decimal(sum(one.size for one in portions))} can be freed")


def print_freed(freed: Sequence[Freed]) -> None:
    """Print the bytes that are gone, by kind, and what stayed and why."""
    for one in freed:
        say(f"{one.kind:<11} {decimal(one.size):>9} freed")
        warn(*(f"    stays: {thing}: {why}" for thing, why in one.stayed))
    say(f"{decimal(sum(one.size for one in freed))} freed")
