"""The report stage: the evidence of cells as it is now, and the files that publish it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from envmatrix.model.cells import Cell, system_id
from envmatrix.model.claims import NO_CLAIMS, Claims
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import UnreadableEvidenceError, read_evidence
from envmatrix.model.expectations import Expected, Known, known_of
from envmatrix.model.locks import glibc_floor
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import Comparison, compare, release_of
from envmatrix.report.document import Report, document
from envmatrix.report.entries import Entry
from envmatrix.report.history import History, read_history, to_lines
from envmatrix.report.table import page
from envmatrix.stages.evidence import EvidenceMaker, machine
from envmatrix.store.book import Book
from envmatrix.store.files import remove, sweep, to_text, using, write_text
from envmatrix.store.knowledge import Knowledge
from envmatrix.store.layout import HISTORY, REPORT, SHARD
from envmatrix.store.packages import SystemPackages

_PACKAGE = re.compile(r"\S+ \S+ \S+ [0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reporting:
    """Gathers evidence and writes reports.

    `expected` is what the matrix knows to be broken, `claims` reads what vendors declare where that
    is told, and `cells` is every declared cell.
    """

    maker: EvidenceMaker
    knowledge: Knowledge
    packages: SystemPackages
    book: Book
    expected: Expected = field(default_factory=dict)
    claims: Callable[[], Claims] = lambda: NO_CLAIMS
    cells: Sequence[Cell] = ()

    def evidence(self, cell: Cell) -> Evidence:
        """Return the evidence of a cell if it is current, or else what is known without it."""
        judgement, evidence = self.knowledge.of(cell)
        return evidence or self.maker.of(cell, judgement)

    def entries(self, cells: Iterable[Cell]) -> list[Entry]:
        """Return what is known of each cell. The evidence of thousands is not made for that."""
        return [Entry(cell.id, cell.axes, *self.knowledge.of(cell)) for cell in cells]

    def known(self, cells: Iterable[Evidence]) -> dict[str, Known]:
        """Return what the matrix knows of cells, compared with their evidence, by cell id."""
        return known_of(self.expected, cells)

    def compared(self, cells: Iterable[Evidence]) -> list[Comparison]:
        """Return what vendors declare of the releases of cells, compared with what is known.

        A release is judged by all its cells, whichever of them are asked for.
        """
        claims = self.claims()
        if not claims.claims:
            return []
        releases = {release_of(one.axes) for one in cells}
        meant = [cell for cell in self.cells if (cell.family, cell.version) in releases]
        floors = {}
        for cell in meant:
            lock = self.maker.resolutions.committed_lock(cell)
            if lock and (floor := glibc_floor(lock, cell.requires[0])):
                floors[cell.id] = floor
        return compare(claims, self.entries(meant), floors)

    def document(
        self,
        cells: Sequence[Evidence],
        on_hosts: Sequence[Evidence] = (),
        compared: Sequence[Comparison] | None = None,
    ) -> Report:
        """Return the document of some cells, with the machine of the first as its host."""
        host = cells[0].host if cells else machine()
        compared = self.compared(cells) if compared is None else compared
        return document(cells, host, on_hosts, self.known(cells), compared)

    def write(
        self,
        cells: Sequence[Evidence],
        where: Path,
        on_hosts: Sequence[Evidence] = (),
        *,
        claims: bool = True,
    ) -> None:
        """Write report.json, table.md, and a file for each cell, each host and each system.

        Without `claims` it does not tell what vendors declare: that takes a look at every cell of a
        release, and a run that has nothing to do should take no time.

        The published report also gets the changes of its cells at the end of history.jsonl, and so
        does any other folder that has such a file.

        Files of what is not in this report are removed: they would stand beside a table that does
        not know them. Only files that hold what such a file holds are ours to remove.

        Raises:
            InputError: evidence that is nowhere else would be lost, or the history of the folder is
                damaged. Nothing was written.
            SurroundingsError: a file cannot be written or removed.
        """
        outdated, kept = self._outdated(cells, where, on_hosts)
        # What lies in the state can be made again at once.
        durable = self._is_kept(where)
        texts = {
            where / folder / f"{found.id}.json": to_text(found.to_json())
            for folder, evidence in (("cells", cells), ("host", on_hosts))
            for found in evidence
        }
        for found in cells:
            if held := self.packages.held(found.layers):
                system = system_id(found.axes.os, found.axes.arch)
                texts[where / "packages" / f"{system}.txt"] = "".join(f"{line}\n" for line in held)
        compared = self.compared(cells) if claims else []
        report = self.document(cells, on_hosts, compared)
        texts[where / REPORT] = to_text(report.to_json())
        texts[where / "table.md"] = page(cells, on_hosts, report.known, compared)
        if (path := self._history_file(where)).parent == where:
            before = text_of(path) if path.exists() else ""
            known = read_history(before, self.maker.layout.shown(path))
            if events := known.next(cells, _now()):
                gap = "" if before.endswith("\n") or not before else "\n"
                texts[path] = before + gap + to_lines(events)
        if where.is_dir():
            sweep([where, *(where / name for name in ("cells", "host", "packages"))])
        for path, text in texts.items():
            if path in kept:
                continue
            write_text(path, text, durable=durable)
        for path in outdated:
            remove(path)

    def history(self, where: Path) -> History:
        """Return the history of a report: its own where it has one, or that of the published one.

        Raises:
            InputError: a line of it is damaged.
            SurroundingsError: it cannot be read.
        """
        path = self._history_file(where)
        return history_of(path, self.maker.layout.shown(path))

    def _history_file(self, where: Path) -> Path:
        own, published = where / HISTORY, self.maker.layout.reports / HISTORY
        is_published = where.resolve() == published.parent.resolve()
        return own if is_published or own.exists() else published

    def _is_kept(self, where: Path) -> bool:
        """Return whether a folder is not that of the last run, which each run replaces."""
        return where.resolve() != self.maker.layout.report.resolve()

    def _outdated(
        self, cells: Sequence[Evidence], where: Path, on_hosts: Sequence[Evidence]
    ) -> tuple[list[Path], set[Path]]:
        """Return the files of an earlier report that this one leaves out, and those to leave alone.

        Evidence that is marked invalid is left alone, unless there is other evidence of its cell.

        Raises:
            InputError: one of them, or one that is replaced, is evidence that is nowhere else.
        """
        told = {one.id: one.verdict for one in cells}
        hosts = {one.id for one in on_hosts}
        systems = {system_id(one.axes.os, one.axes.arch) for one in cells}
        outdated, lost = [], []
        kept: set[Path] = set()
        newer = {cell_id for cell_id, verdict in told.items() if _was_run(verdict)}
        for found, path in evidence_in(where / "cells", beside=newer):
            if found.id not in told:
                outdated.append(path)
            replaced = _was_run(found.verdict)
            if replaced and found.id in told and self.book.is_amended(found):
                kept.add(path)
            elif replaced and not self.book.holds(found.id):
                lost.append(path)
        for found, path in evidence_in(where / "host"):
            if found.id not in hosts:
                outdated.append(path)
                lost += [] if self.book.holds_host(found) else [path]
        for path, held in packages_in(where / "packages"):
            if path.stem not in systems:
                outdated.append(path)
                lost += [] if self.packages.has(held) else [path]
        if lost and self._is_kept(where):
            raise self._would_be_lost(lost, where)
        return outdated, kept

    def _would_be_lost(self, lost: Sequence[Path], where: Path) -> InputError:
        short = self.maker.layout.short
        names = ", ".join(path.stem for path in lost)
        return InputError(
            f"nothing was written: evidence of {names} would be lost, and it is nowhere else",
            where=short(where),
            next_step="select and run these, too, or write to another folder with `--out`; where "
            f"they are to go: `git rm {' '.join(shlex.quote(short(path)) for path in lost)}`",
        )


def forget_shard(where: Path) -> None:
    """Remove from a report what an earlier run of a shard wrote there."""
    if (where / SHARD).exists():
        remove(where / SHARD)


def _was_run(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.was_run


def files_in(folder: Path, ending: str) -> list[Path]:
    """Return the plain files of a folder with this ending; a symbolic link is not followed."""
    return [one for one in entries_in(folder) if one.suffix == ending and one.is_file()]


def entries_in(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without symbolic links."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with using(folder, "read"):
        return [one for one in sorted(folder.iterdir()) if not one.is_symlink()]


def evidence_in(
    folder: Path, beside: Collection[str] = frozenset()
) -> Iterator[tuple[Evidence, Path]]:
    """Yield the evidence of a folder of a report, each with its file. Other files are not ours.

    The files of the cells `beside` it are not read.
    """
    for path in files_in(folder, ".json"):
        if path.stem in beside:
            continue
        with suppress(UnreadableEvidenceError, OSError, UnicodeDecodeError):
            found = read_evidence(path.read_text(encoding="utf-8"), str(path))
            if found.id == path.stem:
                yield found, path


def packages_in(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the lists of packages of a folder of a report. Other files are not ours."""
    for path in files_in(folder, ".txt"):
        with suppress(OSError, UnicodeDecodeError):
            held = tuple(path.read_text(encoding="utf-8").splitlines())
            if held and all(_PACKAGE.fullmatch(line) for line in held):
                yield path, held


def text_of(path: Path) -> str:
    """Return the text of a file of a report.

    Raises:
        InputError: it is no text.
        SurroundingsError: it cannot be read.
    """
    try:
        with using(path, "read"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "this file is no text in UTF-8",
            where=str(path),
            next_step="give a file that `envmatrix report` wrote",
        ) from error


def history_of(path: Path, where: str) -> History:
    """Return the history in a file; an empty one where there is no file.

    Raises:
        InputError: a line of it is no event.
        SurroundingsError: it cannot be read.
    """
    return read_history(text_of(path) if path.exists() else "", where)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
