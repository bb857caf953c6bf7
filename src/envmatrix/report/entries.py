"""What is known of each cell, as tables, answers, comparisons and the page take it."""

from __future__ import annotations

from dataclasses import dataclass

from envmatrix.model.evidence import Axes, Evidence
from envmatrix.model.verdicts import Judgement, Verdict


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
        run = (Verdict.WORKS, Verdict.PARTIAL, Verdict.BROKEN)
        return self.evidence is not None and self.evidence.verdict in run
