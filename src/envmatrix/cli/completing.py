"""Completion in shells: the script that a shell reads, and what may stand for cells."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envmatrix.cli.finding import find_matrix
from envmatrix.cli.mistakes import PROGRAM
from envmatrix.cli.printing import print_json
from envmatrix.model.errors import EnvmatrixError, InputError

if TYPE_CHECKING:
    from envmatrix.model.matrix import Matrix

SHELLS = ("bash", "zsh", "fish")
MOST = 200
"""How many words are offered. A shell asks before it shows more than a screen."""


def completion(
    shell: Annotated[
        str | None,
        typer.Argument(metavar="[bash|zsh|fish]", help="Default: the shell that $SHELL names."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Print what a shell needs to complete commands, options, cells and profiles."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise InputError(
            f"there is no completion for the shell {name!r}",
            where="completion",
            next_step="name one: " + ", ".join(f"`envmatrix completion {one}`" for one in SHELLS),
        )
    script = get_completion_script(
        prog_name=PROGRAM, complete_var=f"_{PROGRAM.upper()}_COMPLETE", shell=name
    )
    if as_json:
        print_json({"schema": 1, "shell": name, "script": script})
    else:
        sys.stdout.write(f"{script}\n")


def answer_shell() -> None:
    """Let typer answer a shell that asks what may come next, if one does."""
    if os.environ.get(f"_{PROGRAM.upper()}_COMPLETE"):
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def selectors(context: typer.Context, incomplete: str) -> list[str]:
    """Return the selectors that begin so: axes with their values, and ids once a letter is typed.

    bash takes a = for a word of its own, and asks for the value alone.
    """
    matrix = _matrix(context)
    if matrix is None:
        return []
    values = _values(matrix)
    axis = next((one for one in reversed(context.params.get("select") or ()) if one != "="), "")
    if axis in values:
        return _beginning(values[axis], incomplete)
    if not incomplete:
        return [f"{axis}=" for axis in values]
    offered = [f"{axis}={value}" for axis, some in values.items() for value in some]
    return _beginning([*offered, *_ids(matrix)], incomplete)


def cells(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids that begin so; where nothing is typed, those of the default profile."""
    matrix = _matrix(context)
    return [] if matrix is None else _beginning(_ids(matrix), incomplete)


def profiles(context: typer.Context, incomplete: str) -> list[str]:
    """Return the profiles that begin so."""
    matrix = _matrix(context)
    return [] if matrix is None else _beginning(matrix.profiles, incomplete)


def _beginning(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)][:MOST]


def _values(matrix: Matrix) -> dict[str, Sequence[str]]:
    from envmatrix.model.verdicts import Verdict

    versions = (one.versions for one in matrix.frameworks.values())
    return {
        "framework": list(matrix.frameworks),
        "version": list(dict.fromkeys(version for some in versions for version in some)),
        "python": list(matrix.axes.python),
        "os": list(matrix.axes.os),
        "accelerator": list(matrix.axes.accelerator),
        "arch": list(matrix.axes.arch),
        "verdict": list(Verdict),
    }


def _ids(matrix: Matrix) -> list[str]:
    from envmatrix.model.cells import expand

    return [cell.id for cell in expand(matrix)]


def _matrix(context: Any) -> Matrix | None:  # noqa: ANN401
    """Return the matrix of the command that is typed; None where there is none, or it is wrong."""
    from envmatrix.model.matrix_file import read_matrix

    given = context.find_root().params.get("matrix")
    try:
        return read_matrix(Path(given) if given else find_matrix(Path.cwd()))
    except (EnvmatrixError, OSError):
        return None
