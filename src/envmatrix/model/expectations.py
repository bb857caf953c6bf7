"""What the matrix knows to be broken, and how a verdict compares with that.

It is a fact of the matrix and no part of evidence: writing it down makes no evidence stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from envmatrix.model.cells import Cell, named
from envmatrix.model.evidence import Evidence
from envmatrix.model.matrix import KnownBroken, Matrix
from envmatrix.model.part import Part
from envmatrix.model.verdicts import Verdict


class Standing(StrEnum):
    """How a verdict compares with what the matrix knows of the cell."""

    AS_KNOWN = "as known"
    OTHERWISE = "otherwise"
    PASSED = "passed"
    NOT_SEEN = "not seen"


class Known(Part):
    """A cell that the matrix knows to be broken, beside what was found of it."""

    standing: Annotated[
        Standing,
        Field(
            description="as known: broken as the matrix says; otherwise: broken with another class "
            "than the matrix says; passed: works or partial; not seen: unknown or impossible."
        ),
    ]
    class_: Annotated[
        str, Field(alias="class", description="The class of the known failure; empty: any.")
    ] = ""
    reason: Annotated[str, Field(description="Why it is broken, in a sentence.")]
    link: Annotated[str, Field(description="Where that is told; empty: nowhere.")] = ""

    @property
    def said(self) -> str:
        """What is known, and how the verdict compares with it, on one line."""
        match self.standing:
            case Standing.OTHERWISE:
                return f"not as known (known: {self.class_}: {self.reason})"
            case Standing.PASSED:
                return f"passed, though known to be broken: {self.reason}"
        return f"known: {self.reason}"


Expected = Mapping[str, KnownBroken]
"""What is known to be broken, by the id of the cell."""


def expected(matrix: Matrix, cells: Sequence[Cell]) -> dict[str, KnownBroken]:
    """Return what the matrix knows to be broken, by cell id. The first entry for a cell counts."""
    found: dict[str, KnownBroken] = {}
    for known in matrix.known:
        for cell in named([known.when], cells):
            found.setdefault(cell.id, known)
    return found


def compared(known: KnownBroken, verdict: Verdict, kind: str) -> Known:
    """Return what is known of a cell, compared with its verdict and the class of its cause."""
    match verdict:
        case Verdict.BROKEN:
            same = known.class_ in (None, kind)
            standing = Standing.AS_KNOWN if same else Standing.OTHERWISE
        case Verdict.WORKS | Verdict.PARTIAL:
            standing = Standing.PASSED
        case _:
            standing = Standing.NOT_SEEN
    return Known(
        standing=standing, class_=known.class_ or "", reason=known.reason, link=known.link or ""
    )


def known_of(what: Expected, cells: Iterable[Evidence]) -> dict[str, Known]:
    """Return what is known of each cell of which anything is, by its id."""
    return {
        cell.id: compared(what[cell.id], cell.verdict, cell.class_)
        for cell in cells
        if cell.id in what
    }


def counts_said(known: Iterable[Known]) -> str:
    """Return in words how many cells are as the matrix knows, and how many are not."""
    counts = Counter(one.standing for one in known)
    words = {
        Standing.AS_KNOWN: "broken as known",
        Standing.OTHERWISE: "broken otherwise than known",
        Standing.PASSED: "passed though known to be broken",
    }
    return ", ".join(f"{counts[one]} {said}" for one, said in words.items() if counts[one])
