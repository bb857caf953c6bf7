"""The document report.json: counts, drift of losses, and each cell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_evidence

from envmatrix import __version__
from envmatrix.model.evidence import SCHEMA, Evidence, Machine
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.report.document import Report, count, document, drift, summary

MACHINE = Machine(system="Linux", machine="x86_64", engine="29.0.0")


def trained(cell_id: str, *losses: float, probe: str = "torch-train") -> Evidence:
    """Return the evidence of a cell in which a model was trained."""
    result = ProbeResult(
        probe=probe,
        required=True,
        outcome=Outcome.PASSED,
        observed=Observed(losses=losses) if losses else Observed(),
    )
    return the_evidence(id=cell_id, probes=(result,))


def test_all_verdicts_are_counted() -> None:
    """Every verdict has a count, so that a program finds those of no cell too."""
    assert count([]) == {"works": 0, "partial": 0, "broken": 0, "impossible": 0, "unknown": 0}
    verdicts = [Verdict.WORKS, Verdict.UNKNOWN, Verdict.WORKS]
    assert count(verdicts) == {"works": 2, "partial": 0, "broken": 0, "impossible": 0, "unknown": 1}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([], "0 cells: none"),
        ([Verdict.WORKS], "1 cell: 1 works"),
        ([Verdict.UNKNOWN, Verdict.WORKS, Verdict.WORKS], "3 cells: 2 works, 1 unknown"),
    ],
)
def test_counts_are_a_sentence(verdicts: list[Verdict], said: str) -> None:
    """The sentence counts all cells, and names the verdicts that there are."""
    assert summary(verdicts) == said


@given(st.lists(st.sampled_from(Verdict)))
def test_no_cell_is_lost_in_the_counts(verdicts: list[Verdict]) -> None:
    """The counts of all verdicts add up to the number of cells."""
    assert sum(count(verdicts).values()) == len(verdicts)


def test_a_document_holds_its_cells_and_says_what_made_it() -> None:
    """A document has the evidence of all cells, their counts, the tool and the machine."""
    cells = [the_evidence(), the_evidence(Verdict.UNKNOWN, id="other")]
    host = the_evidence(id="host-torch", kind="host")
    made = document(cells, MACHINE, [host])
    data = made.to_json()
    assert data["schema"] == SCHEMA
    assert data["tool"] == f"envmatrix {__version__}"
    assert data["host"] == {"system": "Linux", "machine": "x86_64", "engine": "29.0.0"}
    assert data["summary"] == {"works": 1, "partial": 0, "broken": 0, "impossible": 0, "unknown": 1}
    assert data["cells"] == [cell.to_json() for cell in cells]
    assert data["on_hosts"] == [host.to_json()]
    assert made.generated_at.microsecond == 0
    assert Report.model_validate_json(json.dumps(data)) == made


def test_hosts_are_not_counted() -> None:
    """Evidence of a host counts for no cell."""
    assert document([], MACHINE, [the_evidence(kind="host")]).summary["works"] == 0


def test_drift_is_the_last_loss_by_the_median() -> None:
    """The drift of a cell is its final loss by the median of all cells, less one."""
    cells = [trained("a", 9, 0.5), trained("b", 9, 0.5), trained("c", 9, 0.6)]
    assert drift(cells) == {
        "a": {"torch-train": 0.0},
        "b": {"torch-train": 0.0},
        "c": {"torch-train": 0.2},
    }


def test_each_probe_drifts_by_itself() -> None:
    """Losses are compared with those of the same probe alone."""
    cells = [trained("a", 1.0), trained("b", 5.0, probe="other-train")]
    assert drift(cells) == {"a": {"torch-train": 0.0}, "b": {"other-train": 0.0}}


def test_cells_without_losses_do_not_drift() -> None:
    """A probe that tells no losses has no drift, and a median of zero gives none."""
    assert drift([trained("a"), the_evidence()]) == {}
    assert drift([trained("a", 0.0), trained("b", 0.0)]) == {
        "a": {"torch-train": 0.0},
        "b": {"torch-train": 0.0},
    }
