"""Signed documents beside published images: attaching them, and reading them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from envmatrix.engine.registry import Manifest, Registry, sha256
from envmatrix.engine.signing import Signer, Verifier
from envmatrix.model.bundles import BUNDLE, DOCUMENTS, LARGEST_BUNDLE, State, read_bundle
from envmatrix.model.evidence import Evidence
from envmatrix.model.publications import Publication
from envmatrix.report.signatures import Signatures, Signed, judge, signatures

MOST_BUNDLES = 60
"""How many bundles beside an image are read."""


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs the documents of images. `statements` gives them for an image with a digest."""

    signer: Signer
    statements: Callable[[Evidence, str], Mapping[str, bytes]]

    def attach(
        self, registry: Registry, repository: str, image: Manifest, evidence: Evidence
    ) -> None:
        """Attach the signed documents of a cell to its published image.

        What this signer is known to have attached already is not signed again.

        Raises:
            EngineError: the registry failed.
            NetworkError: what signs cannot be reached.
        """
        present = self._present(registry, repository, image.digest)
        missing = {
            kind: text
            for kind, text in self.statements(evidence, image.digest).items()
            if text not in present
        }
        if not missing:
            return
        for kind, bundle in zip(missing, self.signer.sign([*missing.values()]), strict=True):
            annotations = {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": kind,
                "org.opencontainers.image.created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
            title = f"{sha256(bundle).replace(':', '-')}.sigstore.json"
            registry.attach(repository, image, BUNDLE, title, bundle, more=annotations)

    def _present(self, registry: Registry, repository: str, digest: str) -> set[bytes]:
        found = set()
        for text in attached_bundles(registry, repository, digest):
            try:
                bundle = read_bundle(text) if isinstance(text, bytes) else None
            except ValueError:
                continue
            if bundle and self.signer.has_signed(bundle):
                found.add(bundle.payload)
        return found


def attached_bundles(registry: Registry, repository: str, digest: str) -> Iterator[bytes | str]:
    """Yield the bundles beside an image; a text instead of one says why it could not be had.

    Raises:
        EngineError: the registry failed.
    """
    attached = [
        one for one in registry.attached(repository, digest) if one.get("artifactType") == BUNDLE
    ]
    for one in attached[:MOST_BUNDLES]:
        try:
            yield registry.document(repository, digest, one, BUNDLE, LARGEST_BUNDLE)
        except ValueError as error:
            yield str(error)
    if len(attached) > MOST_BUNDLES:
        yield f"{len(attached) - MOST_BUNDLES} more are attached, and were not read"


def verified(
    published: Publication, layers: Sequence[str], arch: str, verifier: Verifier
) -> Signatures:
    """Return what the signatures beside a published image prove.

    The image in the registry must have the layers of the image that was asked about.

    Raises:
        EngineError: the registry failed.
    """
    registry = Registry.open(published.registry)
    found = registry.image(published.repository, published.digest, arch)
    if found is None or found.layers != tuple(layers):
        why = "it has other layers" if found else "it is no longer there"
        return unpublished(published.reference, verifier.told, f"the image in the registry: {why}")
    texts = attached_bundles(registry, published.repository, published.digest)
    judged = judge(texts, published.cell, published.digest, verifier.check)
    return signatures(published.reference, verifier.told, judged)


def unpublished(image: str, by: str, why: str) -> Signatures:
    """Return the signatures of an image that no registry is known to have."""
    return Signatures(image, by, tuple(Signed(kind, State.NOT_SIGNED, why) for kind in DOCUMENTS))
