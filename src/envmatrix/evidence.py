"""Evidence: what a stage recorded, under the hash of what went into it.

A stage whose inputs did not change finds its record here and is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from envmatrix.errors import SurroundingsError


class Verdict(StrEnum):
    """What is known of a cell; exactly one of these."""

    WORKS = "works"
    BROKEN = "broken"
    IMPOSSIBLE = "impossible"
    UNKNOWN = "unknown"


class Reproducible(StrEnum):
    """Whether an image was rebuilt from nothing, and came out the same."""

    PROVEN = "proven"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with the stage that gave it, its class, and the cause in a sentence.

    `remedy` is what a user can do about it, where that is known.
    """

    verdict: Verdict
    stage: str
    kind: str = ""
    cause: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the fields as the report names them."""
        return {
            "verdict": self.verdict.value,
            "stage": self.stage,
            "class": self.kind,
            "cause": self.cause,
            "remedy": self.remedy,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        return cls(
            Verdict(data["verdict"]),
            data["stage"],
            data["class"],
            data["cause"],
            data.get("remedy", ""),
        )


def digest(*parts: object) -> str:
    """Return the SHA-256 (hex) of `parts`, each of which JSON can hold."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, never a part.

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


def names(folder: Path) -> frozenset[str]:
    """Return the names of the JSON files of a folder, without their ending."""
    return frozenset(path.stem for path in folder.glob("*.json"))


def to_text(data: object) -> str:
    """Return `data` as the JSON text all records are kept in."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


class Store:
    """Records under a folder: one JSON file for each kind of record and key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Return where the record of this kind and key lies."""
        return self.root / "records" / kind / f"{key}.json"

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record, or None where there is none or it cannot be read as JSON."""
        try:
            data = json.loads(self.path(kind, key).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    def keys(self, kind: str) -> frozenset[str]:
        """Return the keys of all records of a kind, with one look at the disk."""
        return names(self.root / "records" / kind)

    def put(self, kind: str, key: str, data: Mapping[str, Any]) -> None:
        """Keep a record, replacing an older one."""
        write_text(self.path(kind, key), to_text(data))

    def log_path(self, kind: str, name: str) -> Path:
        """Return where the log of a stage for one cell or base lies."""
        return self.root / "logs" / kind / f"{name}.log"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the store alone.

        Raises:
            SurroundingsError: another process works in the same folder.
        """
        import fcntl  # noqa: PLC0415  (not on every system; only writers need it)

        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "in-use").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SurroundingsError(
                    "another envmatrix is at work here",
                    where=str(self.root),
                    next_step="wait for it to end; read-only commands work meanwhile",
                ) from error
            yield
