"""The lock stage: it resolves the wheels of cells and of their bases that are not known yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from envmatrix.model.cells import Cell
from envmatrix.model.locks import Lock, Problem, Resolution
from envmatrix.model.verdicts import Verdict
from envmatrix.resolve.resolver import Resolver
from envmatrix.stages.options import default_jobs
from envmatrix.stages.progress import Progress
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions

Found = Mapping[str, Resolution]
"""Resolutions by the key of their problem."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A cell that can be built, with its lock."""

    cell: Cell
    lock: Lock


@dataclass(frozen=True, slots=True)
class Locking:
    """Locks cells."""

    resolutions: Resolutions
    records: Records

    def lock(
        self,
        cells: Sequence[Cell],
        progress: Progress,
        *,
        jobs: int | None,
        fresh: bool = False,
    ) -> Found:
        """Resolve every cell that has no lock yet, and the bases below; return all resolutions.

        A `fresh` run asks the resolver about every cell, also where the answer is known.
        """
        found: dict[str, Resolution] = {}
        ahead: dict[str, Problem] = {}
        for cell in cells:
            if cell.excluded:
                continue
            for problem, known in (
                (self.resolutions.problem(cell), self.resolutions.of_cell),
                (self.resolutions.base_problem(cell), self.resolutions.of_base),
            ):
                if problem.key in found:
                    continue
                resolution = None if fresh else known(cell)
                if resolution is not None:
                    found[problem.key] = resolution
                else:
                    ahead[problem.key] = problem
        progress.expect("lock", len(ahead))

        def done(problem: Problem, resolution: Resolution) -> None:
            said = resolution.judgement.kind if resolution.judgement else "locked"
            name = f"{problem.requires[0]} py{problem.python} glibc {problem.glibc}"
            progress.finished("lock", name, said, reused=False)

        if ahead:
            # uv waits for indexes most of its time, and takes little memory.
            side_by_side = jobs or min(16, 4 * default_jobs())
            found |= Resolver(self.records).resolve_all(ahead.values(), side_by_side, done)
        return found

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
            if fresh is None or (fresh.judgement and fresh.judgement.verdict is Verdict.UNKNOWN):
                continue
            known = self.resolutions.of_cell(cell)
            if cell.id in committed and (known is None or known.lock != fresh.lock):
                lines.append(f"lock differs: images/{cell.id}/requirements.lock")
            told = self.resolutions.committed_verdict(cell)
            if (told is None or told.verdict is Verdict.IMPOSSIBLE) != bool(fresh.judgement):
                lines.append(f"verdict differs: {cell.id}")
        return lines
