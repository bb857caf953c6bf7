"""Results for CI: JUnit XML, annotations of GitHub, and which cells have regressed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_evidence

from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.report.annotations import error_lines
from envmatrix.report.changes import Change, regressions
from envmatrix.report.junit import junit
from envmatrix.report.states import Snapshot, State

AS_KNOWN = Known(standing=Standing.AS_KNOWN, reason="it is too slow")


def broken(**fields: object) -> Evidence:
    """Return the evidence of a cell that failed with a class and a cause."""
    return the_evidence(
        Verdict.BROKEN, **({"class_": "crash", "cause": "ended", "remedy": "update"} | fields)
    )


def parsed(text: str) -> ET.Element:
    """Return the root of a document of ours."""
    return ET.fromstring(text)  # noqa: S314  (it was made here)


def case(cell: Evidence, known: Known | None = None) -> ET.Element:
    """Return the case of a cell in the document of it alone."""
    root = parsed(junit([cell], {cell.id: known} if known else {}))
    (found,) = root.iter("testcase")
    return found


@pytest.mark.parametrize(
    ("verdict", "element"),
    [
        (Verdict.WORKS, None),
        (Verdict.PARTIAL, "skipped"),
        (Verdict.BROKEN, "failure"),
        (Verdict.IMPOSSIBLE, "skipped"),
        (Verdict.UNKNOWN, "error"),
    ],
)
def test_each_verdict_has_its_element(verdict: Verdict, element: str | None) -> None:
    """Only what works passes, and an error of the surroundings is no failure."""
    found = case(the_evidence(verdict, class_="engine", cause="it\nleft"))
    told = [one.tag for one in found if one.tag in ("skipped", "failure", "error")]
    assert told == ([element] if element else [])
    if element:
        (result,) = found.iter(element)
        assert (result.get("type"), result.get("message")) == (
            f"{verdict}.engine",
            "engine: it left",
        )
    assert found.get("classname") == "torch.2.10.0"


def test_what_is_broken_as_known_fails_nothing() -> None:
    """It is skipped, with the reason of the matrix. What is broken otherwise fails."""
    found = case(broken(), AS_KNOWN)
    (result,) = found.iter("skipped")
    assert str(result.get("message")).startswith("known: it is too slow; crash")
    assert not list(found.iter("failure"))
    otherwise = AS_KNOWN.model_copy(update={"standing": Standing.OTHERWISE})
    assert list(case(broken(), otherwise).iter("failure"))


def test_suites_count_their_cases() -> None:
    """There is one suite a framework, and the counts of all suites stand at the root."""
    flow = the_evidence(Verdict.WORKS).axes.model_copy(update={"framework": "tensorflow"})
    cells = [broken(), the_evidence(Verdict.UNKNOWN, id="b"), the_evidence(id="c", axes=flow)]
    root = parsed(junit(cells, {}))
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        ("torch", "2"),
        ("tensorflow", "1"),
    ]
    counts = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "1", "skipped": "0"}


def test_probes_are_properties_and_their_output_is_shown() -> None:
    """Each probe tells how it ended, and the end of what a failed one printed."""
    probe = ProbeResult(
        probe="torch-import", required=True, outcome=Outcome.FAILED, log_tail="a\n]]><b>"
    )
    found = case(broken(probes=(probe,), log=".envmatrix/logs/probe/x"))
    facts = {one.get("name"): one.get("value") for one in found.iter("property")}
    assert facts == {"verdict": "broken", "stage": "probe", "probe:torch-import": "failed"}
    assert found.findtext("system-out") == "torch-import:\na\n]]><b>\nlog: .envmatrix/logs/probe/x"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_valid_xml(text: str) -> None:
    """Whatever an image says, the document can be read, and nothing in it is an element of ours."""
    probe = ProbeResult(probe="p", required=True, outcome=Outcome.FAILED, log_tail=text)
    found = case(broken(cause=text, remedy=text, class_=text, probes=(probe,)))
    assert {one.tag for one in found.iter()} == {
        *("testcase", "properties", "property", "failure"),
        *(["system-out"] if found.find("system-out") is not None else []),
    }


# --- annotations -----------------------------------------------------------------------------

WORKS = State(Verdict.WORKS)


def test_an_annotation_is_escaped() -> None:
    """Commas and colons end a property, and a break of a line would begin another command."""
    new = State(Verdict.BROKEN, "crash", "50%: a, b\n::set-output name=x::y")
    (line,) = error_lines([Change("a:b,c", WORKS, new)])
    assert line == (
        "::error title=a%3Ab%2Cc is broken; it was works::crash: 50%25: a, b "
        "::set-output name=x::y. The whole story: envmatrix explain a:b,c"
    )
    assert error_lines([Change("a", WORKS, None)]) == []


def test_regressions() -> None:
    """A cell regressed that is broken and was not. Known failures and new cells are none."""
    old = Snapshot("old", {"a": WORKS, "b": WORKS, "c": State(Verdict.BROKEN), "d": WORKS})
    cells = [broken(id=name) for name in ("a", "b", "c", "new")] + [
        the_evidence(Verdict.UNKNOWN, id="d")
    ]
    assert [one.id for one in regressions(old, cells, {"b": AS_KNOWN})] == ["a"]
    otherwise = AS_KNOWN.model_copy(update={"standing": Standing.OTHERWISE})
    assert [one.id for one in regressions(old, cells, {"b": otherwise})] == ["a", "b"]
