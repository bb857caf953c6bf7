"""What is known of a cell now, and why, with nothing executed."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from envmatrix.model.amendments import Amendment
from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence, Inputs
from envmatrix.model.evidence_file import UnreadableEvidenceError
from envmatrix.model.verdicts import (
    NOT_ATTEMPTED,
    RULE,
    RUN,
    Judgement,
    Verdict,
    excluded_by_rule,
)
from envmatrix.store.book import Book
from envmatrix.store.resolutions import Resolutions


class Knowledge:
    """Tells evidence that holds from evidence whose inputs have changed, or that is invalid.

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
        return self.of(cell)[1]

    def judgement(self, cell: Cell) -> Judgement:
        """Return what is known of a cell."""
        return self.of(cell)[0]

    def of(self, cell: Cell) -> tuple[Judgement, Evidence | None]:
        """Return what is known of a cell, and the evidence that it rests on, with one look.

        There is none where the cell was never run, and where none of its inputs is as it was.
        """
        if cell.excluded:
            return excluded_by_rule(cell.excluded), None
        first: Evidence | None = None
        try:
            # The best that holds: a stale file here hides no published one.
            for one in self._book.candidates(cell.id):
                if not self._changes(cell, one):
                    return one.judgement, one
                first = first or one
            amended = None if first else self._book.amended(cell.id)
        except UnreadableEvidenceError as error:
            unreadable = Judgement(
                Verdict.UNKNOWN,
                "plan",
                "unreadable-evidence",
                f"{error.where}: {error.what}",
                error.next_step,
            )
            return unreadable, None
        if amended:
            return _amended(*amended), None
        if first:
            return self._stale(cell, first), None
        return (self._resolutions.judgement(cell) or NOT_ATTEMPTED).about(cell.id), None

    def _stale(self, cell: Cell, evidence: Evidence) -> Judgement:
        found = Judgement(
            Verdict.UNKNOWN,
            "plan",
            "stale",
            f"the verdict of {evidence.generated_at.date()} was {evidence.verdict}, and these "
            f"inputs have changed since: {', '.join(self._changes(cell, evidence))}",
            RUN,
        )
        return found.about(cell.id)

    def _changes(self, cell: Cell, evidence: Evidence) -> list[str]:
        """Return in words which inputs of the evidence have changed."""
        if evidence.stage == RULE:
            return ["the rules"]  # No rule excludes the cell now.
        now = self._inputs_of(cell)
        if evidence.inputs is None and now is None and evidence.verdict is Verdict.IMPOSSIBLE:
            asked = self._resolutions.judgement(cell)
            return [] if asked else ["what the resolver is asked"]
        if evidence.inputs is None or now is None:
            return [] if evidence.inputs == now else ["lock"]
        return evidence.inputs.changed(now)


def _amended(evidence: Evidence, amendment: Amendment) -> Judgement:
    """Return the judgement of a cell that has no evidence but such as is marked invalid."""
    return Judgement(
        Verdict.UNKNOWN,
        "plan",
        "amended",
        f"its evidence of {evidence.generated_at.date()} ({evidence.verdict}) was marked invalid: "
        f"{amendment.reason}",
        f"`envmatrix run {shlex.quote(evidence.id)}`",
    )
