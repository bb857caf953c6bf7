"""What is known of each cell, as tables, answers, comparisons and the page take it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envmatrix.model.evidence import Axes, Evidence
from envmatrix.model.matrix import DEFAULT_ARCH
from envmatrix.model.verdicts import Judgement, Verdict

BEST_FIRST = (
    Verdict.WORKS,
    Verdict.PARTIAL,
    Verdict.BROKEN,
    Verdict.UNKNOWN,
    Verdict.IMPOSSIBLE,
)
"""Verdicts from the best to the worst. What was run comes before what was not."""
_RUN = 3
"""How many of these are verdicts of a run."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell, the judgement of it now, and the evidence that the judgement rests on.

    A cell has no evidence here where it was never run, and where its evidence is stale: the
    judgement is `unknown` then, and its cause names what has changed.
    """

    id: str
    axes: Axes
    judgement: Judgement
    evidence: Evidence | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict of the judgement."""
        return self.judgement.verdict

    @property
    def was_run(self) -> bool:
        """Whether an image of the cell was built or tried, and the result still counts."""
        return self.evidence is not None and self.evidence.verdict.was_run

    @property
    def emulated(self) -> bool:
        """Whether it was run under emulation."""
        return self.evidence is not None and self.evidence.emulated

    @property
    def rank(self) -> int:
        """Where the cell stands among others, 0 being the best.

        What was run comes before what was not, and what ran on a processor of its own architecture
        before what ran under emulation: most people have no use for the latter.
        """
        emulated, not_run = _RUN, 2 * _RUN
        place = BEST_FIRST.index(self.verdict)
        if not self.was_run:
            return not_run + place
        return emulated + place if self.emulated else place

    @property
    def sentence(self) -> str:
        """What is known of the cell, in a sentence."""
        return sentence(self.axes, self.judgement, self.evidence)


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of which the same is known."""

    judgement: Judgement
    entries: tuple[Entry, ...]


def grouped(entries: Iterable[Entry]) -> list[Group]:
    """Return cells in groups of one judgement each: the best first, then the largest."""
    found: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        # A remedy names its cell, so it makes no group of its own.
        known = entry.judgement
        same = (known.verdict, known.stage, known.kind, known.cause)
        found.setdefault(same, []).append(entry)
    groups = [Group(ours[0].judgement, tuple(ours)) for ours in found.values()]
    return sorted(
        groups, key=lambda one: (BEST_FIRST.index(one.judgement.verdict), -len(one.entries))
    )


def place(axes: Axes) -> str:
    """Return on what a cell runs, such as debian12 cpu, with an architecture that is not usual."""
    arch = "" if axes.arch == DEFAULT_ARCH else f" {axes.arch}"
    return f"{axes.os} {axes.accelerator}{arch}"


def sentence(axes: Axes, judgement: Judgement, evidence: Evidence | None) -> str:
    """Return what is known of a cell in a sentence. The cause is told beside it, not in it."""
    what = f"{axes.framework} {axes.version}"
    where = f"on Python {axes.python}, {axes.os} and {axes.accelerator}"
    probes = _passed(evidence)
    if evidence is not None and evidence.emulated:
        where += f" ({axes.arch}, under emulation)"
    elif axes.arch != DEFAULT_ARCH:
        where += f" ({axes.arch})"
    match judgement.verdict:
        case Verdict.WORKS:
            return f"{what} works {where}: {probes}."
        case Verdict.PARTIAL:
            return f"{what} {where}: {probes}, and something that is required was not run or seen."
        case Verdict.BROKEN:
            return f"{what} {where} was tried, and failed at the stage {judgement.stage}."
        case Verdict.IMPOSSIBLE:
            return f"{what} {where} cannot be, which is known without a run."
    return f"Whether {what} works {where} is not known."


def _passed(evidence: Evidence | None) -> str:
    probes: Sequence[bool] = [one.passed for one in evidence.probes] if evidence else ()
    passed = sum(probes)
    return f"{passed} probe{'s' if passed != 1 else ''} ran and passed"
