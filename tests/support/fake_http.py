"""HTTP for the fakes: a small server that records nothing, hides nothing and always ends.

A fake gives the server one function, from a request to an answer. Every connection has a thread of
its own. `stop` closes every socket and waits a bounded time for the threads.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

ACCEPT_SECONDS = 0.02
"""How soon the server sees that it shall stop."""

INTERRUPTED_BYTES = 10_000
"""How much is read of a body at most before its connection is cut."""

STOP_SECONDS = 2.0
"""How long `stop` waits for all threads together."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. Names of headers are in small letters."""

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    api: str = ""

    def one(self, name: str, default: str = "") -> str:
        """Return the first value that the query has for a name."""
        return self.query.get(name, (default,))[0]

    def flag(self, name: str) -> bool:
        """Return whether the query sets a switch."""
        return self.one(name).lower() in ("1", "true", "t")

    def json(self) -> Any:
        """Return the body as JSON, None where there is no body."""
        return json.loads(self.body) if self.body else None

    def files(self) -> dict[str, bytes]:
        """Return the regular files of a body that is a tar, by their names."""
        with tarfile.open(fileobj=io.BytesIO(self.body)) as tar:
            members = [member for member in tar if member.isfile()]
            return {
                member.name.removeprefix("./"): file.read()
                for member in members
                if (file := tar.extractfile(member))
            }

    @property
    def line(self) -> str:
        """The method and the path, such as `GET /info`: what patterns are matched against."""
        return f"{self.method} {self.path}"

    @property
    def summary(self) -> str:
        """What the body holds, in a few words."""
        if not self.body:
            return "no body"
        with suppress(tarfile.TarError, EOFError):
            return "tar of " + ", ".join(sorted(self.files()))
        with suppress(ValueError):
            return f"JSON {self.json()}"
        return f"{len(self.body)} bytes"

    def matches(self, pattern: str) -> bool:
        """Return whether a pattern such as `POST /containers/*/start` matches this request."""
        return fnmatchcase(self.line, pattern)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. A body of several parts is streamed in chunks.

    An empty part sends nothing: it only looks whether the client is still there. `takeover` gets
    the socket after the headers, and the connection closes when it returns.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    takeover: Callable[[socket.socket], None] | None = None


class Cut(Exception):  # noqa: N818  (a command to the server, not an error)
    """The connection closes, before the answer or in the middle of it."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("the connection is cut")
        self.reset = reset


class Refused(Exception):  # noqa: N818  (an answer, not an error of the fake)
    """A handler answers with an error status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def json_answer(data: object, status: int = 200) -> Answer:
    """Return an answer of one JSON value."""
    return Answer(status, json.dumps(data).encode() + b"\n")


def is_gone(connection: socket.socket) -> bool:
    """Return whether the client has closed its end of a connection."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class HttpServer:
    """A server on one listening socket. `errors` holds what went wrong inside the fake itself.

    `interrupts` tells of a request, such as `PATCH /v2/`, whether its connection is cut while its
    body comes.
    """

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        interrupts: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.answer = answer
        self.interrupts = interrupts
        self.errors: list[Exception] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stopped.set()
        self._listening: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def start(self, listening: socket.socket) -> None:
        """Begin to answer on a socket that is bound. The server owns and closes the socket."""
        listening.settimeout(ACCEPT_SECONDS)
        listening.listen(128)
        self._stopped = threading.Event()
        self._listening = listening
        self._spawn(self._accept, listening, self._stopped)

    def close(self) -> None:
        """Close the listening socket and every connection, and wait for nothing."""
        self._stopped.set()
        with self._lock:
            listening, self._listening = self._listening, None
            connections = list(self._connections)
        if listening:
            listening.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close everything, and wait a bounded time for the threads."""
        self.close()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left, self._connections = self._connections, set()
        for connection in left:
            connection.close()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        thread.start()
        self._threads.append(thread)

    def _accept(self, listening: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._spawn(self._converse, connection, stopped)

    def _converse(self, connection: socket.socket, stopped: threading.Event) -> None:
        with self._tracked(connection), suppress(OSError):
            if not stopped.is_set():
                _Conversation(connection, self)

    @contextmanager
    def _tracked(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class OnLoopback:
    """A fake that serves on a free port of 127.0.0.1 while a test is inside it."""

    _server: HttpServer
    _port = 0

    @property
    def errors(self) -> list[Exception]:
        """What went wrong inside the fake."""
        return self._server.errors

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        self._port = listening.getsockname()[1]
        self._server.start(listening)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()


class _Conversation(BaseHTTPRequestHandler):
    """The requests and answers of one connection."""

    protocol_version = "HTTP/1.1"
    # Who tries TLS learns by the first line of the answer that this is plain HTTP.
    default_request_version = "HTTP/1.0"
    connection: socket.socket

    def __init__(self, connection: socket.socket, owner: HttpServer) -> None:
        self._owner = owner
        # The base class only stores the server, which has nothing that it needs.
        super().__init__(connection, ("", 0), cast("Any", None))

    def do_GET(self) -> None:
        """Answer a request of any method."""
        try:
            answer = self._owner.answer(self._request())
        except Cut as cut:
            self._cut(cut)
            return
        except Exception as error:  # noqa: BLE001  (the fake itself is at fault: tests see it)
            self._owner.errors.append(error)
            answer = json_answer({"message": f"the fake failed: {error!r}"}, 500)
        self._send(answer)

    # The names that the base calls.
    do_POST = do_DELETE = do_HEAD = do_PUT = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if self._owner.interrupts(f"{self.command} {unquote(parts.path)}"):
            if self._announces_body:
                self.rfile.read1(INTERRUPTED_BYTES)
            raise Cut(reset=True)
        return Request(
            self.command,
            unquote(parts.path),
            {name: tuple(values) for name, values in query.items()},
            {name.lower(): value for name, value in self.headers.items()},
            self._body(),
        )

    @property
    def _chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "")

    @property
    def _announces_body(self) -> bool:
        return self._chunked or int(self.headers.get("Content-Length") or 0) > 0

    def _body(self) -> bytes:
        if not self._chunked:
            return self._exactly(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self._line().split(b";")[0], 16):
            parts.append(self._exactly(size))
            self._line()
        self._line()
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise Cut  # The client closed the connection in the middle of the request.
        return data

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise Cut  # The client closed the connection in the middle of the request.
        return line

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.takeover:
            self.close_connection = True
            self.end_headers()
            answer.takeover(self.connection)
            return
        if isinstance(answer.body, bytes):
            self._send_whole(answer, answer.body)
        else:
            self._send_chunks(answer, answer.body)

    def _send_whole(self, answer: Answer, body: bytes) -> None:
        if answer.status not in (204, 304):
            self.send_header("Content-Type", answer.type)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(body)))
            elif self.command != "HEAD" and int(answer.headers["Content-Length"]) != len(body):
                self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_chunks(self, answer: Answer, parts: Iterable[bytes]) -> None:
        self.send_header("Content-Type", answer.type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self._send_part(part)
            self.wfile.write(b"0\r\n\r\n")
        except Cut as cut:
            self._cut(cut)
        except OSError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001  (the fake itself is at fault: tests see it)
            self._owner.errors.append(error)
            self.close_connection = True
        finally:
            # A generator learns here that nobody reads on.
            if close := getattr(parts, "close", None):
                close()

    def _send_part(self, part: bytes) -> None:
        if part:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        elif is_gone(self.connection):
            raise Cut

    def _cut(self, cut: Cut) -> None:
        self.close_connection = True
        if cut.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
