"""Commands that write documents: report and schema."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import (
    counted,
    note,
    print_json,
    print_table,
    say,
    tell_of_known,
    warn,
)
from envmatrix.cli.workspace import workspace_of
from envmatrix.cli.writing import (
    Annotations,
    BaseUrl,
    Junit,
    Out,
    Outputs,
    Readme,
    Summary,
    WithSite,
    before,
    publish,
    tell_ci,
)
from envmatrix.model.errors import InputError, SurroundingsError
from envmatrix.model.matrix import meant, nearest

if TYPE_CHECKING:
    from datetime import timedelta

    from envmatrix.model.evidence import Evidence

SCHEMAS = (
    "matrix",
    "published",
    "amendments",
    "claims",
    "evidence",
    "report",
    "history",
    "api-index",
    "api-release",
    "api-python",
)

_TOLD = 10
"""How many cells are told that are too old."""


def report(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    folder: Out = None,
    readme: Readme = None,
    summary: Summary = None,
    site: WithSite = False,
    base_url: BaseUrl = "",
    junit: Junit = None,
    annotations: Annotations = False,
    attestations: Annotated[
        bool,
        typer.Option(
            "--attestations",
            help="Also write SBOM, provenance and test results of each image: attestations/.",
        ),
    ] = False,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Exit code 3 where evidence is older, such as 90d, 12w or 36h."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.json, table.md and one JSON a cell from the evidence there is."""
    from envmatrix.report.feed import site_address
    from envmatrix.report.freshness import age_of

    workspace = workspace_of(context)
    age = age_of(max_age) if max_age is not None else None
    address = site_address(base_url) if base_url else ""
    chosen = workspace.choose(select, profile)
    entries = workspace.reporting.entries(chosen)
    cells = [workspace.reporting.evidence(cell) for cell in chosen]
    on_hosts = list(workspace.book.hosts())
    known = workspace.reporting.known(cells)
    where = folder or workspace.layout.report
    old = before(workspace, None) if annotations else None
    publish(workspace, Outputs(where, readme, summary, site, address), cells, entries, on_hosts)
    for amendment in workspace.book.idle_amendments():
        note(f"note: the amendment of {amendment.said}, marks no evidence that is here")
    if attestations:
        count = counted(workspace.attesting.write(cells, where), "image")
        note(f"attestations of {count}: {workspace.layout.shown(where)}/attestations/")
    tell_of_known(known)
    if as_json:
        print_json(workspace.reporting.document(cells, on_hosts).to_json())
    else:
        print_table(cells, known)
        say(f"written to {workspace.layout.shown(where)}/")
    tell_ci(cells, known, junit=junit, annotations=annotations, old=old)
    if age is not None:
        _end_if_older(cells, age, max_age or "")


def _end_if_older(cells: Sequence[Evidence], age: timedelta, asked: str) -> None:
    """End with 3 where evidence is older than asked, or where no cell was ever run.

    Raises:
        SurroundingsError: it is. What was written stays: it is right, and old.
    """
    from envmatrix.report.freshness import executed, older
    from envmatrix.report.states import utc

    now = datetime.now(UTC)
    if not executed(cells):
        raise SurroundingsError(
            f"no cell of this report was run, so nothing is newer than {asked}",
            where="--max-age",
            next_step=f"run them: `envmatrix run {_listed(cells)}`",
        )
    if found := older(cells, age, now):
        warn(
            *(
                f"{cell.id}: {counted((now - utc(cell.generated_at)).days, 'day')} old, "
                f"of {cell.generated_at:%Y-%m-%d}"
                for cell in found[:_TOLD]
            )
        )
        more = f", of which {_TOLD} are named" if len(found) > _TOLD else ""
        raise SurroundingsError(
            f"the evidence of {counted(len(found), 'cell')} is older than {asked}{more}",
            where="--max-age",
            next_step=f"run them again: `envmatrix run --fresh {_listed(found)}`",
        )


def _listed(cells: Sequence[Evidence]) -> str:
    return " ".join(shlex.quote(cell.id) for cell in cells[:_TOLD])


def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[FILE]", help=f"Of which file: {', '.join(SCHEMAS)}. Default: matrix."
        ),
    ] = "matrix",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same document on one line.")] = False,
) -> None:
    """Print the JSON Schema of a file that people write, or that envmatrix writes."""
    if name not in SCHEMAS:
        raise InputError(
            f"there is no schema of {name!r}",
            where="schema",
            next_step=nearest(name, SCHEMAS),
            instead=meant(name, SCHEMAS),
        )
    if as_json:
        print_json(_schema(name))
    else:
        sys.stdout.write(json.dumps(_schema(name), indent=2) + "\n")


def _schema(name: str) -> dict[str, Any]:
    from envmatrix.model import amendments, claims, matrix_file
    from envmatrix.model.evidence import Evidence
    from envmatrix.model.part import Part
    from envmatrix.model.publications import Publications
    from envmatrix.report.api import DOCUMENTS
    from envmatrix.report.document import Report
    from envmatrix.report.history import Event

    written = {
        "matrix": matrix_file.json_schema,
        "amendments": amendments.json_schema,
        "claims": claims.json_schema,
    }
    if make := written.get(name):
        return make()
    forms: dict[str, type[Part]] = {"report": Report, "evidence": Evidence, "history": Event}
    forms["published"] = Publications
    forms |= {f"api-{document}": form for document, form in DOCUMENTS.items()}
    return forms[name].json_schema()
