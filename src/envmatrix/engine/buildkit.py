"""BuildKit over the plain HTTP interface of the engine: the requests, and how to read the answers.

The clients of BuildKit hold a gRPC session, which docker-py cannot. A build needs no session if it
asks its client for neither secrets nor files: one request uploads a small context, and another
starts the build and streams its events. The docker CLI does the same for a context that it reads
from standard input. Moby calls this `upload-request` (builder-next/builder.go).
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_TRACE = "moby.buildkit.trace"
_IMAGE = "moby.image.id"
_REMOTE = "upload-request"
_FAILED = re.compile(
    r'executor failed running \[.*\]: |process ".*" did not complete successfully: ', re.DOTALL
)
_NOT_TAKEN = "failed to read downloaded context"
_RUN = "mount / from exec "

_VERTEXES, _LOGS = 1, 3
_NAME, _STARTED, _COMPLETED = 3, 5, 6
_MESSAGE = 4

Event = tuple[Literal["log", "image", "error"], str]
"""Text for the log, the id of the image, or the reason why there is no image."""


class NeedsSession(Exception):  # noqa: N818  (not an error: another builder can build)
    """On this engine BuildKit takes a context only in a session.

    This happens on engines that keep images in containerd, and ended with a release before 28.3
    (moby/moby#47717).
    """


@dataclass(frozen=True, slots=True)
class Build:
    """One build. `hosts` maps the names of hosts to the addresses at which the steps find them.

    `platform` is such as linux/arm64, and empty for that of the engine.
    """

    tag: str | None
    arguments: Mapping[str, str]
    hosts: Mapping[str, str]
    labels: Mapping[str, str]
    platform: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def uploading(self) -> dict[str, Any]:
        """The query of the `POST /build` that uploads the context, a tar."""
        return {"version": "2", "remote": _REMOTE, "buildid": f"{_REMOTE}:{self.id}"}

    @property
    def building(self) -> dict[str, Any]:
        """The query of the `POST /build` that builds. The steps use the network of the host."""
        return {
            "version": "2",
            "remote": _REMOTE,
            "buildid": self.id,
            "networkmode": "host",
            "buildargs": json.dumps(dict(self.arguments)),
            "extrahosts": [f"{name}:{address}" for name, address in self.hosts.items()],
            "labels": json.dumps(dict(self.labels)),
            **({"t": self.tag} if self.tag else {}),
            **({"platform": self.platform} if self.platform else {}),
        }


def read(lines: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events of a build from the lines of the engine's answer.

    Raises:
        NeedsSession: BuildKit did not take the context.
    """
    for line in lines:
        # requests yields an empty line where a part of the answer ends between \r and \n.
        if not line:
            continue
        event = json.loads(line)
        if event.get("id") == _TRACE:
            yield "log", trace_text(base64.b64decode(event["aux"]))
        elif event.get("id") == _IMAGE:
            yield "image", event["aux"]["ID"]
        elif _NOT_TAKEN in event.get("error", ""):
            raise NeedsSession
        elif "error" in event:
            yield "error", _FAILED.sub("the step failed: ", event["error"])


def cached(usage: Mapping[str, Any], mark: str) -> frozenset[str]:
    """Return the ids of cached steps whose command holds `mark`, from `GET /system/df`."""
    return frozenset(
        entry["ID"]
        for entry in usage.get("BuildCache") or ()
        if entry["Description"].startswith(_RUN) and mark in entry["Description"]
    )


def pruning(ids: Iterable[str]) -> dict[str, str]:
    """Return the query of a `POST /build/prune` of these ids. The engine spares those in use."""
    pattern = f"^({'|'.join(sorted(ids))})$"
    return {"filters": json.dumps({"id": [pattern]})}


def trace_text(trace: bytes) -> str:
    """Return the text of a trace: the names of the steps that begin, and the output of steps.

    A trace is a StatusResponse of BuildKit's control.proto, in the wire format of Protocol Buffers.
    """
    text = b""
    for field_, message in _fields(trace):
        if field_ == _VERTEXES:
            vertex = dict(_fields(message))
            if _STARTED in vertex and _COMPLETED not in vertex:
                text += vertex[_NAME] + b"\n"
        elif field_ == _LOGS:
            text += dict(_fields(message)).get(_MESSAGE, b"")
    return text.decode("utf-8", "replace")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a message that are strings, bytes or messages, and skip the others."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                yield key >> 3, message[at : at + size]
                at += size
            case _:
                at += 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number that is stored as seven bits of each byte, and the position after it."""
    end = at
    while message[end] & 0x80:
        end += 1
    end += 1
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(message[at:end])), end
