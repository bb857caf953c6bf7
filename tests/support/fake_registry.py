"""A registry of images on loopback that keeps blobs, manifests and tags, and fails on command.

    with FakeRegistry() as registry:
        registry.fail("PUT /v2/*/blobs/*", status=500, times=2)

It speaks the distribution specification as far as a client needs it. `users` makes it ask for a
login, and `tokens` for one at a server of tokens. Without `referrers` it is like one that is older
than version 1.1 of the specification.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs

from fake_http import Answer, Cut, HttpServer, OnLoopback, Request, json_answer

INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(data: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Trouble:
    """What goes wrong with requests that match, a number of times; None: for ever."""

    match: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int | None = 1


@dataclass
class Repository:
    """What a registry keeps under one name."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, reference: str) -> tuple[str, bytes] | None:
        """Return the type and the bytes of a manifest, by tag or by digest."""
        return self.manifests.get(self.tags.get(reference, reference))


class _Encrypted(HttpServer):
    """Speaks TLS. A connection that does not is closed."""

    def __init__(self, answer: Callable[[Request], Answer], context: ssl.SSLContext) -> None:
        super().__init__(answer)
        self._context = context

    def _converse(self, connection: socket.socket, stopped: threading.Event) -> None:
        try:
            connection = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            return
        super()._converse(connection, stopped)


class FakeRegistry(OnLoopback):
    """A registry that answers inside a `with` block, encrypted where it gets a `context`."""

    def __init__(
        self,
        *,
        users: dict[str, str] | None = None,
        tokens: bool = False,
        referrers: bool = True,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.users = users or {}
        self.tokens = tokens
        self.referrers = referrers
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.troubles: list[Trouble] = []
        self._lock = threading.RLock()
        self._server = _Encrypted(self._answer, context) if context else HttpServer(self._answer)

    @property
    def host(self) -> str:
        """The name of the registry, such as 127.0.0.1:40001."""
        return f"127.0.0.1:{self._port}"

    # --- what a test may set and ask

    def fail(
        self,
        match: str,
        status: int = 0,
        headers: dict[str, str] | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer requests that match with a status, or cut the connection where it is 0."""
        self.troubles.append(Trouble(match, status, headers or {}, times))

    def asked(self, pattern: str) -> list[Request]:
        """Return the requests that match, such as `PUT /v2/*`."""
        return [one for one in self.requests if fnmatchcase(one.line, pattern)]

    def of(self, name: str) -> Repository:
        """Return what is kept under a name."""
        return self.repositories.setdefault(name, Repository())

    def put(self, name: str, tag: str, fields: dict[str, Any]) -> str:
        """Put a manifest under a tag, as somebody else would; return its digest."""
        data = json.dumps(fields).encode()
        digest = sha256(data)
        self.of(name).manifests[digest] = (str(fields["mediaType"]), data)
        self.of(name).tags[tag] = digest
        return digest

    # --- how it answers

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            for one in self.troubles:
                if one.times != 0 and fnmatchcase(request.line, one.match):
                    one.times = one.times and one.times - 1
                    if not one.status:
                        raise Cut(reset=True)
                    return Answer(one.status, b'{"errors":[]}', headers=one.headers)
            if request.path == "/token":
                return self._token(request)
            if refused := self._login(request):
                return refused
            return self._handle(request)

    def _login(self, request: Request) -> Answer | None:
        if not self.users:
            return None
        given = request.headers.get("authorization", "")
        if self.tokens:
            scope = "repository:x:pull"
            told = f'Bearer realm="http://{self.host}/token",service="fake",scope="{scope}"'
            good = given == "Bearer good"
        else:
            told, good = 'Basic realm="fake"', self._knows(given)
        return None if good else Answer(401, b"{}", headers={"WWW-Authenticate": told})

    def _knows(self, header: str) -> bool:
        given = base64.b64decode(header.removeprefix("Basic ") or b"").decode()
        user, _, password = given.partition(":")
        return self.users.get(user) == password

    def _token(self, request: Request) -> Answer:
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            good = form.get("refresh_token") == ["identity"]
            return json_answer({"access_token": "good"}) if good else Answer(401, b"{}")
        if not self._knows(request.headers.get("authorization", "")):
            return Answer(401, b"{}")
        return json_answer({"token": "good"})

    def _handle(self, request: Request) -> Answer:
        if request.path == "/v2/":
            return json_answer({})
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|referrers)/(.*)", request.path)
        if not found:
            return Answer(404)
        repository = self.of(found[1])
        match found[2]:
            case "manifests":
                return self._manifest(request, repository, found[3])
            case "blobs":
                return self._blob(request, found[1], repository, found[3])
        return self._referrers(repository, found[3])

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Answer:
        if request.method == "PUT":
            digest = sha256(request.body)
            kind = request.headers["content-type"]
            repository.manifests[digest] = (kind, request.body)
            if not reference.startswith("sha256:"):
                repository.tags[reference] = digest
            headers = {"Docker-Content-Digest": digest}
            subject = json.loads(request.body).get("subject")
            if subject and self.referrers:
                headers["OCI-Subject"] = subject["digest"]
            return Answer(201, headers=headers)
        kept = repository.find(reference)
        if kept is None:
            return Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        return Answer(
            200, kept[1], type=kept[0], headers={"Docker-Content-Digest": sha256(kept[1])}
        )

    def _blob(self, request: Request, name: str, repository: Repository, place: str) -> Answer:
        if request.method == "POST":
            return Answer(202, headers={"Location": f"/v2/{name}/blobs/uploads/1"})
        if request.method == "PUT":
            digest = request.one("digest")
            if sha256(request.body) != digest:
                return Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            repository.blobs[digest] = request.body
            return Answer(201)
        if place not in repository.blobs:
            return Answer(404)
        return Answer(200, repository.blobs[place], type="application/octet-stream")

    def _referrers(self, repository: Repository, digest: str) -> Answer:
        if not self.referrers:
            return Answer(404)
        found = []
        for kept, (kind, data) in repository.manifests.items():
            fields = json.loads(data)
            if fields.get("subject", {}).get("digest") == digest:
                entry = {"mediaType": kind, "digest": kept, "size": len(data)}
                found.append({**entry, "artifactType": fields.get("artifactType")})
        return json_answer({"schemaVersion": 2, "mediaType": INDEX, "manifests": found})
