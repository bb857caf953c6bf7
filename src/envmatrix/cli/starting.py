"""The command that writes a first matrix: init."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.finding import NAME
from envmatrix.cli.printing import print_json, say
from envmatrix.model.errors import InputError
from envmatrix.model.first_matrix import CELL, FIRST_MATRIX


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to write it. It is made if needed.")
    ] = Path(),
    *,
    as_json: AsJson = False,
) -> None:
    """Write a first matrix.yaml: one framework, one Python, one system. It replaces no file."""
    from envmatrix.store.files import write_text

    path = folder / NAME
    if os.path.lexists(path):
        raise InputError(
            f"{path} is there already, and stays as it is",
            where=str(path),
            next_step=f"look at it with `{_in(folder)}envmatrix plan`, or give another folder: "
            "`envmatrix init FOLDER`",
        )
    write_text(path, FIRST_MATRIX)
    following = [f"{_in(folder)}envmatrix plan", f"{_in(folder)}envmatrix run"]
    if as_json:
        print_json({"schema": 1, "matrix": str(path), "cells": [CELL], "next": following})
        return
    say(
        f"written: {path}",
        "next:",
        f"  {following[0]}    what it declares, and what is known of it",
        f"  {following[1]}     build it and probe it: Docker, some minutes, about 2 GB",
    )


def _in(folder: Path) -> str:
    return f"cd {shlex.quote(str(folder))} && " if folder != Path() else ""
