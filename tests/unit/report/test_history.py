"""The history: what is read, what follows from it, and what a report adds."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.verdicts import Verdict
from envmatrix.report.history import GONE, Event, History, moment_of, read_history, to_lines
from envmatrix.report.states import State, read_report

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LINE = '{"at":"2026-11-23T00:00:00Z","id":"a","verdict":"broken","class":"no-wheel"}'


def day(number: int) -> datetime:
    """Return the noon of a day of November."""
    return datetime(2026, 11, number, 12, tzinfo=UTC)


def event(number: int, verdict: str, cell: str = "a", kind: str = "") -> Event:
    """Return an event of a day of November."""
    return Event.model_validate({"at": day(number), "id": cell, "verdict": verdict, "class": kind})


def cell(verdict: Verdict, number: int, name: str = "a", kind: str = "") -> Evidence:
    """Return the evidence of a cell, recorded on a day of November."""
    return the_evidence(verdict, id=name, class_=kind, generated_at=day(number))


# --- reading ---------------------------------------------------------------------------------


def test_lines_are_read_as_they_were_written() -> None:
    """What is written is one compact object a line, and is read back as the same events."""
    events = (event(20, "works"), event(21, "broken", kind="no-wheel"), event(22, "gone"))
    lines = to_lines(events)
    assert lines.splitlines()[1] == LINE.replace("23T00", "21T12")
    assert read_history(lines, "h").events == events
    assert read_history("", "h").events == ()


def test_a_time_of_another_zone_is_moved_to_utc() -> None:
    """Events of all zones are in one order."""
    (found,) = read_history(LINE.replace("00:00:00Z", "01:00:00+02:00"), "h").events
    assert found.at == datetime(2026, 11, 22, 23, tzinfo=UTC)


def test_the_order_of_lines_does_not_matter() -> None:
    """A merge that puts lines in another order, or one twice, changes nothing."""
    lines = to_lines([event(20, "works"), event(21, "broken"), event(22, "works", "b")])
    merged = "".join(reversed([*lines.splitlines(keepends=True), *lines.splitlines(keepends=True)]))
    assert read_history(merged, "h").events == read_history(lines, "h").events


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not JSON"),
        ("[" * 900, "is"),
        ("5", "object of texts"),
        ('{"at": 5}', "object of texts"),
        (LINE.replace('"class"', '"kind"'), "class, kind"),
        (LINE.replace("2026-11-23T00", "yesterday"), "field at"),
        (LINE.replace('"a"', '"../a"'), "field id"),
        (LINE.replace('"broken"', '"fine"'), "field verdict"),
        (LINE.replace("no-wheel", "<b>"), "field class"),
        (LINE.replace("2026-11-23T00:00:00Z", "0001-01-01T00:00:00+23:00"), "field at"),
        (LINE.replace('"a"', f'"{"a" * 1_000}"'), "longer than"),
    ],
)
def test_a_damaged_line_is_told_with_its_place(line: str, told: str) -> None:
    """A line that is no event is an error of the input that names the file and the line."""
    with pytest.raises(InputError, match=told) as caught:
        read_history(f"{LINE}\n\n{line}\n", "reports/history.jsonl")
    assert caught.value.where == "reports/history.jsonl:3"
    assert "`git checkout -- reports/history.jsonl`" in caught.value.next_step


# --- what follows ----------------------------------------------------------------------------


def test_the_state_at_a_time() -> None:
    """At a time each cell has the state of its last event, and a cell that left is not there."""
    history = History(
        [
            event(20, "works"),
            event(21, "works", "b"),
            event(22, "broken", kind="x"),
            event(23, GONE),
        ]
    )
    assert history.begins == day(20)
    assert history.at(day(19)) == {}
    assert history.at(day(21)) == {"a": State(Verdict.WORKS), "b": State(Verdict.WORKS)}
    assert history.at(day(22))["a"] == State(Verdict.BROKEN, "x")
    assert list(history.at(NOW)) == ["b"]
    assert History().begins is None


def test_works_since_is_the_begin_of_the_unbroken_run() -> None:
    """A cell works since its last break. What is unknown or gone is a break, a class is none."""
    run = [
        event(10, "works"),
        event(11, "broken"),
        event(12, "works"),
        event(13, "works", kind="x"),
    ]
    assert History(run).works_since("a") == day(12)
    assert History(run[:1]).works_since("a") == day(10)
    assert History(run[:2]).works_since("a") is None
    assert History(run[:2]).since("a") == day(11)
    for breaking in ("unknown", "partial", GONE):
        broken = [event(10, "works"), event(11, breaking), event(12, "works")]
        assert History(broken).works_since("a") == day(12)
    assert History([*run, event(14, GONE)]).since("a") is None
    assert History().works_since("a") is None


def test_the_events_of_a_cell() -> None:
    """The events of a cell are its own, oldest first, without those that repeat."""
    first, again, last = event(10, "works"), event(11, "works"), event(12, "broken")
    history = History([last, again, event(10, "works", "b"), first])
    assert history.of("a") == (first, last)
    assert history.of("c") == ()


# --- what a report adds ----------------------------------------------------------------------


def test_a_report_adds_what_changed() -> None:
    """A report adds an event for each new verdict, each new class, and each cell that left."""
    history = History([event(10, "works"), event(10, "broken", "b", "x"), event(10, "works", "c")])
    added = history.next(
        [cell(Verdict.BROKEN, 12), cell(Verdict.BROKEN, 12, "b", "y"), cell(Verdict.WORKS, 9, "d")],
        NOW,
    )
    assert [(one.id, one.at, one.verdict, one.class_) for one in added] == [
        ("d", day(9), "works", ""),
        ("a", day(12), "broken", ""),
        ("b", day(12), "broken", "y"),
        ("c", NOW, "gone", ""),
    ]


def test_a_report_of_the_same_adds_nothing() -> None:
    """Newer evidence with the same verdict and class is no event, and gone stays gone."""
    history = History([event(10, "works"), event(10, GONE, "b")])
    assert history.next([cell(Verdict.WORKS, 20)], NOW) == ()


def test_an_event_is_never_before_the_last_or_in_the_future() -> None:
    """Evidence that is older than the last event counts from there, and none is of tomorrow."""
    history = History([event(20, "unknown")])
    (added,) = history.next([cell(Verdict.WORKS, 10)], NOW)
    assert added.at == day(20)
    assert History([*history.events, added]).works_since("a") == day(20)
    (added,) = History().next([cell(Verdict.WORKS, 28)], NOW)
    assert added.at == NOW


def test_the_class_of_foreign_evidence_becomes_a_word() -> None:
    """Evidence of others may have any class, and a line of the history holds a word."""
    (added,) = History().next([cell(Verdict.BROKEN, 10, kind="<b>x y</b>")], NOW)
    assert read_history(to_lines([added]), "h").events == (added,)
    assert "<" not in added.class_


REPORTS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([Verdict.WORKS, Verdict.BROKEN])),
    min_size=1,
    max_size=6,
)


@given(REPORTS)
def test_the_history_of_reports_gives_each_of_them_back(reports: list[dict[str, Verdict]]) -> None:
    """After each report, the state of that time is that report, and writing it again adds none."""
    text = ""
    for number, one in enumerate(reports, 1):
        cells = [cell(verdict, number, name) for name, verdict in one.items()]
        text += to_lines(read_history(text, "h").next(cells, day(number)))
        assert read_history(text, "h").next(cells, day(number)) == ()
    for number, one in enumerate(reports, 1):
        states = read_history(text, "h").at(day(number))
        assert {name: state.verdict for name, state in states.items()} == one


# --- times -----------------------------------------------------------------------------------


def test_words_for_times() -> None:
    """Words count back from now, a day is its end in UTC, and anything else is no time."""
    assert moment_of("day", NOW) == NOW - timedelta(days=1)
    assert moment_of("week", NOW) == NOW - timedelta(days=7)
    assert moment_of("month", NOW) == NOW - timedelta(days=30)
    assert moment_of("2026-11-20", NOW) == datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    for other in ("year", "2026-13-01", "20261120", "2026-W47-5", "HEAD~3", ""):
        assert moment_of(other, NOW) is None


def test_an_event_is_as_its_schema_says() -> None:
    """The JSON of an event has the four names that the schema has."""
    names = list(Event.json_schema()["properties"])
    assert names == list(json.loads(to_lines([event(1, "works")]))) == [
        "at", "id", "verdict", "class",
    ]  # fmt: skip


def test_the_committed_history_ends_at_the_committed_report(root: Path) -> None:
    """reports/history.jsonl can be read, and its last states are those of reports/report.json."""
    reports = root / "reports"
    text = (reports / "history.jsonl").read_text(encoding="utf-8")
    history = read_history(text, "reports/history.jsonl")
    report = read_report((reports / "report.json").read_text(encoding="utf-8"), "report.json")
    told = {cell: (state.verdict, state.kind) for cell, state in report.states.items()}
    last = history.at(history.events[-1].at)
    assert told == {cell: (state.verdict, state.kind) for cell, state in last.items()}
