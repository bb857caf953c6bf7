"""The way to a registry: its address, certificates, credentials and tokens, as Docker has them."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import threading
import warnings
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from docker import auth
from docker.errors import DockerException
from requests import ConnectionError as NoConnection
from requests import PreparedRequest, RequestException, Response, Session
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from envmatrix.model.errors import EngineError

SECONDS = 60
"""The time that a registry has to begin its answer, and for each part of it."""
LARGEST_ANSWER = 32 * 2**20
"""The largest answer that is read, in bytes: manifests and documents are small."""
_CHUNK = 2**16
_TOO_MANY = 429
_SERVER_ERROR = 500
_UNAUTHORIZED = 401
_BAD_REQUEST = 400
_HUB = "docker.io"
_HUB_ADDRESS = "registry-1.docker.io"
"""Where Docker's own registry answers. Its name is another one."""
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry answered, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_good(self) -> bool:
        """Whether the registry did what was asked."""
        return self.status < _BAD_REQUEST

    @property
    def text(self) -> str:
        """What it said."""
        return self.content.decode("utf-8", "replace")


class _Own(AuthBase):
    """Credentials of ours, or none: requests would else take those of ~/.netrc."""

    def __init__(self, header: str = "") -> None:
        self._header = header

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._header:
            request.headers["Authorization"] = self._header
        return request


class _Trusting(HTTPAdapter):
    """Trusts what the system trusts, as Docker does, and the authorities of one registry."""

    def __init__(self, authorities: list[Path]) -> None:
        self._context = ssl.create_default_context()
        for path in authorities:
            self._context.load_verify_locations(path)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
        """Make the pool with the certificates."""
        super().init_poolmanager(*arguments, **settings, ssl_context=self._context)


@dataclass
class Access:
    """The way to one registry. `base` is its address; it is found with the first request."""

    host: str
    session: Session
    user: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    base: str = ""
    _headers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, host: str) -> Access:
        """Return the way to a registry with what the docker CLI knows of it.

        Raises:
            EngineError: the credentials or the certificates cannot be read.
        """
        session = Session()
        folders = _certificate_folders(host)
        try:
            authorities = [path for folder in folders for path in sorted(folder.glob("*.crt"))]
            session.mount("https://", _Trusting(authorities))
            keys = [path for folder in folders for path in sorted(folder.glob("*.key"))]
            if keys and (own := keys[0].with_suffix(".cert")).is_file():
                session.cert = (str(own), str(keys[0]))
        except (OSError, ssl.SSLError) as error:
            raise EngineError(
                f"the certificates for the registry cannot be used: {error}",
                where=", ".join(map(str, folders)),
                next_step="correct the files there: *.crt, and *.cert with its *.key",
                kind="certificate",
            ) from error
        found = _credentials(host)
        return cls(
            host,
            session,
            str(found.get("username") or found.get("Username") or ""),
            str(found.get("password") or found.get("Password") or ""),
            str(found.get("identitytoken") or found.get("IdentityToken") or ""),
        )

    def send(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and log in where the registry asks for it.

        Raises:
            RequestException: the registry cannot be reached, or its answer has no end.
        """
        address = urljoin(self._found_base(), path)
        # An upload may go to another host, which gets no credentials of this one.
        ours = urlsplit(address).netloc == urlsplit(self.base).netloc

        def once() -> Answer:
            answer = self.session.request(
                method,
                address,
                headers=dict(headers),
                data=data,
                params=dict(parameters or {}),
                auth=_Own(self._headers.get(scope, "") if ours else ""),
                timeout=SECONDS,
                stream=True,
            )
            with answer:
                return Answer(answer.status_code, answer.headers, _read(answer))

        answer = once()
        if answer.status == _UNAUTHORIZED and ours:
            self._headers.pop(scope, None)  # A token that was good once may have ended.
            if header := self._login(answer.headers.get("WWW-Authenticate", ""), scope):
                self._headers[scope] = header
                answer = once()
        return answer

    def _found_base(self) -> str:
        """Return the address: encrypted, or plain on loopback where it is, as Docker does."""
        if not self.base:
            name = _HUB_ADDRESS if self.host == _HUB else self.host
            plain = is_loopback(self.host) and self._is_plain(f"http://{name}/v2/")
            self.base = f"{'http' if plain else 'https'}://{name}"
        return self.base

    def _is_plain(self, address: str) -> bool:
        """Return whether a registry on loopback answers without encryption. No secret is sent."""
        try:
            answer = self.session.get(address, auth=_Own(), timeout=SECONDS, allow_redirects=False)
        except NoConnection as error:
            # One that speaks TLS hangs up on plain words. One that is not there refuses.
            return "refused" in str(error)
        return answer.status_code != _BAD_REQUEST

    def _login(self, challenge: str, scope: str) -> str:
        """Return the header that answers a challenge; empty where there is none to give."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            return _basic(self.user, self.password) if self.user else ""
        told = {name.lower(): text for name, text in _CHALLENGE.findall(rest)}
        realm = told.get("realm", "")
        if kind.lower() != "bearer" or not self._may_know(realm):
            return ""
        asked = {"service": told.get("service", ""), "scope": told.get("scope", scope)}
        if self.identity:
            form = {
                **asked,
                "grant_type": "refresh_token",
                "client_id": "envmatrix",
                "refresh_token": self.identity,
            }
            answer = self.session.post(realm, data=form, auth=_Own(), timeout=SECONDS)
        else:
            own = _Own(_basic(self.user, self.password)) if self.user else _Own()
            answer = self.session.get(realm, params=asked, auth=own, timeout=SECONDS)
        if answer.status_code == _TOO_MANY or answer.status_code >= _SERVER_ERROR:
            raise NoConnection(f"the server of tokens answers with {answer.status_code}")
        try:
            found = answer.json() if answer.ok else {}
            token = found.get("token") or found.get("access_token") or ""
        except (ValueError, AttributeError):
            token = ""
        return f"Bearer {token}" if token else ""

    def _may_know(self, realm: str) -> bool:
        """Return whether a server of tokens may get the password: encrypted, or on loopback."""
        parts = urlsplit(realm)
        if parts.scheme == "https":
            return True
        return parts.scheme == "http" and is_loopback(parts.netloc) and is_loopback(self.host)


def _read(answer: Response) -> bytes:
    data = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        data += chunk
        if len(data) > LARGEST_ANSWER:
            raise RequestException(f"the answer is larger than {LARGEST_ANSWER} bytes")
    return bytes(data)


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine, as Docker sees it."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


_WARNINGS = threading.Lock()
"""Held while warnings are silenced: two threads that do so would leave them silent for ever."""


def _credentials(host: str) -> Mapping[str, Any]:
    """Return what `docker login` kept for a host, also where a credential helper keeps it."""
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It also raises what it warns of.
            return auth.load_config().resolve_authconfig(host) or {}
    except DockerException as error:
        raise EngineError(
            f"the credentials of the docker CLI cannot be read: {str(error)[:300]}",
            where="config.json of the docker CLI",
            next_step=f"log in again: `docker login {host}`",
            kind="credentials",
        ) from error


def _certificate_folders(host: str) -> list[Path]:
    """Return the folders in which Docker looks for the certificates of a registry."""
    home = os.path.expanduser("~")  # noqa: PTH111  (Path.home fails for a user without a home)
    settings = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    roots = ("/etc/docker", f"{settings}/docker", f"{home}/.docker")
    return [folder for root in roots if (folder := Path(root, "certs.d", host)).is_dir()]
