"""Evidence: what is known of a cell or of a host becomes one typed whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from small_project import BASE, CUDA, EXCLUDED, GOOD, IMPOSSIBLE, Folder

from envmatrix import __version__
from envmatrix.engine.image import Image
from envmatrix.model.evidence import HOST, Evidence
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import LOCKED, Judgement, Verdict, excluded_by_rule
from envmatrix.stages.evidence import EvidenceMaker, host_evidence, machine
from envmatrix.stages.recipes import Built

WORKS = Judgement(Verdict.WORKS, "probe")


@pytest.fixture
def maker(offline: Folder) -> EvidenceMaker:
    """What makes evidence."""
    return offline.workspace().reporting.maker


def built(name: str, seconds: float) -> Built:
    """Return an image."""
    return Built(Image(f"sha256:{name}", (f"layer-{name}",), 7), seconds, "pull", reused=False)


def result(name: str, **observed: str) -> ProbeResult:
    """Return what a probe that passed in 1.25 seconds observed."""
    return ProbeResult(
        probe=name,
        required=True,
        outcome=Outcome.PASSED,
        seconds=1.25,
        observed=Observed.model_validate(observed),
    )


def test_evidence_of_a_run(maker: EvidenceMaker, offline: Folder) -> None:
    """The evidence holds what was declared, locked, built, observed, and how long it took."""
    (cell,) = offline.cells(GOOD)
    results = [result("jinja2-import", version="3.1.6"), result("jinja2-render")]
    found = maker.of(
        cell,
        WORKS,
        base=built("base", 2.0),
        built=built("cell", 3.0),
        results=results,
        engine="27.5.1",
    )
    assert (GOOD, cell.axes, WORKS) == (found.id, found.axes, found.judgement)
    assert found.tool == f"envmatrix {__version__}"
    assert machine("27.5.1") == found.host
    assert found.declared is not None
    assert (
        found.declared.version,
        found.declared.codename,
        found.declared.glibc,
    ) == ("3.1.6", "bookworm", "2.36")
    assert found.observed.version == "3.1.6"
    assert found.lock is not None
    assert "markupsafe" in found.lock.wheels
    assert found.inputs is not None
    assert {"jinja2-import", "jinja2-render"} == set(found.inputs.probes)
    assert found.image is not None
    assert (f"envmatrix/cell:{GOOD}", ("layer-cell",), 7) == (
        found.image.name,
        found.image.layers,
        found.image.size,
    )
    assert (found.seconds.base, found.seconds.build, found.seconds.probe) == (2.0, 3.0, 2.5)
    assert tuple(results) == found.probes
    assert timedelta(0) <= datetime.now(UTC) - found.generated_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("cell_id", "judgement"),
    [
        (GOOD, LOCKED),
        (IMPOSSIBLE, Judgement(Verdict.IMPOSSIBLE, "lock", "no-such-version", "why", "do")),
        (EXCLUDED, excluded_by_rule("nobody asked for it")),
    ],
)
def test_evidence_without_an_image(
    maker: EvidenceMaker, offline: Folder, cell_id: str, judgement: Judgement
) -> None:
    """A cell that was not built has no image, no seconds, no probes, and no log of a build."""
    (cell,) = offline.cells(cell_id)
    found = maker.of(cell, judgement)
    assert judgement.about(cell_id) == found.judgement
    assert (found.image, found.layers, found.probes) == (None, (), ())
    assert (found.log, found.logs.base, found.logs.build) == (found.logs.resolve, None, None)
    assert (found.log is None) == (cell_id == EXCLUDED)
    if found.log:
        assert "jinja2==" in offline.read(found.log)
    assert (found.seconds.base, found.seconds.build, found.seconds.probe) == (None, None, None)
    assert (cell_id == GOOD) == (found.lock is not None) == (found.inputs is not None)
    assert found.base is not None
    assert (cell.base_id, None) == (found.base.id, found.base.origin)


def test_evidence_survives_its_file(maker: EvidenceMaker, offline: Folder) -> None:
    """The JSON of evidence is read back as the same evidence."""
    (cell,) = offline.cells(CUDA)
    found = maker.of(cell, WORKS, built=built("cell", 3.0), results=[result("jinja2-import")])
    path = offline.workspace().book.keep(found)
    assert found == read_evidence(path.read_text(), "here")


@pytest.mark.parametrize(
    ("stage", "kind", "name"), [("base", "base", BASE), ("build", "build", GOOD)]
)
def test_the_log_is_that_of_the_stage(
    maker: EvidenceMaker, offline: Folder, stage: str, kind: str, name: str
) -> None:
    """A cell that failed at its base names the log of the base, and otherwise its own."""
    (cell,) = offline.cells(GOOD)
    judgement = Judgement(Verdict.BROKEN, stage)
    assert maker.of(cell, judgement).log is None
    offline.write(f".envmatrix/logs/{kind}/{name}.log", "it failed")
    assert f".envmatrix/logs/{kind}/{name}.log" == maker.of(cell, judgement).log


def test_a_cuda_cell_tells_what_it_serves(maker: EvidenceMaker, offline: Folder) -> None:
    """The driver of a CUDA build, and the generations that it holds code for, are told."""
    (cell,) = offline.cells(CUDA)
    seen = ProbeResult(
        probe="jinja2-import",
        required=True,
        outcome=Outcome.PASSED,
        observed=Observed(architectures=("sm_80", "sm_90")),
    )
    found = maker.of(cell, WORKS, results=[seen])
    assert found.serves is not None
    assert found.serves.driver == "580"
    assert len(found.serves.generations) > 0


# --- hosts -----------------------------------------------------------------------------------


def host(*results: ProbeResult) -> Evidence:
    """Return the evidence of an interpreter of this machine."""
    return host_evidence("jinja2", results)


def test_evidence_of_a_host() -> None:
    """The id and the axes of a host are what was observed there, and nothing is declared."""
    seen = {
        "version": "3.1.6",
        "python": "3.12",
        "codename": "trixie",
        "arch": "amd64",
        "accelerator": "cpu",
    }
    found = host(result("jinja2-import", **seen))
    assert found.id == "host-jinja2-3.1.6-py3.12-trixie-cpu"
    assert (
        found.kind,
        found.verdict,
        found.declared,
        found.image,
    ) == (HOST, Verdict.WORKS, None, None)
    assert (found.axes.os, found.axes.python, found.axes.arch) == ("trixie", "3.12", "amd64")
    assert found.seconds.probe == 1.2
    elsewhere = host(result("jinja2-import", **seen | {"arch": "arm64"}))
    assert elsewhere.id == "host-jinja2-3.1.6-py3.12-trixie-cpu-arm64"


def test_what_was_not_observed_on_a_host_is_unknown() -> None:
    """A host whose framework fails to import has unknown axes, and its failure is told."""
    failed = ProbeResult(
        probe="jinja2-import", required=True, outcome=Outcome.FAILED, kind="other", cause="no"
    )
    found = host(failed)
    assert found.id == "host-jinja2-unknown-pyunknown-unknown-unknown"
    assert (
        found.verdict,
        found.stage,
        found.class_,
        found.cause,
    ) == ("broken", "import", "other", "jinja2-import: no")


def test_a_machine_without_an_engine_names_none() -> None:
    """The machine tells its system and processor, and an engine only where one was used."""
    assert machine().engine == ""
    assert machine().system
    assert machine("27").engine == "27"
