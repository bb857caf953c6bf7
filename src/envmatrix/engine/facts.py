"""What an engine says about itself, in our words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_VERSION = re.compile(r"(\d+)\.(\d+)")
_SNAPSHOTTER = "io.containerd.snapshotter"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says about itself. `number` is its version as two numbers; (0, 0): not told.

    `driver` stores its images, and with `in_containerd` containerd does. `foreign` is the name of
    an engine that only speaks as Docker does.
    """

    version: str
    number: tuple[int, int]
    driver: str
    in_containerd: bool
    rootless: bool
    system: str
    foreign: str


def read_facts(info: Mapping[str, Any]) -> Facts:
    """Return the facts in the answer of `GET /info`. What is not told is empty."""
    version = str(info.get("ServerVersion") or "")
    found = _VERSION.match(version)
    options = [str(one) for one in info.get("SecurityOptions") or ()]
    return Facts(
        version=version,
        number=(int(found[1]), int(found[2])) if found else (0, 0),
        driver=str(info.get("Driver") or ""),
        in_containerd=_SNAPSHOTTER in str(info.get("DriverStatus") or ""),
        rootless=any("name=rootless" in one for one in options),
        system=str(info.get("OperatingSystem") or ""),
        # Only Podman tells of Buildah, which builds for it.
        foreign="Podman" if info.get("BuildahVersion") else "",
    )
