"""The connection to a Docker engine: its address, a client for each thread, and raw requests."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from docker import APIClient
from docker.context import Context, ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import (
    DockerException,
    TLSParameterError,
    create_api_error_from_http_exception,
)
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env, parse_host
from docker.utils.config import find_config_file
from requests import HTTPError, PreparedRequest, ReadTimeout, Request, Response

from envmatrix.engine.failures import translated
from envmatrix.model.errors import EngineError

API_SECONDS = 120
"""The time that the engine has to answer a request."""

STOP_SECONDS = 10
"""The time that an engine which may hang has to answer: after the user asked to stop, and for a
sign of life after a request that it did not answer."""

DEFAULT_CONTEXT = "default"
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Address:
    """The URL at which an engine answers, and the certificates that the connection needs."""

    url: str
    tls: TLSConfig | None = None


class _Client(APIClient):
    """A client that checks an encrypted engine against the certificates of its own address.

    requests would rather take REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE from the environment. After
    `cancelled` is set, no request waits long for its answer. While `silent` is set, the engine did
    not answer in time, and gets no request before it gave a sign of life. `changing` is set before
    the first request that does more than ask.
    """

    def __init__(
        self,
        cancelled: threading.Event,
        silent: threading.Event,
        changing: threading.Event,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._cancelled = cancelled
        self._silent = silent
        self._changing = changing
        super().__init__(**settings)
        if self.base_url.startswith("http+"):  # No proxy of the environment leads to a socket.
            self.trust_env = False

    def send(self, request: PreparedRequest, **settings: Any) -> Response:  # noqa: ANN401
        """Send a request."""
        checked = settings | {"verify": self.verify}
        if self._silent.is_set():
            sign = self.prepare_request(Request("GET", f"{self.base_url}/_ping"))
            super().send(sign, **(checked | {"timeout": STOP_SECONDS, "stream": False}))
            self._silent.clear()
        if request.method not in _READING:
            self._changing.set()
        hurry = {"timeout": STOP_SECONDS} if self._cancelled.is_set() else {}
        try:
            return super().send(request, **(checked | hurry))
        except ReadTimeout:
            self._silent.set()
            raise


@dataclass
class Connection:
    """A connection to a Docker engine. Several threads may use one connection.

    `info` is what the engine says about itself. The containers of this run carry `run_id`. Work
    in progress stops when `cancelled` is set. `tell` gets what a user should know.
    """

    address: Address
    info: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    cancelled: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[str], None] = lambda _: None
    _silent: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _changing: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _local: threading.local = field(default_factory=threading.local, init=False, repr=False)
    _version: str = field(default="auto", init=False, repr=False)

    @classmethod
    def open(cls, tell: Callable[[str], None] = lambda _: None) -> Connection:
        """Connect to the engine that the user has chosen, and ask the engine about itself.

        Raises:
            EngineError: no engine answers, the address is not one, or the Docker context cannot be
            used.
        """
        connection = cls(find_address(), tell=tell)
        _check(connection.address)
        with translated(f"connect to the Docker engine at {connection.url}"):
            connection.info = connection.client.info()
        return connection

    @property
    def url(self) -> str:
        """The address of the engine, such as unix:///var/run/docker.sock."""
        return self.address.url

    @property
    def client(self) -> APIClient:
        """The client of this thread. Two threads cannot safely share a client of docker-py."""
        if not hasattr(self._local, "client"):
            client = _Client(
                self.cancelled,
                self._silent,
                self._changing,
                base_url=self.address.url,
                tls=self.address.tls or False,
                version=self._version,
                timeout=API_SECONDS,
            )
            self._version = client.api_version  # The engine is asked once, not by each thread.
            self._local.client = client
        found: APIClient = self._local.client
        return found

    @property
    def has_changed(self) -> bool:
        """Whether the engine was asked for more than answers: it may hold what this run made."""
        return self._changing.is_set()

    def get(self, path: str, query: Mapping[str, Any]) -> Response:
        """Send a GET request that docker-py has no method for."""
        return _checked(
            self.client.get(self._url_of(path), params=dict(query), timeout=API_SECONDS)
        )

    def post(
        self,
        path: str,
        query: Mapping[str, Any],
        *,
        seconds: float | None = API_SECONDS,
        data: IO[bytes] | None = None,
        stream: bool = False,
    ) -> Response:
        """Send a POST request that docker-py has no method for.

        The engine has `seconds` for its answer, and for each part of an answer that it streams.
        """
        return _checked(
            self.client.post(
                self._url_of(path), params=dict(query), timeout=seconds, data=data, stream=stream
            )
        )

    def _url_of(self, path: str) -> str:
        return f"{self.client.base_url}/v{self.client.api_version}{path}"


def find_address() -> Address:
    """Return the address of the engine that the user has chosen, as the docker CLI finds it.

    DOCKER_HOST decides first, then DOCKER_CONTEXT, then the current context of the docker CLI. The
    default context is the default socket. We do not use docker-py's `from_env`: release 7.1 ignores
    contexts, and release 7.2 silently takes the default socket if a context does not exist.

    Raises:
        EngineError: the context does not exist or names no engine, or certificates are missing.
    """
    if url := os.environ.get("DOCKER_HOST"):
        return Address(url, _tls_from_environment())
    chosen = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    context = _context(chosen or DEFAULT_CONTEXT)
    if not context.Host:
        raise EngineError(
            f"the Docker context {context.Name} names no address of an engine",
            where=_chooser(),
            next_step=f"choose another context: {_CHOOSE}",
        )
    if context.Name == DEFAULT_CONTEXT:
        return Address(context.Host, _tls_from_environment())
    return Address(context.Host, context.TLSConfig)


def _check(address: Address) -> None:
    try:
        parse_host(address.url, tls=bool(address.tls))
    except (DockerException, ValueError) as error:
        raise EngineError(
            f"{address.url} is not the address of a Docker engine: {error}",
            where=_chooser(),
            next_step="give an address such as unix:///var/run/docker.sock or tcp://HOST:PORT",
        ) from error


def _tls_from_environment() -> TLSConfig | None:
    try:
        return kwargs_from_env().get("tls")
    except TLSParameterError as error:
        raise EngineError(
            f"the certificates for the Docker engine cannot be used: {error}",
            where="the environment variables DOCKER_TLS_VERIFY and DOCKER_CERT_PATH",
            next_step="let DOCKER_CERT_PATH name a folder with ca.pem, cert.pem and key.pem, "
            "or unset both",
        ) from error


def _context(name: str) -> Context:
    if name != DEFAULT_CONTEXT and find_config_file() is None:
        raise EngineError(
            f"the Docker context {name} cannot be found without a config.json of the docker CLI, "
            "because docker-py looks for contexts in the folder of that file",
            where=_chooser(),
            next_step=f"run `docker context use {name}`, which writes the file",
        )
    try:
        # The type stubs say that this is never None, but it is for a name that does not exist.
        context = cast("Context | None", ContextAPI.get_context(name))
    except Exception as error:  # docker-py raises Exception itself for a damaged file
        raise EngineError(
            f"the Docker context {name} cannot be read: {error}",
            where=_chooser(),
            next_step=f"create the context again, or choose another one: {_CHOOSE}",
        ) from error
    if context is None:
        raise EngineError(
            f"there is no Docker context with the name {name}",
            where=_chooser(),
            next_step=f"choose a context that exists: {_CHOOSE}",
        )
    return context


_CHOOSE = "`docker context ls` shows them, `docker context use NAME` takes one"


def _chooser() -> str:
    """Return the place that chose the address or the context."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if os.environ.get(name):
            return f"the environment variable {name}"
    return str(find_config_file())


def chosen_by() -> str:
    """Return what chose the engine, in words: a variable, a context, or nothing but the default."""
    if os.environ.get("DOCKER_HOST"):
        return "by DOCKER_HOST"
    if name := os.environ.get("DOCKER_CONTEXT"):
        return f"by DOCKER_CONTEXT, the context {name}"
    current = get_current_context_name() or DEFAULT_CONTEXT
    return "by default" if current == DEFAULT_CONTEXT else f"by the current context, {current}"


def _checked(response: Response) -> Response:
    """Return a response, or raise an `APIError` if the response is a failure."""
    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)  # raises, with the engine's own words
    return response
