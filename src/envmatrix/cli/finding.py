"""Finding the matrix file from the current folder, as git finds its repository."""

from __future__ import annotations

import os
from pathlib import Path

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
