"""A registry of images, as the distribution specification of OCI 1.1 has it.

Layers of images go through the engine, which knows how to pack them. What is small goes from here:
to ask for manifests, to move a tag, and to attach documents to an image. Credentials are those of
the docker CLI. Nothing that a registry says is trusted: a manifest must have the digest that was
asked, and answers have a largest size.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from requests import RequestException

from envmatrix.engine.registry_access import Access, Answer
from envmatrix.engine.retries import patiently, told_pause
from envmatrix.model.errors import EngineError, SurroundingsError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPTED = f"{MANIFEST}, {INDEX}, {_DOCKER_MANIFEST}, {_DOCKER_INDEX}"
_INDEXES = (INDEX, _DOCKER_INDEX)
EMPTY = "application/vnd.oci.empty.v1+json"
_EMPTY_DATA = b"{}"

_NOT_FOUND = 404
_TOO_MANY = 429
_SERVER_ERROR = 500
_REFUSED = (401, 403)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as a registry serves it."""

    type: str
    data: bytes

    @property
    def digest(self) -> str:
        """Its digest, which is counted here."""
        return sha256(self.data)

    @property
    def fields(self) -> Mapping[str, Any]:
        """What it says.

        Raises:
            ValueError: it is no JSON object.
        """
        found = json.loads(self.data)
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004  (one class for what is wrong)
        return found


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a registry.

    `layers` are its diff ids. `blobs` are the digests of its layers as they are packed, and their
    bytes, in the same order.
    """

    manifest: Manifest
    layers: tuple[str, ...]
    blobs: tuple[tuple[str, int], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry by its host, such as `localhost:5000`. `tell` gets why something is tried again.

    Every method may raise an `EngineError`: the registry cannot be reached, or refused.
    """

    access: Access
    tell: Callable[[str], None] = lambda _: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(
        cls,
        host: str,
        tell: Callable[[str], None] = lambda _: None,
        cancelled: threading.Event | None = None,
    ) -> Registry:
        """Return a registry with the credentials and the certificates that Docker has for it.

        Raises:
            EngineError: the credentials of the docker CLI cannot be read.
        """
        return cls(Access.of(host), tell, cancelled or threading.Event())

    # --- images

    def digest_of(self, repository: str, reference: str) -> str | None:
        """Return the digest that a tag names; None where there is no such tag."""
        answer = self._ask("HEAD", repository, f"manifests/{reference}", missing=True)
        if answer is None:
            return None
        told = answer.headers.get("Docker-Content-Digest", "")
        if _DIGEST.fullmatch(told):
            return told
        found = self.manifest(repository, reference)  # The header may be left out.
        return found.digest if found else None

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return a manifest by tag or digest; None where there is none."""
        answer = self._ask("GET", repository, f"manifests/{reference}", missing=True)
        if answer is None:
            return None
        found = Manifest(answer.headers.get("Content-Type", "").partition(";")[0], answer.content)
        if reference.startswith("sha256:") and found.digest != reference:
            raise self._odd(repository, f"it serves another manifest for {reference}")
        return found

    def image(self, repository: str, reference: str, architecture: str) -> RemoteImage | None:
        """Return the image that a tag or a digest names; None where there is none.

        Of a list of platforms it is the image for Linux on an architecture. Its manifest is then
        that of the list: what the tag names.
        """
        top = self.manifest(repository, reference)
        if top is None:
            return None
        try:
            inner = top
            if top.type in _INDEXES or "manifests" in top.fields:
                digest = _of_platform(top.fields["manifests"], architecture)
                found = self.manifest(repository, digest)
                if found is None:
                    raise self._odd(repository, f"the manifest {digest} is missing")
                inner = found
            packed = tuple((str(one["digest"]), int(one["size"])) for one in inner.fields["layers"])
            document = json.loads(self._blob(repository, inner.fields["config"]["digest"]))
            layers = tuple(map(str, document["rootfs"]["diff_ids"]))
            labels = (document.get("config") or {}).get("Labels") or {}
            return RemoteImage(
                top, layers, packed, {str(name): str(text) for name, text in labels.items()}
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._odd(repository, f"{reference} is no image: {error!r:.200}") from error

    def _blob(self, repository: str, digest: object) -> bytes:
        if not _is_digest(digest):
            raise ValueError(f"{digest!r:.80} is no digest")
        answer = self._ask("GET", repository, f"blobs/{digest}")
        data = answer.content if answer else b""
        if sha256(data) != digest:
            raise self._odd(repository, f"it serves another blob for {digest}")
        return data

    def tag(self, repository: str, manifest: Manifest, tag: str) -> None:
        """Let a tag name a manifest that the repository has. No layer moves."""
        self._put_manifest(repository, manifest, tag)

    # --- documents beside an image

    def attached(self, repository: str, digest: str) -> list[Mapping[str, Any]]:
        """Return the descriptors of what is attached to an image, the fallback tag included."""
        answer = self._ask("GET", repository, f"referrers/{digest}", missing=True)
        fallback = self.manifest(repository, _fallback(digest))
        found: dict[str, Mapping[str, Any]] = {}
        for data in (answer.content if answer else None, fallback.data if fallback else None):
            try:
                held = json.loads(data)["manifests"] if data else []
                for one in held:
                    if isinstance(one, dict) and _is_digest(one.get("digest")):
                        found.setdefault(one["digest"], one)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return list(found.values())

    def document(
        self, repository: str, image: str, attached: Mapping[str, Any], kind: str, at_most: int
    ) -> bytes:
        """Return a document of a kind that is attached to an image, by its descriptor.

        Raises:
            ValueError: it is none: another image or kind, not just one part, or too many bytes.
        """
        digest, size = attached.get("digest"), attached.get("size")
        if not isinstance(size, int) or not 0 < size <= at_most:
            raise ValueError(f"it tells a size that is not up to {at_most} bytes")
        found = self.manifest(repository, digest) if _is_digest(digest) else None
        if found is None:
            raise ValueError("the registry does not have it")
        try:
            fields = found.fields
            (part,) = fields["layers"]
            about, parts = fields["subject"]["digest"], (fields["artifactType"], part["mediaType"])
            place, size = part["digest"], int(part["size"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its manifest is damaged: {error!r:.200}") from error
        if about != image:
            raise ValueError("its manifest is about another image")
        if parts != (kind, kind):
            raise ValueError("its manifest tells two kinds")
        if not 0 < size <= at_most:
            raise ValueError(f"it is larger than {at_most} bytes")
        return self._blob(repository, place)

    def attach(
        self,
        repository: str,
        image: Manifest,
        kind: str,
        title: str,
        data: bytes,
        *,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Attach a document to an image, as a manifest that names it; return its digest.

        A registry that knows no referrers gets the fallback tag of the specification, too. What is
        attached already is not attached again. `more` are annotations of the manifest.
        """
        described = {"mediaType": kind, "digest": sha256(data), "size": len(data)}
        titled = {"org.opencontainers.image.title": title}
        annotations = titled if more is None else dict(more)
        fields = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": {
                "mediaType": EMPTY,
                "digest": sha256(_EMPTY_DATA),
                "size": 2,
                "data": "e30=",
            },
            "layers": [{**described, "annotations": titled}],
            "subject": {
                "mediaType": image.type,
                "digest": image.digest,
                "size": len(image.data),
            },
            "annotations": annotations,
        }
        manifest = Manifest(MANIFEST, json.dumps(fields, sort_keys=True).encode())
        present = self.attached(repository, image.digest)
        if any(one.get("digest") == manifest.digest for one in present):
            return manifest.digest
        for blob in (_EMPTY_DATA, data):
            self._upload(repository, blob)
        answer = self._put_manifest(repository, manifest, manifest.digest)
        if answer.headers.get("OCI-Subject") != image.digest:
            entry = {
                "mediaType": MANIFEST,
                "digest": manifest.digest,
                "size": len(manifest.data),
                "artifactType": kind,
                "annotations": annotations,
            }
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*present, entry]}
            text = json.dumps(index, sort_keys=True).encode()
            self._put_manifest(repository, Manifest(INDEX, text), _fallback(image.digest))
        return manifest.digest

    def _upload(self, repository: str, data: bytes) -> None:
        digest = sha256(data)
        if self._ask("HEAD", repository, f"blobs/{digest}", missing=True) is not None:
            return
        begun = self._ask("POST", repository, "blobs/uploads/")
        place = begun.headers.get("Location", "") if begun else ""
        if not place:
            raise self._odd(repository, "it tells no place for an upload")
        self._ask("PUT", repository, place, data=data, parameters={"digest": digest})

    # --- requests

    def _put_manifest(self, repository: str, manifest: Manifest, reference: str) -> Answer:
        answer = self._ask(
            "PUT", repository, f"manifests/{reference}", data=manifest.data, type_=manifest.type
        )
        assert answer is not None  # noqa: S101  (for the type checker: nothing may be missing)
        told = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if told != manifest.digest:
            raise self._odd(repository, f"it keeps another manifest than {manifest.digest}")
        return answer

    def _ask(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        data: bytes | None = None,
        type_: str = "application/octet-stream",
        parameters: Mapping[str, str] | None = None,
        missing: bool = False,
    ) -> Answer | None:
        """Ask the registry, and again after a fault that may be gone; None: it is `missing`."""
        headers = {"Accept": _ACCEPTED} if data is None else {"Content-Type": type_}
        scope = f"repository:{repository}:pull" + (",push" if method in ("POST", "PUT") else "")

        def once() -> Answer | None:
            try:
                answer = self.access.send(
                    method,
                    path if "://" in path or path.startswith("/") else f"/v2/{repository}/{path}",
                    scope,
                    headers=headers,
                    data=data,
                    parameters=parameters or {},
                )
            except RequestException as error:
                raise self._unreachable(repository, error) from error
            if answer.status == _NOT_FOUND and missing:
                return None
            if not answer.is_good:
                raise self._refused(method, repository, answer)
            return answer

        return patiently(once, self.tell, self.cancelled)

    # --- what goes wrong

    def _where(self, repository: str) -> str:
        return f"{self.access.host}/{repository}"

    def _odd(self, repository: str, what: str) -> SurroundingsError:
        return EngineError(
            f"the registry answers with what no registry should: {what}",
            where=self._where(repository),
            next_step="make sure that this is the address of a registry, and ask who runs it",
            kind="registry",
        )

    def _unreachable(self, repository: str, error: RequestException) -> EngineError:
        said = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said:
            return EngineError(
                f"the certificate of the registry is not trusted: {said[:300]}",
                where=self._where(repository),
                next_step="put the certificate of its authority where Docker looks: "
                f"`/etc/docker/certs.d/{self.access.host}/ca.crt`, or set REQUESTS_CA_BUNDLE",
                kind="certificate",
            )
        return EngineError(
            f"the registry cannot be reached: {said[:300]}",
            where=self._where(repository),
            next_step="check the address, the network and the proxy, then run it again: it goes on",
            kind="blocked",
            transient=True,
        )

    def _refused(self, method: str, repository: str, answer: Answer) -> EngineError:
        said = answer.text[:300]
        if answer.status in _REFUSED:
            return EngineError(
                f"the registry refuses this to the user ({answer.status}): {said}",
                where=self._where(repository),
                next_step=f"log in with a user who may push there: "
                f"`docker login {self.access.host}`",
                kind="credentials",
            )
        transient = answer.status == _TOO_MANY or answer.status >= _SERVER_ERROR
        found = EngineError(
            f"the registry answers {method} with {answer.status}: {said}",
            where=self._where(repository),
            next_step="run it again later: it goes on where it ended"
            if transient
            else "read what the registry says, and ask who runs it",
            kind="rate-limited" if answer.status == _TOO_MANY else "registry",
            transient=transient,
        )
        return told_pause(found, answer.headers.get("Retry-After", ""))


def sha256(data: bytes) -> str:
    """Return the digest of some bytes as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _fallback(digest: str) -> str:
    """Return the tag that holds what is attached where a registry knows no referrers."""
    return digest.replace(":", "-", 1)


def _of_platform(manifests: Sequence[Mapping[str, Any]], architecture: str) -> str:
    for one in manifests:
        platform = one.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return str(one["digest"])
    raise ValueError(f"it has no image for {architecture}")


def _is_digest(found: object) -> TypeGuard[str]:
    return isinstance(found, str) and _DIGEST.fullmatch(found) is not None
