"""What the fake engine does with a registry on loopback: it pushes and pulls, as Docker does."""

from __future__ import annotations

import base64
import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from fake_engine_images import FakeImage, ImageStore, sha256
from fake_http import Answer, Request

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class _RegistryError(Exception):
    """The words of Docker for what a registry answered."""


def _ask(
    method: str, url: str, auth: str, data: bytes | None = None, kind: str = ""
) -> tuple[bytes, Mapping[str, str]]:
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310  (loopback)
    if kind:
        request.add_header("Content-Type", kind)
    if auth:
        told = json.loads(base64.urlsafe_b64decode(auth))
        login = f"{told['username']}:{told['password']}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(login).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as answer:
            return answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        error.close()
        said = {
            401: "unauthorized: authentication required",
            404: "manifest unknown: manifest unknown",
            429: "toomanyrequests: Too Many Requests",
        }
        text = f"received unexpected HTTP status: {error.code} {error.reason}"
        raise _RegistryError(said.get(error.code, text)) from error
    except (urllib.error.URLError, OSError) as error:
        raise _RegistryError(f"write tcp: connection reset by peer: {error}") from error


def _has(url: str, auth: str) -> bool:
    try:
        _ask("HEAD", url, auth)
    except _RegistryError as error:
        if "unknown" in str(error):
            return False
        raise
    return True


def push(images: ImageStore, request: Request, name: str) -> Answer:
    """Answer `POST /images/{name}/push`: blobs that are missing move, then the manifest."""
    image = images.get(f"{name}:{request.one('tag')}")
    auth = request.headers.get("x-registry-auth", "")

    def events() -> Iterator[bytes]:
        yield _line({"status": f"The push refers to repository [{name}]"})
        try:
            for event in _pushed(images, image, name, request.one("tag"), auth):
                yield _line(event)
        except _RegistryError as error:
            yield _line({"errorDetail": {"message": str(error)}, "error": str(error)})

    return Answer(body=events())


def _pushed(
    images: ImageStore, image: FakeImage, name: str, tag: str, auth: str
) -> Iterator[dict[str, Any]]:
    host, _, repository = name.partition("/")
    root = f"http://{host}/v2/{repository}"
    layers = []
    for tar in image.layers:
        data = gzip.compress(tar, mtime=0)
        layers.append({"mediaType": _LAYER, "size": len(data), "digest": sha256(data)})
        short = sha256(tar)[7:19]
        if _has(f"{root}/blobs/{sha256(data)}", auth):
            yield {"status": "Layer already exists", "progressDetail": {}, "id": short}
            continue
        _upload(host, root, data, auth)
        yield {"status": "Pushed", "progressDetail": {}, "id": short}
    _upload(host, root, image.document, auth)
    config = {"mediaType": _CONFIG, "size": len(image.document), "digest": image.id}
    fields = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    data = json.dumps(fields).encode()
    _ask("PUT", f"{root}/manifests/{tag}", auth, data, MANIFEST)
    images.digests[f"{name}@{sha256(data)}"] = image.id
    yield {"progressDetail": {}, "aux": {"Tag": tag, "Digest": sha256(data), "Size": len(data)}}


def _upload(host: str, root: str, data: bytes, auth: str) -> None:
    _, headers = _ask("POST", f"{root}/blobs/uploads/", auth, b"")
    place = f"http://{host}{headers['Location']}?digest={sha256(data)}"
    _ask("PUT", place, auth, data, "application/octet-stream")


def pulled(images: ImageStore, reference: str, auth: str) -> FakeImage | str:
    """Pull an image from a registry on loopback; return it, or what Docker says instead."""
    name, at, digest = reference.partition("@")
    if not at:
        name, _, digest = reference.rpartition(":")
    host, _, repository = name.partition("/")
    root = f"http://{host}/v2/{repository}"
    try:
        data, _ = _ask("GET", f"{root}/manifests/{digest}", auth)
        manifest = json.loads(data)
        document = json.loads(_ask("GET", f"{root}/blobs/{manifest['config']['digest']}", auth)[0])
        layers = tuple(
            gzip.decompress(_ask("GET", f"{root}/blobs/{one['digest']}", auth)[0])
            for one in manifest["layers"]
        )
    except _RegistryError as error:
        return str(error)
    image = FakeImage(
        layers,
        document["config"],
        document["architecture"],
        document["created"],
        history=tuple(step["created_by"] for step in document["history"]),
    )
    images.add(image, *([] if at else [reference]))
    images.digests[f"{name}@{sha256(data)}"] = image.id
    return image


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\r\n"
