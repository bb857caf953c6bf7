"""Documents for supply chains: they say what evidence says, and nothing that it does not."""

from __future__ import annotations

import json
from dataclasses import replace

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from samples import the_evidence

from envmatrix.model.evidence import BaseImage, CellImage, Evidence, LockedWheels
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.report import attest
from envmatrix.report.attest import Materials, documents

HASH = "ab" * 32
LAYER = f"sha256:{'1' * 64}"
WHEEL = Wheel("torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", HASH, 5)
LOCK = Lock("key", "Python 3.11, glibc 2.36, amd64", "2026-11-20", (WHEEL,))
BASE = f"sha256:{'c' * 64}"


def evidence(verdict: Verdict = Verdict.WORKS, lock: str = LOCK.sha256) -> Evidence:
    """Return evidence of a cell with a wheel, a package and three probes."""
    probes = [
        ProbeResult(probe="torch-import", required=True, outcome=Outcome.PASSED),
        ProbeResult(probe="torch-gpu", required=True, needs="gpu", outcome=Outcome.NOT_RUN),
        ProbeResult(probe="torch-extra", required=False, outcome=Outcome.FAILED),
    ]
    return the_evidence().model_copy(
        update={
            "verdict": verdict,
            "lock": LockedWheels(sha256=lock, wheels={"torch": "2.13.0+cpu"}),
            "base": BaseImage(id="debian12-py3.11-cpu", origin="pull", digest=BASE),
            "image": CellImage(
                name="envmatrix/cell:x",
                layers=(LAYER,),
                size=1,
                packages=(f"gcc 4:12.2.0-3 amd64 {HASH}",),
            ),
            "probes": tuple(probes),
        }
    )


MATERIALS = Materials(
    evidence(), LOCK, system=(f"apt 2.6.1 amd64 {HASH}",), files={"images/x/Dockerfile": "FROM x\n"}
)


def test_the_sbom_lists_packages_and_wheels_with_hashes() -> None:
    """It is CycloneDX 1.6, and names each thing by its package URL."""
    text = documents(MATERIALS)[attest.SBOM]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    assert {one["purl"]: one["hashes"][0]["content"] for one in found["components"]} == {
        "pkg:deb/debian/apt@2.6.1?arch=amd64&distro=debian12": HASH,
        "pkg:deb/debian/gcc@4:12.2.0-3?arch=amd64&distro=debian12": HASH,
        "pkg:pypi/torch@2.13.0%2Bcpu": HASH,
    }
    assert found["metadata"]["component"]["name"] == MATERIALS.evidence.id
    assert text == documents(MATERIALS)[attest.SBOM]


def test_a_hash_of_another_lock_is_not_told() -> None:
    """The lock has changed since: the versions of the evidence stand there without hashes."""
    other = replace(MATERIALS, evidence=evidence(lock="other"))
    (wheel,) = (
        one
        for one in json.loads(documents(other)[attest.SBOM])["components"]
        if one["name"] == "torch"
    )
    assert "hashes" not in wheel


def test_packages_that_are_not_known_are_said_to_be_unknown() -> None:
    """A base that was pulled has packages that nobody listed."""
    found = json.loads(documents(replace(MATERIALS, system=()))[attest.SBOM])
    told = {one["name"]: one["value"] for one in found["metadata"]["component"]["properties"]}
    assert told["envmatrix:system"] == (
        f"the packages of the operating system are not known (pull {BASE})"
    )


def test_the_provenance_names_what_went_in() -> None:
    """Wheels, packages, the Dockerfile and the base, and the evidence as what came out beside."""
    materials = replace(
        MATERIALS, files={**MATERIALS.files, "cells/x.json": "{}\n"}, digest=f"sha256:{'d' * 64}"
    )
    found = json.loads(documents(materials)[attest.PROVENANCE])
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"][0]["digest"]["sha256"] == "d" * 64
    definition = found["predicate"]["buildDefinition"]
    names = [one["name"] for one in definition["resolvedDependencies"]]
    assert names == ["images/x/Dockerfile", "debian12-py3.11-cpu", "apt", "gcc", "torch"]
    assert definition["resolvedDependencies"][1]["digest"] == {"sha256": "c" * 64}
    assert [one["name"] for one in found["predicate"]["runDetails"]["byproducts"]] == [
        "cells/x.json"
    ]


def test_what_was_not_run_is_no_pass() -> None:
    """The result of a partial cell is WARNED, and its probe stands among those not run."""
    found = json.loads(
        documents(replace(MATERIALS, evidence=evidence(Verdict.PARTIAL)))[attest.TEST_RESULT]
    )
    predicate = found["predicate"]
    assert predicate["result"] == "WARNED"
    assert (predicate["passedTests"], predicate["warnedTests"]) == (
        ["torch-import"],
        ["torch-extra"],
    )
    assert (predicate["failedTests"], predicate["notRunTests"]) == ([], ["torch-gpu"])
    broken = attest.test_result(replace(MATERIALS, evidence=evidence(Verdict.BROKEN)))
    assert broken["predicate"]["result"] == "FAILED"
    assert "sha256" not in found["subject"][0]["digest"]
