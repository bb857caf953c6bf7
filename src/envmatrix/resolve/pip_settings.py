"""The user's pip settings: index, extra indexes, find-links, certificates, proxy.

Many companies allow downloads only through these. pip itself is asked for its settings, so that
its files and its environment variables count alike. uv does not read pip's settings, so it gets
them as its own arguments.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class PipSettings:
    """The settings of pip. A setting that the user did not make is empty."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: str = ""
    client_cert: str = ""
    proxy: str = ""

    def uv_arguments(self) -> list[str]:
        """Return the same settings as arguments of `uv pip`."""
        arguments: list[str] = []
        if self.index_url:
            arguments += ["--default-index", self.index_url]
        if self.no_index:
            arguments.append("--no-index")
        for url in self.extra_index_urls:
            if _exists(url):
                arguments += ["--index", url]
        for place in self.find_links:
            if _exists(place):
                arguments += ["--find-links", place]
        for host in self.trusted_hosts:
            arguments += ["--allow-insecure-host", host]
        return arguments

    def uv_environment(self) -> dict[str, str]:
        """Return the settings that uv takes from environment variables."""
        settings = {
            "SSL_CERT_FILE": self.cert,
            "SSL_CLIENT_CERT": self.client_cert,
            "ALL_PROXY": self.proxy,
        }
        return {name: value for name, value in settings.items() if value}


@cache
def pip_settings() -> PipSettings:
    """Ask pip for the settings that count for `pip download`."""
    result = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return parse(result.stdout)


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
    return PipSettings(
        index_url=merged.get("index-url", ""),
        extra_index_urls=tuple(merged.get("extra-index-url", "").split()),
        find_links=tuple(merged.get("find-links", "").split()),
        no_index=merged.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        trusted_hosts=tuple(merged.get("trusted-host", "").split()),
        cert=merged.get("cert", ""),
        client_cert=merged.get("client-cert", ""),
        proxy=merged.get("proxy", ""),
    )


def _exists(place: str) -> bool:
    """Return whether a local place exists. An address of a server always counts as existing."""
    parts = urlsplit(place)
    if parts.scheme in ("", "file"):
        return Path(parts.path).exists()
    return True
