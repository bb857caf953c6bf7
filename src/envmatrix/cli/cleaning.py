"""The command that frees what this project made: clean."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.printing import print_freed, print_json, print_portions, say, warn
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.errors import EngineError, InputError
from envmatrix.model.matrix import nearest

if TYPE_CHECKING:
    from envmatrix.stages.clean import Cleaner, Freed, Kind, Portion

CLEAN_SCHEMA = 1
"""The number of the form of the JSON document."""


def clean(
    context: typer.Context,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="containers, images, cache, wheelhouse, logs, temporary, engines. Default: all "
            "of these.",
        ),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Free it without a question.")] = False,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Also what this machine found out about cells."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what this folder's runs made and can make again, and free it once you agree.

    Published reports and the rendered images/ are never touched.
    """
    workspace = workspace_of(context)
    wanted = _kinds(kinds, evidence=evidence)
    with _cleaner(workspace, wanted, named=bool(kinds)) as cleaner:
        shown = cleaner.look(wanted)
        if not as_json:
            print_portions(shown)
        something = any(one.things for one in shown)
        freed: list[Freed] | None = None
        if something and _agreed(yes=yes, as_json=as_json):
            # Only now: nothing is made, not even the folder of the lock, to show what there is.
            with workspace.records.exclusive():
                freed = list(cleaner.free(shown))
    if as_json:
        print_json(_document(shown, freed))
    elif freed is not None:
        print_freed(freed)
    if any(one.stayed for one in freed or ()):
        raise typer.Exit(3)


def _kinds(names: Sequence[str] | None, *, evidence: bool) -> list[Kind]:
    """Return the kinds to look at, in the order in which they are freed.

    Raises:
        InputError: there is no such kind, or evidence is named without its option.
    """
    from envmatrix.stages.clean import BY_DEFAULT, Kind

    known = [kind.value for kind in Kind]
    for name in names or ():
        if name not in known:
            raise InputError(
                f"there is nothing of the kind {name!r} to free",
                where="KIND",
                next_step=nearest(name, known),
            )
        if name == Kind.EVIDENCE and not evidence:
            raise InputError(
                "evidence is freed only with --evidence: it says what this machine found out",
                where="KIND",
                next_step="envmatrix clean evidence --evidence",
            )
    chosen = {*(names or BY_DEFAULT), *([Kind.EVIDENCE.value] if evidence else [])}
    return [kind for kind in Kind if kind.value in chosen]


@contextmanager
def _cleaner(workspace: Workspace, kinds: Sequence[Kind], *, named: bool) -> Iterator[Cleaner]:
    """Yield what cleans. Where no kind is named, an engine that does not answer is passed over.

    Raises:
        EngineError: no engine answers, and something on it is named.
    """
    from envmatrix.stages.clean import ON_ENGINE, Cleaner

    layout, records = workspace.layout, workspace.records
    if not any(kind in ON_ENGINE for kind in kinds):
        yield Cleaner(layout, records, None)
        return
    from envmatrix.engine.client import Engine
    from envmatrix.engine.leftovers import Leftovers

    connecting = Engine.connect(warn)
    try:
        engine = connecting.__enter__()  # only the connecting may fail here
    except EngineError as error:
        if named:
            raise
        warn(f"note: {error.what}: what is on an engine is not looked at")
        yield Cleaner(layout, records, None)
        return
    try:
        yield Cleaner(layout, records, Leftovers(engine))
    finally:
        connecting.__exit__(None, None, None)


def _agreed(*, yes: bool, as_json: bool) -> bool:
    """Return whether the user wants it freed. Without a terminal nobody is asked."""
    if yes:
        return True
    if as_json or not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        warn("nothing was freed; give --yes to free it")
        return False
    if typer.confirm("free it?", default=False):
        return True
    say("nothing was freed")
    return False


def _document(shown: Sequence[Portion], freed: Sequence[Freed] | None) -> dict[str, Any]:
    gone = {one.kind: one for one in freed or ()}
    return {
        "schema": CLEAN_SCHEMA,
        "freed": freed is not None,
        "kinds": [
            {
                "kind": one.kind.value,
                "bytes": one.size,
                "things": list(one.things),
                "left": [{"thing": thing, "why": why} for thing, why in one.left],
                "freed_bytes": gone[one.kind].size if one.kind in gone else 0,
                "stayed": [
                    {"thing": thing, "why": why}
                    for thing, why in (gone[one.kind].stayed if one.kind in gone else ())
                ],
            }
            for one in shown
        ],
    }
