"""The command that makes one report of the reports of shards: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson, Profile, Strict
from envmatrix.cli.printing import (
    counted,
    print_failures,
    print_json,
    print_table,
    say,
    tell_of_known,
    warn,
)
from envmatrix.cli.running import exit_code
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


def merge(
    context: typer.Context,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...", help="The report of a shard, or a folder that holds several."
        ),
    ],
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", metavar="SELECT", help="A selector that the shards were run with."
        ),
    ] = None,
    profile: Profile = None,
    *,
    folder: Out = None,
    readme: Readme = None,
    summary: Summary = None,
    site: WithSite = False,
    base_url: BaseUrl = "",
    junit: Junit = None,
    annotations: Annotations = False,
    fail_on_regression: Annotated[
        str | None,
        typer.Option(
            metavar="OLD",
            help="Exit code 1 only where a cell is newly broken since OLD: a report, a commit, or "
            "a time, as for diff.",
        ),
    ] = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Make one report of the reports of shards. A cell that none has is unknown, never absent."""
    from envmatrix.report.entries import Entry
    from envmatrix.report.feed import site_address

    workspace = workspace_of(context)
    address = site_address(base_url) if base_url else ""
    where = folder or workspace.layout.report
    wants_old = annotations or fail_on_regression is not None
    chosen = workspace.choose(select, profile)
    # The old report may lie where the new one will.
    old = before(workspace, fail_on_regression) if wants_old else None
    workspace.check_claims()
    with workspace.records.exclusive():
        merged = workspace.merger.merge(folders, chosen)
        cells = merged.cells
        entries = [Entry(one.id, one.axes, one.judgement, one) for one in cells]
        on_hosts = list(workspace.book.hosts())
        outputs = Outputs(where, readme, summary, site, address)
        publish(workspace, outputs, cells, entries, on_hosts)
    known = workspace.reporting.known(cells)
    if as_json:
        print_json(workspace.reporting.document(cells, on_hosts).to_json())
    else:
        print_table(cells, known)
        print_failures(cells, known, workspace.shown)
        say(f"written to {workspace.layout.shown(where)}/")
    tell_of_known(known)
    for number in merged.shards:
        warn(f"shard {number}/{merged.count} is missing: its cells are unknown")
    if merged.missing:
        warn(f"no shard has evidence of {counted(len(merged.missing), 'cell')}")
    worse = tell_ci(cells, known, junit=junit, annotations=annotations, old=old)
    if fail_on_regression is None:
        raise typer.Exit(exit_code(cells, known, strict=strict))
    if worse:
        warn(f"newly broken: {', '.join(one.id for one in worse)}")
        raise typer.Exit(1)
    raise typer.Exit(3 if merged.missing else 0)
