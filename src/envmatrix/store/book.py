"""The book of evidence: the last evidence of each cell and host, on this machine and published.

Evidence that an amendment marks invalid stays where it is, and counts for nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from envmatrix.model.amendments import NO_AMENDMENTS, Amendment, Amendments
from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import UnreadableEvidenceError, read_evidence
from envmatrix.model.verdicts import NOT_ATTEMPTED, Verdict
from envmatrix.store.files import names, to_text, write_text
from envmatrix.store.layout import Layout


class Book:
    """Evidence files: those that this machine recorded, and those that are published."""

    def __init__(self, layout: Layout, amendments: Amendments = NO_AMENDMENTS) -> None:
        self._layout = layout
        self._amendments = amendments
        self._cells = layout.state / "cells"
        self._published = layout.reports / "cells"
        self._hosts = layout.state / "host"
        self._published_hosts = layout.reports / "host"

    @cached_property
    def _ids(self) -> frozenset[str]:
        """The cells that have evidence. Thousands have none and are not looked up each."""
        return names(self._cells) | names(self._published)

    def evidence(self, cell_id: str) -> Evidence | None:
        """Return the evidence of a cell, or None where there is none that counts.

        Raises:
            UnreadableEvidenceError: there is a file, and no file can be read.
        """
        return next(iter(self.candidates(cell_id)), None)

    def candidates(self, cell_id: str) -> Iterator[Evidence]:
        """Yield all evidence of a cell that counts, the best first, each as it is asked for.

        A verdict comes before `unknown`: an attempt that failed says nothing about the cell. Then
        this machine's evidence comes before the published.

        Raises:
            UnreadableEvidenceError: there is a file, and no file can be read.
        """
        return (one for one in self._all(cell_id) if not self.is_amended(one))

    def amended(self, cell_id: str) -> tuple[Evidence, Amendment] | None:
        """Return the best evidence of a cell that is marked invalid, and by what.

        Raises:
            UnreadableEvidenceError: there is a file, and no file can be read.
        """
        for one in self._all(cell_id):
            if amendment := self._amendments.of(one.id, one.generated_at):
                return one, amendment
        return None

    def is_amended(self, evidence: Evidence) -> bool:
        """Return whether evidence is marked invalid."""
        return self._amendments.of(evidence.id, evidence.generated_at) is not None

    def idle_amendments(self) -> list[Amendment]:
        """Return the amendments that mark no evidence here: a pattern or a time may be wrong."""
        found = []
        for one in self._amendments.all:
            files = [
                folder / f"{cell_id}.json"
                for cell_id in self._ids
                if one.names(cell_id)
                for folder in (self._cells, self._published)
            ]
            evidence = filter(None, map(self._readable, files))
            if not any(one.marks(held.id, held.generated_at) for held in evidence):
                found.append(one)
        return found

    def _all(self, cell_id: str) -> Iterator[Evidence]:
        failed: list[Evidence] = []
        unreadable: UnreadableEvidenceError | None = None
        readable = False
        for folder in (self._cells, self._published) if cell_id in self._ids else ():
            try:
                evidence = self._read(folder / f"{cell_id}.json")
            except UnreadableEvidenceError as error:
                unreadable = unreadable or error
                continue
            if evidence:
                readable = True
                if evidence.verdict is Verdict.UNKNOWN:
                    failed.append(evidence)
                else:
                    yield evidence
        yield from failed
        if unreadable and not readable:
            raise unreadable

    def published(self, cell_id: str) -> Evidence | None:
        """Return the published evidence of a cell; None where there is none that can be read."""
        return self._readable(self._published / f"{cell_id}.json")

    def holds(self, cell_id: str) -> bool:
        """Return whether this machine has evidence of a cell that was run, beside any report."""
        return _was_run(self._readable(self._cells / f"{cell_id}.json"))

    def holds_host(self, evidence: Evidence) -> bool:
        """Return whether this machine has this evidence of a host, or newer, beside any report."""
        found = self._readable(self._hosts / f"{evidence.id}.json")
        return found is not None and found.generated_at >= evidence.generated_at

    def _readable(self, path: Path) -> Evidence | None:
        try:
            return self._read(path)
        except UnreadableEvidenceError:
            return None

    def hosts(self) -> Iterator[Evidence]:
        """Yield the evidence of hosts: this machine's, and what is published, by id.

        Raises:
            UnreadableEvidenceError: there is a file of a host, and no file of it can be read.
        """
        folders = (self._hosts, self._published_hosts)
        for host in sorted(frozenset().union(*map(names, folders))):
            unreadable: UnreadableEvidenceError | None = None
            for folder in folders:
                try:
                    found = self._read(folder / f"{host}.json")
                except UnreadableEvidenceError as error:
                    unreadable = unreadable or _of_host(error)
                    continue
                if found:
                    yield found
                    break
            else:
                if unreadable:
                    raise unreadable

    def _read(self, path: Path) -> Evidence | None:
        where = self._layout.short(path)  # It may stand in a judgement, which is published.
        try:
            return read_evidence(path.read_text(encoding="utf-8"), where, path.stem)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableEvidenceError(
                f"this evidence file cannot be read: {error}",
                where=where,
                next_step="check its permissions, or run the cell again: "
                f"`envmatrix run {path.stem}`",
            ) from error

    def keep(self, evidence: Evidence) -> Path:
        """Keep the evidence of a cell on this machine; return where it lies.

        An attempt that failed replaces no verdict that counts: the evidence before it stays. What
        was built and not probed is no attempt that failed.
        """
        failed = evidence.verdict is Verdict.UNKNOWN and evidence.class_ != NOT_ATTEMPTED.kind
        if failed:
            for folder in (self._cells, self._published):
                path = folder / f"{evidence.id}.json"
                known = self._readable(path)
                if known and known.verdict is not Verdict.UNKNOWN and not self.is_amended(known):
                    return path
        self.__dict__.pop("_ids", None)
        return self._write(self._cells, evidence)

    def secure(self, cell_id: str) -> None:
        """Keep published evidence of a cell that was run on this machine, too.

        A report that says less of the cell may replace the published one then.
        """
        found = self.published(cell_id)
        if found and _was_run(found) and not self.holds(cell_id):
            self.__dict__.pop("_ids", None)
            self._write(self._cells, found)

    def keep_host(self, evidence: Evidence) -> Path:
        """Keep the evidence of a host on this machine; return where it lies."""
        return self._write(self._hosts, evidence)

    def _write(self, folder: Path, evidence: Evidence) -> Path:
        path = folder / f"{evidence.id}.json"
        write_text(path, to_text(evidence.to_json()))
        return path


def _was_run(evidence: Evidence | None) -> bool:
    return evidence is not None and evidence.verdict.was_run


def _of_host(error: UnreadableEvidenceError) -> UnreadableEvidenceError:
    return UnreadableEvidenceError(
        error.what,
        where=error.where,
        next_step=f"remove it with `rm {shlex.quote(error.where)}`, or probe that interpreter "
        "again with `envmatrix probe --host`",
    )
