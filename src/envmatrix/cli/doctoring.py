"""The command that tells what is missing or dangerous on this machine: doctor."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import print_findings, print_json
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.errors import EnvmatrixError

if TYPE_CHECKING:
    from envmatrix.stages.doctor import Check, Finding, Work

DOCTOR_SCHEMA = 1
"""The number of the form of the JSON document."""


def doctor(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell what is missing or dangerous on this machine, with remedies. Nothing is changed."""
    from envmatrix.stages.doctor import examine, nothing_missing

    workspace = workspace_of(context)
    matrix, work = _work(workspace, select, profile)
    findings = [*matrix, *examine(_checks(workspace, work))]
    well = nothing_missing(findings)
    if as_json:
        print_json(
            {
                "schema": DOCTOR_SCHEMA,
                "ok": well,
                "findings": [finding.to_json() for finding in findings],
            }
        )
    else:
        print_findings(findings)
    if not well:
        raise typer.Exit(3)


def _work(
    workspace: Workspace, select: list[str] | None, profile: str | None
) -> tuple[list[Finding], Work | None]:
    """Return what is found of the matrix, and what the chosen cells need.

    Raises:
        InputError: the user names cells or a profile that the matrix does not have.
    """
    from envmatrix.stages.doctor import Work, fine, missing, warning
    from envmatrix.stages.lock import Locked

    path = workspace.matrix_path
    if not path.exists():
        remedy = "cd to the folder of a matrix.yaml, or give `envmatrix --matrix FILE doctor`"
        return [warning("matrix", f"there is no {path}: no cell is looked at", remedy)], None
    try:
        matrix = workspace.matrix
    except EnvmatrixError as error:
        return [missing("matrix", f"{error.what} ({error.where})", error.next_step)], None
    try:
        cells = workspace.choose(select, profile)
        known = [(cell, workspace.resolutions.of_cell(cell)) for cell in cells]
        work = Work(
            title=_title(select, profile),
            matrix=matrix,
            sharing=workspace.sharing,
            locked=[
                Locked(cell, found.lock)
                for cell, found in known
                if found and found.lock and not cell.excluded
            ],
            unlocked=sum(1 for cell, found in known if found is None and not cell.excluded),
        )
    except EnvmatrixError as error:
        if select or profile:
            raise
        return [missing("matrix", f"{error.what} ({error.where})", error.next_step)], None
    said = f"{path}; {work.title}: {len(cells)} cells, of which {len(work.locked)} are locked"
    if work.unlocked:
        option = " ".join(shlex.quote(one) for one in select or ())
        option += f" --profile {shlex.quote(profile)}" if profile else ""
        lock = f"envmatrix lock {option.strip()}".strip()
        return [warning("matrix", f"{said}; what the others need is not known", lock)], work
    return [fine("matrix", said)], work


def _title(select: list[str] | None, profile: str | None) -> str:
    return "the selected cells" if select else f"the profile {profile or 'quick'}"


def _checks(workspace: Workspace, work: Work | None) -> Iterator[Check]:
    from envmatrix.stages import index_checks, machine_checks, state_checks
    from envmatrix.stages.doctor import Check

    layout = workspace.layout

    def look_at_engine() -> Iterator[Finding]:
        # The import of docker-py takes a while, and happens beside the other checks.
        from envmatrix.stages import engine_checks

        return engine_checks.engine(layout, work)

    listed: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", machine_checks.python),
        ("uv", machine_checks.uv),
        ("pip", machine_checks.pip),
        ("mmdebstrap", partial(machine_checks.mmdebstrap, work)),
        ("memory", machine_checks.capacity),
        ("gpu", partial(machine_checks.gpu, work)),
        ("disk", partial(state_checks.disk, layout, work)),
        ("state", partial(state_checks.state, layout)),
        ("file system", partial(state_checks.file_systems, layout)),
        ("index", partial(index_checks.indexes, layout, work)),
    )
    for topic, look in listed:
        yield Check(topic, look)
    yield Check(
        "engine",
        look_at_engine,
        needed=True,
        remedy="see whether it answers: `docker version`; restart it: "
        "`sudo systemctl restart docker`",
    )
