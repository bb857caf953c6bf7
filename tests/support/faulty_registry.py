"""A way to a real registry that fails on command.

    with serve_images(folder) as registry, FaultyRegistry(registry) as faulty:
        faulty.fail("PATCH *", status=500, times=1)
        run(["envmatrix", "publish", "--registry", faulty.name])

Every request that no fault meets goes on to the registry. `moved` counts the bytes of layers that
went there.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import TracebackType
from urllib.parse import urlencode

from fake_http import Answer, Cut, HttpServer, OnLoopback, Request

_SECONDS = 60
_OWN = ("content-length", "transfer-encoding", "connection", "date", "server", "content-type")
"""Headers that the server writes itself."""


@dataclass
class _Fault:
    """What happens to the next requests of a pattern. Without a status the connection is cut."""

    pattern: str
    status: int | None
    times: int
    headers: Mapping[str, str] = field(default_factory=dict)


class FaultyRegistry(OnLoopback):
    """A server on loopback before a registry that is named, such as `localhost:40001`."""

    def __init__(self, registry: str) -> None:
        self._host, _, port = registry.partition(":")
        self._behind = int(port)
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._server = HttpServer(self._answer, self._interrupts)
        self.moved = 0
        self.refused = 0

    @property
    def name(self) -> str:
        """The name of the registry that fails, such as `localhost:40002`."""
        return f"localhost:{self._port}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        assert [repr(error) for error in self.errors] == []

    def fail(
        self,
        pattern: str,
        status: int | None = None,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next requests such as `PATCH */blobs/uploads/*` with a status, or cut them."""
        self._faults.append(_Fault(pattern, status, times, headers or {}))

    def mend(self) -> None:
        """Let every request through again."""
        self._faults.clear()

    def _met(self, line: str, *, cut: bool) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                fits = fault.times and (fault.status is None) is cut
                if fits and fnmatchcase(line, fault.pattern):
                    fault.times -= 1
                    self.refused += 1
                    return fault
        return None

    def _interrupts(self, line: str) -> bool:
        return self._met(line, cut=True) is not None

    def _answer(self, request: Request) -> Answer:
        if fault := self._met(request.line, cut=False):
            assert fault.status is not None
            error = b'{"errors": [{"code": "UNKNOWN", "message": "a fault of the test"}]}'
            return Answer(fault.status, error, headers=fault.headers)
        path = request.path + ("?" + urlencode(request.query, doseq=True) if request.query else "")
        headers = {
            name: text
            for name, text in request.headers.items()
            if name not in ("transfer-encoding", "content-length", "connection")
        }
        upstream = http.client.HTTPConnection(self._host, self._behind, timeout=_SECONDS)
        with closing(upstream) as connection:
            try:
                connection.request(request.method, path, request.body, headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise Cut from error  # A registry whose disk is full hangs up.
        if request.method in ("PATCH", "PUT") and "/blobs/" in request.path:
            self.moved += len(request.body)
        kept = {name: text for name, text in answer.getheaders() if name.lower() not in _OWN}
        if request.method == "HEAD" and (size := answer.getheader("Content-Length")):
            kept["Content-Length"] = size
        kind = answer.getheader("Content-Type") or "application/octet-stream"
        return Answer(answer.status, body, kind, kept)
