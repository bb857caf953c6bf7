"""Records: what a stage did, kept under the hash of what went into it.

A stage whose inputs did not change finds its record here and is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from envmatrix.model.errors import SurroundingsError
from envmatrix.model.part import Part
from envmatrix.store.files import (
    ignore,
    leftovers,
    make_folder,
    names,
    remove,
    remove_all,
    sweep,
    to_text,
    using,
    without_links,
    write_text,
)

PROBE_LOGS = "probe"
"""The folder of the logs of probes, beside those of builds."""
RESOLVE_LOGS = "resolve"
"""The folder of the logs of the resolver: one for each problem, which several cells may pose."""

_WRITTEN = (".", "cells", "host", "report", "report/cells", "report/host", "report/packages")
"""The folders of a state in which files are written, beside those of records and logs."""

_Record = TypeVar("_Record", bound=Part)


class Records:
    """The records under a folder: one JSON file for each kind of record and each key.

    `images` is the rendered tree, which is written while the folder is held alone.
    """

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root = root
        self._images = images

    def path(self, kind: str, key: str) -> Path:
        """Return where the record of this kind and key lies."""
        return self.root / "records" / kind / f"{key}.json"

    def get(self, kind: str, key: str, form: type[_Record]) -> _Record | None:
        """Return a record, or None where there is none or the file is not one of this form."""
        try:
            return form.model_validate_json(self.path(kind, key).read_bytes())
        except (OSError, ValidationError):
            return None

    def written(self, kind: str, key: str) -> datetime | None:
        """Return when a record was written; None where there is none."""
        try:
            return datetime.fromtimestamp(self.path(kind, key).stat().st_mtime, UTC)
        except OSError:
            return None

    def keys(self, kind: str) -> frozenset[str]:
        """Return the keys of all records of a kind, with one look at the disk."""
        return names(self.root / "records" / kind)

    def put(self, kind: str, key: str, record: Part) -> None:
        """Keep a record, and replace an older one.

        Raises:
            SurroundingsError: it cannot be written.
        """
        write_text(self.path(kind, key), to_text(record.to_json()))

    def forget(self, kind: str, key: str) -> None:
        """Remove a record, where there is one.

        Raises:
            SurroundingsError: it cannot be removed.
        """
        path = self.path(kind, key)
        if path.exists():
            remove(path)

    def log_path(self, kind: str, name: str) -> Path:
        """Return where the log of a stage lies, for one cell or base."""
        return self.root / "logs" / kind / f"{name}.log"

    def probe_logs(self, cell_id: str) -> Path:
        """Return the folder of the logs of the probes of a cell, one file each."""
        return self.root / "logs" / PROBE_LOGS / cell_id

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the state alone.

        Raises:
            SurroundingsError: another process works in the same folder, or it cannot be written.
        """
        # Only commands that write need it, and its import takes a while.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        lock = FileLock(self.root / "in-use", blocking=False)
        with using(self.root):
            make_folder(self.root)
            ignore(self.root)
            try:
                lock.acquire()
            except Timeout as error:
                raise SurroundingsError(
                    "another envmatrix is at work here",
                    where=str(self.root),
                    next_step="wait for it to end; read-only commands work meanwhile",
                ) from error
            except NotImplementedError as error:
                raise SurroundingsError(
                    f"cannot use {self.root}: its file system has no locks",
                    where=str(self.root),
                    next_step="work in a copy of the project on a local disk",
                ) from error
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what killed runs left, from the folders that are ours alone, by name."""
        remove_all(half_made(self.root))
        if images := self._images:
            folders = [images, *images.glob("*"), *images.glob("base/*")]
            sweep(without_links(folders, images))


def half_made(state: Path) -> Iterator[Path]:
    """Yield what a killed run left in a state: files half-written, and half of a bootstrap."""
    folders = [state / name for name in _WRITTEN]
    for pattern in ("records/*", "logs/*", f"logs/{PROBE_LOGS}/*"):
        folders += state.glob(pattern)
    yield from leftovers(without_links(folders, state))
    bootstrap = state / "bootstrap"
    if not bootstrap.is_symlink():
        for pattern in ("*.tar", "*.packages"):
            yield from bootstrap.glob(pattern)
