"""What is known of locks: what is committed, and what this machine recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Part
from envmatrix.model.locks import (
    Lock,
    Problem,
    Resolution,
    base_problem_of,
    parse_lock,
    problem_of,
)
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import LOCKED, Judgement
from envmatrix.store.files import write_text
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolved import KEY_LENGTH, Line, Resolved


class LockRecord(Part):
    """The record of an answer of the resolver: the text of a lock, or the judgement."""

    lock: str | None
    judgement: Judgement | None


def recall(records: Records, problem: Problem) -> Resolution | None:
    """Return the recorded resolution of a problem, if there is one."""
    record = records.get("lock", problem.key, LockRecord)
    if record is None:
        return None
    lock = parse_lock(record.lock) if record.lock else None
    return Resolution(lock, record.judgement) if lock or record.judgement else None


def keep(records: Records, problem: Problem, resolution: Resolution) -> None:
    """Record the resolution of a problem."""
    text = resolution.lock.text if resolution.lock else None
    records.put("lock", problem.key, LockRecord(lock=text, judgement=resolution.judgement))


class Resolutions:
    """What the resolver said of the cells of a matrix. Committed knowledge comes first."""

    def __init__(self, matrix: Matrix, layout: Layout, records: Records) -> None:
        self._matrix = matrix
        self._layout = layout
        self._records = records
        self._resolved = Resolved(layout.resolved)

    def problem(self, cell: Cell) -> Problem:
        """Return what is asked of the resolver for a cell."""
        return problem_of(self._matrix, cell)

    def base_problem(self, cell: Cell) -> Problem:
        """Return what is asked of the resolver for the base of a cell."""
        return base_problem_of(self._matrix, cell)

    def of_cell(self, cell: Cell) -> Resolution | None:
        """Return what is known of the lock of a cell."""
        return self._known(self.problem(cell), cell.id)

    def of_base(self, cell: Cell) -> Resolution | None:
        """Return what is known of the lock of the base of a cell."""
        return self._known(self.base_problem(cell), _base_folder(cell))

    def _known(self, problem: Problem, folder: str) -> Resolution | None:
        lock = self._committed_lock(folder)
        if lock is not None and lock.problem_key == problem.key:
            return Resolution(lock, None)
        return recall(self._records, problem)

    def committed_lock(self, cell: Cell) -> Lock | None:
        """Return the committed lock of a cell, whatever problem it answered."""
        return self._committed_lock(cell.id)

    def _committed_lock(self, folder: str) -> Lock | None:
        try:
            text = self._layout.lock(folder).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return parse_lock(text)

    def committed_verdict(self, cell: Cell) -> Judgement | None:
        """Return what the committed file says of a cell. A line on another problem is nothing.

        Raises:
            InputError: the file is damaged, or was written by another envmatrix.
        """
        line = self._resolved.lines.get(cell.id)
        if line is None or line.key != self.problem(cell).key[:KEY_LENGTH]:
            return None
        return line.judgement

    def judgement(self, cell: Cell) -> Judgement | None:
        """Return what is known of a cell by its resolution alone."""
        known = self.committed_verdict(cell)
        if known is not None and known.kind != "blocked":
            return known
        problem = self.problem(cell)
        resolution = recall(self._records, problem) if problem.key in self._recorded else None
        return (resolution.judgement or LOCKED) if resolution else known

    @cached_property
    def _recorded(self) -> frozenset[str]:
        """The keys of all records. Thousands of cells have none and are not looked up each."""
        return self._records.keys("lock")

    def write_verdicts(
        self, found: Mapping[str, Resolution], cells: Iterable[Cell], declared: Sequence[Cell]
    ) -> None:
        """Write what the resolver said of `cells`, and keep the lines of other declared cells.

        Raises:
            InputError: the file is damaged, or was written by another envmatrix.
            SurroundingsError: it cannot be written.
        """
        told = {cell.id: found[self.problem(cell).key].judgement or LOCKED for cell in cells}
        lines = {}
        for cell in declared:
            judgement = told.get(cell.id) or self.committed_verdict(cell)
            if judgement is not None:
                lines[cell.id] = Line(self.problem(cell).key[:KEY_LENGTH], judgement)
        self._resolved.write(lines)

    def write_locks(self, found: Mapping[str, Resolution], cells: Iterable[Cell]) -> None:
        """Write the locks of cells and of their bases into the committed tree."""
        for cell in cells:
            for problem, folder in (
                (self.problem(cell), cell.id),
                (self.base_problem(cell), _base_folder(cell)),
            ):
                resolution = found.get(problem.key)
                if resolution and resolution.lock:
                    write_text(self._layout.lock(folder), resolution.lock.text)


def _base_folder(cell: Cell) -> str:
    return f"base/{cell.base_id}"
