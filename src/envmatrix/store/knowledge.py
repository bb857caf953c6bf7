"""What is known of a cell now, and why, with nothing executed."""

from __future__ import annotations

from collections.abc import Callable

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence, Inputs
from envmatrix.model.evidence_file import UnreadableEvidenceError
from envmatrix.model.verdicts import NOT_ATTEMPTED, RULE, Judgement, Verdict, excluded_by_rule
from envmatrix.store.book import Book
from envmatrix.store.resolutions import Resolutions


class Knowledge:
    """Tells evidence that holds from evidence whose inputs have changed.

    `inputs_of` returns the inputs that a cell has now, or None while it has no lock.
    """

    def __init__(
        self, resolutions: Resolutions, book: Book, inputs_of: Callable[[Cell], Inputs | None]
    ) -> None:
        self._resolutions = resolutions
        self._book = book
        self._inputs_of = inputs_of

    def current(self, cell: Cell) -> Evidence | None:
        """Return the evidence of a cell, if none of its inputs has changed since."""
        if cell.excluded:
            return None
        try:
            evidence = self._book.evidence(cell.id)
        except UnreadableEvidenceError:
            return None
        if evidence is None or self._changes(cell, evidence):
            return None
        return evidence

    def judgement(self, cell: Cell) -> Judgement:
        """Return what is known of a cell."""
        if cell.excluded:
            return excluded_by_rule(cell.excluded)
        try:
            evidence = self._book.evidence(cell.id)
        except UnreadableEvidenceError as error:
            return Judgement(
                Verdict.UNKNOWN,
                "plan",
                "unreadable-evidence",
                f"{error.where}: {error.what}",
                error.next_step,
            )
        if evidence is None:
            return self._resolutions.judgement(cell) or NOT_ATTEMPTED
        if changes := self._changes(cell, evidence):
            return Judgement(
                Verdict.UNKNOWN,
                "plan",
                "stale",
                f"the verdict of {evidence.generated_at.date()} was {evidence.verdict}, and these "
                f"inputs have changed since: {', '.join(changes)}",
                "run it again",
            )
        return evidence.judgement

    def _changes(self, cell: Cell, evidence: Evidence) -> list[str]:
        """Return in words which inputs of the evidence have changed."""
        if evidence.stage == RULE:
            return ["the rules"]  # No rule excludes the cell now.
        now = self._inputs_of(cell)
        if evidence.inputs is None and now is None and evidence.verdict is Verdict.IMPOSSIBLE:
            asked = self._resolutions.judgement(cell)
            return [] if asked else ["what the resolver is asked"]
        if evidence.inputs == now:
            return []
        if evidence.inputs is None or now is None:
            return ["lock"]
        return evidence.inputs.changed(now)
