"""What is known of locks: what is committed, and what this machine recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.interpreters import Interpreter, Wanted
from envmatrix.model.locks import (
    Lock,
    Problem,
    Resolution,
    base_problem_of,
    parse_lock,
    problem_of,
    wanted_interpreter,
)
from envmatrix.model.matrix import Matrix
from envmatrix.model.part import Part
from envmatrix.model.verdicts import LOCKED, Judgement, Verdict
from envmatrix.store.files import write_text
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolved import KEY_LENGTH, Line, Resolved


class LockRecord(Part):
    """The record of an answer of the resolver: the text of a lock, or the judgement.

    `settings` is the digest of the settings under which a proof was made.
    """

    lock: str | None
    judgement: Judgement | None
    settings: str = ""


def recall(records: Records, problem: Problem | Wanted) -> Resolution | None:
    """Return the recorded resolution of a problem, if there is one."""
    record = records.get("lock", problem.key, LockRecord)
    if record is None:
        return None
    if record.lock is None:
        return Resolution(None, record.judgement, record.settings) if record.judgement else None
    try:
        return Resolution(parse_lock(record.lock, "the record"), None)
    except InputError:
        return None


def keep(records: Records, problem: Problem | Wanted, resolution: Resolution) -> None:
    """Record the resolution of a problem."""
    text = resolution.lock.text if resolution.lock else None
    record = LockRecord(lock=text, judgement=resolution.judgement, settings=resolution.settings)
    records.put("lock", problem.key, record)


class Resolutions:
    """What the resolver said of the cells of a matrix. Committed knowledge comes first."""

    def __init__(self, matrix: Matrix, layout: Layout, records: Records) -> None:
        self._matrix = matrix
        self._layout = layout
        self._records = records
        self._resolved = Resolved(layout.resolved)
        self._heard: dict[str, Resolution] = {}

    def problem(self, cell: Cell) -> Problem:
        """Return what is asked of the resolver for a cell."""
        return problem_of(self._matrix, cell)

    def base_problem(self, cell: Cell) -> Problem:
        """Return what is asked of the resolver for the base of a cell."""
        return base_problem_of(self._matrix, cell)

    def of_cell(self, cell: Cell, settings: str = "") -> Resolution | None:
        """Return what is known of the lock of a cell: a lock, or a proof that there is none.

        A lock is valid under any settings. Where `settings` is the digest of the user's, a proof
        counts only under these: another index may have what was missing.

        Raises:
            InputError: the committed lock was damaged or changed by hand.
        """
        known = self._known(self.problem(cell), cell.id)
        if known and known.lock:
            return known
        line = self._line(cell)
        committed = (
            Resolution(None, line.judgement, line.settings)
            if line and line.judgement.verdict is Verdict.IMPOSSIBLE
            else None
        )
        proofs = [one for one in (committed, known) if one]
        return next((one for one in proofs if settings in ("", one.settings)), None)

    @property
    def of_the_base(self) -> frozenset[str]:
        """The names of what every base and every virtual environment holds."""
        base = self._matrix.base
        return frozenset(
            canonicalize_name(Requirement(text).name) for text in (base.installer, *base.venv)
        )

    def of_base(self, cell: Cell) -> Resolution | None:
        """Return what is known of the lock of the base of a cell, or was said in this run.

        It has the interpreter, where the base needs one.
        """
        problem = self.base_problem(cell)
        found = self._known(problem, _base_folder(cell)) or self._heard.get(problem.key)
        wanted = self.wanted_interpreter(cell)
        if wanted is None or found is None or found.lock is None:
            return found
        interpreter = self.interpreter(cell, wanted)
        if interpreter is None:
            return self._heard.get(wanted.key)
        return Resolution(replace(found.lock, interpreter=interpreter), None)

    def wanted_interpreter(self, cell: Cell) -> Wanted | None:
        """Return which standalone CPython the base of a cell needs, if any."""
        return wanted_interpreter(self._matrix, cell)

    def interpreter(self, cell: Cell, wanted: Wanted) -> Interpreter | None:
        """Return the interpreter that is locked for the base of a cell."""
        committed = self._committed_lock(_base_folder(cell))
        recorded = recall(self._records, wanted)
        for lock in (committed, recorded.lock if recorded else None):
            if lock and lock.interpreter and wanted.is_met_by(lock.interpreter.filename):
                return lock.interpreter
        return None

    def hear(self, found: Mapping[str, Resolution]) -> None:
        """Remember for this run why bases have no lock. Nothing of it is kept on the disk."""
        for key, resolution in found.items():
            judgement = resolution.judgement
            if judgement:
                self._heard[key] = Resolution(None, replace(judgement, stage="base"))

    def _known(self, problem: Problem, folder: str) -> Resolution | None:
        lock = self._committed_lock(folder)
        if lock is not None and lock.problem_key == problem.key:
            return Resolution(lock, None)
        return recall(self._records, problem)

    def committed_lock(self, cell: Cell) -> Lock | None:
        """Return the committed lock of a cell, whatever problem it answered.

        Raises:
            InputError: it was damaged or changed by hand.
        """
        return self._committed_lock(cell.id)

    def _committed_lock(self, folder: str) -> Lock | None:
        path = self._layout.lock(folder)
        try:
            text = path.read_bytes().decode("utf-8", errors="replace")
        except OSError:
            return None
        return parse_lock(text, self._layout.shown(path))

    def committed_verdict(self, cell: Cell) -> Judgement | None:
        """Return what the committed file says of a cell. A line on another problem is nothing.

        Raises:
            InputError: the file is damaged, or was written by another envmatrix.
        """
        line = self._line(cell)
        return line.judgement if line else None

    def _line(self, cell: Cell) -> Line | None:
        line = self._resolved.lines.get(cell.id)
        if line is None or line.key != self.problem(cell).key[:KEY_LENGTH]:
            return None
        return line

    def judgement(self, cell: Cell) -> Judgement | None:
        """Return what is known of a cell by its resolution alone."""
        known = self.committed_verdict(cell)
        if known == LOCKED:
            return known
        problem = self.problem(cell)
        resolution = recall(self._records, problem) if problem.key in self._recorded else None
        if resolution is None or (known and known.verdict is Verdict.IMPOSSIBLE):
            return LOCKED if resolution and resolution.lock else known
        return resolution.judgement or LOCKED

    @cached_property
    def _recorded(self) -> frozenset[str]:
        """The keys of all records. Thousands of cells have none and are not looked up each."""
        return self._records.keys("lock")

    def write_verdicts(
        self, found: Mapping[str, Resolution], cells: Iterable[Cell], declared: Sequence[Cell]
    ) -> None:
        """Write what the resolver said of `cells`, and keep the lines of other declared cells.

        An answer that is `unknown` replaces no proof and no lock of the same problem.

        Raises:
            InputError: the file is damaged, or was written by another envmatrix.
            SurroundingsError: it cannot be written.
        """
        asked = {cell.id for cell in cells}
        lines = {}
        for cell in declared:
            line = self._line(cell)
            key = self.problem(cell).key
            if cell.id in asked and (line is None or not _says_less(found[key], line)):
                judgement = found[key].judgement or LOCKED
                line = Line(key[:KEY_LENGTH], judgement, found[key].settings)
            if line is not None:
                lines[cell.id] = line
        self._resolved.write(lines)

    def write_locks(self, found: Mapping[str, Resolution], cells: Iterable[Cell]) -> None:
        """Write the locks of cells and of their bases into the committed tree.

        A base whose interpreter is not known has no lock.
        """
        for cell in cells:
            for folder, lock in (
                (cell.id, _lock_in(found, self.problem(cell))),
                (_base_folder(cell), self._base_lock(found, cell)),
            ):
                if lock:
                    write_text(self._layout.lock(folder), lock.text)

    def _base_lock(self, found: Mapping[str, Resolution], cell: Cell) -> Lock | None:
        lock, wanted = _lock_in(found, self.base_problem(cell)), self.wanted_interpreter(cell)
        if lock is None or wanted is None:
            return lock
        answer = _lock_in(found, wanted)
        return replace(lock, interpreter=answer.interpreter) if answer else None


def _lock_in(found: Mapping[str, Resolution], problem: Problem | Wanted) -> Lock | None:
    resolution = found.get(problem.key)
    return resolution.lock if resolution else None


def _says_less(resolution: Resolution, line: Line) -> bool:
    """Return whether an answer knows less than a committed line does."""
    unknown = resolution.judgement and resolution.judgement.verdict is Verdict.UNKNOWN
    known = line.judgement == LOCKED or line.judgement.verdict is not Verdict.UNKNOWN
    return bool(unknown) and known


def _base_folder(cell: Cell) -> str:
    return f"base/{cell.base_id}"
