"""Documents for supply chains, made of evidence: an SBOM, provenance, and results of tests.

The SBOM is CycloneDX 1.6. The others are statements of in-toto: SLSA provenance v1, and test-result
v0.1 with one field more, `notRunTests`. The same evidence gives the same bytes. `statements` gives
what is signed.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from envmatrix.model import bundles
from envmatrix.model.evidence import Evidence
from envmatrix.model.locks import Lock
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.publications import layers_digest
from envmatrix.model.verdicts import Verdict
from envmatrix.report.states import utc

SBOM, PROVENANCE, TEST_RESULT = "cdx.json", "provenance.json", "test-result.json"
"""The ends of the names of the files."""
MEDIA_TYPES = {
    SBOM: "application/vnd.cyclonedx+json",
    PROVENANCE: "application/vnd.in-toto+json",
    TEST_RESULT: "application/vnd.in-toto+json",
}
BUILD_TYPE = "urn:envmatrix:build:1"
BUILDER = "urn:envmatrix:builder"
_NAMESPACE = uuid.UUID("6f0a5a3e-6c0e-5d0e-9a53-0d5a3b1c9e77")
_RESULTS = {Verdict.WORKS: "PASSED", Verdict.PARTIAL: "WARNED", Verdict.BROKEN: "FAILED"}


@dataclass(frozen=True, slots=True)
class Materials:
    """What documents are made of, beside evidence.

    `lock` and `base_lock` count only where they are those of the evidence. `system` has the
    packages of the operating system as lines of name, version, architecture and SHA-256; none where
    they are not known. `files` has the texts of files that the image was built from, and of the
    evidence file, by their paths. `digest` is that of the image in its registry; empty: it is not
    published.
    """

    evidence: Evidence
    lock: Lock | None = None
    base_lock: Lock | None = None
    system: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


def documents(materials: Materials) -> dict[str, str]:
    """Return the texts of the documents, by the ends of their names."""
    return {
        SBOM: sbom(materials),
        PROVENANCE: _text(provenance(materials)),
        TEST_RESULT: _text(test_result(materials)),
    }


def statements(materials: Materials) -> dict[str, bytes]:
    """Return the documents of a published image as statements to sign, by their predicate types.

    Each is about the digest of the image and nothing else: signers know few kinds of digests.
    """
    found = materials.evidence
    digest = {"sha256": materials.digest.removeprefix("sha256:")}
    made = (
        _statement(materials, bundles.SBOM, json.loads(sbom(materials))),
        provenance(materials),
        test_result(materials),
    )
    return {
        one["predicateType"]: _text(
            {**one, "subject": [{"name": found.id, "digest": digest}]}
        ).encode()
        for one in made
    }


# --- SBOM ------------------------------------------------------------------------------------


def sbom(materials: Materials) -> str:
    """Return what is in an image as a CycloneDX document: packages of the system, and wheels."""
    found = materials.evidence
    subject = Component(
        name=found.id,
        version=found.axes.version,
        type=ComponentType.CONTAINER,
        bom_ref=found.id,
        hashes=_hashes(materials.digest.removeprefix("sha256:")),
        properties=[
            Property(name="envmatrix:verdict", value=found.verdict.value),
            Property(name="envmatrix:layers", value=" ".join(found.layers)),
            Property(name="envmatrix:system", value=_system_told(materials)),
        ],
    )
    tool = Component(name="envmatrix", version=found.tool.rpartition(" ")[2], bom_ref="envmatrix")
    components = _components(materials)
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(_NAMESPACE, f"{found.id} {layers_digest(found.layers)}"),
        metadata=BomMetaData(
            component=subject,
            timestamp=utc(found.generated_at),
            tools=ToolRepository(components=[tool]),
        ),
    )
    bom.register_dependency(subject, components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _system_told(materials: Materials) -> str:
    base = materials.evidence.base
    if materials.system:
        return "all packages of the operating system are listed"
    origin = f" ({base.origin} {base.digest or ''})".rstrip(" )") + ")" if base else ""
    return f"the packages of the operating system are not known{origin}"


def _components(materials: Materials) -> list[Component]:
    """Return each thing once: a package that the base has may be installed again."""
    found = [*_debs(materials), *_wheels(materials), *_interpreter(materials.evidence)]
    return list({str(one.bom_ref.value): one for one in found}.values())


def _debs(materials: Materials) -> Iterator[Component]:
    declared, axes = materials.evidence.declared, materials.evidence.axes
    distribution = declared.distribution if declared else "debian"
    for line in (*materials.system, *materials.evidence.packages):
        match line.split():
            case [name, version, arch, sha256]:
                purl = PackageURL(
                    "deb", distribution, name, version, {"arch": arch, "distro": axes.os}
                )
                yield _component(name, version, purl, sha256)


def _wheels(materials: Materials) -> Iterator[Component]:
    locked = materials.evidence.lock
    lock = materials.lock if locked and materials.lock else None
    if lock and locked and lock.sha256 == locked.sha256:
        wheels = [(wheel.name, wheel.version, wheel.sha256) for wheel in lock.wheels]
    else:
        wheels = [(name, version, "") for name, version in locked.wheels.items()] if locked else []
    if materials.base_lock:
        wheels += [(one.name, one.version, one.sha256) for one in materials.base_lock.wheels]
    for name, version, sha256 in sorted(wheels):
        yield _component(name, version, PackageURL("pypi", None, name, version), sha256)


def _interpreter(evidence: Evidence) -> Iterator[Component]:
    python = evidence.base.python if evidence.base else None
    if python:
        purl = PackageURL("generic", None, "cpython", python.version, {"build": python.build})
        yield _component("cpython", python.version, purl, python.sha256)


def _component(name: str, version: str, purl: PackageURL, sha256: str) -> Component:
    return Component(
        name=name, version=version, purl=purl, bom_ref=purl.to_string(), hashes=_hashes(sha256)
    )


def _hashes(sha256: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []


# --- statements ------------------------------------------------------------------------------


def provenance(materials: Materials) -> dict[str, Any]:
    """Return from what and by what an image was built, as a statement of SLSA provenance v1."""
    found = materials.evidence
    base = found.base
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"cell": found.id, "axes": found.axes.to_json()},
        "internalParameters": {
            "inputs": found.inputs.to_json() if found.inputs else None,
            "base": base.to_json() if base else None,
        },
        "resolvedDependencies": [*_dependencies(materials)],
    }
    tools = {"envmatrix": found.tool.rpartition(" ")[2], "docker": found.host.engine}
    version = {name: text for name, text in tools.items() if text}
    details = {
        "builder": {"id": BUILDER, "version": version},
        "metadata": {"finishedOn": _moment(found)},
        "byproducts": [
            {"name": name, "digest": {"sha256": _sha256(text)}}
            for name, text in materials.files.items()
            if name.endswith(".json")
        ],
    }
    return _statement(
        materials, bundles.PROVENANCE, {"buildDefinition": definition, "runDetails": details}
    )


def _dependencies(materials: Materials) -> Iterator[dict[str, Any]]:
    for name, text in materials.files.items():
        if not name.endswith(".json"):
            yield {"name": name, "digest": {"sha256": _sha256(text)}}
    base = materials.evidence.base
    if base and base.digest:
        form, _, value = base.digest.partition(":")
        yield {"name": base.id, "digest": {form: value}}
    for one in _components(materials):
        for held in one.hashes:
            yield {
                "name": one.name,
                "uri": str(one.bom_ref.value),
                "digest": {"sha256": held.content},
            }


def test_result(materials: Materials) -> dict[str, Any]:
    """Return which probes passed, failed and were not run, as a statement of in-toto.

    A probe that is not required and failed is warned about. `notRunTests` is ours: what was not run
    is no pass.
    """
    found = materials.evidence
    by_outcome: dict[str, list[str]] = {
        "passedTests": [],
        "warnedTests": [],
        "failedTests": [],
        "notRunTests": [],
    }
    for probe in found.probes:
        by_outcome[_place(probe)].append(probe.probe)
    hashes = found.inputs.probes if found.inputs else {}
    predicate = {
        "result": _RESULTS.get(found.verdict, "FAILED"),
        "configuration": [
            {"name": name, "digest": {"envmatrixInput": text}} for name, text in hashes.items()
        ],
        **by_outcome,
        "verdict": found.verdict.value,
        "cause": found.cause,
    }
    return _statement(materials, bundles.TEST_RESULT, predicate)


def _place(probe: ProbeResult) -> str:
    if probe.outcome is Outcome.NOT_RUN:
        return "notRunTests"
    if probe.passed:
        return "passedTests"
    return "failedTests" if probe.required else "warnedTests"


def _statement(materials: Materials, kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    found = materials.evidence
    digests = {"envmatrixLayers": layers_digest(found.layers)}
    if materials.digest:
        digests["sha256"] = materials.digest.removeprefix("sha256:")
    return {
        "_type": bundles.STATEMENT,
        "subject": [{"name": found.id, "digest": digests}],
        "predicateType": kind,
        "predicate": predicate,
    }


def _moment(evidence: Evidence) -> str:
    return f"{utc(evidence.generated_at):%Y-%m-%dT%H:%M:%SZ}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(statement: Mapping[str, Any]) -> str:
    return json.dumps(statement, indent=1, ensure_ascii=False) + "\n"
