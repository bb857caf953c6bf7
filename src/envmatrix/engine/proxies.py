"""Proxies for builds: those of the user's environment and of the Docker CLI's config.json.

Docker knows these build arguments without an ARG. They are neither in the history of an image nor
in the key of a cached step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from docker.utils.config import load_general_config

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY")
_NO_PROXY = "NO_PROXY"
_DIRECT = ("localhost", "127.0.0.1", "::1")
_KEYS = {
    "HTTP_PROXY": "httpProxy",
    "HTTPS_PROXY": "httpsProxy",
    "FTP_PROXY": "ftpProxy",
    "ALL_PROXY": "allProxy",
    _NO_PROXY: "noProxy",
}
"""The names that config.json has for the variables."""
_HIDDEN = "***"
_LINE_LIMIT = 65536


def proxy_arguments(
    engine: str, *, direct: Iterable[str], loopback: bool, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the build arguments that name the user's proxies, in both spellings of each.

    The environment wins over config.json. `engine` is the address of the engine, by which
    config.json may tell its proxies. No proxy is used for `direct` hosts. A proxy on loopback is
    left out unless the steps reach the `loopback` network of this machine.
    """
    given = _configured(engine) | {
        name: value
        for name in (*_NAMES, _NO_PROXY)
        if (value := environment.get(name.lower()) or environment.get(name))
    }
    proxies = {
        name: given[name]
        for name in _NAMES
        if name in given and (loopback or not _is_loopback(given[name]))
    }
    if not proxies:
        return {}
    hosts = [*given.get(_NO_PROXY, "").split(","), *_DIRECT, *direct]
    proxies[_NO_PROXY] = ",".join(dict.fromkeys(host.strip() for host in hosts if host.strip()))
    return {spelled: value for name, value in proxies.items() for spelled in (name, name.lower())}


def user_environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


def _configured(engine: str) -> dict[str, str]:
    proxies = load_general_config().get("proxies")
    if not isinstance(proxies, dict):
        return {}
    found = proxies.get(engine) or proxies.get("default")
    if not isinstance(found, dict):
        return {}
    return {name: str(found[key]) for name, key in _KEYS.items() if found.get(key)}


def _is_loopback(url: str) -> bool:
    host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def secrets_of(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the credentials in the addresses, in every form in which a program may show them."""
    found: dict[str, None] = {}
    for url in urls:
        userinfo, at, _ = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")
        if not at or not userinfo:
            continue
        user, _, password = userinfo.partition(":")
        for secret in (userinfo, unquote(userinfo), password or user, unquote(password or user)):
            found[secret] = None
    return tuple(sorted(found, key=len, reverse=True))


@contextmanager
def hiding(secrets: Iterable[str], log: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Yield a log that hides credentials. It hands on whole lines, so that none is cut in two."""
    shown = [re.escape(secret) for secret in secrets if secret]
    if not shown:
        yield log
        return
    pattern = re.compile("|".join(shown))
    waiting = ""

    def write(text: str) -> None:
        nonlocal waiting
        waiting += text
        end = max(waiting.rfind("\n"), waiting.rfind("\r")) + 1
        if len(waiting) > _LINE_LIMIT:
            end = len(waiting)
        if end:
            log(pattern.sub(_HIDDEN, waiting[:end]))
            waiting = waiting[end:]

    try:
        yield write
    finally:
        if waiting:
            log(pattern.sub(_HIDDEN, waiting))
