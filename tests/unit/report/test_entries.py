"""Entries: what is said of a cell in a sentence, and groups of cells with one cause."""

from __future__ import annotations

from typing import Any

import pytest
from samples import the_evidence

from envmatrix.model.evidence import Axes
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.entries import BEST_FIRST, Entry, grouped, place

RAN = [
    ProbeResult(probe="a-import", required=True, outcome=Outcome.PASSED),
    ProbeResult(probe="a-nn", required=True, outcome=Outcome.PASSED),
    ProbeResult(probe="a-gpu", required=False, outcome=Outcome.NOT_RUN),
]


def entry(verdict: Verdict, **fields: Any) -> Entry:
    """Return a cell with evidence."""
    found = the_evidence(verdict, **fields)
    return Entry(found.id, found.axes, found.judgement, found)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.WORKS, "torch 2.10.0 works on Python 3.11, debian12 and cpu: 2 probes ran and"),
        (Verdict.PARTIAL, "something that is required was not run"),
        (Verdict.BROKEN, "was tried, and failed at the stage probe."),
        (Verdict.IMPOSSIBLE, "cannot be, which is known without a run."),
        (Verdict.UNKNOWN, "Whether torch 2.10.0 works on Python 3.11, debian12 and cpu is not"),
    ],
)
def test_each_verdict_is_a_sentence(verdict: Verdict, said: str) -> None:
    """The sentence of each verdict says what it means, and only works says works."""
    found = entry(verdict, probes=RAN).sentence
    assert said in found
    assert found.endswith(".")
    assert ("works on" in found) is (verdict in (Verdict.WORKS, Verdict.UNKNOWN))


def test_emulation_and_another_architecture_are_said() -> None:
    """What ran under emulation says so, and what did not names its architecture alone."""
    axes = the_evidence().axes.model_copy(update={"arch": "arm64"})
    emulated = entry(Verdict.WORKS, axes=axes, emulated=True)
    assert "cpu (arm64, under emulation):" in emulated.sentence
    assert emulated.emulated
    native = entry(Verdict.WORKS, axes=axes)
    assert "cpu (arm64):" in native.sentence
    assert place(axes) == "debian12 cpu arm64"


def test_cells_of_one_cause_are_one_group() -> None:
    """A remedy that names its cell makes no group; the best verdict and the largest come first."""

    def known(name: str, verdict: Verdict, cause: str) -> Entry:
        axes = Axes(
            os="a", python="3.11", accelerator="cpu", framework="f", version="1", arch="amd64"
        )
        return Entry(name, axes, Judgement(verdict, "plan", "x", cause, f"`envmatrix run {name}`"))

    groups = grouped(
        [
            known("a", Verdict.UNKNOWN, "one"),
            known("b", Verdict.UNKNOWN, "two"),
            known("c", Verdict.UNKNOWN, "two"),
            known("d", Verdict.BROKEN, "two"),
        ]
    )
    assert [[one.id for one in group.entries] for group in groups] == [["d"], ["b", "c"], ["a"]]


def test_every_verdict_has_its_place_in_the_order() -> None:
    """No verdict is left out of the order from the best to the worst."""
    assert set(BEST_FIRST) == set(Verdict)
