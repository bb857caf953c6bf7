"""Asking a server over HTTP with the user's settings, within a time and up to a size.

This is for the few questions that envmatrix asks itself. uv and pip do everything else.
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from envmatrix.resolve.pip_settings import PipSettings

OVERALL_SECONDS = 60.0
"""How long one question may take in all. A server that drips is slower than that."""
LARGEST_PAGE = 96 * 2**20
_REDIRECTS = 10
_LOOK_SECONDS = 0.1
_CHUNK = 64 * 1024


class NoAnswerError(Exception):
    """A server gave no answer, and why.

    `connected` tells whether there was a connection at all, and `silent` that it was slow.
    """

    def __init__(self, why: str, *, connected: bool, silent: bool = False) -> None:
        super().__init__(why)
        self.connected = connected
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: the status, the headers in small letters, and the body."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Fetcher:
    """Asks servers with the user's certificates, proxy and credentials."""

    settings: PipSettings
    stopped: threading.Event = field(default_factory=threading.Event)

    def get(self, url: str, *, headers: Mapping[str, str], at_most: int = LARGEST_PAGE) -> Reply:
        """Return what a server answers, also where it refuses.

        Raises:
            NoAnswerError: it does not answer as HTTP says, or not in time, or with too much.
        """
        address, authorization = self._credentials(url)
        request = urllib.request.Request(address, headers=dict(headers))  # noqa: S310  (http only)
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        with _Watch(self.stopped) as watch:
            try:
                with self._opener(watch).open(request, timeout=self.settings.timeout) as answer:
                    reply = _read(answer, at_most)
            except urllib.error.HTTPError as error:
                with error:
                    return Reply(error.code, address, _small(error.headers), b"")
            except (OSError, http.client.HTTPException, ValueError, NoAnswerError) as error:
                raise _no_answer(error, watch) from error
            if watch.is_over:  # An answer of unknown length looks whole where it was ended.
                raise _no_answer(NoAnswerError("", connected=True), watch)
            return reply

    def _credentials(self, url: str) -> tuple[str, str]:
        """Return the address without a user, and the header that says who asks."""
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        address = urlunsplit(parts._replace(netloc=host))
        if at:
            name, _, password = user.partition(":")
            return address, _basic(unquote(name), unquote(password))
        try:
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            found = None
        return address, _basic(found[0], found[2] or "") if found else ""

    def _opener(self, watch: _Watch) -> urllib.request.OpenerDirector:
        proxies = urllib.request.getproxies()
        if proxy := self.settings.proxy or proxies.get("all", ""):
            ours = {"http": proxy, "https": proxy}
            proxies = proxies | ours if self.settings.proxy else ours | proxies
        opener = urllib.request.OpenerDirector()
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.ProxyHandler(proxies),
            _Http(watch),
            _Https(watch, self.settings),
            _Redirects(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ]
        for handler in handlers:
            opener.add_handler(handler)
        return opener


class _Watch:
    """Ends the connections of one question once its time is over, or the run was stopped."""

    def __init__(self, stopped: threading.Event) -> None:
        self.is_over = False
        self._stopped = stopped
        self._done = threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def add(self, connection: socket.socket) -> None:
        """Watch over one more connection."""
        self._sockets.append(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        left = OVERALL_SECONDS
        while not self._done.wait(_LOOK_SECONDS):
            left -= _LOOK_SECONDS
            if left <= 0 or self._stopped.is_set():
                self.is_over = True
                for connection in list(self._sockets):
                    _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Http(urllib.request.HTTPHandler):
    """Opens connections that a watch can end."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_watched, http.client.HTTPConnection, self._watch), req)


class _Https(urllib.request.HTTPSHandler):
    """The same with TLS, and with the certificates of the settings."""

    def __init__(self, watch: _Watch, settings: PipSettings) -> None:
        super().__init__()
        self._watch = watch
        self._settings = settings

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        context = _tls(self._settings, urlsplit(req.full_url).netloc)
        kind = partial(http.client.HTTPSConnection, context=context)
        return self.do_open(partial(_watched, kind, self._watch), req)


def _watched(
    kind: Any,  # noqa: ANN401  (a class of connections, or a partial of one)
    watch: _Watch,
    host: str,
    **options: Any,  # noqa: ANN401  (whatever urllib gives)
) -> http.client.HTTPConnection:
    connection: http.client.HTTPConnection = kind(host, **options)
    connect = socket.create_connection

    def create(*arguments: Any, **more: Any) -> socket.socket:  # noqa: ANN401  (as above)
        made = connect(*arguments, **more)
        watch.add(made)
        return made

    connection._create_connection = create  # type: ignore[attr-defined]  # noqa: SLF001
    return connection


def _tls(settings: PipSettings, host: str) -> ssl.SSLContext:
    trusted = {urlsplit(f"//{one}").netloc for one in settings.trusted_hosts}
    name = host.rpartition("@")[2]
    if {name, name.partition(":")[0]} & trusted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=settings.cert or None)
        if not settings.cert and find_spec("certifi"):
            # pip and uv bring these authorities; a small system may have none of its own.
            context.load_verify_locations(import_module("certifi").where())
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert)
    return context


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, and only to servers."""

    max_redirections = _REDIRECTS
    max_repeats = 2

    def redirect_request(  # noqa: PLR0917  (as urllib calls it)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        same_host = urlsplit(newurl).netloc == urlsplit(req.full_url).netloc
        if made and same_host and (who := req.get_header("Authorization")):
            made.add_unredirected_header("Authorization", who)
        return made


def _read(answer: http.client.HTTPResponse, at_most: int) -> Reply:
    parts: list[bytes] = []
    size = 0
    for part in iter(partial(answer.read, _CHUNK), b""):
        parts.append(part)
        size += len(part)
        if size > at_most:
            raise NoAnswerError("the answer is too large", connected=True)
    announced = answer.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) != size:
        raise NoAnswerError("the answer ended early", connected=True)
    return Reply(answer.status, answer.url, _small(answer.headers), b"".join(parts))


def _small(headers: Message) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in headers.items()}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _no_answer(error: Exception, watch: _Watch) -> NoAnswerError:
    """Return the error in words that hold no address."""
    if watch.is_over:
        why = f"no whole answer within {OVERALL_SECONDS:g} s"
        return NoAnswerError(why, connected=True, silent=True)
    if isinstance(error, NoAnswerError):
        return error
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return NoAnswerError("it did not answer in time", connected=True, silent=True)
    for kind, why, connected in _REASONS:
        if isinstance(reason, kind):
            return NoAnswerError(why, connected=connected)
    connected = True
    if isinstance(reason, ssl.SSLError):
        why = "TLS: " + (reason.reason or "the connection failed").lower().replace("_", " ")
        connected = False
    elif "407" in str(reason):
        why = PROXY_REFUSES
    elif isinstance(reason, OSError) and reason.errno:
        why = os.strerror(reason.errno)
        connected = False
    else:
        why = f"its answer is no HTTP ({type(reason).__name__})"
    return NoAnswerError(why, connected=connected)


PROXY_REFUSES = "the proxy answered 407"
# Kinds of errors, what they mean, and whether anybody answered.
_REASONS: tuple[tuple[type[Exception], str, bool], ...] = (
    (socket.gaierror, "its name cannot be looked up", False),
    (ConnectionRefusedError, "Connection refused", False),
    (ConnectionError, "the connection ended before the answer", True),
    (http.client.RemoteDisconnected, "the connection ended before the answer", True),
    (http.client.IncompleteRead, "the answer ended early", True),
)
