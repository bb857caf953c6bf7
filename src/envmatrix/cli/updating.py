"""The command that looks for newer releases than the matrix has: outdated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.printing import print_json, say, warn
from envmatrix.cli.workspace import workspace_of


def outdated(
    context: typer.Context,
    *,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Add them to the matrix file, and let the resolver see files up to yesterday.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell which releases of frameworks and which Pythons the indexes have, and the matrix not."""
    from envmatrix.model.matrix_edit import extended
    from envmatrix.model.matrix_file import load
    from envmatrix.resolve.indexes import Indexes
    from envmatrix.resolve.pip_settings import pip_settings
    from envmatrix.stages.outdated import look
    from envmatrix.store.files import using, write_text

    workspace = workspace_of(context)
    matrix, path = workspace.matrix, workspace.layout.matrix
    found = look(matrix, workspace.cells, Indexes(pip_settings()))
    if as_json:
        print_json(found.to_json())
    else:
        for one in found.releases:
            day = f", of {one.uploaded}" if one.uploaded else ""
            has = f"the matrix has {one.has}" if one.has else "the matrix has none of its line"
            say(f"{one.framework} {one.version}{day}: {has}")
        for python in found.pythons:
            say(f"Python {python}: the newest release of a framework has wheels for it")
        if not found.releases and not found.pythons:
            say("the matrix has the newest releases")
    if not write or not (found.releases or found.pythons):
        return
    # A day that is not over may still get files, and would give other locks tomorrow.
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    additions: dict[str, list[str]] = {}
    for one in found.releases:
        additions.setdefault(one.framework, []).append(one.version)
    with using(path, "read"):
        text = path.read_text(encoding="utf-8")
    new = extended(text, additions, found.pythons, max(yesterday, matrix.resolve.as_of))
    load(new, path.name)  # What is not a valid matrix is not written.
    write_text(path, new)
    warn(f"written to {workspace.layout.shown(path)}; next: `envmatrix lock -p published`")
