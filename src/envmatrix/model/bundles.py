"""Signed statements: an in-toto statement in a DSSE envelope, in a Sigstore bundle.

The forms are those of public specifications: DSSE 1.0, in-toto Statement v1, and the Sigstore
bundle 0.3. A bundle tells a key by a hint, or has a certificate of who signed. This module knows
the forms only: `engine/signing.py` finds out whether a signature is good.

What is read here comes from a registry, so sizes, depth and forms are limited.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from envmatrix.model.text import line

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The media type of a bundle, which is also the type of what is attached to an image."""
STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
SBOM = "https://cyclonedx.org/bom"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
DOCUMENTS = {SBOM: "SBOM", PROVENANCE: "provenance", TEST_RESULT: "test result"}
"""What is said of an image: the predicate types of the statements, and words for them."""
LARGEST_BUNDLE = 16 * 2**20
"""The largest bundle that is read, in bytes. An SBOM of 2000 packages takes 1 MB."""
_SUBJECTS = 16
_HASH = re.compile(r"[0-9a-f]{64}")


class State(StrEnum):
    """What is known of the signature of a document. The first is the best."""

    VERIFIED = "verified"
    ANOTHER = "about another image"
    ALTERED = "altered"
    WRONG_SIGNER = "wrong signer"
    UNREADABLE = "unreadable"
    NOT_SIGNED = "not signed"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was read. Nothing of it is proven.

    `hint` names the key that signed; empty: a certificate is told instead. `data` is the text.
    """

    payload: bytes
    signature: bytes
    hint: str
    has_certificate: bool
    data: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return pae(self.payload)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement says, and about what: the name of each subject, and its SHA-256."""

    kind: str
    subjects: tuple[tuple[str, str], ...]
    predicate: Mapping[str, Any]


def pae(payload: bytes) -> bytes:
    """Return the bytes that are signed for a statement: the pre-authentication encoding of DSSE."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def bundle_of_key(payload: bytes, signature: bytes, hint: str) -> bytes:
    """Return the text of a bundle with the signature of a key."""
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    material = {"publicKey": {"hint": hint}}
    fields = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(fields, sort_keys=True).encode()


def read_bundle(data: bytes) -> Bundle:
    """Return a bundle from its text.

    Raises:
        ValueError: it is too large, or no bundle with one signature over a statement of in-toto.
    """
    fields = _object(data, "the bundle")
    if fields.get("mediaType") != BUNDLE:
        raise ValueError(f"its form is {line(str(fields.get('mediaType')), 80)!r}, not {BUNDLE}")
    envelope = _part(fields, "dsseEnvelope")
    if envelope.get("payloadType") != PAYLOAD:
        raise ValueError("its envelope holds no statement of in-toto")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ValueError("its envelope has not just one signature")
    if not isinstance(signatures[0], dict):
        raise ValueError("its signature is no JSON object")  # noqa: TRY004  (one class)
    material = _part(fields, "verificationMaterial")
    key = material.get("publicKey")
    hint = key.get("hint") if isinstance(key, dict) else None
    return Bundle(
        payload=_bytes(envelope, "payload"),
        signature=_bytes(signatures[0], "sig"),
        hint=hint if isinstance(hint, str) else "",
        has_certificate="certificate" in material,
        data=data,
    )


def read_statement(payload: bytes) -> Statement:
    """Return what a statement says.

    Raises:
        ValueError: it is no statement of in-toto.
    """
    fields = _object(payload, "the statement")
    kind, subjects = fields.get("predicateType"), fields.get("subject")
    if fields.get("_type") != STATEMENT or not isinstance(kind, str):
        raise ValueError("it is no statement of in-toto")
    if not isinstance(subjects, list) or not 0 < len(subjects) <= _SUBJECTS:
        raise ValueError(f"it has not 1 to {_SUBJECTS} subjects")
    return Statement(kind, tuple(_subjects(subjects)), _part(fields, "predicate"))


def _subjects(found: Sequence[object]) -> Iterator[tuple[str, str]]:
    for one in found:
        digests = one.get("digest") if isinstance(one, dict) else None
        held = digests.get("sha256") if isinstance(digests, dict) else None
        if not isinstance(one, dict) or not isinstance(held, str) or not _HASH.fullmatch(held):
            raise ValueError("a subject of it has no SHA-256")
        yield line(str(one.get("name", "")), 200), held


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    if len(data) > LARGEST_BUNDLE:
        raise ValueError(f"{what} is larger than {LARGEST_BUNDLE} bytes")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError(f"{what} is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no JSON object")  # noqa: TRY004  (one class for what is wrong)
    return found


def _part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = fields.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"it has no {name}")  # noqa: TRY004  (one class for what is wrong)
    return found


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    found = fields.get(name)
    if not isinstance(found, str) or not found:
        raise ValueError(f"its {name} is empty")
    return base64.b64decode(found, validate=True)
