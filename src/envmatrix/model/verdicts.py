"""Verdicts, and judgements that give one with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from envmatrix.model.text import line

CAUSE_LIMIT = 1_000
"""The characters of a cause or a remedy of a judgement. Each is one line."""


class Verdict(StrEnum):
    """What is known of a cell. Each cell has exactly one verdict.

    `partial`: everything that could be run passed, and something that is required could not be run
    or was not observed. It never counts as `works`.
    """

    WORKS = "works"
    PARTIAL = "partial"
    BROKEN = "broken"
    IMPOSSIBLE = "impossible"
    UNKNOWN = "unknown"

    @property
    def was_run(self) -> bool:
        """Whether it is the verdict of a cell that was run."""
        return self not in (Verdict.IMPOSSIBLE, Verdict.UNKNOWN)

    @property
    def is_usable(self) -> bool:
        """Whether nothing that could be run in the cell failed."""
        return self in (Verdict.WORKS, Verdict.PARTIAL)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with the stage that gave it, its class, and the cause in a sentence.

    `remedy` says what a user can do about it, and is empty where nobody knows.
    """

    verdict: Verdict
    stage: str
    kind: str = ""
    cause: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        """Make inert what others said: causes hold the words of images, engines and indexes."""
        for name in ("stage", "kind", "cause", "remedy"):
            object.__setattr__(self, name, line(getattr(self, name), CAUSE_LIMIT))

    def about(self, cell_id: str) -> Self:
        """Return this judgement with the id of its cell in the commands of its remedy."""
        if " CELL`" not in self.remedy:
            return self
        return replace(self, remedy=self.remedy.replace(" CELL`", f" {cell_id}`"))

    def to_json(self) -> dict[str, str]:
        """Return the fields as the report names them."""
        return {
            "verdict": self.verdict.value,
            "stage": self.stage,
            "class": self.kind,
            "cause": self.cause,
            "remedy": self.remedy,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        return cls(
            Verdict(data["verdict"]),
            data["stage"],
            data["class"],
            data["cause"],
            data.get("remedy", ""),
        )


RULE = "rule"
"""The stage of a cell that a rule of the matrix excludes."""
RUN = "`envmatrix run CELL`"
"""The remedy of a cell that was not run. `Judgement.about` puts its id in the place of CELL."""
LOCKED = Judgement(
    Verdict.UNKNOWN, "lock", "not-attempted", "it has a lock, and was not built", RUN
)
NOT_ATTEMPTED = Judgement(Verdict.UNKNOWN, "plan", "not-attempted", "nothing was tried yet", RUN)


def excluded_by_rule(reason: str) -> Judgement:
    """Return the judgement of a cell that a rule of the matrix excludes."""
    return Judgement(Verdict.IMPOSSIBLE, RULE, "rule", reason)
