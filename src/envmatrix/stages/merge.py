"""The merge of reports of shards: one report, in which no cell of the selection is absent.

What a shard did not give is `unknown`, with a class of its own. What does not belong together is
refused: nobody would see later that it was mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.cells import Cell, system_id
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.verdicts import RUN, Judgement, Verdict
from envmatrix.stages.report import Reporting, entries_in, files_in, packages_in, text_of
from envmatrix.stages.shards import Cutter, Shard, ShardFile, digest_of, read_shard
from envmatrix.store.layout import SHARD

SHARD_MISSING = "shard-missing"
"""The class of a cell whose shard gave no report."""
CELL_MISSING = "cell-missing"
"""The class of a cell that the report of its shard does not have."""
MISSING = (SHARD_MISSING, CELL_MISSING)

_NAMED = 5
_DEPTH = 2
"""How many folders deep below a folder reports are looked for: `shards/NAME/report`."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The evidence of each cell, in their order, and what was missing: shards, then cells."""

    cells: tuple[Evidence, ...]
    count: int
    shards: tuple[int, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of the cells that no shard gave evidence of."""
        return tuple(cell.id for cell in self.cells if cell.class_ in MISSING)


@dataclass(frozen=True, slots=True)
class _Part:
    folder: Path
    told: ShardFile

    def __str__(self) -> str:
        return f"{self.folder} ({self.told.shard}/{self.told.of})"


@dataclass(frozen=True, slots=True)
class Merger:
    """Merges reports of shards, and keeps their evidence in the book of this machine."""

    reporting: Reporting
    cutter: Cutter

    def merge(self, folders: Sequence[Path], cells: Sequence[Cell]) -> Merged:
        """Return the evidence of `cells`, which were cut into the shards of these folders.

        Raises:
            InputError: there is no shard, one stands there twice, they are not of one run, not of
                these cells, or their evidence is of another matrix or of other locks. Nothing was
                kept then.
            SurroundingsError: a file cannot be read or written.
        """
        parts = sorted(_parts(folders), key=lambda part: part.told.shard)
        count = _checked(parts, digest_of(cells))
        cut = self.cutter.cut(cells, count)
        _check_cut(parts, cut)
        there = {part.told.shard for part in parts}
        shard_of = {cell.id: number for number, one in enumerate(cut, 1) for cell in one.cells}
        by_id = {cell.id: cell for cell in cells}
        given: dict[str, Evidence] = {}
        for part in parts:
            given |= _evidence_of(part)
        self._check_current(given, by_id)
        for part in parts:
            self._keep_packages(part, given)
        found = []
        for cell in cells:
            if evidence := given.get(cell.id):
                self.reporting.book.keep(evidence)
            elif number := shard_of.get(cell.id):
                self.reporting.book.secure(cell.id)
                judgement = _missing(number, count, is_there=number in there)
                evidence = self.reporting.maker.of(cell, judgement)
            else:
                evidence = self.reporting.evidence(cell)
            found.append(evidence)
        absent = tuple(
            number for number, one in enumerate(cut, 1) if one.cells and number not in there
        )
        return Merged(tuple(found), count, absent)

    def _check_current(self, given: Mapping[str, Evidence], cells: Mapping[str, Cell]) -> None:
        """Refuse evidence that does not hold here.

        Raises:
            InputError: there is some.
        """
        wrong = {
            cell_id: why
            for cell_id, evidence in given.items()
            if (why := self._why_not(cells[cell_id], evidence))
        }
        if wrong:
            named = "; ".join(f"{cell_id} ({why})" for cell_id, why in [*wrong.items()][:_NAMED])
            more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise InputError(
                f"the shards ran something else than what is here: {named}{more}",
                where="merge",
                next_step="check out the commit that the shards ran, or run them again",
            )

    def _why_not(self, cell: Cell, evidence: Evidence) -> str:
        if evidence.axes != cell.axes:
            return "axes"
        if self.reporting.book.is_amended(evidence):
            return "marked invalid by an amendment"
        now = self.reporting.maker.inputs_of(cell)
        if now and evidence.inputs:
            return ", ".join(evidence.inputs.changed(now))
        # Without a lock here, or without one there, nothing can be compared.
        return "lock" if now and evidence.verdict is Verdict.IMPOSSIBLE else ""

    def _keep_packages(self, part: _Part, given: Mapping[str, Evidence]) -> None:
        """Record the packages of the systems of a shard: the report takes them from there."""
        held = {path.stem: packages for path, packages in packages_in(part.folder / "packages")}
        for cell_id in part.told.cells:
            evidence = given.get(cell_id)
            if evidence is None or not evidence.layers:
                continue
            packages = held.get(system_id(evidence.axes.os, evidence.axes.arch))
            bootstrapped = evidence.base is not None and evidence.base.origin == "bootstrap"
            if packages and bootstrapped and not self.reporting.packages.held(evidence.layers):
                self.reporting.packages.keep(evidence.layers[0], packages)


def _parts(folders: Sequence[Path]) -> Iterator[_Part]:
    """Yield the reports of shards: each folder is one, or holds some.

    Raises:
        InputError: a folder has none, or the file of one is wrong.
    """
    for folder in folders:
        found = list(_reports(folder, _DEPTH))
        if not found:
            raise InputError(
                f"there is no report of a shard here: no {SHARD}",
                where=str(folder),
                next_step="give the folder .envmatrix/report of each "
                "`envmatrix run ... --shard 1/2`, or a folder that holds such folders",
            )
        yield from (_Part(one, read_shard(one / SHARD)) for one in found)


def _reports(folder: Path, depth: int) -> Iterator[Path]:
    told = folder / SHARD
    if told.is_file() and not told.is_symlink():
        yield folder
    elif depth:
        for one in entries_in(folder):
            if one.is_dir():
                yield from _reports(one, depth - 1)


def _checked(parts: Sequence[_Part], selection: str) -> int:
    """Return how many shards there are; refuse what are not shards of one selection.

    Raises:
        InputError: they are not.
    """
    if len({part.told.of for part in parts}) > 1:
        raise InputError(
            f"these are not the shards of one run: {', '.join(map(str, parts))}",
            where="merge",
            next_step="give the reports of shards that have the same number of shards",
        )
    numbers = Counter(part.told.shard for part in parts)
    if twice := [str(part) for part in parts if numbers[part.told.shard] > 1]:
        raise InputError(
            f"a shard stands here more than once: {', '.join(twice)}",
            where="merge",
            next_step="give one report of each shard",
        )
    if others := [str(part) for part in parts if part.told.selection != selection]:
        raise InputError(
            f"these shards are of other cells than those that are merged: {', '.join(others)}",
            where="merge",
            next_step="give merge the profile and the selectors that the shards were run with "
            "(--profile, --select), and the same matrix",
        )
    return parts[0].told.of


def _check_cut(parts: Sequence[_Part], cut: Sequence[Shard]) -> None:
    for part in parts:
        here = {cell.id for cell in cut[part.told.shard - 1].cells}
        if differing := sorted(here.symmetric_difference(part.told.cells)):
            raise InputError(
                f"{part} has other cells than that shard has here: {', '.join(differing[:_NAMED])}",
                where="merge",
                next_step="check out the commit that the shards ran: other locks or other "
                "published evidence are cut otherwise",
            )


def _evidence_of(part: _Part) -> dict[str, Evidence]:
    """Return the evidence in the report of a shard, by cell id.

    Raises:
        InputError: a file of it is damaged, or is of a cell of another shard.
    """
    found = {}
    for path in files_in(part.folder / "cells", ".json"):
        if path.stem not in part.told.cells:
            raise InputError(
                f"{part} holds evidence of a cell that is not of this shard: {path.stem}",
                where=str(path),
                next_step="give the folder as the run of the shard left it",
            )
        found[path.stem] = read_evidence(text_of(path), str(path), path.stem)
    return found


def _missing(number: int, count: int, *, is_there: bool) -> Judgement:
    if is_there:
        cause = f"the report of shard {number}/{count} has no evidence of it"
        return Judgement(Verdict.UNKNOWN, "merge", CELL_MISSING, cause, RUN)
    cause = f"shard {number}/{count} gave no report"
    return Judgement(Verdict.UNKNOWN, "merge", SHARD_MISSING, cause, RUN)
