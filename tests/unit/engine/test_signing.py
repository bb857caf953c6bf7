"""Signatures of keys: good ones are known, and files that hold no usable key are refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from keys import key_pair

from envmatrix.engine.signing import KeySigner, KeyVerifier
from envmatrix.model.bundles import State, read_bundle
from envmatrix.model.errors import InputError, ToolError

PAYLOAD = b'{"_type":"x"}'


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
@pytest.mark.parametrize("passphrase", ["", "sesame"])
def test_a_key_signs_and_its_public_key_knows_it(
    tmp_path: Path, kind: str, passphrase: str
) -> None:
    """The bundle names the key by the SHA-256 of its DER, as cosign does."""
    private, public = key_pair(tmp_path, kind, passphrase)
    signer, verifier = KeySigner.load(private, passphrase), KeyVerifier.load(public)
    (bundle,) = map(read_bundle, signer.sign([PAYLOAD]))
    assert verifier.check(bundle) == (State.VERIFIED, "")
    assert signer.has_signed(bundle)
    body = "".join(public.read_text().splitlines()[1:-1])
    assert base64.b64decode(bundle.hint).hex() in verifier.told
    assert verifier.told.endswith(_sha256(base64.b64decode(body)))


def _sha256(data: bytes) -> str:
    done = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True)
    return done.stdout.decode().split()[0]


def test_openssl_finds_the_signature_good(tmp_path: Path) -> None:
    """Another program agrees, on the bytes that the specification tells."""
    private, public = key_pair(tmp_path)
    (text,) = KeySigner.load(private).sign([PAYLOAD])
    envelope = json.loads(text)["dsseEnvelope"]
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    signed = f"DSSEv1 28 {envelope['payloadType']} {len(PAYLOAD)} {PAYLOAD.decode()}"
    command = ["openssl", "dgst", "-sha256", "-verify", str(public)]
    command += ["-signature", str(tmp_path / "sig")]
    done = subprocess.run(command, input=signed.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"Verified OK\n")


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_what_is_altered_or_of_another_key_is_told_apart(tmp_path: Path, kind: str) -> None:
    """A bundle that names this key and has no good signature of it was altered."""
    private, public = key_pair(tmp_path / "ours", kind)
    signer, verifier = KeySigner.load(private), KeyVerifier.load(public)
    theirs, _ = key_pair(tmp_path / "theirs", kind)
    fields = json.loads(signer.sign([PAYLOAD])[0])
    fields["dsseEnvelope"]["payload"] = base64.b64encode(b"other").decode()
    assert verifier.check(read_bundle(json.dumps(fields).encode()))[0] is State.ALTERED
    (foreign,) = map(read_bundle, KeySigner.load(theirs).sign([PAYLOAD]))
    assert verifier.check(foreign)[0] is State.WRONG_SIGNER
    assert not signer.has_signed(foreign)
    (odd,) = signer.sign([PAYLOAD])
    text = json.loads(odd)
    text["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(b"no signature").decode()
    assert verifier.check(read_bundle(json.dumps(text).encode()))[0] is State.ALTERED
    text["verificationMaterial"] = {"certificate": {"rawBytes": "eA=="}}
    state, why = verifier.check(read_bundle(json.dumps(text).encode()))
    assert (state, why) == (State.WRONG_SIGNER, "an identity signed it, not a key")


def test_a_passphrase_that_is_not_needed_does_no_harm(tmp_path: Path) -> None:
    """It may be set for other keys."""
    private, _ = key_pair(tmp_path)
    assert KeySigner.load(private, "sesame").sign([PAYLOAD])


@pytest.mark.parametrize("kind", ["P-384", "RSA"])
def test_other_kinds_of_keys_are_refused(tmp_path: Path, kind: str) -> None:
    """What cosign and sigstore would not verify in the same way is not signed with."""
    private, public = key_pair(tmp_path, kind)
    for load, path in ((KeySigner.load, private), (KeyVerifier.load, public)):
        with pytest.raises(InputError, match="neither ECDSA on P-256 nor Ed25519"):
            load(path)


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    """Each is told apart, with the next step; a passphrase is never shown."""
    private, public = key_pair(tmp_path, passphrase="sesame")
    other = tmp_path / "other"
    with pytest.raises(InputError, match="no passphrase is given") as caught:
        KeySigner.load(private)
    assert "ENVMATRIX_SIGN_PASSPHRASE" in caught.value.next_step
    with pytest.raises(InputError, match="the passphrase does not open it") as caught:
        KeySigner.load(private, "open-sesame")
    assert "open-sesame" not in str(caught.value)
    with pytest.raises(InputError, match="it is no private key in PEM"):
        KeySigner.load(public)
    with pytest.raises(InputError, match="only the public one is needed"):
        KeyVerifier.load(private)
    other.write_bytes(b"\x00garbage")
    with pytest.raises(InputError, match="it is no public key in PEM"):
        KeyVerifier.load(other)
    with pytest.raises(InputError, match="it is no private key in PEM"):
        KeySigner.load(other)
    other.write_bytes(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="only cosign reads"):
        KeySigner.load(other)
    other.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(InputError, match="larger than"):
        KeySigner.load(other)
    with pytest.raises(InputError, match="it cannot be read: No such file"):
        KeySigner.load(tmp_path / "absent")


def test_a_missing_library_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is optional, and the error says how to get it."""
    name = "cryptography.hazmat.primitives.serialization"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolError) as caught:
        KeySigner.load(tmp_path / "key.pem")
    assert caught.value.next_step == 'install it: `python -m pip install "envmatrix[sign]"`'
