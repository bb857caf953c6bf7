"""Commands that write documents: report and schema."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import print_json, print_table, say, warn
from envmatrix.cli.workspace import workspace_of
from envmatrix.model import evidence, matrix_file
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import nearest
from envmatrix.store.files import write_text

SCHEMAS = {"matrix": matrix_file.json_schema, "evidence": evidence.json_schema}


def report(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to write.")] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Also put a compact grid between the markers of this file.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Also add the grid to the end of this file: $GITHUB_STEP_SUMMARY."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.json, table.md and one JSON a cell from the evidence there is."""
    from envmatrix.report.grid import SUMMARY_LIMIT, job_summary, markdown
    from envmatrix.report.table import with_table
    from envmatrix.stages.report import report_of

    workspace = workspace_of(context)
    chosen = workspace.choose(select, profile)
    entries = workspace.reporting.entries(chosen)
    cells = [workspace.reporting.evidence(cell) for cell in chosen]
    on_hosts = list(workspace.book.hosts())
    where = folder or workspace.layout.report
    pages = {}
    if readme:
        links = os.path.relpath(where / "cells", readme.parent)
        page = with_table(_text_of(readme), markdown(entries, links), str(readme))
        pages[readme.resolve()] = page  # A symbolic link stays one.
    added = job_summary(entries, SUMMARY_LIMIT - _size(summary)) if summary else ""
    workspace.reporting.write(cells, where, on_hosts)
    for path, text in pages.items():
        write_text(path, text)
    if summary:
        _add(summary, added)
    if as_json:
        print_json(report_of(cells, on_hosts).to_json())
    else:
        print_table(cells)
        say(f"written to {workspace.layout.short(where)}/")


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


def schema(
    name: Annotated[
        str, typer.Argument(metavar="[matrix|evidence]", help="Of which file. Default: matrix.")
    ] = "matrix",
) -> None:
    """Print the JSON Schema of matrix.yaml, or of a file of evidence."""
    if name not in SCHEMAS:
        raise InputError(
            f"there is no schema of {name!r}",
            where="schema",
            next_step=nearest(name, list(SCHEMAS)),
        )
    sys.stdout.write(json.dumps(SCHEMAS[name](), indent=2) + "\n")
