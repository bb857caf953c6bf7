"""JUnit XML: one suite a framework, one case a cell, for whatever shows test results.

Only `works` passes. `broken` is a failure, `unknown` is an error, and what was not asked to work is
skipped: `impossible`, `partial`, and what is broken as the matrix knows it.

All text of evidence is inert (`model/text.py`), so it holds nothing that XML 1.0 does not allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.text import line
from envmatrix.model.verdicts import Verdict
from envmatrix.report.states import utc


def junit(cells: Sequence[Evidence], known: Mapping[str, Known]) -> str:
    """Return the document of some cells. `known` is what the matrix knows of them, by id."""
    root = ET.Element("testsuites", name="envmatrix")
    suites: dict[str, list[Evidence]] = {}
    for cell in cells:
        suites.setdefault(cell.axes.framework, []).append(cell)
    for framework, ours in suites.items():
        suite = ET.SubElement(root, "testsuite", name=line(framework))
        for cell in ours:
            _add_case(suite, cell, known.get(cell.id))
        _count(suite)
        suite.set("timestamp", f"{max(utc(cell.generated_at) for cell in ours):%Y-%m-%dT%H:%M:%S}")
    _count(root)
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _count(element: ET.Element) -> None:
    """Put the counts of cases and the sum of their times on a suite, or on all of them."""
    element.set("tests", str(len(list(element.iter("testcase")))))
    for name, one in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(len(list(element.iter(one)))))
    times = (float(case.get("time", "0")) for case in element.iter("testcase"))
    element.set("time", f"{sum(times):.1f}")


def _add_case(suite: ET.Element, cell: Evidence, known: Known | None) -> None:
    seconds = (cell.seconds.build or 0.0) + (cell.seconds.probe or 0.0)
    case = ET.SubElement(
        suite,
        "testcase",
        name=line(cell.id),
        classname=line(f"{cell.axes.framework}.{cell.axes.version}"),
        time=f"{seconds:.1f}",
    )
    told = ET.SubElement(case, "properties")
    facts = {"verdict": cell.told, "stage": cell.stage}
    facts |= {f"probe:{probe.probe}": probe.outcome.value for probe in cell.probes}
    for name, value in facts.items():
        ET.SubElement(told, "property", name=line(name), value=line(value))
    as_known = known is not None and known.standing is Standing.AS_KNOWN
    if kind := _element(cell.verdict, as_known=as_known):
        why = ": ".join(text for text in (cell.class_, cell.cause) if text)
        why = f"{known.said}; {why}" if known and as_known else why
        result = ET.SubElement(
            case,
            kind,
            type=line(f"{cell.verdict.value}.{cell.class_}" if cell.class_ else cell.verdict),
            message=line(why),
        )
        if cell.remedy:
            result.text = line(cell.remedy)
    tails = [f"{probe.probe}:\n{probe.log_tail}" for probe in cell.probes if probe.log_tail]
    if cell.log and cell.verdict is not Verdict.WORKS:
        tails.append(f"log: {line(cell.log)}")
    if tails:
        ET.SubElement(case, "system-out").text = "\n".join(tails)


def _element(verdict: Verdict, *, as_known: bool) -> str:
    """Return the element that says how a case ended; an empty text where it passed."""
    match verdict:
        case Verdict.WORKS:
            return ""
        case Verdict.BROKEN:
            return "skipped" if as_known else "failure"
        case Verdict.UNKNOWN:
            return "error"
    return "skipped"
