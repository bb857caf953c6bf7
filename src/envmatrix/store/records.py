"""Records: what a stage did, kept under the hash of what went into it.

A stage whose inputs did not change finds its record here and is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from envmatrix.model.errors import SurroundingsError
from envmatrix.model.evidence import Part
from envmatrix.store.files import names, to_text, write_text

_Record = TypeVar("_Record", bound=Part)


class Records:
    """The records under a folder: one JSON file for each kind of record and each key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Return where the record of this kind and key lies."""
        return self.root / "records" / kind / f"{key}.json"

    def get(self, kind: str, key: str, form: type[_Record]) -> _Record | None:
        """Return a record, or None where there is none or the file is not one of this form."""
        try:
            return form.model_validate_json(self.path(kind, key).read_bytes())
        except (OSError, ValidationError):
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

    def log_path(self, kind: str, name: str) -> Path:
        """Return where the log of a stage lies, for one cell or base."""
        return self.root / "logs" / kind / f"{name}.log"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the state alone.

        Raises:
            SurroundingsError: another process works in the same folder, or it cannot be written.
        """
        # Only commands that write need it, and its import takes a while.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        lock = FileLock(self.root / "in-use", blocking=False)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise SurroundingsError(
                "another envmatrix is at work here",
                where=str(self.root),
                next_step="wait for it to end; read-only commands work meanwhile",
            ) from error
        except OSError as error:
            raise SurroundingsError(
                f"cannot use {self.root}: {error.strerror}",
                where=str(self.root),
                next_step="check the disk and the permissions",
            ) from error
        try:
            yield
        finally:
            lock.release()
