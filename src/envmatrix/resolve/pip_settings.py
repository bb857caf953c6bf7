"""The user's pip settings: index, extra indexes, find-links, certificates, proxy.

Many companies allow downloads only through these. pip itself is asked for its settings, so that
its files and its environment variables count alike. uv does not read pip's settings, so it gets
them in a file of its own. Addresses can hold passwords: none stands on a command line, and none in
a message or a record.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError, ToolError

DEFAULT_INDEX = "the default package index"
"""The name in our messages of the index that pip and uv ask where the user sets none."""
_TIMEOUT_SECONDS = 15.0
_RETRIES = 2
"""How often something transient is tried again, and no oftener, whatever pip's settings say."""
DIGEST_LENGTH = 12
# How pip names a file of settings that it cannot read: with a line, or as a whole.
_BAD_FILE = re.compile(
    r"(?:file: |errors: |reading from )'([^'\n]+)'(?:, line: |\s+\[line +)(\d+)"
    r"|Configuration file contains invalid \S+ characters in (.+)\."
)

# The variables that reach uv. None of them changes an answer: they say where its cache is, how the
# network is reached and who the user is. Everything else that uv reads (UV_*) would change locks.
_FOR_UV = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "NETRC"),
        *("UV_CACHE_DIR", "UV_NO_CACHE"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"),
        *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
        *("UV_HTTP_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    }
)
# The settings of pip that may come from PIP_ variables. Others, such as PIP_NO_BINARY or
# PIP_TARGET, would change what is downloaded, and where it is put.
_FOR_PIP = frozenset(
    {
        *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
        *("PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY"),
        *("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_KEYRING_PROVIDER"),
        *("PIP_USE_FEATURE", "PIP_USE_DEPRECATED", "PIP_ISOLATED"),
    }
)


@dataclass(frozen=True)
class PipSettings:
    """The settings of pip. A setting that the user did not make is empty.

    `timeout` is in seconds, for each answer of a server.
    """

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: str = ""
    client_cert: str = ""
    proxy: str = ""
    timeout: float = _TIMEOUT_SECONDS
    retries: int = _RETRIES

    @property
    def indexes(self) -> tuple[str, ...]:
        """The extra indexes that exist."""
        return tuple(url for url in self.extra_index_urls if _exists(url))

    @property
    def links(self) -> tuple[str, ...]:
        """The places of find-links that exist. uv fails where one does not, and pip ignores it."""
        return tuple(place for place in self.find_links if _exists(place))

    def check(self) -> None:
        """Check that each address is one. The error does not show it: it may hold a password.

        Raises:
            InputError: an address is none, and in which setting.
        """
        for name, urls in (
            ("index-url", (self.index_url,)),
            ("extra-index-url", self.extra_index_urls),
            ("find-links", self.find_links),
            ("proxy", (self.proxy,)),
        ):
            for url in urls:
                try:
                    urlsplit(url).port  # noqa: B018  (asking for it is the check)
                except ValueError:
                    raise InputError(
                        f"the setting {name} of pip holds an address that is none",
                        where="the settings of pip",
                        next_step="look at it with `python -m pip config list`, and correct it",
                    ) from None

    def uv_config(self, index: str | None, strategy: str) -> str:
        """Return the text of a uv.toml with these settings and the index of a variant, if any.

        uv takes the first index first, and the default index last.
        """
        lines = [
            f"no-index = {json.dumps(self.no_index)}",
            'keyring-provider = "disabled"',
            f"index-strategy = {json.dumps(strategy)}",
            f"find-links = {json.dumps([_absolute(place) for place in self.links])}",
            f"allow-insecure-host = {json.dumps(self.trusted_hosts)}",
        ]
        for url in (*([index] if index else []), *self.indexes):
            lines += ["[[index]]", f"url = {json.dumps(_absolute(url))}"]
        if self.index_url:
            lines += ["[[index]]", f"url = {json.dumps(_absolute(self.index_url))}"]
            lines += ["default = true"]
        return "\n".join(lines) + "\n"

    def uv_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return what uv gets of an environment, with the settings that it takes from there."""
        settings = {
            "SSL_CERT_FILE": _absolute(self.cert) if self.cert else "",
            "SSL_CLIENT_CERT": _absolute(self.client_cert) if self.client_cert else "",
            "ALL_PROXY": self.proxy,
            "HTTP_PROXY": self.proxy,
            "HTTPS_PROXY": self.proxy,
        }
        kept = {name: value for name, value in variables.items() if name in _FOR_UV}
        if self.proxy:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                kept.pop(name, None)
        own = {"UV_HTTP_TIMEOUT": f"{self.timeout:.0f}", "UV_HTTP_RETRIES": f"{self.retries}"}
        without_home = home()
        if without_home and "UV_CACHE_DIR" not in kept:
            without_home["UV_NO_CACHE"] = "1"
        found = {name: value for name, value in settings.items() if value}
        return own | kept | found | without_home

    @cached_property
    def digest(self) -> str:
        """A hash of the settings that may change answers. Users and passwords are not in it."""
        return digest(
            "settings",
            _without_user(self.index_url),
            [_without_user(url) for url in self.indexes],
            [[_without_user(place), _content(place)] for place in self.links],
            self.no_index,
            self.trusted_hosts,
            _hash_of(self.cert),
            bool(self.client_cert),
            _without_user(self.proxy),
        )[:DIGEST_LENGTH]


@cache
def pip_settings() -> PipSettings:
    """Ask pip for the settings that count for `pip download`.

    Raises:
        InputError: pip cannot read them, or an address in them is none.
        ToolError: pip is missing.
    """
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--no-input", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | home(),
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode:
        raise _no_settings(result.stderr)
    settings = parse(result.stdout)
    settings.check()
    return settings


@cache
def default_index() -> str:
    """Return the address of the index that pip and uv ask where the user sets none.

    pip tells it, so that no registry is written into this program. Nothing where pip does not.
    """
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pip._internal.models.index import PyPI; print(PyPI.simple_url)",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | home(),
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return result.stdout.strip()


def _no_settings(said: str) -> InputError | ToolError:
    """Return the error that tells why pip tells no settings. A line of a file may be a secret."""
    if "No module named pip" in said:
        return ToolError(
            "pip is missing, which downloads wheels",
            where=sys.prefix,
            next_step=f"install it with `{sys.executable} -m ensurepip`",
        )
    if place := _BAD_FILE.search(said):
        file, line, whole = place.groups()
        return InputError(
            "pip cannot read its own settings",
            where=whole or f"{file}:{line}",
            next_step="correct this file, or name another one in PIP_CONFIG_FILE",
        )
    last = (said.strip().splitlines() or ["it does not say why"])[-1]
    return InputError(
        f"pip does not tell its settings: {last[:300]}",
        where="the settings of pip",
        next_step="look at them with `python -m pip config debug`, and correct them",
    )


def home() -> dict[str, str]:
    """Return a HOME for a user who has none. pip and uv do not start without one.

    It is `/`, as in containers: nobody but root can put settings there.
    """
    has_one = os.path.expanduser("~") != "~"  # noqa: PTH111  (Path.home raises an error then)
    return {} if has_one else {"HOME": "/"}


def pip_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what pip gets of an environment: everything but the settings of other things."""
    kept = {
        name: value
        for name, value in variables.items()
        if not name.startswith("PIP_") or name in _FOR_PIP
    }
    return kept | home()


def parse(listing: str) -> PipSettings:
    """Read the output of `pip config list`: lines such as `global.index-url='...'`.

    The environment wins over the sections `download` and `install`, and these over `global`.
    """
    merged: dict[str, str] = {}
    ranks: dict[str, int] = {}
    order = {"global": 0, "install": 1, "download": 1, ":env:": 2}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        rank = order.get(section)
        if rank is None or rank < ranks.get(name, 0):
            continue
        ranks[name] = rank
        merged[name] = ast.literal_eval(value) if value[:1] in "'\"" else value
    timeout = _number(merged.get("timeout") or merged.get("default-timeout"), _TIMEOUT_SECONDS)
    return PipSettings(
        index_url=merged.get("index-url", ""),
        extra_index_urls=tuple(merged.get("extra-index-url", "").split()),
        find_links=tuple(merged.get("find-links", "").split()),
        no_index=merged.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        trusted_hosts=tuple(merged.get("trusted-host", "").split()),
        cert=merged.get("cert", ""),
        client_cert=merged.get("client-cert", ""),
        proxy=merged.get("proxy", ""),
        timeout=max(1.0, timeout),
        retries=min(_RETRIES, int(_number(merged.get("retries"), _RETRIES))),
    )


def shown(url: str) -> str:
    """Return how a message names an address: its scheme and host, and nothing that may be secret.

    A token can stand before the host, in the path and in the query.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return "a local folder"
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}/…"


def is_local(url: str) -> bool:
    """Return whether an address is a place on this machine's disk."""
    return urlsplit(url).scheme in ("", "file")


def local_path(url: str) -> Path:
    """Return the path of a place on this machine's disk."""
    parts = urlsplit(url)
    return Path(unquote(parts.path) if parts.scheme else url)


def _number(text: str | None, otherwise: float) -> float:
    found = re.fullmatch(r"\s*([0-9]{1,6}(\.[0-9]{1,6})?)\s*", text or "")
    return float(found[1]) if found else otherwise


def _exists(place: str) -> bool:
    """Return whether a local place exists. An address of a server always counts as existing."""
    return local_path(place).exists() if is_local(place) else True


def _absolute(place: str) -> str:
    """Return a place so that it means the same wherever uv runs."""
    return str(Path(place).absolute()) if not urlsplit(place).scheme else place


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _content(place: str) -> list[str]:
    """Return the names in a local folder of find-links: another wheel there is another answer."""
    if not is_local(place):
        return []
    try:
        return sorted(path.name for path in local_path(place).iterdir())
    except OSError:
        return []


def _hash_of(cert: str) -> str:
    try:
        return sha256(Path(cert).read_bytes()).hexdigest() if cert else ""
    except OSError:
        return "unreadable"
