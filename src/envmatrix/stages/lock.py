"""The lock stage: it resolves what is not known yet.

That are the wheels of cells and of their bases, and the interpreters of bases whose operating
system has another Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.cells import Cell
from envmatrix.model.errors import NetworkError
from envmatrix.model.interpreters import Interpreter, Wanted
from envmatrix.model.locks import Lock, Problem, Resolution, lock_of_interpreter
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve.pip_settings import pip_settings
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.options import default_jobs
from envmatrix.stages.progress import Progress
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions, keep

PYTHON = "python"
"""The stage of interpreters, in what a run tells while it works."""
Found = Mapping[str, Resolution]
"""Resolutions by the key of their problem, and interpreters by the key of what is wanted."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A cell that can be built, with its lock."""

    cell: Cell
    lock: Lock


@dataclass(frozen=True, slots=True)
class Locking:
    """Locks cells. Interpreters come into the folder `wheelhouse`: only so is their hash known."""

    resolutions: Resolutions
    records: Records
    wheelhouse: Path

    def lock(
        self,
        cells: Sequence[Cell],
        progress: Progress,
        *,
        jobs: int | None,
        fresh: bool = False,
        keeping: bool = False,
    ) -> Found:
        """Resolve every cell that has no lock yet, and the bases below; return all resolutions.

        A `fresh` run asks the resolver about every cell, also where the answer is known. Where it
        gets none, it goes on with what is known if it is `keeping` that.
        """
        found: dict[str, Resolution] = {}
        ahead: dict[str, Problem] = {}
        kept: dict[str, Resolution] = {}
        for problem, cell, known in self._questions(cells):
            if known and not fresh and self._holds_here(cell, known):
                found[problem.key] = known
                continue
            ahead[problem.key] = problem
            if known and (keeping or not fresh):
                kept[problem.key] = known
        progress.expect("lock", len(ahead))

        def done(problem: Problem, resolution: Resolution) -> None:
            said = resolution.judgement.kind if resolution.judgement else "locked"
            name = f"{problem.requires[0]} py{problem.python} glibc {problem.glibc}"
            progress.finished("lock", name, said, reused=False)

        if ahead:
            # Only what has to be resolved needs it, and its import takes a while.
            from envmatrix.resolve.resolver import Resolver  # noqa: PLC0415

            # uv waits for indexes most of its time, and takes little memory.
            side_by_side = jobs or min(16, 4 * default_jobs())
            resolver = Resolver(
                self.records, pip_settings(), progress.tell, self.resolutions.of_the_base
            )
            found |= resolver.resolve_all(ahead.values(), side_by_side, done)
        unanswered = [key for key in kept if _is_unknown(found[key])]
        if unanswered:
            found |= {key: kept[key] for key in unanswered}
            questions = f"{len(unanswered)} question{'s' if len(unanswered) != 1 else ''}"
            progress.tell(f"the indexes did not answer {questions}: what was known before is used")
        found |= self._interpreters(cells, found, progress, fresh=fresh, keeping=keeping)
        self.resolutions.hear(found)
        return found

    def _interpreters(
        self,
        cells: Iterable[Cell],
        found: Found,
        progress: Progress,
        *,
        fresh: bool,
        keeping: bool,
    ) -> dict[str, Resolution]:
        """Return the interpreters of the bases of cells that have a lock, each asked for once."""
        answers: dict[str, Resolution] = {}
        ahead: list[tuple[Wanted, Interpreter | None]] = []
        for one in self.locked(cells, found):
            wanted = self.resolutions.wanted_interpreter(one.cell)
            if wanted is None or wanted.key in answers:
                continue
            known = self.resolutions.interpreter(one.cell, wanted)
            answers[wanted.key] = _pinned(wanted, known)
            if fresh or not known:
                ahead.append((wanted, known))
        if ahead:
            progress.expect(PYTHON, len(ahead))
        wheelhouse = Wheelhouse(self.wheelhouse, progress.tell)
        for wanted, known in ahead:
            name = f"{wanted.python} for {wanted.arch}"
            progress.started(PYTHON, name)
            try:
                interpreter = wheelhouse.pin(wanted, known)
            except NetworkError as error:
                progress.finished(PYTHON, name, error.kind, reused=False)
                if known and keeping:
                    progress.tell(f"{error.what}: {known.version} is used, which was known before")
                    continue
                judgement = Judgement(
                    Verdict.UNKNOWN, "lock", error.kind, error.what, error.next_step
                )
                answers[wanted.key] = Resolution(None, judgement)
            else:
                progress.finished(PYTHON, name, interpreter.version, reused=interpreter == known)
                answers[wanted.key] = _pinned(wanted, interpreter)
                keep(self.records, wanted, answers[wanted.key])
        return answers

    def _questions(
        self, cells: Iterable[Cell]
    ) -> Iterator[tuple[Problem, Cell, Resolution | None]]:
        """Yield each problem of cells and of their bases once, and what is known of its answer."""
        seen: set[str] = set()
        for cell in cells:
            if cell.excluded:
                continue
            for problem, known_of in (
                (self.resolutions.problem(cell), self.resolutions.of_cell),
                (self.resolutions.base_problem(cell), self.resolutions.of_base),
            ):
                if problem.key not in seen:
                    seen.add(problem.key)
                    known = known_of(cell)
                    yield problem, cell, None if known is None or _is_unknown(known) else known

    def _holds_here(self, cell: Cell, known: Resolution) -> bool:
        """Return whether a known answer counts under the user's settings of today."""
        if known.lock:
            return True
        return self.resolutions.of_cell(cell, pip_settings().digest) is not None

    def locked(self, cells: Iterable[Cell], found: Found) -> Iterator[Locked]:
        """Yield the cells that no rule excludes and that have a lock."""
        for cell in cells:
            resolution = found.get(self.resolutions.problem(cell).key)
            if not cell.excluded and resolution is not None and resolution.lock is not None:
                yield Locked(cell, resolution.lock)

    def drift(self, cells: Iterable[Cell], found: Found, published: Iterable[Cell]) -> list[str]:
        """Return a line for each committed lock or verdict that differs from what was found.

        An answer that is `unknown` says nothing about the committed ones.
        """
        committed = {cell.id for cell in published}
        lines = []
        for cell in cells:
            fresh = found.get(self.resolutions.problem(cell).key)
            if fresh is None or _is_unknown(fresh):
                continue
            known = self.resolutions.of_cell(cell)
            if cell.id in committed and (known is None or known.lock != fresh.lock):
                lines.append(f"lock differs: images/{cell.id}/requirements.lock")
            told = self.resolutions.committed_verdict(cell)
            if (told is None or told.verdict is Verdict.IMPOSSIBLE) != bool(fresh.judgement):
                lines.append(f"verdict differs: {cell.id}")
        return lines


def _pinned(wanted: Wanted, interpreter: Interpreter | None) -> Resolution:
    lock = lock_of_interpreter(wanted, interpreter) if interpreter else None
    return Resolution(lock, None)


def _is_unknown(resolution: Resolution) -> bool:
    judgement = resolution.judgement
    return judgement is not None and judgement.verdict is Verdict.UNKNOWN
