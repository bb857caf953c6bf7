"""Commands that execute nothing: plan, explain, probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import (
    print_grids,
    print_json,
    print_layers,
    print_plan,
    print_probes,
)
from envmatrix.cli.stories import print_story
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.cells import Cell
from envmatrix.model.expectations import compared
from envmatrix.report.claims import contradicted


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
    as_json: AsJson = False,
) -> None:
    """Show every cell and what is known of it. Nothing is executed."""
    workspace = workspace_of(context)
    chosen = workspace.choose(select, profile)
    if layers:
        bases = _layers(workspace, chosen)
        if as_json:
            print_json({"schema": 1, "bases": bases})
        else:
            print_layers(bases)
        return
    workspace.tell_of_idle_probes()
    if grid and not as_json:
        print_grids(workspace.reporting.entries(chosen))
        return
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
    cell: str,
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
        print_story(one, found, drift, known, disagreements, pull=pull, verbose=verbose)


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
