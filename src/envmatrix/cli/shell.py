"""The command shell: a shell, or a command, in the image of a cell."""

from __future__ import annotations

import csv
import os
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from envmatrix.cli.arguments import OneCell
from envmatrix.cli.printing import print_json
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError, SurroundingsError, ToolError
from envmatrix.model.image_names import SHARED_MEMORY, cell_tag

if TYPE_CHECKING:
    from envmatrix.engine.client import Engine

MOUNTED = "/workspace"
"""Where `--mount` shows the current folder."""


def shell(
    context: typer.Context,
    cell: OneCell,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="What to run instead of a shell. Put -- before its options."),
    ] = None,
    *,
    mount: Annotated[
        bool,
        typer.Option(
            "--mount", help=f"Mount the current folder at {MOUNTED}, and work in it as yourself."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the command of Docker as JSON, and run nothing.")
    ] = False,
) -> None:
    """Open a shell in the image of a cell. Nothing is built, and nothing is pulled."""
    from envmatrix.engine.client import Engine

    workspace = workspace_of(context)
    one = workspace.only(cell)
    cuda = workspace.matrix.axes.accelerator[one.accelerator].cuda is not None
    with Engine.connect() as engine:
        image = _image_of(workspace, engine, one)
        gpus = ["--gpus", "all"] if cuda and engine.has_gpu else []
        mounting = _mounting(rootless=engine.is_rootless) if mount else []
        if mount and not engine.shows_folders:
            raise InputError(
                "the engine is on another machine, which does not have this folder",
                where="--mount",
                next_step="leave --mount out, or use an engine of this machine",
            )
    # The id is no name that a registry could serve, and no text of the matrix.
    terminal = ["--tty"] if _is_terminal(sys.stdin) and _is_terminal(sys.stdout) else []
    keys = ["--interactive"] if sys.stdin else []
    options = [
        *keys,
        *terminal,
        *gpus,
        "--shm-size",
        SHARED_MEMORY,
        *mounting,
    ]
    started = ["docker", "run", "--rm", "--pull", "never", *options, image, *(command or ["bash"])]
    if as_json:
        print_json({"schema": 1, "cell": one.id, "image": image, "command": started})
        return
    try:
        os.execvp("docker", started)  # noqa: S606
    except OSError as error:
        raise ToolError(
            "the docker command is not installed, or cannot be started",
            where="docker run",
            next_step="install the Docker CLI",
        ) from error


def _image_of(workspace: Workspace, engine: Engine, cell: Cell) -> str:
    """Return the id of the image that this checkout made of a cell, or else of that of its name.

    Raises:
        SurroundingsError: there is none.
    """
    from envmatrix.model.digests import digest
    from envmatrix.stages.image_records import NameRecord

    tag = cell_tag(cell)
    record = workspace.records.get("name", digest(tag), NameRecord)
    ours = engine.images.find(record.id) if record else None
    if found := ours or engine.images.find(tag):
        return found.id
    raise SurroundingsError(
        f"there is no image of {cell.id} here",
        where=tag,
        next_step=f"build it with `envmatrix build {cell.id}`",
    )


def _mounting(*, rootless: bool) -> list[str]:
    """Return the options that mount the current folder, which keeps its owner.

    For a rootless engine, root of a container is the user of the engine. Any other user of the
    container is nobody whom this machine knows, and could not write in the folder.
    """
    # Docker reads the value as a line of CSV, so a path may hold a comma.
    value = StringIO()
    csv.writer(value).writerow(["type=bind", f"source={Path.cwd()}", f"target={MOUNTED}"])
    user = "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"
    return ["--mount", value.getvalue().strip(), "--workdir", MOUNTED, "--user", user]


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
