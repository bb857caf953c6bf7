"""A package index on loopback that serves wheels of its own making and fails on command.

    with FakeIndex() as index:
        index.add("jinja2", "3.1.6", requires=["markupsafe>=2"])
        index.fail(Status(503), name="jinja2", times=1)
        run(["uv", "pip", "compile", "--default-index", index.url, "-"])

It answers the simple API as HTML (PEP 503) and as JSON (PEP 691, with sizes and upload times), and
the metadata of a wheel beside it (PEP 658). Every request is in `requests`.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

from fake_http import Answer, Cut, HttpServer, OnLoopback, Request
from fake_wheels import Distribution, make_metadata, make_source, make_wheel
from packaging.utils import canonicalize_name

__all__ = [
    "Corrupted",
    "Distribution",
    "Drip",
    "Empty",
    "FakeIndex",
    "Fault",
    "Hang",
    "Portal",
    "RedirectLoop",
    "Request",
    "Reset",
    "Status",
    "Truncated",
    "WrongHash",
]

_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = "text/html; charset=utf-8"
_PAGE = re.compile(r"/simple/([^/]+)/?")
_FILE = re.compile(r"/files/([^/]+)/([^/]+?)(\.metadata)?")
PORTAL = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Accept the terms</body>"

Where = Literal["pages", "wheels", "files", "all"]
"""The requests that a fault is about.

`pages` are those of names, `wheels` are whole files, and `files` are these with the metadata beside
them.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with pages, with files or with all requests."""

    on: Where = field(default="all", kw_only=True)


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """The index, or a proxy before it, answers with an error status."""

    code: int


@dataclass(frozen=True, slots=True)
class Portal(Fault):
    """A portal or a proxy answers 200 with an HTML page of its own."""


@dataclass(frozen=True, slots=True)
class Empty(Fault):
    """The answer is 200 and has no body."""


@dataclass(frozen=True, slots=True)
class RedirectLoop(Fault):
    """The answer is a redirect to an address that redirects again, without end."""


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """The index says nothing for some seconds, and then closes the connection."""

    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """The right answer comes a byte at a time, with a pause after each."""

    seconds: float = 0.2


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset instead of an answer."""


@dataclass(frozen=True, slots=True)
class Truncated(Fault):
    """The answer ends half way. An `honest` one announces only the bytes that come."""

    on: Where = field(default="wheels", kw_only=True)
    honest: bool = False


@dataclass(frozen=True, slots=True)
class Corrupted(Fault):
    """A file comes with another byte in it, in its full length."""

    on: Where = field(default="wheels", kw_only=True)


@dataclass(frozen=True, slots=True)
class WrongHash(Fault):
    """The page of a name announces hashes that its files do not have."""

    on: Where = field(default="pages", kw_only=True)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    name: str
    left: float


@dataclass(frozen=True, slots=True)
class _Target:
    """What a request asks for: the page of a name, or one of its files."""

    kind: Literal["pages", "files"]
    name: str
    filename: str = ""
    metadata: bool = False

    @property
    def places(self) -> tuple[Where, ...]:
        """What a fault may name to be about this request."""
        if self.kind == "pages":
            return ("all", "pages")
        return ("all", "files") if self.metadata else ("all", "files", "wheels")


class FakeIndex(OnLoopback):
    """An index that answers on 127.0.0.1 inside a `with` block.

    Every request needs the `credentials`, a user and a password, where they are set. `json` and
    `metadata` say whether the index offers JSON pages and the metadata of wheels. `meanwhile` is
    called with each request before it is answered: what happens elsewhere at that moment.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.credentials: tuple[str, str] | None = None
        self.json = True
        self.metadata = True
        self.meanwhile: Callable[[Request], None] = lambda _: None
        self._files: list[Distribution] = []
        self._armed: list[_Armed] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = HttpServer(self._answer)

    # --- its life

    @property
    def url(self) -> str:
        """The address of the simple API."""
        return f"http://127.0.0.1:{self._port}/simple/"

    @property
    def url_with_credentials(self) -> str:
        """The address with the user and the password in it."""
        if not self.credentials:
            return self.url
        user, password = (quote(part, safe="") for part in self.credentials)
        return self.url.replace("://", f"://{user}:{password}@")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        super().__exit__(kind, error, trace)

    # --- what a test may set and ask

    def add(
        self,
        name: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        tags: str | Sequence[str] = "py3-none-any",
        requires_python: str | None = None,
        upload_time: str | None = "2026-01-01T00:00:00Z",
        files: Mapping[str, str | bytes] | None = None,
        yanked: str | None = None,
    ) -> list[Distribution]:
        """Serve a release: one wheel for each tag. Return the wheels."""
        metadata = make_metadata(name, version, requires, requires_python)
        added = []
        for tag in [tags] if isinstance(tags, str) else tags:
            filename, data = make_wheel(name, version, tag, metadata, files)
            added.append(
                Distribution(
                    canonicalize_name(name),
                    version,
                    filename,
                    data,
                    metadata,
                    requires_python,
                    upload_time,
                    yanked,
                )
            )
        with self._lock:
            self._files += added
        return added

    def add_source(
        self, name: str, version: str, *, upload_time: str | None = "2026-01-01T00:00:00Z"
    ) -> Distribution:
        """Serve a release as a source archive only, which nothing can build."""
        metadata = make_metadata(name, version)
        filename, data = make_source(name, version, metadata)
        source = Distribution(
            canonicalize_name(name), version, filename, data, metadata, upload_time=upload_time
        )
        with self._lock:
            self._files.append(source)
        return source

    def remove(self, name: str, version: str | None = None) -> None:
        """Stop to serve a release, or all releases of a name."""
        with self._lock:
            self._files = [
                file
                for file in self._files
                if file.name != canonicalize_name(name) or version not in (None, file.version)
            ]

    def fail(self, *faults: Fault, name: str = "*", times: int | None = None) -> None:
        """Arm faults for the names that match a pattern: a number of times each, or for ever."""
        left = float("inf") if times is None else times
        with self._lock:
            self._armed += [_Armed(fault, name, left) for fault in faults]

    def heal(self) -> None:
        """Disarm every fault."""
        with self._lock:
            self._armed = []

    def asked(self, pattern: str) -> list[Request]:
        """Return the recorded requests that match, such as `GET /simple/jinja2/`."""
        return [request for request in self.requests if request.matches(pattern)]

    # --- how it answers

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
        self.meanwhile(request)
        if not self._is_allowed(request):
            return _status(401)
        target = self._target(request)
        if target is None:
            return self._root(request) if request.path in ("/simple", "/simple/") else _status(404)
        fault = self._take(target)
        if fault and (answer := self._failing(fault, request)):
            return answer
        answer = (
            self._page(request, target, lying=isinstance(fault, WrongHash))
            if target.kind == "pages"
            else self._file(target)
        )
        if isinstance(fault, Drip) and isinstance(answer.body, bytes):
            return replace(answer, body=self._dripping(answer.body, fault.seconds))
        return _spoiled(answer, fault)

    def _dripping(self, body: bytes, seconds: float) -> Iterator[bytes]:
        for byte in body:
            yield bytes([byte])
            if self._stopping.wait(seconds):
                raise Cut

    def _is_allowed(self, request: Request) -> bool:
        if self.credentials is None:
            return True
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"

    def _target(self, request: Request) -> _Target | None:
        if page := _PAGE.fullmatch(request.path):
            return _Target("pages", canonicalize_name(page[1]))
        if file := _FILE.fullmatch(request.path):
            return _Target("files", file[1], file[2], bool(file[3]))
        return None

    def _take(self, target: _Target) -> Fault | None:
        with self._lock:
            for armed in self._armed:
                fits = armed.fault.on in target.places and armed.left > 0
                if fits and fnmatchcase(target.name, armed.name):
                    armed.left -= 1
                    return armed.fault
        return None

    def _failing(self, fault: Fault, request: Request) -> Answer | None:
        """Return the answer that a fault gives in place of the right one, if it gives one."""
        match fault:
            case Status(code=code):
                return _status(code)
            case Portal():
                return Answer(body=PORTAL, type=_HTML)
            case Empty():
                return Answer(type=_HTML)
            case RedirectLoop():
                turn = int(request.one("turn", "0")) + 1
                location = f"{quote(request.path)}?turn={turn}"
                return Answer(302, b"moved\n", _HTML, {"Location": location})
            case Hang(seconds=seconds):
                self._stopping.wait(seconds)
                raise Cut
            case Reset():
                raise Cut(reset=True)
        return None

    def _root(self, request: Request) -> Answer:
        names = sorted({file.name for file in self._files})
        if self._wants_json(request):
            projects = [{"name": name} for name in names]
            return _json_page({"meta": {"api-version": "1.1"}, "projects": projects})
        return _html_page(f'<a href="{name}/">{name}</a>' for name in names)

    def _page(self, request: Request, target: _Target, *, lying: bool) -> Answer:
        files = [file for file in self._files if file.name == target.name]
        if not files:
            return _status(404)
        links = [_Link(file, self.metadata and file.is_wheel, lying) for file in files]
        if not self._wants_json(request):
            return _html_page(link.anchor for link in links)
        return _json_page(
            {
                "meta": {"api-version": "1.1"},
                "name": target.name,
                "versions": sorted({file.version for file in files}),
                "files": [link.entry for link in links],
            }
        )

    def _wants_json(self, request: Request) -> bool:
        return self.json and _JSON in request.headers.get("accept", "")

    def _file(self, target: _Target) -> Answer:
        for file in self._files:
            if (file.name, file.filename) == (target.name, target.filename):
                if not target.metadata:
                    return Answer(body=file.data, type="application/octet-stream")
                if self.metadata and file.is_wheel:
                    return Answer(body=file.metadata, type="text/plain")
        return _status(404)


@dataclass(frozen=True, slots=True)
class _Link:
    """What a page says of one file. A lying one announces another hash."""

    file: Distribution
    has_metadata: bool
    lying: bool
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        true = self.file.sha256
        object.__setattr__(self, "sha256", true[::-1] if self.lying else true)

    @property
    def path(self) -> str:
        """The path of the file on the index."""
        return f"/files/{self.file.name}/{quote(self.file.filename)}"

    @property
    def anchor(self) -> str:
        """The link of an HTML page."""
        attributes = ""
        if self.file.requires_python:
            attributes += f' data-requires-python="{html.escape(self.file.requires_python)}"'
        if self.has_metadata:
            attributes += ' data-core-metadata="true"'
        if self.file.yanked is not None:
            attributes += f' data-yanked="{html.escape(self.file.yanked)}"'
        address = f"{self.path}#sha256={self.sha256}"
        return f'<a href="{address}"{attributes}>{html.escape(self.file.filename)}</a>'

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of a JSON page."""
        entry: dict[str, Any] = {
            "filename": self.file.filename,
            "url": self.path,
            "hashes": {"sha256": self.sha256},
            "size": len(self.file.data),
            "core-metadata": self.has_metadata,
        }
        if self.file.requires_python:
            entry["requires-python"] = self.file.requires_python
        if self.file.upload_time:
            entry["upload-time"] = self.file.upload_time
        if self.file.yanked is not None:
            entry["yanked"] = self.file.yanked or True
        return entry


def _status(code: int) -> Answer:
    headers = {
        401: {"WWW-Authenticate": 'Basic realm="fake"'},
        407: {"Proxy-Authenticate": 'Basic realm="proxy"'},
        429: {"Retry-After": "0"},
        503: {"Retry-After": "0"},
    }
    return Answer(code, f"status {code}\n".encode(), "text/plain", headers.get(code, {}))


def _json_page(data: Mapping[str, Any]) -> Answer:
    return Answer(body=json.dumps(data).encode(), type=_JSON)


def _html_page(links: Iterator[str]) -> Answer:
    return Answer(body=("<!DOCTYPE html>\n" + "<br>\n".join(links)).encode(), type=_HTML)


def _spoiled(answer: Answer, fault: Fault | None) -> Answer:
    """Return the answer with its body cut short or changed, where a fault says so."""
    body = answer.body
    if not isinstance(body, bytes) or not body:
        return answer
    half = len(body) // 2
    match fault:
        case Truncated(honest=True):
            return Answer(answer.status, body[:half], answer.type)
        case Truncated():
            headers = {"Content-Length": str(len(body))}
            return Answer(answer.status, body[:half], answer.type, headers)
        case Corrupted():
            changed = body[:half] + bytes([body[half] ^ 0xFF]) + body[half + 1 :]
            return Answer(answer.status, changed, answer.type)
    return answer
