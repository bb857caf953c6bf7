"""Commands that write documents: report and schema."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import print_json, print_table, say, tell_of_known, warn
from envmatrix.cli.workspace import workspace_of
from envmatrix.model import amendments, claims, evidence, matrix_file
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import nearest
from envmatrix.store.files import write_text

SCHEMAS = {
    "matrix": matrix_file.json_schema,
    "evidence": evidence.json_schema,
    "amendments": amendments.json_schema,
    "claims": claims.json_schema,
}


def report(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to write.")] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Also put the table between the markers of this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.json, table.md and one JSON a cell from the evidence there is."""
    from envmatrix.report.table import markdown, with_table

    workspace = workspace_of(context)
    cells = [workspace.reporting.evidence(cell) for cell in workspace.choose(select, profile)]
    on_hosts = list(workspace.book.hosts())
    known = workspace.reporting.known(cells)
    where = folder or workspace.layout.report
    pages = {}
    if readme:
        links = os.path.relpath(where / "cells", readme.parent)
        table = with_table(_text_of(readme), markdown(cells, links, known), str(readme))
        pages[readme.resolve()] = table  # A symbolic link stays one.
    workspace.reporting.write(cells, where, on_hosts)
    for amendment in workspace.book.idle_amendments():
        warn(f"note: the amendment of {amendment.said}, marks no evidence that is here")
    for path, text in pages.items():
        write_text(path, text)
    tell_of_known(known)
    if as_json:
        print_json(workspace.reporting.document(cells, on_hosts).to_json())
    else:
        print_table(cells, known)
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
        str,
        typer.Argument(
            metavar="[matrix|evidence|amendments|claims]", help="Of which file. Default: matrix."
        ),
    ] = "matrix",
) -> None:
    """Print the JSON Schema of matrix.yaml, or of another file."""
    if name not in SCHEMAS:
        raise InputError(
            f"there is no schema of {name!r}",
            where="schema",
            next_step=nearest(name, list(SCHEMAS)),
        )
    sys.stdout.write(json.dumps(SCHEMAS[name](), indent=2) + "\n")
