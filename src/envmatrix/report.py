"""Evidence to a table, as JSON and Markdown. Pure.

Unknown never looks like works, and a GPU that was not there is said where the verdict stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from envmatrix import __version__
from envmatrix.errors import InputError
from envmatrix.evidence import Reproducible, Verdict

MARKS = {Verdict.WORKS: "✓", Verdict.BROKEN: "✗", Verdict.IMPOSSIBLE: "-", Verdict.UNKNOWN: "?"}
HEADINGS = (
    "verdict",
    "framework",
    "Python",
    "OS",
    "accelerator",
    "probes",
    "GPU",
    "image",
    "rebuilt",
    "why",
)
TABLE_BEGIN = "<!-- envmatrix table: begin (written by `envmatrix report`; do not edit) -->"
TABLE_END = "<!-- envmatrix table: end -->"

Report = Mapping[str, Any]


def document(
    cells: Sequence[Report], host: Mapping[str, str], on_hosts: Sequence[Report] = ()
) -> dict[str, Any]:
    """Return report.json: what it was made with, a count of verdicts, and each cell.

    Evidence of hosts stands apart: it counts for no cell.
    """
    return {
        "schema": 1,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool": f"envmatrix {__version__}",
        "host": dict(host),
        "summary": count(cells),
        "drift": drift(cells),
        "cells": list(cells),
        "on_hosts": list(on_hosts),
    }


def count(cells: Iterable[Report]) -> dict[str, int]:
    """Return how many cells have each verdict, all four named."""
    found = Counter(cell["verdict"] for cell in cells)
    return {verdict.value: found[verdict.value] for verdict in Verdict}


def summary(cells: Sequence[Report]) -> str:
    """Return the counts as a sentence."""
    counts = count(cells)
    named = [f"{number} {verdict}" for verdict, number in counts.items() if number]
    return f"{len(cells)} cell{'s' if len(cells) != 1 else ''}: {', '.join(named) or 'none'}"


def row(cell: Report) -> tuple[str, ...]:
    """Return the fields of one line of the table, under `HEADINGS`."""
    axes = cell["axes"]
    return (
        f"{MARKS[Verdict(cell['verdict'])]} {cell['verdict']}",
        f"{axes['framework']} {axes['version']}",
        axes["python"],
        axes["os"],
        axes["accelerator"],
        _probes(cell),
        _gpu(cell),
        _size(cell),
        _rebuilt(cell),
        _why(cell),
    )


def _probes(cell: Report) -> str:
    outcomes = [probe["outcome"] for probe in cell["probes"]]
    ran = [outcome for outcome in outcomes if outcome != "not run"]
    return f"{ran.count('passed')}/{len(ran)}" if ran else ""


def _gpu(cell: Report) -> str:
    """Say how the probes that need a GPU ended; an accelerator without one asks for none."""
    if cell["axes"]["accelerator"] == "cpu":
        return ""
    outcomes = {probe["outcome"] for probe in cell["probes"] if probe["probe"].endswith("-gpu")}
    return ", ".join(sorted(outcomes)) or "not run"


def _size(cell: Report) -> str:
    return f"{cell['size'] / 1e9:.1f} GB" if cell["size"] else ""


def _rebuilt(cell: Report) -> str:
    """Say whether the image was rebuilt and came out the same; most were not tried."""
    found = cell.get("reproducible", Reproducible.NOT_CHECKED)
    if found == Reproducible.NOT_CHECKED:
        return ""
    return "the same" if found == Reproducible.PROVEN else "differs"


def _why(cell: Report) -> str:
    if cell["verdict"] == Verdict.WORKS:
        return ""
    where = f"{cell['stage']}: {cell['class']}" if cell["class"] else cell["stage"]
    return f"{where}: {cell['cause']}" if cell["cause"] else where


def markdown(cells: Sequence[Report], evidence: str = "cells") -> str:
    """Return the table in Markdown; each framework names the file of its evidence."""
    rows = []
    for cell in cells:
        fields = [_escaped(field) for field in row(cell)]
        fields[1] = f"[{fields[1]}]({evidence}/{cell['id']}.json)"
        rows.append(fields)
    # Where every cell works there is no why to tell.
    used = [index for index in range(len(HEADINGS)) if any(fields[index] for fields in rows)]
    lines = ["| " + " | ".join(HEADINGS[index] for index in used) + " |"]
    lines.append("|" + " --- |" * len(used))
    lines += ["| " + " | ".join(fields[index] for index in used) + " |" for fields in rows]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    for mark in "\\|<>`*_[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def drift(cells: Sequence[Report]) -> dict[str, dict[str, float]]:
    """Return how far the final losses of each cell's models lie from those of its framework.

    By cell id and probe: the final loss by the median over all cells, less one. The models are
    seeded, so a difference is one of numerics, and a large one wants a look.
    """
    losses: dict[str, dict[str, float]] = {}
    for cell in cells:
        for probe in cell["probes"]:
            if curve := probe.get("observed", {}).get("losses"):
                losses.setdefault(probe["probe"], {})[cell["id"]] = float(curve[-1])
    found: dict[str, dict[str, float]] = {}
    for probe, finals in losses.items():
        middle = median(finals.values())
        for cell_id, final in finals.items():
            found.setdefault(cell_id, {})[probe] = round(final / middle - 1, 4) if middle else 0.0
    return found


def page(cells: Sequence[Report], on_hosts: Sequence[Report] = ()) -> str:
    """Return table.md: the counts, the day, the table, and apart from it that of hosts."""
    days = sorted({cell["generated_at"][:10] for cell in cells})
    when = f"Evidence from {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "") if days else ""
    return (
        f"# Compatibility table\n\n{summary(cells)}. {when}.\n\n{markdown(cells)}\n"
        "`works`: every required probe passed in the built image. A GPU that was not there "
        "is `not run`. "
        "Rebuilt: `envmatrix verify` built the image from nothing again and compared each layer.\n"
        + (
            f"\n## On hosts, without a container\n\n{markdown(on_hosts, 'host')}"
            if on_hosts
            else ""
        )
    )


def with_table(text: str, table: str, name: str) -> str:
    """Return a text with the table put between its markers.

    Raises:
        InputError: the markers are not there, once and in order.
    """
    if (
        text.count(TABLE_BEGIN) != 1
        or text.count(TABLE_END) != 1
        or (text.index(TABLE_END) < text.index(TABLE_BEGIN))
    ):
        raise InputError(
            "the markers of the table must stand there once each",
            where=name,
            next_step=f"put in the lines {TABLE_BEGIN} and {TABLE_END}",
        )
    head, _, rest = text.partition(TABLE_BEGIN)
    _, _, tail = rest.partition(TABLE_END)
    return f"{head}{TABLE_BEGIN}\n{table}{TABLE_END}{tail}"
