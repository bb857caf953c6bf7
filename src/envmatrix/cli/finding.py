"""Finding the matrix file from the current folder, as git finds its repository."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from envmatrix.model.errors import InputError
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import read_matrix

NAME = "matrix.yaml"


def find_matrix(start: Path) -> Path:
    """Return the matrix file of a folder, or of the nearest folder above that has one.

    The search ends at the root of a git work tree, at the user's home, and at the root of the file
    system: what lies above belongs to something else. Where nothing is found, the path is that of
    the file that `start` would have.
    """
    start = start.resolve()
    home = os.environ.get("HOME")
    ends = {Path(home).resolve()} if home else set()
    for folder in (start, *start.parents):
        if (folder / NAME).is_file():
            return (folder / NAME).resolve()
        if folder in ends or os.path.lexists(folder / ".git"):
            break
    return start / NAME


def matrix_of(path: Path, shown: str) -> Matrix:
    """Return the checked matrix of a file. `shown` is what messages call it.

    Raises:
        InputError: it cannot be read, or is wrong. Of a folder, the next step reads the matrix in
            it, or writes one there.
    """
    if path.is_dir():
        inside = path / NAME
        there = f"`envmatrix --matrix {shlex.quote(str(inside))} plan`"
        new = f"`envmatrix init {shlex.quote(str(path))}` writes a first matrix there"
        raise InputError(
            "the matrix is a folder, and a file is needed",
            where=shown,
            next_step=there if inside.is_file() else new,
        )
    return read_matrix(path, shown)
