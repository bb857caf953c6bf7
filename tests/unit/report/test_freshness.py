"""How old evidence is: only what was run has an age."""

from datetime import UTC, datetime, timedelta

import pytest
from samples import the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.verdicts import Verdict
from envmatrix.report.freshness import age_of, freshness, older

NOW = datetime(2026, 11, 26, tzinfo=UTC)
OLD = the_evidence(id="old", generated_at=datetime(2026, 8, 1, tzinfo=UTC))
OLDER = the_evidence(Verdict.BROKEN, id="older", generated_at=datetime(2026, 7, 1, tzinfo=UTC))
MADE = the_evidence(Verdict.UNKNOWN, id="made", generated_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_only_executed_cells_have_an_age() -> None:
    """The days are those of cells that were run. What was only derived has none."""
    assert freshness([OLD, MADE, the_evidence()]).said == "Evidence from 2026-08-01 to 2026-11-22"
    assert freshness([OLD]).said == "Evidence from 2026-08-01"
    assert freshness([MADE]).said == ""
    assert freshness([MADE]).newest is None


def test_what_is_older_is_told_oldest_first() -> None:
    """Cells that are older than an age are found, and one of exactly that age is not."""
    assert older([the_evidence(), OLD, OLDER, MADE], age_of("90d"), NOW) == [OLDER, OLD]
    assert older([OLD], NOW - OLD.generated_at, NOW) == []


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("36h", timedelta(hours=36)),
        ("90d", timedelta(days=90)),
        ("12w", timedelta(weeks=12)),
        ("99999w", timedelta(weeks=99999)),
    ],
)
def test_an_age_is_read(text: str, age: timedelta) -> None:
    """An age is a number of hours, days or weeks."""
    assert age_of(text) == age


@pytest.mark.parametrize(
    "text", ["", "90", "d", "0d", "-1d", "1.5d", "90 d", "1y", "٣d", "9999999d"]
)
def test_what_is_no_age_is_refused(text: str) -> None:
    """Anything else is an error of the input that shows how to write one."""
    with pytest.raises(InputError, match="is no age") as caught:
        age_of(text)
    assert "--max-age 36h" in caught.value.next_step
