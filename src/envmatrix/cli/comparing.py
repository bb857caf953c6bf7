"""The command that tells what changed between two reports: diff."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.printing import print_json, say
from envmatrix.cli.workspace import workspace_of
from envmatrix.model.errors import InputError


def diff(
    context: typer.Context,
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="A folder or a file of a report, a commit of git (HEAD~3), or a time of the "
            "history: day, week, month, 2026-11-20.",
        ),
    ],
    new: Annotated[
        str | None,
        typer.Argument(metavar="[NEW]", help="The same. Default: the report in reports/."),
    ] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Markdown, for the summary of a CI job.")
    ] = False,
    fail_on_regression: Annotated[
        bool,
        typer.Option("--fail-on-regression", help="Exit code 1 where a cell is newly broken."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two reports."""
    from envmatrix.report import changes
    from envmatrix.stages.comparing import Past

    if as_json and markdown:
        raise InputError(
            "--json and --markdown exclude each other", where="diff", next_step="give one of them"
        )
    past, now = Past(workspace_of(context).layout), datetime.now(UTC)
    before = past.states(old, now)
    after = past.states(new, now) if new is not None else past.at_hand()
    found = changes.compare(before.states, after.states)
    if as_json:
        print_json(changes.to_json(found, before, after))
    else:
        say(*(changes.to_markdown if markdown else changes.to_lines)(found, before, after))
    if fail_on_regression and found.regressed:
        raise typer.Exit(1)
