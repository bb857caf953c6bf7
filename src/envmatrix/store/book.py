"""The book of evidence: the last evidence of each cell and host, on this machine and published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import UnreadableEvidenceError, read_evidence
from envmatrix.store.files import names, to_text, write_text
from envmatrix.store.layout import Layout


class Book:
    """Evidence files. What this machine recorded comes before what is published."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._cells = layout.state / "cells"
        self._published = layout.reports / "cells"
        self._hosts = layout.state / "host"
        self._published_hosts = layout.reports / "host"

    @cached_property
    def _ids(self) -> frozenset[str]:
        """The cells that have evidence. Thousands have none and are not looked up each."""
        return names(self._cells) | names(self._published)

    def evidence(self, cell_id: str) -> Evidence | None:
        """Return the last evidence of a cell, or None where there is none.

        Raises:
            UnreadableEvidenceError: there is a file, and no file can be read.
        """
        unreadable: UnreadableEvidenceError | None = None
        for folder in (self._cells, self._published) if cell_id in self._ids else ():
            try:
                if found := self._read(folder / f"{cell_id}.json"):
                    return found
            except UnreadableEvidenceError as error:
                unreadable = unreadable or error
        if unreadable:
            raise unreadable
        return None

    def hosts(self) -> Iterator[Evidence]:
        """Yield the evidence of hosts: this machine's, and what is published, by id.

        Raises:
            UnreadableEvidenceError: a file cannot be read.
        """
        paths: dict[str, Path] = {}
        for folder in (self._published_hosts, self._hosts):
            paths |= {path.stem: path for path in folder.glob("*.json")}
        for _, path in sorted(paths.items()):
            if found := self._read(path):
                yield found

    def _read(self, path: Path) -> Evidence | None:
        where = self._layout.short(path)
        try:
            return read_evidence(path.read_text(encoding="utf-8"), where)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableEvidenceError(
                f"this evidence file cannot be read: {error}",
                where=where,
                next_step="check its permissions, or run the cell again",
            ) from error

    def keep(self, evidence: Evidence) -> Path:
        """Keep the evidence of a cell on this machine; return where it lies."""
        self.__dict__.pop("_ids", None)
        return self._write(self._cells, evidence)

    def keep_host(self, evidence: Evidence) -> Path:
        """Keep the evidence of a host on this machine; return where it lies."""
        return self._write(self._hosts, evidence)

    def _write(self, folder: Path, evidence: Evidence) -> Path:
        path = folder / f"{evidence.id}.json"
        write_text(path, to_text(evidence.to_json()))
        return path
