"""States: what is read of a report.json of any release, and what is refused."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from samples import replaced, the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Machine
from envmatrix.model.verdicts import Verdict
from envmatrix.report.document import document
from envmatrix.report.states import State, read_report, utc

CELL = {"id": "a", "verdict": "broken", "class": "no-wheel", "cause": "no", "probes": [1]}
REPORT: dict[str, Any] = {"schema": 1, "generated_at": "2026-11-23T00:00:00Z", "cells": [CELL]}


def test_the_report_of_today_is_read() -> None:
    """What `document` makes is read back as the state of each cell."""
    cells = [the_evidence(), the_evidence(Verdict.BROKEN, id="b", class_="x", cause="why")]
    made = document(cells, Machine(system="Linux", machine="x86_64"))
    found = read_report(json.dumps(made.to_json()), "here").states
    works, broken = State(Verdict.WORKS), State(Verdict.BROKEN, "x", "why")
    assert found == {"torch-2.10.0-py3.11-debian12-cpu": works, "b": broken}


def test_a_report_of_an_earlier_release_is_read() -> None:
    """A report of schema 1 is read, whatever else its cells hold."""
    found = read_report(json.dumps(REPORT), "old/report.json")
    assert found.states == {"a": State(Verdict.BROKEN, "no-wheel", "no")}
    assert found.title == "old/report.json of 2026-11-23 00:00 UTC"


def test_what_others_wrote_is_inert_and_short() -> None:
    """Escapes of a cause are taken out, and none is longer than a cause may be."""
    text = json.dumps(replaced(REPORT, ("cells", 0, "cause"), "\x1b[31mred" + "x" * 5_000))
    cause = read_report(text, "x").states["a"].cause
    assert cause.startswith("redxxx")
    assert len(cause) == 1_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list of cells"),
        ('{"cells": {}}', "no list of cells"),
        (json.dumps(replaced(REPORT, ("cells", 0, "verdict"), "fine")), "cells.0.verdict"),
        (json.dumps(replaced(REPORT, ("cells", 0, "id"), "../x")), "cells.0.id"),
        (json.dumps(replaced(REPORT, ("cells", 0), 5)), "cells.0"),
        (json.dumps(replaced(REPORT, ("cells", 0, "class"), None)), "cells.0.class"),
        (json.dumps(REPORT | {"generated_at": None}), "generated_at"),
        (json.dumps(REPORT | {"cells": [CELL, CELL]}), "twice"),
        (json.dumps(REPORT | {"schema": True}), "schema True"),
        (json.dumps(REPORT | {"schema": "1"}), "schema '1'"),
    ],
)
def test_what_is_no_report_is_refused(text: str, told: str) -> None:
    """A text that is no report is an error of the input that names what is wrong."""
    with pytest.raises(InputError, match=told) as caught:
        read_report(text, "x/report.json")
    assert caught.value.where == "x/report.json"
    assert "`envmatrix report" in caught.value.next_step or "envmatrix report" in str(caught.value)


def test_a_report_of_a_newer_release_says_so() -> None:
    """A schema that is not known yet asks for a newer envmatrix."""
    with pytest.raises(InputError, match="schema 3") as caught:
        read_report(json.dumps(REPORT | {"schema": 3}), "x")
    assert caught.value.next_step == "update envmatrix"


@pytest.mark.parametrize(
    ("state", "said"),
    [(State(Verdict.WORKS), "works"), (State(Verdict.BROKEN, "no-wheel"), "broken (no-wheel)")],
)
def test_a_state_is_said(state: State, said: str) -> None:
    """A state is its verdict, with its class where it has one."""
    assert state.said == said


def test_times_are_in_utc_and_whole_seconds() -> None:
    """A time of another zone is moved, one without a zone is of UTC, and one without is refused."""
    moment = datetime(2026, 11, 20, 1, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert utc(moment) == datetime(2026, 11, 19, 23, tzinfo=UTC)
    assert utc(datetime(2026, 11, 20, 1)) == datetime(2026, 11, 20, 1, tzinfo=UTC)  # noqa: DTZ001
    with pytest.raises(ValueError, match="out of range"):
        utc(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))))
