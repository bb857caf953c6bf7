"""Signatures of identities: sigstore's own library verifies them, against a sigstore of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keys import key_pair
from small_sigstore import SmallSigstore

from envmatrix.engine.signing import IdentitySigner, IdentityVerifier, KeySigner
from envmatrix.model import bundles
from envmatrix.model.bundles import State, read_bundle
from envmatrix.model.errors import InputError

pytest.importorskip("sigstore", reason="the extra sign is not installed")

IDENTITY, ISSUER = "https://ci.example/team/publish.yml@refs/heads/main", "https://ci.example"
STATEMENT = json.dumps(
    {
        "_type": bundles.STATEMENT,
        "subject": [{"name": "cell", "digest": {"sha256": "a" * 64}}],
        "predicateType": bundles.SBOM,
        "predicate": {},
    }
).encode()


@pytest.fixture(scope="module")
def sigstore() -> SmallSigstore:
    """A sigstore of ours."""
    return SmallSigstore()


@pytest.fixture(scope="module")
def trust(sigstore: SmallSigstore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its users trust."""
    path = tmp_path_factory.mktemp("trust") / "trust.json"
    path.write_text(sigstore.trust_config(), encoding="utf-8")
    return path


def test_what_an_identity_signed_is_verified(sigstore: SmallSigstore, trust: Path) -> None:
    """The certificate, its log, the log of signatures and the signature itself are good."""
    bundle = read_bundle(sigstore.sign(STATEMENT, IDENTITY, ISSUER))
    verifier = IdentityVerifier.open(IDENTITY, ISSUER, trust)
    assert verifier.check(bundle) == (State.VERIFIED, "")
    assert verifier.told == f"{IDENTITY}, as {ISSUER} says"


@pytest.mark.parametrize(
    ("identity", "issuer"), [(IDENTITY, "https://evil.example"), (IDENTITY[:-1], ISSUER)]
)
def test_another_identity_or_issuer_is_told(
    sigstore: SmallSigstore, trust: Path, identity: str, issuer: str
) -> None:
    """Any issuer can prove any name, so both have to be those that are expected."""
    bundle = read_bundle(sigstore.sign(STATEMENT, identity, issuer))
    state, why = IdentityVerifier.open(IDENTITY, ISSUER, trust).check(bundle)
    assert (state, "does not match" in why or "do not match" in why) == (State.WRONG_SIGNER, True)


def another_payload(fields: dict[str, Any]) -> None:
    """Say something else under the same signature."""
    text = STATEMENT.replace(b"cell", b"kell")
    fields["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()


def another_signature(fields: dict[str, Any]) -> None:
    """Take a signature of nobody."""
    fields["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(b"forged").decode()


def another_time(fields: dict[str, Any]) -> None:
    """Say that it was signed while the certificate was good."""
    entry = fields["verificationMaterial"]["tlogEntries"][0]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


def another_root(fields: dict[str, Any]) -> None:
    """Say that the log is another one."""
    proof = fields["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["rootHash"] = base64.b64encode(b"\0" * 32).decode()


@pytest.mark.parametrize("change", [another_payload, another_signature, another_time, another_root])
def test_what_was_altered_is_told(
    sigstore: SmallSigstore, trust: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The certificate is that of the right identity, and something else does not fit."""
    fields = json.loads(sigstore.sign(STATEMENT, IDENTITY, ISSUER))
    change(fields)
    bundle = read_bundle(json.dumps(fields).encode())
    assert IdentityVerifier.open(IDENTITY, ISSUER, trust).check(bundle)[0] is State.ALTERED


def test_another_sigstore_proves_nothing(trust: Path) -> None:
    """Whoever runs one can give any certificate."""
    bundle = read_bundle(SmallSigstore().sign(STATEMENT, IDENTITY, ISSUER))
    state, why = IdentityVerifier.open(IDENTITY, ISSUER, trust).check(bundle)
    assert (state, "certificate chain" in why) == (State.ALTERED, True)


def test_what_is_no_bundle_of_an_identity(
    sigstore: SmallSigstore, trust: Path, tmp_path: Path
) -> None:
    """A key, no log entry, and a certificate that is none."""
    verifier = IdentityVerifier.open(IDENTITY, ISSUER, trust)
    (text,) = KeySigner.load(key_pair(tmp_path)[0]).sign([STATEMENT])
    told = (State.WRONG_SIGNER, "a key signed it, not an identity")
    assert verifier.check(read_bundle(text)) == told
    parts: tuple[dict[str, object], ...] = (
        {"tlogEntries": []},
        {"certificate": {"rawBytes": "eA=="}},
        {"certificate": 7},
    )
    for part in parts:
        fields = json.loads(sigstore.sign(STATEMENT, IDENTITY, ISSUER))
        fields["verificationMaterial"].update(part)
        state, why = verifier.check(read_bundle(json.dumps(fields).encode()))
        assert (state, bool(why)) == (State.UNREADABLE, True)


def test_a_trust_configuration_that_is_none(tmp_path: Path) -> None:
    """It is an error of the user."""
    path = tmp_path / "trust.json"
    for text in ("", "{}", "\x00"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="no trust configuration of sigstore"):
            IdentityVerifier.open(IDENTITY, ISSUER, path)


def test_nobody_says_who_signs(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of CI there is no identity, and a token that is none is refused and not shown."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: None)
    with pytest.raises(InputError, match="nothing here says who signs"):
        IdentitySigner.open(trust)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "a-secret-token-1")
    with pytest.raises(InputError, match="the identity to sign with cannot be used") as caught:
        IdentitySigner.open(trust)
    assert "a-secret-token-1" not in str(caught.value)
