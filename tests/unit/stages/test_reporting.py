"""The report stage: evidence as it is now, and the files that publish it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from fake_mmdebstrap import PACKAGES, fake_mmdebstrap, held
from small_project import GOOD, IMPOSSIBLE, OLD, Folder, Told

from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import LOCKED
from envmatrix.stages.evidence import host_evidence, machine
from envmatrix.stages.options import Options, Origin
from envmatrix.stages.report import Reporting


@pytest.fixture
def reporting(project: Folder) -> Reporting:
    """The report stage."""
    return project.workspace().reporting


@pytest.fixture
def evidence(project: Folder, tmp_path: Path) -> Iterator[list[Evidence]]:
    """The evidence of two cells, one of them built on a bootstrapped system."""
    cells = project.cells(GOOD, IMPOSSIBLE)
    options = Options(jobs=1, origin=Origin.BOOTSTRAP)
    with fake_mmdebstrap(tmp_path / "bin"):
        yield list(project.workspace().runner.run(cells, options, Told()).cells)


def host() -> Evidence:
    """Return the evidence of a host."""
    seen = Observed(version="3.1.6", python="3.12")
    return host_evidence(
        "jinja2",
        [ProbeResult(probe="jinja2-import", required=True, outcome=Outcome.PASSED, observed=seen)],
    )


def test_evidence_that_is_current_is_taken(project: Folder, evidence: list[Evidence]) -> None:
    """The report of a cell is what its run gave, as long as no input changed."""
    (cell,) = project.cells(GOOD)
    assert evidence[0] == project.workspace().reporting.evidence(cell)


def test_evidence_that_is_stale_is_told_as_such(project: Folder, evidence: list[Evidence]) -> None:
    """After an input changed the report says what changed, and shows nothing of the old run."""
    project.write(
        "scripts/probes/jinja2_render.py", project.read("scripts/probes/jinja2_render.py") + "#\n"
    )
    (cell,) = project.cells(GOOD)
    found = project.workspace().reporting.evidence(cell)
    assert (found.verdict, found.class_) == ("unknown", "stale")
    assert "probe jinja2-render" in found.cause
    assert (found.image, found.probes) == (None, ())


def test_a_cell_that_was_never_run_is_told_by_its_lock(
    project: Folder, reporting: Reporting
) -> None:
    """Without evidence the report holds what is known without a run."""
    (cell,) = project.cells(OLD)
    assert reporting.evidence(cell).judgement == LOCKED.about(cell.id)


def test_a_report_is_written_to_one_folder(
    project: Folder, evidence: list[Evidence], reporting: Reporting, tmp_path: Path
) -> None:
    """A report has a document, a table, a file for each cell and host, and lists of packages."""
    where = tmp_path / "out"
    reporting.write(evidence, where, [host()])
    files = {str(path.relative_to(where)) for path in where.rglob("*") if path.is_file()}
    assert {
        "report.json",
        "table.md",
        f"cells/{GOOD}.json",
        f"cells/{IMPOSSIBLE}.json",
        f"host/{host().id}.json",
        "packages/debian12.txt",
    } == files
    document = json.loads((where / "report.json").read_text())
    assert [cell["id"] for cell in document["cells"]] == [GOOD, IMPOSSIBLE]
    assert [host().id] == [cell["id"] for cell in document["on_hosts"]]
    assert "jinja2 3.1.6" in (where / "table.md").read_text()
    kept = read_evidence((where / f"cells/{GOOD}.json").read_text(), "here")
    assert evidence[0] == kept
    assert list(held(*PACKAGES)) == (where / "packages/debian12.txt").read_text().splitlines()


def test_a_report_has_the_host_of_its_first_cell(
    evidence: list[Evidence], reporting: Reporting, fake: FakeEngine
) -> None:
    """A report names the engine that its first cell was run on, and this machine without cells."""
    assert fake.facts.version == reporting.document(evidence).to_json()["host"]["engine"]
    assert machine().to_json() == reporting.document([]).to_json()["host"]
