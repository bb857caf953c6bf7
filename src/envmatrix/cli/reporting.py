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
        Path | None, typer.Option(help="Also put the table between the markers of this file.")
    ] = None,
    site: Annotated[
        bool, typer.Option("--site", help="Also write the page of all cells, in its folder site.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write report.json, table.md and one JSON a cell from the evidence there is."""
    from envmatrix.report.table import markdown, with_table
    from envmatrix.stages.report import report_of

    workspace = workspace_of(context)
    cells = [workspace.reporting.evidence(cell) for cell in workspace.choose(select, profile)]
    on_hosts = list(workspace.book.hosts())
    where = folder or workspace.layout.report
    pages = {}
    if readme:
        links = os.path.relpath(where / "cells", readme.parent)
        table = with_table(_text_of(readme), markdown(cells, links), str(readme))
        pages[readme.resolve()] = table  # A symbolic link stays one.
    workspace.reporting.write(cells, where, on_hosts)
    for path, text in pages.items():
        write_text(path, text)
    if site:
        entries = workspace.reporting.entries(workspace.cells)
        first = workspace.site.write(workspace.cells, entries, on_hosts, where)
        warn(f"the page: {workspace.layout.short(first)}")
    if as_json:
        print_json(report_of(cells, on_hosts).to_json())
    else:
        print_table(cells)
        say(f"written to {workspace.layout.short(where)}/")


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
