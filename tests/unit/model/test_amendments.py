"""Amendments: which evidence they mark, and what is refused of their file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from envmatrix.model.amendments import Amendments, json_schema, load, read_amendments
from envmatrix.model.errors import InputError

NOW = datetime(2026, 11, 26, 12, 0, 0, 500_000, tzinfo=UTC)
CELL = "torch-2.13.0-py3.11-debian12-cpu"
RANGE = """\
schema: 1
amendments:
  - cells: torch-2.13.0-*
    recorded: {from: "2026-11-20", until: "2026-11-24"}
    reason: the memory of that machine was faulty
"""
EXACT = f"""\
schema: 1
amendments:
  - {{cells: [torch+xla-*, {CELL}], recorded_at: "2026-11-24T10:20:30Z", reason: it ran nothing}}
"""


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """Return a time in November 2026."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


def marked(text: str, cell_id: str, recorded: datetime) -> bool:
    """Return whether amendments mark evidence invalid."""
    return load(text, "amendments.yaml", NOW).of(cell_id, recorded) is not None


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (at(19, 23, 59, 59), False),
        (at(20), True),
        (at(24, 23, 59, 59), True),
        (at(24, 23, 59, 59).replace(microsecond=999_999), True),
        (at(25), False),
    ],
)
def test_a_range_holds_both_of_its_days_as_a_whole(recorded: datetime, *, expected: bool) -> None:
    """Evidence from the first second of `from` to the last second of `until` is marked."""
    assert expected == marked(RANGE, CELL, recorded)


def test_a_range_without_a_beginning_marks_everything_before_its_end() -> None:
    """Without `from`, all evidence up to `until` is marked, and none after it."""
    text = RANGE.replace('from: "2026-11-20", ', "").replace(
        '"2026-11-24"', '"2026-11-24T10:00:00Z"'
    )
    assert marked(text, CELL, datetime(2020, 1, 1, tzinfo=UTC))
    assert marked(text, CELL, at(24, 10))
    assert not marked(text, CELL, at(24, 10, 0, 1))


def test_an_exact_time_marks_the_evidence_of_that_second() -> None:
    """`recorded_at` marks nothing that was recorded a second before or after."""
    seconds = [at(24, 10, 20, second) for second in (29, 30, 31)]
    assert [marked(EXACT, CELL, moment) for moment in seconds] == [False, True, False]


def test_only_the_cells_that_are_named_are_meant() -> None:
    """A glob and a list name cells by their whole ids."""
    moment = at(24, 10, 20, 30)
    assert marked(EXACT, "torch+xla-2.13.0-py3.11-debian12-cpu", moment)
    assert not marked(EXACT, f"{CELL}-arm64", moment)
    assert not marked(RANGE, "torch-2.14.1-py3.11-debian12-cpu", moment)


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    """Evidence that tells its time in another zone is compared by the moment."""
    elsewhere = at(24, 10, 20, 30).astimezone(datetime.now().astimezone().tzinfo)
    assert marked(EXACT, CELL, elsewhere)


def test_the_last_moment_for_a_cell_is_that_of_all_its_amendments() -> None:
    """What is older may be invalid; a cell that no amendment names has no such moment."""
    both = load(RANGE + EXACT.partition("amendments:\n")[2], "amendments.yaml", NOW)
    assert both.until(CELL) == at(24, 23, 59, 59)
    assert both.until("torch+xla-x") == at(24, 10, 20, 30)
    assert both.until("tensorflow-x") is None
    assert Amendments().until(CELL) is None


def test_an_amendment_says_what_it_marks() -> None:
    """The cells and the moments are told as they were written."""
    (ranged,) = load(RANGE, "f", NOW).all
    (exact,) = load(EXACT, "f", NOW).all
    assert ranged.said == "torch-2.13.0-*, recorded from 2026-11-20 until 2026-11-24"
    assert exact.said == f"torch+xla-*, {CELL}, recorded at 2026-11-24T10:20:30Z"
    assert ranged.reason == "the memory of that machine was faulty"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("amendments:", "amendment:", ('unknown key "amendment"', "3:3 (amendment)", "amendments")),
        ("cells:", "cell:", ('unknown key "cell"', "(amendments.0.cell)", "cells")),
        ("until:", "untill:", ('unknown key "untill"', "(amendments.0.recorded.untill)", "until")),
        ("    reason: the memory of that machine was faulty\n", "",
         ('"reason" is missing', "3:5 (amendments.0.reason)", "why")),
        ("schema: 1", "schema: 2", ("2 is not allowed", "1:9 (schema)", "allowed is 1")),
        ("schema: 1", "schema: 1\nschema: 1", ("stands twice", "2:1 (schema)", "remove")),
        ("torch-2.13.0-*", "../x", ("'../x' is not allowed", "(amendments.0.cells.0)", "glob")),
        ("torch-2.13.0-*", "[]", ("empty", "(amendments.0.cells)", "at least one")),
        ("memory", "`memory`", ("is not allowed", "(amendments.0.reason)", "sentence")),
        ('"2026-11-24"', "2026-11-24", ("is read as the value", "until)", '"2026-11-24"')),
        ('"2026-11-24"', '"today"', ("'today' is not allowed", "until)", "a day or a time")),
        ('"2026-11-24"', '"2026-11-31"', ("2026-11-31 is no day", "until)", "YYYY-MM-DD")),
        ('"2026-11-20"', '"2026-13-01"', ("2026-13-01 is no day", "recorded.from)", "YYYY-MM-DD")),
        ('"2026-11-24"', '"2026-11-24T10:00:00"', ("is not allowed", "until)", "UTC")),
        ('"2026-11-24"', '"2026-11-19"', ("ends before it begins", "until)", "exchange")),
        ('"2026-11-24"', '"2026-11-26"',
         ("2026-11-26 is not over yet", "4:43 (amendments.0.recorded.until)",
          'write "2026-11-26T12:00:00Z"')),
        ('    recorded: {from: "2026-11-20", until: "2026-11-24"}\n', "",
         ("in one way", "3:5 (amendments.0)", "recorded_at")),
        ("    reason:", '    recorded_at: "2026-11-24T10:00:00Z"\n    reason:',
         ("in one way", "(amendments.0)", "either")),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(
    old: str, new: str, said: tuple[str, str, str]
) -> None:
    """Each mistake gives an error that says what is wrong, where, and what to do."""
    assert RANGE.count(old) == 1
    with pytest.raises(InputError) as caught:
        load(RANGE.replace(old, new), "amendments.yaml", NOW)
    what, where, next_step = said
    assert what in caught.value.what
    assert caught.value.where.startswith("amendments.yaml:")
    assert where in caught.value.where
    assert next_step in caught.value.next_step


def test_what_the_error_offers_is_taken() -> None:
    """The time that the error gives for everything up to now is a right one."""
    assert load(RANGE.replace('"2026-11-24"', '"2026-11-26T12:00:00Z"'), "f", NOW).all


@pytest.mark.parametrize("text", ["[]", "torch", "- x"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """A file of another shape is refused, and the page that explains it is named."""
    with pytest.raises(InputError, match="schema and amendments") as caught:
        load(text, "amendments.yaml", NOW)
    assert caught.value.next_step == "see docs/evidence.md"


def test_without_a_file_nothing_is_amended(tmp_path: Path) -> None:
    """Most projects have no such file."""
    assert read_amendments(tmp_path / "amendments.yaml", NOW) == Amendments()


def test_a_file_is_read(tmp_path: Path) -> None:
    """A file gives its amendments; one that cannot be read is refused."""
    path = tmp_path / "amendments.yaml"
    path.write_text(RANGE, encoding="utf-8")
    assert len(read_amendments(path, NOW + timedelta(days=1)).all) == 1
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_amendments(path, NOW)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="the amendments cannot be read"):
        read_amendments(path, NOW)


def test_the_schema_takes_what_is_taken(root: Path) -> None:
    """The JSON Schema takes both forms, and docs/amendments.schema.json is what is in force."""
    for text in (RANGE, EXACT):
        jsonschema.validate(yaml.safe_load(text), json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1, "amendments": [{"cells": "x"}]}, json_schema())
    published = (root / "docs" / "amendments.schema.json").read_text(encoding="utf-8")
    assert published == json.dumps(json_schema(), indent=2) + "\n"
