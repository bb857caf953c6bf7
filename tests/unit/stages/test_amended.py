"""Evidence that is marked invalid serves no run, no verify and no report."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_engine import Exit, FakeEngine, PullRefused
from small_project import GOOD, OLD, ONE, Folder, Told, judged, run, run_one

from envmatrix.model.evidence import Evidence, Reproducible
from envmatrix.stages.options import Options, Origin
from envmatrix.store.files import to_text

THEN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
AMENDED = """\
schema: 1
amendments: [{cells: "*", recorded: {until: "2020-01-02"}, reason: that machine was faulty}]
"""


def age(project: Folder) -> None:
    """Let everything that was recorded here be of an earlier day."""
    for path in (project.root / ".envmatrix/cells").iterdir():
        data = json.loads(path.read_text()) | {"generated_at": THEN.isoformat()}
        path.write_text(to_text(data))
    for path in (project.root / ".envmatrix/records/probe").iterdir():
        os.utime(path, (THEN.timestamp(), THEN.timestamp()))


@pytest.fixture
def amended(project: Folder) -> Folder:
    """A project whose two cells worked on a day whose evidence is marked invalid since."""
    run(project, GOOD, OLD)
    age(project)
    project.write("amendments.yaml", AMENDED)
    return project


def known(project: Folder) -> tuple[str, str]:
    """Return what is known of the good cell."""
    (cell,) = project.cells(GOOD)
    found = project.workspace().knowledge.judgement(cell)
    return found.verdict.value, found.kind


@pytest.mark.parametrize(
    "options", [ONE, Options(jobs=1, prune=True), Options(jobs=1, isolated=True)]
)
def test_a_run_probes_again(amended: Folder, fake: FakeEngine, options: Options) -> None:
    """The image is taken, and no result of a probe is. What the run finds counts."""
    assert known(amended) == ("unknown", "amended")
    fake.on_run = lambda _: Exit(1, stderr="AssertionError: it never worked\n")
    done = run(amended, GOOD, options=options)
    assert (done.built, done.probed) == (0, 2)
    assert judged(done.cells[0])[0] == "broken"
    assert known(amended)[0] == "broken"


def test_what_was_probed_again_is_not_probed_a_third_time(amended: Folder) -> None:
    """The amendment may stay: what was recorded after it is taken."""
    assert run(amended, GOOD).probed == 2
    assert run(amended, GOOD).probed == 0
    assert known(amended) == ("works", "")


def test_cells_that_are_not_named_are_served_as_before(project: Folder) -> None:
    """An amendment of one cell costs no other cell its results."""
    run(project, GOOD, OLD)
    age(project)
    project.write("amendments.yaml", AMENDED.replace('"*"', GOOD))
    assert run(project, GOOD, OLD).probed == 2
    assert run(project, OLD).probed == 0


def test_verify_puts_no_result_into_invalid_evidence(amended: Folder) -> None:
    """The result stands in new evidence, which says that the image was not probed."""
    workspace = amended.workspace()
    (found,) = workspace.verifier.verify(amended.cells(GOOD), ONE, Told())
    assert found.reproducibility.status is Reproducible.PROVEN
    assert judged(found) == ("unknown", "build", "not-attempted")
    assert found.generated_at > THEN


def test_verify_of_an_amended_cell_that_cannot_be_built_is_told(
    amended: Folder, fake: FakeEngine
) -> None:
    """It is not left out, which would look like a success."""
    fake.images.forget(re.compile(".*"))
    fake.fail(PullRefused(403), times=None)
    options = Options(jobs=1, origin=Origin.PULL)
    (found,) = amended.workspace().verifier.verify(amended.cells(GOOD), options, Told())
    assert found.reproducibility.status is Reproducible.NOT_CHECKED
    assert found.generated_at > THEN


def written(project: Folder, where: Path) -> list[Evidence]:
    """Write a report of both cells, as the command does; return what it is made of."""
    reporting = project.workspace().reporting
    cells = [reporting.evidence(cell) for cell in project.cells(GOOD, OLD)]
    reporting.write(cells, where)
    return cells


def test_a_report_keeps_the_file_of_what_is_marked(amended: Folder) -> None:
    """Nothing is deleted: the document says unknown, and the file stays until there is a better."""
    where = amended.root / "reports"
    (amended.root / "amendments.yaml").unlink()
    written(amended, where)
    before = (where / f"cells/{GOOD}.json").read_text()
    amended.write("amendments.yaml", AMENDED.replace('"*"', GOOD))
    for path in (amended.root / ".envmatrix/cells").iterdir():
        path.unlink()
    told = written(amended, where)
    assert [judged(one)[::2] for one in told] == [("unknown", "amended"), ("works", "")]
    assert (where / f"cells/{GOOD}.json").read_text() == before
    document = json.loads((where / "report.json").read_text())
    assert [cell["class"] for cell in document["cells"]] == ["amended", ""]
    again = run_one(amended, GOOD)
    written(amended, where)
    assert json.loads((where / f"cells/{GOOD}.json").read_text()) == again.to_json()
