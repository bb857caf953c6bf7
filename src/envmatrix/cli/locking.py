"""Commands that write the committed tree under images/: lock and render."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from envmatrix.cli.arguments import AsJson, Check, Fresh, Jobs, Profile, Select
from envmatrix.cli.printing import counted, print_json, say, warn
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.selection import PUBLISHED
from envmatrix.model.verdicts import Judgement, Verdict, excluded_by_rule
from envmatrix.store.overlaps import said_of_locks

if TYPE_CHECKING:
    from envmatrix.stages.lock import Found


_TOLD = 5
"""How many causes are told in full."""


def lock(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    check: Check = False,
    jobs: Jobs = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Resolve cells to hash-pinned wheels, or to the reason why there are none."""
    from envmatrix.cli.at_work import at_work

    workspace = workspace_of(context)
    chosen = workspace.choose(select, profile)
    with at_work(workspace) as progress:
        found = workspace.locking.lock(chosen, progress, jobs=jobs, fresh=fresh or check)
        if not check:  # Another command would lose these lines, if it wrote its own meanwhile.
            _write(workspace, chosen, found)
    if check:
        drift = workspace.locking.drift(chosen, found, workspace.published)
        _end_with_drift(drift, "envmatrix lock", as_json=as_json)
    else:
        _print(workspace, chosen, found, as_json=as_json)
        _warn_of_overlaps(workspace, found)
    _end_if_blocked(found)


def _write(workspace: Workspace, chosen: Sequence[Cell], found: Found) -> None:
    asked = [cell for cell in chosen if not cell.excluded]
    workspace.resolutions.write_verdicts(found, asked, workspace.cells)
    published = {cell.id for cell in workspace.published}
    workspace.resolutions.write_locks(found, [cell for cell in chosen if cell.id in published])


def _print(workspace: Workspace, chosen: Sequence[Cell], found: Found, *, as_json: bool) -> None:
    judgements = [
        excluded_by_rule(cell.excluded)
        if cell.excluded
        else found[workspace.resolutions.problem(cell).key].judgement
        for cell in chosen
    ]
    if as_json:
        cells = [
            {
                "id": cell.id,
                "locked": judgement is None,
                **(judgement.to_json() if judgement else {}),
            }
            for cell, judgement in zip(chosen, judgements, strict=True)
        ]
        print_json({"schema": 1, "cells": cells})
    else:
        say(f"{counted(len(chosen), 'cell')}: {_counts(judgements)}")
        say(f"verdicts: {workspace.layout.shown(workspace.layout.resolved)}")


def _warn_of_overlaps(workspace: Workspace, found: Found) -> None:
    """Say which distributions of the locks own the same files."""
    locks = [resolution.lock for resolution in found.values() if resolution.lock]
    for said in said_of_locks(workspace.records, locks):
        warn(said)


def _end_if_blocked(found: Found) -> None:
    judgements = [resolution.judgement for resolution in found.values()]
    unknown = [one for one in judgements if one and one.verdict is Verdict.UNKNOWN]
    if unknown:
        warn("Some cells stay unknown. Why, and what to do:")
        told = list(dict.fromkeys(f"{one.cause}; {one.remedy}" for one in unknown))
        warn(*(f"- {text}" for text in told[:_TOLD]))
        if len(told) > _TOLD:
            warn(f"- and {len(told) - _TOLD} other causes, which `envmatrix plan` names")
        raise typer.Exit(3)


def _counts(judgements: Sequence[Judgement | None]) -> str:
    kinds = Counter(judgement.kind for judgement in judgements if judgement)
    locked = sum(judgement is None for judgement in judgements)
    counts = [("locked", locked), *sorted(kinds.items())]
    return ", ".join(f"{number} {kind}" for kind, number in counts)


def render(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    check: Check = False,
    as_json: AsJson = False,
) -> None:
    """Render the folders under images/ (default: those of the published profile)."""
    workspace = workspace_of(context)
    everything = not select and profile is None
    if everything and PUBLISHED not in workspace.matrix.profiles:
        raise InputError(
            f"the matrix has no profile `{PUBLISHED}`, which says what belongs under images/",
            where=str(workspace.matrix_path),
            next_step=f"add the profile, or render one with `envmatrix render --profile "
            f"{next(iter(workspace.matrix.profiles))}`, or a cell with `envmatrix render CELL`",
        )
    chosen = [
        cell
        for cell in workspace.choose(select, PUBLISHED if everything else profile)
        if not cell.excluded
    ]
    files, unlocked = workspace.tree.rendered(chosen)
    for cell in unlocked:
        warn(f"{cell.id} has no lock and is left out: run `envmatrix lock {cell.id}`")
    drift = workspace.tree.drift(files, chosen if everything else None)
    for path in map(workspace.layout.short, drift.kept):
        warn(
            f"{path} is of no published cell, and is kept: nothing here makes it again at once. "
            f"`git rm {shlex.quote(path)}` removes it"
        )
    if check:
        lines = drift.lines(workspace.layout)
        lines += [f"no lock: {cell.id}" for cell in unlocked]
        _end_with_drift(lines, "envmatrix render", as_json=as_json)
        return
    if drift.count:
        with workspace.records.exclusive():
            workspace.tree.write(files, drift)
    folder = workspace.layout.shown(workspace.layout.images)
    if as_json:
        without_lock = [cell.id for cell in unlocked]
        print_json(
            {"schema": 1, "files": len(files), "changed": drift.count, "unlocked": without_lock}
        )
    else:
        say(f"{counted(len(files), 'file')} under {folder}/, {drift.count} of them changed")
    if unlocked:
        raise typer.Exit(3)


def _end_with_drift(drift: Sequence[str], remedy: str, *, as_json: bool = False) -> None:
    if as_json:
        print_json({"schema": 1, "differences": list(drift)})
    else:
        say(*(drift or ["no difference"]))
    if drift:
        warn(f"{counted(len(drift), 'difference')}; run `{remedy}` and commit what it writes")
        raise typer.Exit(1)
