"""Signing statements, and finding out who signed: by a key, or by an identity that OIDC proves.

A key needs the library cryptography. An identity needs sigstore, which asks public services for a
certificate and a place in their log. Both are the extra `sign`, and are imported only when asked.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from envmatrix.model.bundles import Bundle, State, bundle_of_key, pae
from envmatrix.model.errors import InputError, NetworkError, SurroundingsError, ToolError
from envmatrix.model.text import line

PASSPHRASE = "ENVMATRIX_SIGN_PASSPHRASE"  # noqa: S105  (the name of a variable)
"""The environment variable with the passphrase of a private key."""
TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  (the name of a variable)
"""The environment variable with a token of OIDC, where the surroundings give none by themselves."""
_LARGEST_FILE = 2**20
_MAKE = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out KEY.pem`"
_PUBLIC = "`openssl pkey -in KEY.pem -pubout -out PUB.pem`"


class Signer(Protocol):
    """Signs statements."""

    def sign(self, statements: Sequence[bytes]) -> list[bytes]:
        """Return a bundle for each statement."""

    def has_signed(self, bundle: Bundle) -> bool:
        """Return whether a bundle is known to be signed by this signer."""


class Verifier(Protocol):
    """Knows whose signature is expected. `told` says whose, for people."""

    @property
    def told(self) -> str:
        """Whose signature is expected."""

    def check(self, bundle: Bundle) -> tuple[State, str]:
        """Return whether the signature is good and of whom it should be, and else why not."""


# --- keys ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a private key: ECDSA on the curve P-256, or Ed25519."""

    key: Any

    @classmethod
    def load(cls, path: Path, passphrase: str = "") -> KeySigner:
        """Return the signer of a PEM file.

        Raises:
            InputError: it holds no such key, or the passphrase does not open it.
            ToolError: the library for keys is missing.
        """
        serialization: Any = _library("cryptography.hazmat.primitives.serialization")
        unsupported: Any = _library("cryptography.exceptions").UnsupportedAlgorithm
        data = _read(path)
        if b"SIGSTORE PRIVATE KEY" in data or b"COSIGN PRIVATE KEY" in data:
            raise _bad(path, "it is in the form of cosign's own, which only cosign reads", _MAKE)
        try:
            try:
                key = serialization.load_pem_private_key(data, passphrase.encode() or None)
            except TypeError:
                if not passphrase:
                    raise _bad(
                        path,
                        "it is encrypted, and no passphrase is given",
                        f"put the passphrase into the environment variable {PASSPHRASE}",
                    ) from None
                key = serialization.load_pem_private_key(data, None)  # It is not encrypted.
        except (ValueError, unsupported) as error:
            if passphrase and b"ENCRYPTED" in data:
                raise _bad(
                    path, "the passphrase does not open it", f"correct the variable {PASSPHRASE}"
                ) from error
            raise _bad(path, "it is no private key in PEM", _MAKE) from error
        if not _is_known(key):
            raise _bad(path, "it is neither ECDSA on P-256 nor Ed25519", _MAKE)
        return cls(key)

    @property
    def verifier(self) -> KeyVerifier:
        """What knows the signatures of this key."""
        return KeyVerifier(self.key.public_key())

    def sign(self, statements: Sequence[bytes]) -> list[bytes]:
        """Return a bundle for each statement."""
        hint = self.verifier.hint
        return [bundle_of_key(one, self._signature(pae(one)), hint) for one in statements]

    def has_signed(self, bundle: Bundle) -> bool:
        """Return whether a bundle has a good signature of this key."""
        return self.verifier.check(bundle)[0] is State.VERIFIED

    def _signature(self, data: bytes) -> bytes:
        return bytes(self.key.sign(data, *_ecdsa(self.key)))


@dataclass(frozen=True, slots=True)
class KeyVerifier:
    """Knows the signatures of a public key."""

    key: Any

    @classmethod
    def load(cls, path: Path) -> KeyVerifier:
        """Return the verifier of a PEM file.

        Raises:
            InputError: it holds no such public key.
            ToolError: the library for keys is missing.
        """
        serialization: Any = _library("cryptography.hazmat.primitives.serialization")
        unsupported: Any = _library("cryptography.exceptions").UnsupportedAlgorithm
        data = _read(path)
        if b"PRIVATE KEY" in data:
            raise _bad(path, "it is a private key, and only the public one is needed", _PUBLIC)
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, unsupported) as error:
            raise _bad(path, "it is no public key in PEM", _PUBLIC) from error
        if not _is_known(key):
            raise _bad(path, "it is neither ECDSA on P-256 nor Ed25519", _MAKE)
        return cls(key)

    @property
    def told(self) -> str:
        """Whose signature is expected."""
        return f"the key sha256:{self._hash.hex()}"

    @property
    def hint(self) -> str:
        """What a bundle calls the key, as cosign does: the SHA-256 of its DER, in base64."""
        return base64.b64encode(self._hash).decode()

    def check(self, bundle: Bundle) -> tuple[State, str]:
        """Return whether the signature is of this key. The hint of a bundle only tells a reason."""
        invalid: Any = _library("cryptography.exceptions").InvalidSignature
        try:
            self.key.verify(bundle.signature, bundle.signed, *_ecdsa(self.key))
        except invalid:
            if bundle.has_certificate:
                return State.WRONG_SIGNER, "an identity signed it, not a key"
            if bundle.hint == self.hint:
                return State.ALTERED, "the signature is not that of what is signed"
            return State.WRONG_SIGNER, f"it names the key {line(bundle.hint, 60) or 'nowhere'}"
        return State.VERIFIED, ""

    @property
    def _hash(self) -> bytes:
        serialization: Any = _library("cryptography.hazmat.primitives.serialization")
        data = self.key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(data).digest()


def _is_known(key: object) -> bool:
    ec: Any = _library("cryptography.hazmat.primitives.asymmetric.ec")
    ed: Any = _library("cryptography.hazmat.primitives.asymmetric.ed25519")
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, ed.Ed25519PrivateKey | ed.Ed25519PublicKey)


def _ecdsa(key: object) -> tuple[object, ...]:
    """Return what ECDSA has to be told. Ed25519 has no such choice."""
    if not hasattr(key, "curve"):
        return ()
    ec: Any = _library("cryptography.hazmat.primitives.asymmetric.ec")
    return (ec.ECDSA(_library("cryptography.hazmat.primitives.hashes").SHA256()),)


# --- identities ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IdentitySigner:
    """Signs as who the surroundings say we are. `context` and `token` are those of sigstore."""

    context: Any
    token: Any

    @classmethod
    def open(cls, trust: Path | None = None) -> IdentitySigner:
        """Return the signer of the identity that CI gives, or the variable SIGSTORE_ID_TOKEN.

        `trust` is a trust configuration of sigstore; none: that of its public services.

        Raises:
            InputError: there is no identity, or it is not valid.
            NetworkError: the services of sigstore cannot be reached.
            ToolError: the library is missing.
        """
        oidc: Any = _library("sigstore.oidc")
        try:
            raw = os.environ.get(TOKEN, "") or oidc.detect_credential() or ""
            if not raw:
                raise InputError(
                    "nothing here says who signs",
                    where="--sign",
                    next_step="run it in GitHub Actions with `permissions: id-token: write`, put a "
                    f"token of OIDC into {TOKEN}, or sign with a key: `--sign-key KEY.pem`",
                )
            token = oidc.IdentityToken(raw)
        except oidc.IdentityError as error:
            raise InputError(
                f"the identity to sign with cannot be used: {line(str(error), 300)}",
                where="--sign",
                next_step=f"get a new token, for the audience sigstore, and put it into {TOKEN}",
            ) from error
        signing: Any = _library("sigstore.sign")
        config = _trusted(trust)
        try:
            return cls(signing.SigningContext.from_trust_config(config), token)
        except Exception as error:
            raise _unreachable(error) from error

    def sign(self, statements: Sequence[bytes]) -> list[bytes]:
        """Return a bundle for each statement.

        Raises:
            NetworkError: the services of sigstore cannot be reached, or refused.
        """
        dsse: Any = _library("sigstore.dsse")
        try:
            with self.context.signer(self.token) as signer:
                made = [signer.sign_dsse(dsse.Statement(one)) for one in statements]
        except Exception as error:
            raise _unreachable(error) from error
        return [one.to_json().encode() for one in made]

    def has_signed(self, bundle: Bundle) -> bool:  # noqa: ARG002  (as the protocol has it)
        """Return False: the certificate names the identity only once it is made."""
        return False


@dataclass(frozen=True, slots=True)
class IdentityVerifier:
    """Knows the signatures of an identity, such as a workflow, that an issuer of OIDC proved."""

    identity: str
    issuer: str
    verifier: Any

    @classmethod
    def open(cls, identity: str, issuer: str, trust: Path | None = None) -> IdentityVerifier:
        """Return the verifier of an identity.

        Raises:
            InputError: the trust configuration is none.
            NetworkError: the keys of sigstore's services cannot be had.
            ToolError: the library is missing.
        """
        verify: Any = _library("sigstore.verify")
        return cls(identity, issuer, verify.Verifier(trusted_root=_trusted(trust).trusted_root))

    @property
    def told(self) -> str:
        """Whose signature is expected."""
        return f"{line(self.identity, 200)}, as {line(self.issuer, 200)} says"

    def check(self, bundle: Bundle) -> tuple[State, str]:
        """Return whether the signature, its certificate and its place in the log are good."""
        if not bundle.has_certificate:
            return State.WRONG_SIGNER, "a key signed it, not an identity"
        models: Any = _library("sigstore.models")
        policy = _library("sigstore.verify.policy").Identity(
            identity=self.identity, issuer=self.issuer
        )
        try:
            found = models.Bundle.from_json(bundle.data)
            certificate = found.signing_certificate
        except Exception as error:  # noqa: BLE001  (a stranger wrote what the library reads)
            return State.UNREADABLE, line(str(error), 300)
        try:
            _, payload = self.verifier.verify_dsse(found, policy)
        except Exception as error:  # noqa: BLE001  (as above)
            why = line(str(error), 300)
            with suppress(Exception):
                policy.verify(certificate)
                return State.ALTERED, why
            return State.WRONG_SIGNER, why
        if payload != bundle.payload:
            return State.ALTERED, "two readers see two statements in it"
        return State.VERIFIED, ""


def _trusted(path: Path | None) -> Any:  # noqa: ANN401  (the library may be missing)
    models: Any = _library("sigstore.models")
    if path:
        try:
            return models.ClientTrustConfig.from_json(_read(path).decode())
        except ValueError as error:
            raise _bad(
                path, "it is no trust configuration of sigstore", "ask who runs your sigstore"
            ) from error
    try:
        return models.ClientTrustConfig.production()
    except Exception as error:
        raise _unreachable(error) from error


# --- what goes wrong -------------------------------------------------------------------------


def _library(name: str) -> Any:  # noqa: ANN401  (the library may be missing)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ToolError(
            f"signatures need a library that is not installed: {error}",
            where="the extra `sign` of envmatrix",
            next_step='install it: `python -m pip install "envmatrix[sign]"`',
        ) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _bad(
            path, f"it cannot be read: {error.strerror}", "give the path of a file"
        ) from error
    if len(data) > _LARGEST_FILE:
        raise _bad(path, f"it is larger than {_LARGEST_FILE} bytes", "give the right file")
    return data


def _bad(path: Path, why: str, next_step: str) -> InputError:
    return InputError(f"this file cannot be used: {why}", where=str(path), next_step=next_step)


def _unreachable(error: Exception) -> SurroundingsError:
    if isinstance(error, SurroundingsError):
        return error
    return NetworkError(
        f"the services of sigstore cannot be used: {line(f'{type(error).__name__}: {error}', 300)}",
        where="sigstore",
        next_step="check the network and the proxy, or use a key: --sign-key and --key",
    )
