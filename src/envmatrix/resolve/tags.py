"""Wheel tags: which wheels a Python with a C library can install, and which of them is best.

The cell's Python decides, not the Python that runs envmatrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envmatrix.model.locks import MACHINES, OLDER_MANYLINUX

_OLDEST_GLIBC = {"amd64": 5, "arm64": 17}


def platform_tags(glibc: str, arch: str) -> Sequence[str]:
    """Return the platform tags that a glibc can use, the newest glibc first (PEP 600)."""
    machine = MACHINES[arch]
    tags: list[str] = []
    for minor in range(int(glibc.split(".")[1]), _OLDEST_GLIBC[arch] - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in OLDER_MANYLINUX:
            tags.append(f"{OLDER_MANYLINUX[minor]}_{machine}")
    return [*tags, f"linux_{machine}"]


@lru_cache(maxsize=64)
def supported_tags(python: str, glibc: str, arch: str) -> tuple[Tag, ...]:
    """Return the tags of all wheels that a Python can install, the best tag first."""
    platforms = platform_tags(glibc, arch)
    version = tuple(int(part) for part in python.split("."))
    interpreter = "cp" + "".join(python.split("."))
    return (
        *cpython_tags(version, [interpreter], platforms),
        *compatible_tags(version, interpreter, platforms),
    )


def fits(filename: str, tags: AbstractSet[Tag]) -> bool:
    """Return whether a file is a wheel that has one of these tags."""
    try:
        return not tags.isdisjoint(parse_wheel_filename(filename)[3])
    except InvalidWheelFilename:
        return False
