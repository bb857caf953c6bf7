"""Commands that execute nothing: plan, explain, probes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson, OneCell, Profile, Select
from envmatrix.cli.printing import (
    Level,
    counted,
    loudness,
    print_grids,
    print_json,
    print_layers,
    print_plan,
    print_probes,
    say,
)
from envmatrix.cli.stories import print_audit, print_story
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.expectations import compared
from envmatrix.model.matrix import meant, nearest
from envmatrix.model.selection import NothingKnownError
from envmatrix.report.claims import contradicted
from envmatrix.report.grid import grids, to_json
from envmatrix.stages.fingerprints import Fingerprints, fingerprints, read_fingerprints

FORMS = ("github", "ids", "fingerprints")
"""The forms of a plan for programs, beside `--json`."""


def plan(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show which layers the cells install, and share.")
    ] = False,
    grid: Annotated[
        bool,
        typer.Option("--grid", help="One grid a framework: releases by Pythons, best verdicts."),
    ] = False,
    shards: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Cut the cells into so many shards for `run --shard`."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="[github|ids|fingerprints]",
            help="One line for programs. github: JSON for strategy.matrix of a workflow, with "
            "--shards. ids: the cells. fingerprints: JSON for --changed-from.",
        ),
    ] = None,
    changed_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only cells whose inputs are not those of these fingerprints of another commit.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every cell and what is known of it. Nothing is executed."""
    workspace = workspace_of(context)
    chosen = _chosen(workspace, select, profile, form)
    if changed_from:
        before = read_fingerprints(changed_from)
        chosen = before.changed(chosen, _fingerprints(workspace, chosen))
    if form == "fingerprints":
        print_json(_fingerprints(workspace, chosen).to_json())
    elif form == "ids":
        say(" ".join(cell.id for cell in chosen))
    elif form or shards is not None:
        _print_shards(workspace, chosen, shards or 1, for_github=bool(form), as_json=as_json)
    elif layers:
        _print_layers(workspace, chosen, as_json=as_json)
    elif grid:
        workspace.tell_of_idle_probes()
        _print_grids(workspace, chosen, as_json=as_json)
    else:
        workspace.tell_of_idle_probes()
        _print_cells(workspace, chosen, as_json=as_json)


def _chosen(
    workspace: Workspace, select: Sequence[str] | None, profile: str | None, form: str | None
) -> list[Cell]:
    """Return the cells that are asked for. To a program, none at all is a good answer.

    Raises:
        InputError: a selector, the profile or the form is wrong.
    """
    if form not in (None, *FORMS):
        raise InputError(
            f"--format {form} is not known",
            where="--format",
            next_step=nearest(form, FORMS),
            instead=meant(form, FORMS),
        )
    try:
        return workspace.choose(select, profile)
    except NothingKnownError:
        if not form:
            raise
        return []


def _fingerprints(workspace: Workspace, cells: Sequence[Cell]) -> Fingerprints:
    return fingerprints(cells, workspace.reporting.maker.inputs_of)


def _print_grids(workspace: Workspace, cells: Sequence[Cell], *, as_json: bool) -> None:
    entries = workspace.reporting.entries(cells)
    if as_json:
        print_json({"schema": 1, "grids": [to_json(grid) for grid in grids(entries)]})
    else:
        print_grids(entries)


def _print_layers(workspace: Workspace, cells: Sequence[Cell], *, as_json: bool) -> None:
    bases = _layers(workspace, cells)
    if as_json:
        print_json({"schema": 1, "bases": bases})
    else:
        print_layers(bases)


def _print_cells(workspace: Workspace, chosen: Sequence[Cell], *, as_json: bool) -> None:
    judged = [(cell, workspace.knowledge.judgement(cell)) for cell in chosen]
    known = {
        cell.id: compared(workspace.expected[cell.id], judgement.verdict, judgement.kind)
        for cell, judgement in judged
        if cell.id in workspace.expected
    }
    if as_json:
        cells = [
            {
                "id": cell.id,
                "axes": cell.axes.to_json(),
                **judgement.to_json(),
                "known": known[cell.id].to_json() if cell.id in known else None,
            }
            for cell, judgement in judged
        ]
        print_json({"schema": 1, "cells": cells})
    else:
        print_plan(judged, known)


def _print_shards(
    workspace: Workspace, chosen: Sequence[Cell], count: int, *, for_github: bool, as_json: bool
) -> None:
    """Print how cells are cut into shards. There are none where nothing is left to run."""
    named = [
        (f"{number}/{count}", shard)
        for number, shard in enumerate(workspace.cutter.cut(chosen, count), 1)
        if shard.cells
    ]
    if for_github:
        print_json(
            {
                "include": [
                    {
                        "shard": name,
                        "cells": len(shard.cells),
                        "seconds": shard.seconds,
                        "arch": " ".join(sorted({cell.arch for cell in shard.cells})),
                    }
                    for name, shard in named
                ]
            }
        )
    elif as_json:
        found = [
            {"shard": name, "seconds": one.seconds, "cells": [cell.id for cell in one.cells]}
            for name, one in named
        ]
        print_json({"schema": 1, "shards": found})
    else:
        for name, one in named:
            say(f"{name}: {counted(len(one.cells), 'cell')}, about {one.seconds} s")
            say(*(f"  {cell.id}" for cell in one.cells))
        say(f"{counted(len(named), 'shard')}; run one with `envmatrix run ... --shard 1/{count}`")


def _layers(workspace: Workspace, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return, for each base, the groups of wheels that its cells share, and the cells' steps."""
    sharing = workspace.sharing
    bases: dict[tuple[str, str | None], dict[str, Any]] = {}
    for cell in cells:
        base = bases.setdefault(
            (cell.base_id, cell.index),
            {
                "base": cell.base_id,
                "index": cell.index,
                "groups": [group.to_json() for group in sharing.groups(cell)],
                "cells": [],
            },
        )
        resolution = workspace.resolutions.of_cell(cell)
        if resolution and resolution.lock:
            steps = [
                {
                    "wheels": [wheel.name for wheel in step],
                    "bytes": sum(wheel.size for wheel in step),
                }
                for step in sharing.steps(cell, resolution.lock)
            ]
            base["cells"].append({"id": cell.id, "steps": steps})
    return [base for base in bases.values() if base["cells"]]


def explain(
    context: typer.Context,
    cell: OneCell,
    *,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also what was observed, each probe, the layers, the inputs."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell whether one cell works, how to start it, or why not and what to do."""
    workspace = workspace_of(context)
    one = workspace.only(cell)
    found = workspace.reporting.evidence(one)
    if as_json:
        print_json(found.to_json())
    else:
        drift = workspace.packages.drift_below(one, found.layers)
        drift = drift or workspace.pulled.drift_of(one, found)
        known = workspace.reporting.known([found]).get(one.id)
        disagreements = [
            other
            for other in contradicted(workspace.reporting.compared([found]))
            if one.id in other.cells
        ]
        pull = workspace.publications.pull_command(found)
        whole = verbose or loudness.level is Level.VERBOSE
        audit = workspace.auditing.of(one.id) if whole else None
        print_story(
            one,
            found,
            drift,
            known,
            disagreements,
            pull=pull,
            shown=workspace.shown,
            verbose=whole,
        )
        if audit:
            print_audit(audit, found)


def probes(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the probes: what each proves."""
    found = workspace_of(context).probes.all
    if as_json:
        listed = [
            {
                "name": one.name,
                "framework": one.framework,
                "proves": one.proves,
                "required": one.required,
                "timeout": one.timeout,
                "needs": one.needs,
            }
            for one in found
        ]
        print_json({"schema": 1, "probes": listed})
        return
    print_probes(found)
