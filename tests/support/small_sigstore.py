"""A sigstore of our own: an authority, a log of its certificates, and a log of signatures.

    sigstore = SmallSigstore()
    bundle = sigstore.sign(statement, identity="https://ci.example/x", issuer="https://ci.example")

Each of its keys is real, and so is every signature. `trust_config` is what its users trust. Inside
a `with` block it also answers clients that sign, and believes every token: `token` makes one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fake_http import Answer, HttpServer, OnLoopback, Request, json_answer

from envmatrix.model.bundles import BUNDLE, PAYLOAD, pae

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ORIGIN = "log.sigstore.example"
_URL = f"https://{_ORIGIN}"
_START = "2020-01-01T00:00:00Z"
_SECONDS = timedelta(minutes=10)


class SmallSigstore(OnLoopback):
    """Gives certificates to whoever asks, and keeps logs of one entry each.

    With `status` it refuses those who ask for a certificate.
    """

    def __init__(self) -> None:
        self.status = 201
        self.requests: list[Request] = []
        self._server = HttpServer(self._answer)
        self._authority, self._certificates, self._log = (_new_key() for _ in range(3))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small sigstore")])
        key = self._authority.public_key()
        self._root = (
            _builder(name, key, datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=36500))
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .sign(self._authority, hashes.SHA256())
        )

    def token(self, identity: str, issuer: str) -> str:
        """Return a token of OIDC. Nobody signed it, and nobody but the small sigstore takes it."""
        now = int(datetime.now(UTC).timestamp())
        times = {"iat": now, "nbf": now, "exp": now + 600}
        claims = {"iss": issuer, "sub": identity, "aud": "sigstore", **times}
        head = {"alg": "HS256", "typ": "JWT"}
        return (
            f"{_url_text(json.dumps(head).encode())}.{_url_text(json.dumps(claims).encode())}.e30"
        )

    def trust_config(self) -> str:
        """Return what a client trusts, in the form that sigstore has for it."""
        chain = {"certificates": [{"rawBytes": _text(_der(self._root))}]}
        authority = {
            "subject": {"organization": "example", "commonName": "small sigstore"},
            "uri": _URL,
            "certChain": chain,
            "validFor": {"start": _START},
        }
        service = {
            "url": f"http://127.0.0.1:{self._port}",
            "majorApiVersion": 1,
            "validFor": {"start": _START},
            "operator": "example",
        }
        fields = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [_trusted(self._log)],
                "certificateAuthorities": [authority],
                "ctlogs": [_trusted(self._certificates)],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service],
                "oidcUrls": [service],
                "rekorTlogUrls": [service],
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }
        return json.dumps(fields)

    def sign(self, statement: bytes, identity: str, issuer: str) -> bytes:
        """Return a bundle with a statement that an identity signed."""
        key, now = _new_key(), datetime.now(UTC).replace(microsecond=0)
        certificate = self._certificate(key.public_key(), identity, issuer, now)
        signature = _sign(key, pae(statement))
        fields = {
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _text(_der(certificate))},
                "tlogEntries": [self._entry(statement, signature, certificate, now)],
            },
            "dsseEnvelope": {
                "payload": _text(statement),
                "payloadType": PAYLOAD,
                "signatures": [{"sig": _text(signature)}],
            },
        }
        return json.dumps(fields).encode()

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        now = datetime.now(UTC).replace(microsecond=0)
        if request.path == "/api/v2/signingCert":
            if self.status != HTTPStatus.CREATED:
                return json_answer({"code": 3, "message": "no"}, self.status)
            asked = base64.b64decode(request.json()["certificateSigningRequest"])
            key = x509.load_pem_x509_csr(asked).public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            claims = request.headers["authorization"].split(".")[1]
            told = json.loads(base64.urlsafe_b64decode(claims + "=="))
            made = self._certificate(key, told["sub"], told["iss"], now)
            chain = {"certificates": [_pem(made).decode(), _pem(self._root).decode()]}
            return json_answer({"signedCertificateEmbeddedSct": {"chain": chain}}, self.status)
        proposed = request.json()["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        payload, signature = (
            base64.b64decode(text)
            for text in (envelope["payload"], envelope["signatures"][0]["sig"])
        )
        certificate = x509.load_pem_x509_certificate(base64.b64decode(proposed["verifiers"][0]))
        return json_answer({"0": _served(self._entry(payload, signature, certificate, now))}, 201)

    def _certificate(
        self, key: ec.EllipticCurvePublicKey, identity: str, issuer: str, now: datetime
    ) -> x509.Certificate:
        """Return a certificate that tells when the log of certificates saw it."""
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.public_key())
        builder = (
            _builder(x509.Name([]), key, now, _SECONDS)
            .issuer_name(self._root.subject)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(above, critical=False)
            .add_extension(san, critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
        )
        unseen = builder.sign(self._authority, hashes.SHA256()).tbs_certificate_bytes
        stamp = struct.pack(">Q", int(now.timestamp() * 1000))
        body = hashlib.sha256(_spki(self._authority)).digest() + _counted(unseen, 3)
        signature = _sign(self._certificates, b"\0\0" + stamp + b"\0\1" + body + b"\0\0")
        seen = b"\0" + _id(self._certificates) + stamp + b"\0\0" + b"\4\3" + _counted(signature, 2)
        listed = _counted(_counted(seen, 2), 2)
        octets = x509.UnrecognizedExtension(_SCTS, b"\4" + _length(listed) + listed)
        return builder.add_extension(octets, critical=False).sign(self._authority, hashes.SHA256())

    def _entry(
        self, statement: bytes, signature: bytes, certificate: x509.Certificate, now: datetime
    ) -> dict[str, Any]:
        """Return the one entry of the log, with its promise and its proof."""
        pem = _pem(certificate)
        digest = {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()}
        spec = {
            "envelopeHash": digest,
            "payloadHash": digest,
            "signatures": [{"signature": _text(signature), "verifier": _text(pem)}],
        }
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{_ORIGIN}\n1\n{_text(root)}\n"
        signed = _text(_id(self._log)[:4] + _sign(self._log, note.encode()))
        second = int(now.timestamp())
        promise = {
            "body": _text(body),
            "integratedTime": second,
            "logID": _id(self._log).hex(),
            "logIndex": 0,
        }
        promised = json.dumps(promise, sort_keys=True, separators=(",", ":")).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": _text(_id(self._log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(second),
            "inclusionPromise": {"signedEntryTimestamp": _text(_sign(self._log, promised))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _text(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 {_ORIGIN} {signed}\n"},
            },
            "canonicalizedBody": _text(body),
        }


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    name: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, span: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + span)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _trusted(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return a log as a client trusts it."""
    return {
        "baseUrl": _URL,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _text(_spki(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _START},
        },
        "logId": {"keyId": _text(_id(key))},
    }


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    der, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(der, form)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _served(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as the log answers it, which is not as a bundle holds it."""
    proof = entry["inclusionProof"]
    return {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
        "logIndex": 0,
        "verification": {
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "inclusionProof": {
                "logIndex": 0,
                "rootHash": base64.b64decode(proof["rootHash"]).hex(),
                "treeSize": 1,
                "hashes": [],
                "checkpoint": proof["checkpoint"]["envelope"],
            },
        },
    }


def _counted(data: bytes, size: int) -> bytes:
    """Return data behind its length in so many bytes, as TLS writes it."""
    return len(data).to_bytes(size, "big") + data


def _length(data: bytes) -> bytes:
    """Return the length of data as DER writes it."""
    if len(data) < 0x80:
        return bytes([len(data)])
    digits = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def _url_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
