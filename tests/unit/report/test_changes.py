"""Changes: every cell is in exactly one group, and nothing unknown is called broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.verdicts import Verdict
from envmatrix.report.changes import (
    NAMED,
    Change,
    Group,
    compare,
    roots,
    to_json,
    to_lines,
    to_markdown,
)
from envmatrix.report.states import Snapshot, State

WORKS, PARTIAL, BROKEN, IMPOSSIBLE, UNKNOWN = (State(verdict) for verdict in Verdict)
ENGINE = State(Verdict.UNKNOWN, "engine", "no engine answers")
STATES = st.builds(State, st.sampled_from(Verdict), st.sampled_from(["", "x"]))
MAPPINGS = st.dictionaries(st.sampled_from("abcdefgh"), STATES)


@pytest.mark.parametrize(
    ("old", "new", "group"),
    [
        (WORKS, WORKS, "unchanged"),
        (WORKS, PARTIAL, "no-longer-works"),
        (WORKS, IMPOSSIBLE, "no-longer-works"),
        (WORKS, BROKEN, "newly-broken"),
        (WORKS, UNKNOWN, "no-longer-run"),
        (WORKS, ENGINE, "no-longer-run"),
        (BROKEN, ENGINE, "no-longer-run"),
        (PARTIAL, ENGINE, "no-longer-run"),
        (ENGINE, UNKNOWN, "unchanged"),
        (ENGINE, BROKEN, "newly-broken"),
        (IMPOSSIBLE, UNKNOWN, "otherwise-changed"),
        (BROKEN, State(Verdict.BROKEN, "other"), "still-broken"),
        (BROKEN, WORKS, "newly-works"),
        (PARTIAL, WORKS, "newly-works"),
        (UNKNOWN, WORKS, "newly-works"),
        (BROKEN, PARTIAL, "otherwise-changed"),
        (UNKNOWN, IMPOSSIBLE, "otherwise-changed"),
        (None, BROKEN, "new"),
        (None, WORKS, "new"),
        (BROKEN, None, "gone"),
    ],
)
def test_the_group_of_a_change(old: State | None, new: State | None, group: str) -> None:
    """Each pair of verdicts has its group."""
    assert Change("a", old, new).group == group


@given(MAPPINGS, MAPPINGS)
def test_every_cell_is_in_exactly_one_group(old: dict[str, State], new: dict[str, State]) -> None:
    """The groups hold each cell of both reports once, and the counts add up."""
    changes = compare(old, new)
    in_groups = [one.id for group in Group for one in changes.of(group)]
    assert sorted(in_groups) == sorted({*old, *new})
    assert sum(changes.counts.values()) == len({*old, *new}) == len(changes.cells)
    assert changes.counts == {group: len(changes.of(group)) for group in Group}
    assert f"{len(in_groups)} cell" in changes.headline


@given(MAPPINGS)
def test_nothing_changes_between_a_report_and_itself(states: dict[str, State]) -> None:
    """A report compared with itself has nothing new, nothing gone and no regression."""
    changes = compare(states, states)
    assert {one.group for one in changes.cells} <= {Group.UNCHANGED, Group.STILL_BROKEN}
    assert not changes.regressed


@given(MAPPINGS, MAPPINGS)
def test_what_is_unknown_is_never_broken(old: dict[str, State], new: dict[str, State]) -> None:
    """A cell that is not broken now is in no group of broken cells, and in no root."""
    changes = compare(old, new)
    told = {one.id for root in roots(changes.cells) for one in root.changes}
    assert told == {name for name, state in new.items() if state.verdict is Verdict.BROKEN}
    broken = {Group.NEWLY_BROKEN, Group.STILL_BROKEN}
    assert {one.id for one in changes.cells if one.group in broken} <= told


def test_a_new_cell_that_is_broken_is_no_regression() -> None:
    """Only a cell that was known and not broken regresses."""
    assert not compare({}, {"a": BROKEN}).regressed
    assert compare({"a": WORKS}, {"a": BROKEN}).regressed


def test_one_cause_is_one_root() -> None:
    """Cells of one class and cause are one root, and the root of most cells comes first."""
    why, other = State(Verdict.BROKEN, "x", "why"), State(Verdict.BROKEN, "x", "other")
    found = roots(compare({}, {"a": other, "b": why, "c": why, "d": WORKS}).cells)
    assert [(root.said, [one.id for one in root.changes]) for root in found] == [
        ("x: why", ["b", "c"]),
        ("x: other", ["a"]),
    ]
    assert roots(compare({}, {"a": BROKEN}).cells)[0].said == "cause not known"


OLD = Snapshot("old", {"a": WORKS, "b": BROKEN, "c": WORKS, "d": WORKS, "e": PARTIAL})
NEW = Snapshot(
    "new",
    {"a": State(Verdict.BROKEN, "x", "why"), "b": BROKEN, "c": ENGINE, "d": WORKS, "f": WORKS},
)


def test_the_answer_is_the_first_line() -> None:
    """The counts come first, then what is compared, then groups with their cells."""
    assert to_lines(compare(OLD.states, NEW.states), OLD, NEW) == [
        "6 cells: 1 newly broken, 1 no longer run, 1 new, 1 gone, 1 still broken, 1 unchanged",
        "from old",
        "to new",
        "",
        "newly broken: 1",
        "  x: why",
        "    a: works -> broken (x)",
        "",
        "no longer run: 1",
        "  c: works -> unknown (engine)",
        "",
        "new: 1",
        "  f: works",
        "",
        "gone: 1",
        "  e: was partial",
        "",
        "still broken: 1",
        "  cause not known",
        "    b: broken",
    ]
    assert to_lines(compare({}, {}), OLD, NEW)[0] == "0 cells: none"


def test_markdown_is_escaped() -> None:
    """Causes and titles of others are plain text in the summary of a job."""
    new = Snapshot("<b>", {"a": State(Verdict.BROKEN, "x", "<img> | @name")})
    text = "\n".join(to_markdown(compare({"a": WORKS}, new.states), OLD, new))
    assert "**1 cell: 1 newly broken**" in text
    assert "- x: \\<img\\> \\| @ name\n  - `a`: works -\\> broken (x)" in text
    assert "to \\<b\\>." in text


def test_markdown_of_thousands_of_cells_is_short() -> None:
    """A group names so many cells and counts the others, so a summary stays below its limit."""
    old = {f"cell-{number}": WORKS for number in range(5_000)}
    new = {name: State(Verdict.BROKEN, "x", f"{name} {'<' * 900}") for name in old}
    lines = to_markdown(compare(old, new), OLD, NEW)
    assert lines[-1] == f"- and {5_000 - NAMED} more"
    assert len("\n".join(lines).encode()) < 1_000_000


def test_the_document() -> None:
    """The JSON has the counts of all groups, the roots, and every cell with both states."""
    data = to_json(compare(OLD.states, NEW.states), OLD, NEW)
    assert (data["schema"], data["old"], data["new"]) == (1, "old", "new")
    assert set(data["counts"]) == {group.value for group in Group}
    assert data["roots"][0] == {"class": "x", "cause": "why", "cells": ["a"]}
    assert data["cells"][0] == {
        "id": "a",
        "group": "newly-broken",
        "old": {"verdict": "works", "class": "", "cause": ""},
        "new": {"verdict": "broken", "class": "x", "cause": "why"},
    }
    assert [one["new"] for one in data["cells"] if one["id"] == "e"] == [None]
