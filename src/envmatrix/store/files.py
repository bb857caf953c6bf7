"""Writing and removing files. A reader sees the old text or the new one, and no part of either."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from envmatrix.model.errors import SurroundingsError


def write_text(path: Path, text: str) -> None:
    """Write a file in one step, and make the folders above it.

    Raises:
        SurroundingsError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SurroundingsError(
            f"cannot write {path}: {error.strerror}",
            where=str(path),
            next_step="check the disk and the permissions",
        ) from error


def remove(path: Path) -> None:
    """Remove a file.

    Raises:
        SurroundingsError: the file cannot be removed.
    """
    try:
        path.unlink()
    except OSError as error:
        raise SurroundingsError(
            f"cannot remove {path}: {error.strerror}",
            where=str(path),
            next_step="check the permissions",
        ) from error


def to_text(data: object) -> str:
    """Return `data` as the JSON text that records and evidence are kept in."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def names(folder: Path) -> frozenset[str]:
    """Return the names of the JSON files of a folder, without their ending."""
    return frozenset(path.stem for path in folder.glob("*.json"))
