"""The table: nothing in it looks better than it is, and nothing in it breaks the page."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.errors import InputError
from envmatrix.evidence import Verdict
from envmatrix.report import (
    MARKS,
    TABLE_BEGIN,
    TABLE_END,
    count,
    document,
    markdown,
    page,
    row,
    summary,
    with_table,
)


def report(verdict: str, **fields: Any) -> dict[str, Any]:
    """Return the report of a cell."""
    axes = {
        "os": "debian12",
        "python": "3.11",
        "accelerator": fields.pop("accelerator", "cpu"),
        "framework": "torch",
        "version": "2.13.0",
        "arch": "amd64",
    }
    return {
        "id": "torch-2.13.0-py3.11-debian12-cpu",
        "axes": axes,
        "verdict": verdict,
        "stage": "probe",
        "class": "",
        "cause": "",
        "generated_at": "2026-11-22T10:00:00+00:00",
        "size": 1_500_000_000,
        "probes": [{"probe": "torch-import", "outcome": "passed"}],
    } | fields


def test_all_four_verdicts_are_counted() -> None:
    """Also those no cell has, so that a program finds them."""
    assert count([]) == {"works": 0, "broken": 0, "impossible": 0, "unknown": 0}
    cells = [report("works"), report("unknown"), report("works")]
    assert count(cells) == {"works": 2, "broken": 0, "impossible": 0, "unknown": 1}
    assert summary(cells) == "3 cells: 2 works, 1 unknown"
    assert count(cells) == document(cells, {})["summary"]


def test_no_verdict_looks_like_another() -> None:
    """Each has its own mark, and the word beside it."""
    assert set(Verdict) == set(MARKS)
    assert len(set(MARKS.values())) == 4
    for verdict in Verdict:
        assert f"{MARKS[verdict]} {verdict}" == row(report(verdict.value))[0]
    unknown = markdown([report("unknown")])
    assert MARKS[Verdict.WORKS] not in unknown
    assert "works" not in unknown


def test_a_gpu_that_was_not_there_is_said() -> None:
    """The probes that were not run are not among those that passed."""
    gpu = {"probe": "torch-matmul-gpu", "outcome": "not run"}
    cell = report("works", accelerator="cu130")
    assert row(cell)[6] == "not run"
    cell["probes"].append(gpu)
    assert row(cell)[5:7] == ("1/1", "not run")
    cell["probes"][-1] = gpu | {"outcome": "failed"}
    assert row(cell)[5:7] == ("1/2", "failed")
    assert row(report("works"))[6] == ""


def test_a_cell_that_does_not_work_says_why() -> None:
    """Stage, class and cause; one that works has nothing to say."""
    broken = report("broken", stage="import", cause="no libx.so", **{"class": "missing-library"})
    assert row(broken)[-1] == "import: missing-library: no libx.so"
    assert row(report("unknown", stage="plan"))[-1] == "plan"
    assert row(report("works"))[-1] == ""


NASTY = st.text() | st.sampled_from(
    ["a|b", "\\|", "\\", "<script>alert(1)</script>", "`x`", "![x](y)", "a\nb", "a\r\n|", "&lt;"]
)


@given(NASTY)
def test_no_cause_breaks_the_table(cause: str) -> None:
    """One line a cell, as many fields as headings, and no HTML of its own."""
    lines = markdown([report("broken", cause=cause)]).split("\n")
    assert len(lines) == 4
    assert [lines[-1], len("\n".join(lines).splitlines())] == ["", 3]
    unescaped = lines[2].replace("\\\\", "")
    assert lines[0].count("|") == unescaped.count("|") - unescaped.count("\\|")
    assert unescaped.count("<") == unescaped.count("\\<")
    assert unescaped.count("`") == unescaped.count("\\`")


def test_each_row_links_its_evidence() -> None:
    """Beneath the folder it is told."""
    table = markdown([report("works")], "reports/cells")
    assert "[torch 2.13.0](reports/cells/torch-2.13.0-py3.11-debian12-cpu.json)" in table


def test_a_page_tells_the_days_of_its_evidence() -> None:
    """The first and the last; without cells there is none."""
    later = report("works", generated_at="2026-11-24T10:00:00+00:00")
    assert "Evidence from 2026-11-22 to 2026-11-24" in page([later, report("works")])
    assert "Evidence from 2026-11-22." in page([report("works")])
    assert "Evidence" not in page([])


def test_a_table_replaces_what_stands_between_its_markers() -> None:
    """Nothing around it changes; doing it again changes nothing."""
    text = f"# T\n\n{TABLE_BEGIN}\nold\n{TABLE_END}\n\nend\n"
    new = with_table(text, "| new |\n", "README.md")
    assert f"# T\n\n{TABLE_BEGIN}\n| new |\n{TABLE_END}\n\nend\n" == new
    assert new == with_table(new, "| new |\n", "README.md")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{TABLE_BEGIN}\n",
        f"{TABLE_END}\n",
        f"{TABLE_END}\nkeep me\n{TABLE_BEGIN}\n",
        f"{TABLE_BEGIN}\n{TABLE_BEGIN}\n{TABLE_END}\n",
        f"{TABLE_BEGIN}\n{TABLE_END}\n{TABLE_END}\n",
    ],
)
def test_markers_that_are_not_there_once_and_in_order_are_refused(text: str) -> None:
    """Rather than losing what the user wrote."""
    with pytest.raises(InputError, match="markers") as caught:
        with_table(text, "new\n", "README.md")
    assert caught.value.where == "README.md"
    assert TABLE_BEGIN in caught.value.next_step
