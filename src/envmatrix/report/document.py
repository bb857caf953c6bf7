"""The document report.json: what it was made with, a count of verdicts, and each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from envmatrix import __version__
from envmatrix.model.evidence import SCHEMA, Evidence, Machine
from envmatrix.model.expectations import Known
from envmatrix.model.part import Part
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import Comparison, contradicted, counted


class Report(Part):
    """The evidence of many cells in one document."""

    version: Annotated[
        Literal[2], Field(alias="schema", description="The version of this form.")
    ] = SCHEMA
    generated_at: Annotated[datetime, Field(description="When the document was made, in UTC.")]
    tool: Annotated[str, Field(description="The envmatrix that made it.")]
    host: Annotated[Machine, Field(description="The machine that it was made on.")]
    summary: Annotated[
        Mapping[str, int], Field(description="How many cells have each verdict; all are named.")
    ]
    drift: Annotated[
        Mapping[str, Mapping[str, float]],
        Field(
            description="By cell and probe: the final loss of its model by the median of all "
            "cells, less one."
        ),
    ]
    known: Annotated[
        Mapping[str, Known],
        Field(description="By cell: what the matrix knows to be broken, beside what was found."),
    ] = Field(default_factory=dict)
    disagreements: Annotated[
        tuple[Comparison, ...],
        Field(
            description="What vendors declare of the releases of these cells, where something else "
            "was observed."
        ),
    ] = ()
    claims: Annotated[
        Mapping[str, int],
        Field(description="How much of what vendors declare was confirmed, contradicted, neither."),
    ] = Field(default_factory=dict)
    cells: Annotated[tuple[Evidence, ...], Field(description="The evidence of each cell.")]
    on_hosts: Annotated[
        tuple[Evidence, ...], Field(description="Evidence of hosts. It counts for no cell.")
    ] = ()


def document(
    cells: Sequence[Evidence],
    host: Machine,
    on_hosts: Sequence[Evidence] = (),
    known: Mapping[str, Known] | None = None,
    compared: Sequence[Comparison] = (),
) -> Report:
    """Return the document of some cells, made on `host`.

    `known` is what the matrix knows of them, and `compared` what vendors declare of their releases.
    """
    return Report(
        generated_at=datetime.now(UTC).replace(microsecond=0),
        tool=f"envmatrix {__version__}",
        host=host,
        summary=count(cell.verdict for cell in cells),
        drift=drift(cells),
        known=known or {},
        disagreements=tuple(contradicted(compared)),
        claims=counted(compared),
        cells=tuple(cells),
        on_hosts=tuple(on_hosts),
    )


def count(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how often each verdict is there, with all verdicts named."""
    found = Counter(verdicts)
    return {verdict.value: found[verdict] for verdict in Verdict}


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the counts as a sentence."""
    named = [f"{number} {verdict}" for verdict, number in count(verdicts).items() if number]
    cells = f"{len(verdicts)} cell{'s' if len(verdicts) != 1 else ''}"
    return f"{cells}: {', '.join(named) or 'none'}"


def drift(cells: Sequence[Evidence]) -> dict[str, dict[str, float]]:
    """Return how far the final losses of each cell's models lie from those of its framework.

    By cell id and probe: the final loss by the median over all cells, less one. The models are
    seeded, so a difference comes from the numerics, and a large difference deserves a look.
    """
    losses: dict[str, dict[str, float]] = {}
    for cell in cells:
        for probe in cell.probes:
            if probe.observed.losses:
                losses.setdefault(probe.probe, {})[cell.id] = probe.observed.losses[-1]
    found: dict[str, dict[str, float]] = {}
    for probe_name, finals in losses.items():
        middle = median(finals.values())
        for cell_id, final in finals.items():
            # A median of next to nothing gives no number that JSON can hold.
            offset = round(final / middle - 1, 4) if middle else 0.0
            offset = offset if isfinite(offset) else 0.0
            found.setdefault(cell_id, {})[probe_name] = offset
    return found
