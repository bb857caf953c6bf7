"""Bundles and statements are read with limits: what is odd is an error of one kind."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from envmatrix.model import bundles
from envmatrix.model.bundles import BUNDLE, bundle_of_key, pae, read_bundle, read_statement

STATEMENT: dict[str, Any] = {
    "_type": bundles.STATEMENT,
    "subject": [{"name": "cell", "digest": {"sha256": "a" * 64}}],
    "predicateType": bundles.SBOM,
    "predicate": {"x": 1},
}


def test_what_is_signed_is_the_encoding_of_the_specification() -> None:
    """It is that of DSSE 1.0: lengths in bytes before the type and the text."""
    assert pae(b"hi \xc3\xa9") == b"DSSEv1 28 application/vnd.in-toto+json 5 hi \xc3\xa9"


def test_a_bundle_comes_back_as_it_was_written() -> None:
    """It has the form of a Sigstore bundle whose key is known by a hint."""
    text = bundle_of_key(b"payload", b"signature", "hint")
    found = read_bundle(text)
    assert (found.payload, found.signature, found.hint) == (b"payload", b"signature", "hint")
    assert (found.signed, found.has_certificate) == (pae(b"payload"), False)
    fields = json.loads(text)
    assert fields["mediaType"] == BUNDLE
    assert fields["verificationMaterial"] == {"publicKey": {"hint": "hint"}}
    assert fields["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"


def changed(**changes: object) -> bytes:
    """Return a bundle with other parts."""
    return json.dumps(json.loads(bundle_of_key(b"p", b"s", "")) | changes).encode()


def envelope(**changes: object) -> bytes:
    """Return a bundle with another envelope."""
    held = json.loads(bundle_of_key(b"p", b"s", ""))["dsseEnvelope"]
    return changed(dsseEnvelope=held | changes)


SIGNATURE = {"sig": "YQ=="}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"\x80\x81", "decode"),
        (b"[]", "no JSON object"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b"1" * 10_000, "digits"),
        (b" " * (bundles.LARGEST_BUNDLE + 1), "is larger than"),
        (changed(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"), "its form is"),
        (changed(mediaType=["\x1b[31m"]), "its form is"),
        (changed(dsseEnvelope=None), "no dsseEnvelope"),
        (changed(verificationMaterial=[]), "no verificationMaterial"),
        (envelope(payloadType="text/plain"), "no statement of in-toto"),
        (envelope(signatures=[]), "not just one signature"),
        (envelope(signatures=[SIGNATURE, SIGNATURE]), "not just one signature"),
        (envelope(signatures=["x"]), "no JSON object"),
        (envelope(signatures=[{"sig": ""}]), "its sig is empty"),
        (envelope(payload="not base64!"), "base64"),
        (envelope(payload=7), "its payload is empty"),
    ],
)
def test_what_is_no_bundle(text: bytes, why: str) -> None:
    """Each is an error of one kind, and nothing of the text acts upon a terminal."""
    with pytest.raises(ValueError, match=r".") as caught:
        read_bundle(text)
    assert why in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_hint_may_be_missing_or_odd() -> None:
    """It only helps to tell which key signed."""
    for material in ({}, {"publicKey": None}, {"publicKey": {"hint": 7}}):
        assert read_bundle(changed(verificationMaterial=material)).hint == ""
    certificate = {"certificate": {"rawBytes": base64.b64encode(b"x").decode()}}
    assert read_bundle(changed(verificationMaterial=certificate)).has_certificate


def test_a_statement() -> None:
    """It tells its kind and its subjects, and their names are inert."""
    found = read_statement(json.dumps(STATEMENT).encode())
    assert (found.kind, found.subjects) == (bundles.SBOM, (("cell", "a" * 64),))
    named = STATEMENT | {"subject": [{"name": "\x1b[31mcell", "digest": {"sha256": "a" * 64}}]}
    assert read_statement(json.dumps(named).encode()).subjects[0][0] == "cell"


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": None},
        {"predicate": "x"},
        {"subject": []},
        {"subject": "x"},
        {"subject": ["x"]},
        {"subject": STATEMENT["subject"] * 17},
        {"subject": [{"name": "cell", "digest": "x"}]},
        {"subject": [{"name": "cell", "digest": {"sha512": "a" * 128}}]},
        {"subject": [{"name": "cell", "digest": {"sha256": "A" * 64}}]},
    ],
)
def test_what_is_no_statement(changes: dict[str, object]) -> None:
    """A subject without a SHA-256 in small letters would be compared with nothing."""
    with pytest.raises(ValueError, match=r"^it|^a subject"):
        read_statement(json.dumps(STATEMENT | changes).encode())
