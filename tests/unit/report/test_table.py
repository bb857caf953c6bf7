"""The table: nothing in it looks better than it is, and nothing in it breaks the page."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import CellImage, Reproducibility, Reproducible
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.image_names import run_command
from envmatrix.model.probe_results import Outcome, ProbeResult, SharedRun
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import Agreement, Comparison, Place
from envmatrix.report.table import (
    HEADINGS,
    MARKS,
    TABLE_BEGIN,
    TABLE_END,
    commands,
    markdown,
    page,
    row,
    with_table,
)

IMPORTED = ProbeResult(probe="torch-import", required=True, outcome=Outcome.PASSED)


def on_gpu(outcome: Outcome) -> ProbeResult:
    """Return the result of a probe that needs a GPU."""
    return ProbeResult(probe="torch-matmul-gpu", required=False, needs="gpu", outcome=outcome)


def test_no_verdict_looks_like_another() -> None:
    """Each verdict has a mark of its own, and the word beside it."""
    assert set(Verdict) == set(MARKS)
    assert len(set(MARKS.values())) == len(Verdict)
    for verdict in Verdict:
        assert row(the_evidence(verdict))[0] == f"{MARKS[verdict]} {verdict}"
    unknown = markdown([the_evidence(Verdict.UNKNOWN)])
    assert MARKS[Verdict.WORKS] not in unknown
    assert "works" not in unknown


def test_a_row_tells_what_the_cell_is() -> None:
    """A row holds the axes, the probes that passed, the size and the rebuild of a cell."""
    cell = the_evidence(
        probes=(IMPORTED,),
        image=CellImage(name="x", layers=(), size=1_500_000_000),
        reproducibility=Reproducibility(status=Reproducible.PROVEN),
    )
    assert dict(zip(HEADINGS, row(cell), strict=True)) == {
        "verdict": "✓ works",
        "framework": "torch 2.10.0",
        "Python": "3.11",
        "OS": "debian12",
        "accelerator": "cpu",
        "probes": "1/1",
        "GPU": "",
        "image": "1.5 GB",
        "rebuilt": "the same",
        "why": "",
    }


def test_a_flaky_probe_is_told_also_where_the_cell_works() -> None:
    """The verdict is that of the run alone, and the last field names the probe."""
    shared = SharedRun(outcome=Outcome.CRASHED)
    flaky = IMPORTED.model_copy(update={"probe": "torch-nn", "shared": shared})
    assert row(the_evidence(probes=(IMPORTED, flaky)))[-1] == "flaky beside other probes: torch-nn"
    broken = the_evidence(Verdict.BROKEN, cause="no", probes=(flaky,))
    assert row(broken)[-1] == "probe: no; flaky beside other probes: torch-nn"


@pytest.mark.parametrize(
    ("status", "said"),
    [("proven", "the same"), ("differs", "differs"), ("not checked", "")],
)
def test_only_a_rebuilt_image_is_called_the_same(status: str, said: str) -> None:
    """An image that was not checked says nothing, and one that differs says so."""
    found = Reproducibility(status=Reproducible(status))
    assert row(the_evidence(reproducibility=found))[8] == said


def test_a_cell_without_an_image_has_no_size() -> None:
    """A cell that was not built has no size and no probes in its row."""
    assert row(the_evidence(Verdict.UNKNOWN, image=None))[5:8] == ("", "", "")


def test_a_gpu_that_was_not_there_is_said() -> None:
    """A CUDA cell without a GPU says `not run`, and that probe is not among those that passed."""
    cell = the_evidence(accelerator="cu130", probes=(IMPORTED,))
    assert row(cell)[6] == "not run"
    without = cell.model_copy(update={"probes": (IMPORTED, on_gpu(Outcome.NOT_RUN))})
    assert row(without)[5:7] == ("1/1", "not run")
    failed = cell.model_copy(update={"probes": (IMPORTED, on_gpu(Outcome.FAILED))})
    assert row(failed)[5:7] == ("1/2", "failed")
    both = (IMPORTED, on_gpu(Outcome.PASSED), on_gpu(Outcome.FAILED))
    assert row(cell.model_copy(update={"probes": both}))[5:7] == ("2/3", "failed, passed")
    assert row(the_evidence())[6] == ""


def test_a_cell_that_does_not_work_says_why() -> None:
    """A cell that does not work tells stage, class and cause. One that works tells nothing."""
    broken = the_evidence(
        Verdict.BROKEN, stage="import", cause="no libx.so", class_="missing-library"
    )
    assert row(broken)[-1] == "import: missing-library: no libx.so"
    assert row(the_evidence(Verdict.UNKNOWN, stage="plan"))[-1] == "plan"
    assert row(the_evidence(cause="nothing"))[-1] == ""


NASTY = st.text() | st.sampled_from(
    ["a|b", "\\|", "\\", "<script>alert(1)</script>", "`x`", "![x](y)", "a\nb", "a\r\n|", "&lt;"]
)


@given(NASTY)
def test_no_cause_breaks_the_table(cause: str) -> None:
    """Whatever a cause holds, its row is one line with as many fields as headings, and no HTML."""
    lines = markdown([the_evidence(Verdict.BROKEN, cause=cause)]).split("\n")
    assert len(lines) == 4
    assert [lines[-1], len("\n".join(lines).splitlines())] == ["", 3]
    unescaped = lines[2].replace("\\\\", "")
    assert lines[0].count("|") == unescaped.count("|") - unescaped.count("\\|")
    assert unescaped.count("<") == unescaped.count("\\<")
    assert unescaped.count("`") == unescaped.count("\\`")


def test_each_row_links_its_evidence() -> None:
    """The framework of a row links to the evidence of the cell."""
    table = markdown([the_evidence()], "reports/cells")
    assert "[torch 2.10.0](reports/cells/torch-2.10.0-py3.11-debian12-cpu.json)" in table


def test_a_column_without_an_entry_is_left_out() -> None:
    """Where every cell works there is no column why, and where one does not there is one."""
    assert "why" not in markdown([the_evidence()])
    assert "| why |" in markdown([the_evidence(), the_evidence(Verdict.BROKEN)])


def test_a_page_tells_the_days_of_its_evidence() -> None:
    """A page tells the first and the last day of its evidence. Without cells it tells none."""
    later = the_evidence(generated_at=datetime(2026, 11, 24, tzinfo=UTC))
    assert "Evidence from 2026-11-22 to 2026-11-24." in page([later, the_evidence()])
    assert "Evidence from 2026-11-22." in page([the_evidence()])
    assert "Evidence" not in page([])


def test_a_page_counts_its_cells() -> None:
    """A page begins with the counts of verdicts."""
    assert "2 cells: 1 works, 1 unknown." in page([the_evidence(), the_evidence(Verdict.UNKNOWN)])


def test_hosts_have_a_table_of_their_own() -> None:
    """Evidence of hosts stands below the table of cells, and is not counted with them."""
    host = the_evidence(id="host-torch", kind="host", image=None)
    told = page([the_evidence()], [host])
    above, _, below = told.partition("## On hosts, without a container")
    assert "1 cell: 1 works." in above
    assert "host-torch" not in above
    assert "(host/host-torch.json)" in below
    assert "On hosts" not in page([the_evidence()])


def test_a_table_replaces_what_stands_between_its_markers() -> None:
    """A new table replaces the old one and nothing around it, and again changes nothing."""
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
    """A text without both markers once, in order, is refused, and not changed."""
    with pytest.raises(InputError, match="markers") as caught:
        with_table(text, "new\n", "README.md")
    assert caught.value.where == "README.md"
    assert TABLE_BEGIN in caught.value.next_step


RUN = "docker run --rm -it --pull never --shm-size 1g envmatrix/cell:x"


def the_image(run: str = RUN) -> CellImage:
    """Return an image with a command that starts it."""
    return CellImage(name="envmatrix/cell:x", layers=(), size=1, run=run)


@pytest.mark.parametrize("verdict", Verdict)
def test_only_an_image_that_can_be_used_is_started(verdict: Verdict) -> None:
    """The command of a broken or unproven cell is not told."""
    cell = the_evidence(verdict, image=the_image())
    usable = verdict in (Verdict.WORKS, Verdict.PARTIAL)
    assert commands([cell]) == ({cell.id: RUN} if usable else {})
    assert (f"- {cell.id}: `{RUN}`\n" in page([cell])) is usable
    assert ("## Start an image" in page([cell])) is usable


def test_older_evidence_tells_no_command() -> None:
    """An image whose evidence has none is left out."""
    assert commands([the_evidence(image=the_image(""))]) == {}


@pytest.mark.parametrize(
    "run",
    [
        "rm -rf /",
        f"{RUN}; rm -rf /",
        f"{RUN}\n",
        RUN.replace("envmatrix", "other"),
        RUN.replace("--rm", "--rm -v /:/x"),
        RUN.replace("--pull never ", ""),
        f"{RUN} sh",
    ],
)
def test_no_other_command_can_stand_in_evidence(run: str) -> None:
    """People copy the command, so what others write there is refused."""
    with pytest.raises(ValidationError):
        the_image(run)


def test_what_we_write_is_accepted() -> None:
    """Both forms of the command pass the check."""
    for gpus in (False, True):
        command = run_command("envmatrix/cell:torch_vision-2.13.0-py3.11-debian12-cpu", gpus=gpus)
        assert the_image(command).run == command
        assert ("--gpus all" in command) is gpus


# --- what stands beside evidence -------------------------------------------------------------


def known(standing: Standing, reason: str = "it | crashes") -> Known:
    """Return a known failure of a cell."""
    return Known(standing=standing, class_="crash", reason=reason)


def test_what_is_known_comes_first() -> None:
    """A long cause loses its end, and what the matrix knows must not be lost with it."""
    broken = the_evidence(Verdict.BROKEN, class_="crash", cause="x" * 900)
    why = row(broken, known(Standing.AS_KNOWN))[-1]
    assert why.startswith("known: it | crashes; probe: crash: xxx")
    assert "known: it \\| crashes; probe" in markdown(
        [broken], known={broken.id: known(Standing.AS_KNOWN)}
    )
    passed = row(the_evidence(), known(Standing.PASSED))[-1]
    assert passed == "passed, though known to be broken: it | crashes"


def test_what_was_not_seen_is_not_explained_by_what_is_known() -> None:
    """A cell that could not be run is unknown for its own reason."""
    unknown = the_evidence(Verdict.UNKNOWN, stage="build", class_="engine", cause="no engine")
    assert row(unknown, known(Standing.NOT_SEEN))[-1] == "build: engine: no engine"


def test_the_page_counts_what_is_known() -> None:
    """The counts say how many of the broken cells are so as known."""
    cells = [the_evidence(Verdict.BROKEN), the_evidence()]
    found = page(cells, known={cells[0].id: known(Standing.AS_KNOWN)})
    assert "2 cells: 1 works, 1 broken (1 broken as known). " in found


def comparison(result: Agreement, title: str = "The [table]", **more: object) -> Comparison:
    """Return what a vendor declares of a glibc, compared."""
    given = {
        "framework": "torch",
        "version": "2.13.0",
        "field": "glibc",
        "declared": "2.17",
        "observed": "2.28",
        "result": result,
        "source": Place(title=title, url="https://example.org/t#one", read="2026-11-22"),
        "cells": ("torch-2.13.0-py3.11-debian12-cpu", "torch-2.13.0-py3.11-debian12-cu130"),
    }
    return Comparison.model_validate(given | more)


def test_the_page_tells_where_official_tables_disagree() -> None:
    """A disagreement names its source with a link and a day, and the first cell that shows it."""
    compared = [comparison(Agreement.CONTRADICTED), comparison(Agreement.CONFIRMED)]
    found = page([the_evidence()], compared=compared)
    heading, text = found.split("## Where official tables disagree with what was observed\n\n")
    assert "table" in heading
    assert (
        "| torch 2.13.0 | glibc | 2.17 ([The \\[table\\]](https://example.org/t#one), read "
        "2026-11-22) | 2.28 (torch-2.13.0-py3.11-debian12-cpu and 1 more) |\n"
    ) in text
    assert "1 confirmed, 1 contradicted, 0 unchecked" in text
    assert text.count("| torch") == 1
    one = page([the_evidence()], compared=[comparison(Agreement.CONTRADICTED, cells=("x",))])
    assert "| 2.28 (x) |" in one


def test_the_page_of_tables_that_agree_has_no_such_section() -> None:
    """Where nothing is contradicted, nothing is told."""
    assert "official" not in page([the_evidence()], compared=[comparison(Agreement.CONFIRMED)])


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x)[y](z", "https://x y"])
def test_a_source_is_a_plain_address(url: str) -> None:
    """An address that could be anything else in Markdown is refused."""
    with pytest.raises(ValidationError):
        Place(title="x", url=url, read="2026-11-22")
