"""The grid: the best verdict of each release and Python, and the differences below it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from samples import the_evidence

from envmatrix.model.evidence import Axes
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.entries import Entry
from envmatrix.report.grid import (
    SUMMARY_LIMIT,
    WIDTH,
    best,
    grid_lines,
    grids,
    job_summary,
    legend,
    markdown,
)
from envmatrix.report.table import MARKS


def cell(
    verdict: Verdict = Verdict.WORKS,
    cause: str = "",
    *,
    emulated: bool = False,
    **axes: str,
) -> Entry:
    """Return a cell of which this is known."""
    given = {
        "framework": "torch",
        "version": "2.10.0",
        "python": "3.11",
        "os": "debian12",
        "accelerator": "cpu",
        "arch": "amd64",
    } | axes
    name = "-".join((given["framework"], given["version"], f"py{given['python']}"))
    name += f"-{given['os']}-{given['accelerator']}"
    found = Axes(**given)
    judgement = Judgement(verdict, "probe", "class" if cause else "", cause)
    if verdict in (Verdict.UNKNOWN, Verdict.IMPOSSIBLE):
        return Entry(name, found, judgement)
    fields: dict[str, Any] = {"id": name, "axes": found, "emulated": emulated}
    return Entry(name, found, judgement, the_evidence(verdict, **fields))


def as_text(*entries: Entry) -> list[str]:
    """Return the lines of the grids of cells."""
    return [line for grid in grids(entries) for line in grid_lines(grid)]


def test_rows_are_releases_and_columns_are_pythons() -> None:
    """The newest release comes first, by number, and a stack is a row below the releases."""
    assert as_text(
        cell(version="2.9.1", python="3.9"),
        cell(),
        cell(Verdict.BROKEN, framework="torch+vision"),
        cell(framework="tensorflow", version="2.21.0"),
    ) == [
        "torch             3.9  3.11",
        "2.10.0                    ✓",
        "2.9.1               ✓",
        "2.10.0 + vision           ✗",
        "tensorflow  3.11",
        "2.21.0         ✓",
    ]


@pytest.mark.parametrize(
    ("verdicts", "mark"),
    [
        (("broken", "partial", "works", "unknown", "impossible"), "✓"),
        (("broken", "partial", "unknown"), "~"),
        (("unknown", "broken"), "✗"),
        (("impossible", "unknown"), "?"),
        (("impossible",), "-"),
    ],
)
def test_a_mark_is_the_best_that_is_known(verdicts: tuple[str, ...], mark: str) -> None:
    """What was run comes before what was not, and unknown before impossible."""
    entries = [cell(Verdict(verdict), os=f"os{at}") for at, verdict in enumerate(verdicts)]
    _, row = as_text(*entries)
    assert row.split() == ["2.10.0", mark]


def test_a_native_cell_comes_before_an_emulated_one() -> None:
    """Of two cells that work, the native one is the best."""
    native = cell()
    assert best([cell(emulated=True, arch="arm64"), native]) is native


def test_a_grid_fits_in_a_terminal() -> None:
    """However many Pythons and however long the names are, no line is wider than 80 columns."""
    entries = [cell(python=f"3.{minor}", framework=f"torch+{'x' * 24}") for minor in range(40)]
    shown = as_text(*entries)
    assert max(map(len, shown)) <= WIDTH
    assert sum(line.count("✓") for line in shown) == 40
    assert max(map(len, as_text(cell(framework=f"a+{'x' * 78}")))) <= WIDTH


def test_a_grid_says_what_its_marks_mean() -> None:
    """The legend names every verdict with its mark, in lines of 80 columns."""
    marks, meaning = legend()
    assert [verdict for verdict in Verdict if f"{MARKS[verdict]} {verdict}" not in marks] == []
    assert max(len(marks), len(meaning)) <= WIDTH


# --- Markdown --------------------------------------------------------------------------------


def test_the_markdown_of_a_grid() -> None:
    """One table a framework, a link for what was run, and no line below where nothing differs."""
    found = markdown([cell(), cell(Verdict.UNKNOWN, python="3.12")], "reports/cells")
    assert found.startswith(
        "| torch on Python | 3.11 | 3.12 |\n| --- | :-: | :-: |\n"
        "| 2.10.0 | [✓](reports/cells/torch-2.10.0-py3.11-debian12-cpu.json) | ? |\n\n✓ works, "
    )
    assert "\n- " not in found
    assert "](" not in markdown([cell()])


def test_what_differs_between_cells_is_told_below() -> None:
    """Where a mark stands for several cells, those that were run are named, others counted."""
    found = markdown(
        [
            cell(),
            cell(Verdict.PARTIAL, "no GPU", accelerator="cu130"),
            cell(Verdict.UNKNOWN, os="debian11"),
            cell(Verdict.UNKNOWN, os="debian13"),
        ]
    )
    assert "- torch 2.10.0 on Python 3.11: ✓ debian12 cpu; ~ debian12 cu130; ? 2 more\n" in found
    assert "- ~ class: no GPU: `torch-2.10.0-py3.11-debian12-cu130`\n" in found


def test_emulation_is_told_also_where_nothing_differs() -> None:
    """A mark of an emulated cell alone is no promise for real machines."""
    found = markdown([cell(arch="arm64", emulated=True)])
    assert "- torch 2.10.0 on Python 3.11: ✓ debian12 cpu arm64 (emulated)\n" in found


def test_a_cause_is_told_once_with_its_cells() -> None:
    """Cells with one cause share a line, broken ones first; many cells are counted."""
    entries = [cell(Verdict.BROKEN, "no libx.so", python=f"3.{minor}") for minor in range(8)]
    found = markdown([cell(Verdict.PARTIAL, "no GPU", python="3.9", os="os"), *entries])
    broken, partial = [line for line in found.splitlines() if line.startswith(("- ✗", "- ~"))]
    assert broken.startswith("- ✗ class: no libx.so: `torch-2.10.0-py3.0-debian12-cpu`, ")
    assert broken.endswith(" and 2 more")
    assert partial.startswith("- ~ class: no GPU: ")


def test_no_cause_breaks_the_page() -> None:
    """A cause is plain text in one line."""
    found = markdown([cell(Verdict.BROKEN, "a\n| b <script> `x` [y](z)")])
    (line,) = [line for line in found.splitlines() if line.startswith("- ✗")]
    assert not re.search(r"(?<!\\)[<|\[]", line)


# --- the summary of a job --------------------------------------------------------------------


def many(length: int) -> list[Entry]:
    """Return 3,000 cells, each broken for a reason of its own of that many characters."""
    return [
        cell(Verdict.BROKEN, f"{at} {'ü' * length}", os=f"os{at}", version=f"2.{at % 12}.0")
        for at in range(3000)
    ]


@pytest.mark.parametrize("length", [10, 900])
def test_a_summary_of_thousands_of_cells_is_shown(length: int) -> None:
    """It is smaller than what GitHub drops, holds every grid, and says what it left out."""
    found = job_summary(many(length))
    assert len(found.encode()) <= SUMMARY_LIMIT
    assert found.startswith(
        "## envmatrix\n\n3000 cells: 3000 broken\n\n| torch on Python | 3.11 |\n"
    )
    assert ("The rest is left out" in found) is (length == 900)


def test_a_summary_takes_no_more_than_the_room_there_is() -> None:
    """Where the file is nearly full, less is added, and nothing at all where it is full."""
    entries = many(10)
    assert 0 < len(job_summary(entries, 5000).encode()) <= 5000
    assert job_summary(entries, 10) == ""
    assert job_summary(entries, -1) == ""
