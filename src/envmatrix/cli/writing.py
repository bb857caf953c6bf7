"""What report, run and merge write beside the evidence: pages, and results for CI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envmatrix.cli.printing import note, warn
from envmatrix.cli.workspace import Workspace
from envmatrix.model.errors import InputError
from envmatrix.store.files import write_text
from envmatrix.store.layout import REPORT

if TYPE_CHECKING:
    from envmatrix.model.evidence import Evidence
    from envmatrix.model.expectations import Known
    from envmatrix.report.changes import Change
    from envmatrix.report.entries import Entry
    from envmatrix.report.states import Snapshot

Out = Annotated[Path | None, typer.Option("--out", help="Where to write.")]
Readme = Annotated[
    Path | None, typer.Option(help="Also put a compact grid between the markers of this file.")
]
Summary = Annotated[
    Path | None,
    typer.Option(help="Also add the grid to the end of this file: $GITHUB_STEP_SUMMARY."),
]
WithSite = Annotated[
    bool,
    typer.Option(
        "--site", help="Also write the page of all cells, with API, feed and badges: site/."
    ),
]
BaseUrl = Annotated[
    str, typer.Option(help="With --site: the address at which its folder is served.")
]
Junit = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML: one test a cell.")
]
Annotations = Annotated[
    bool,
    typer.Option(
        "--annotations",
        help="Print ::error lines of GitHub for cells that are newly broken, to stderr.",
    ),
]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written beside report.json. An `address` is that of the site."""

    where: Path
    readme: Path | None = None
    summary: Path | None = None
    site: bool = False
    address: str = ""


def publish(
    workspace: Workspace,
    outputs: Outputs,
    cells: Sequence[Evidence],
    entries: Sequence[Entry],
    on_hosts: Sequence[Evidence],
) -> None:
    """Write a report of some cells. What can be wrong is found before anything is written.

    Raises:
        InputError: a page cannot be read, or evidence would be lost.
        SurroundingsError: a file cannot be written.
    """
    from envmatrix.report.grid import SUMMARY_LIMIT, job_summary, markdown
    from envmatrix.report.table import with_table
    from envmatrix.stages.report import forget_shard

    where, readme, summary = outputs.where, outputs.readme, outputs.summary
    pages = {}
    if readme:
        links = os.path.relpath(where / "cells", readme.parent)
        page = with_table(_text_of(readme), markdown(entries, links), str(readme))
        pages[readme.resolve()] = page  # A symbolic link stays one.
    added = job_summary(entries, SUMMARY_LIMIT - _size(summary)) if summary else ""
    workspace.reporting.write(cells, where, on_hosts)
    forget_shard(where)
    for path, text in pages.items():
        write_text(path, text)
    if summary:
        _add(summary, added)
    if outputs.site:
        told = {entry.id: entry for entry in entries}
        others = [cell for cell in workspace.cells if cell.id not in told]
        told |= {entry.id: entry for entry in workspace.reporting.entries(others)}
        every = [told[cell.id] for cell in workspace.cells]
        first = workspace.site.write(every, workspace.reporting, where, outputs.address)
        note(f"the page: {workspace.layout.shown(first)}")


def before(workspace: Workspace, old: str | None) -> Snapshot | None:
    """Return what was known before: what `old` names, or else the published report.

    None where nothing is published: then no cell is newly broken.

    Raises:
        InputError: there is no such report, or it cannot be read.
    """
    from envmatrix.stages.comparing import Past

    past = Past(workspace.layout)
    if old is not None:
        return past.states(old, datetime.now(UTC))
    return past.at_hand() if (workspace.layout.reports / REPORT).is_file() else None


def tell_ci(
    cells: Sequence[Evidence],
    known: Mapping[str, Known],
    *,
    junit: Path | None,
    annotations: bool,
    old: Snapshot | None,
) -> tuple[Change, ...]:
    """Write JUnit XML and print annotations, as far as they are asked for.

    Returns:
        The cells that are newly broken.

    Raises:
        SurroundingsError: the file cannot be written.
    """
    if junit:
        from envmatrix.report.junit import junit as to_junit

        write_text(junit, to_junit(cells, known))
    if old is None:
        return ()
    from envmatrix.report.annotations import error_lines
    from envmatrix.report.changes import regressions

    found = regressions(old, cells, known)
    if annotations:
        warn(*error_lines(found))
    return found


def _size(page: Path) -> int:
    """Return the bytes of a file; 0 where there is none yet."""
    try:
        return page.stat().st_size
    except FileNotFoundError:
        return 0


def _add(page: Path, text: str) -> None:
    """Add a text to the end of a file, which others may write, too."""
    if not text:
        warn(f"{page}: the grid was not added, because a summary of that size is not shown")
        return
    with page.open("a", encoding="utf-8") as file:
        file.write(text)


def _text_of(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the page for the table cannot be read: {error}",
            where=str(page),
            next_step="give a text file that holds the markers of the table",
        ) from error
