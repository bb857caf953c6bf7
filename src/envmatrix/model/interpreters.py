"""Interpreters: the standalone CPython of a base whose operating system has another Python.

They are archives of the project python-build-standalone, which uv installs. The name of an archive
tells its version, the day of its build and its machine. A lock names no address: uv composes it of
its own default, or of the mirror that a user sets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from envmatrix.model.digests import digest

PUBLIC = "https://github.com/astral-sh/python-build-standalone/releases/download"
"""What the addresses in uv's own list begin with. uv replaces exactly this by its own mirror, or by
UV_PYTHON_INSTALL_MIRROR (`CPYTHON_DOWNLOADS_URL_PREFIX` in crates/uv-python/src/downloads.rs)."""
GLIBC = "2.17"
"""The oldest glibc on which these archives run."""

_FILENAME = re.compile(
    r"cpython-(?P<version>(?P<python>3\.[0-9]{1,2})\.[0-9]{1,3})\+(?P<build>[0-9]{8})-"
    r"(?P<machine>x86_64|aarch64)-unknown-linux-gnu-install_only(?:_stripped)?\.tar\.gz"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(
    r"# interpreter: (?P<filename>\S+) (?P<size>[0-9]{1,13}) (?P<sha256>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An archive of a standalone CPython. `size` is in bytes.

    Raises:
        ValueError: a field is not as it must be. The file name is a part of a path and of a
            command, and both locks and lists of downloads are untrusted.
    """

    filename: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not _FILENAME.fullmatch(self.filename):
            raise ValueError(f"{self.filename!r:.80} is not an archive of a standalone CPython")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.sha256!r:.80} is not a SHA-256")

    @property
    def version(self) -> str:
        """The full version, such as `3.12.16`."""
        return told(self.filename)["version"]

    @property
    def build(self) -> str:
        """The day of the build, such as `20261110`."""
        return told(self.filename)["build"]

    @property
    def key(self) -> str:
        """The name by which uv knows it, and the name of the folder that uv installs it in."""
        return key(self.version, told(self.filename)["machine"])

    @property
    def place(self) -> str:
        """Where a mirror has it, below the address of the mirror."""
        return f"{self.build}/{self.filename}"

    @property
    def download_list(self) -> str:
        """A list of downloads for uv that holds this archive alone, in one line."""
        major, minor, patch = map(int, self.version.split("."))
        entry = {
            "name": "cpython",
            "arch": {"family": told(self.filename)["machine"], "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "url": f"{PUBLIC}/{quote(self.place)}",
            "sha256": self.sha256,
            "build": self.build,
        }
        return json.dumps({self.key: entry})

    @property
    def line(self) -> str:
        """The line of a lock that pins it."""
        return f"# interpreter: {self.filename} {self.size} {self.sha256}"


def parse_line(line: str) -> Interpreter | None:
    """Read back the line of a lock; None: the line is about something else.

    Raises:
        ValueError: it pins something that is no archive of a standalone CPython.
    """
    found = _LINE.fullmatch(line)
    return Interpreter(found["filename"], found["sha256"], int(found["size"])) if found else None


def key(version: str, machine: str) -> str:
    """Return the name by which uv knows the interpreters of a version, or of a line of versions."""
    return f"cpython-{version}-linux-{machine}-gnu"


def told(filename: str) -> dict[str, str]:
    """Return what the name of an archive tells; nothing where it is no archive that we know."""
    found = _FILENAME.fullmatch(filename)
    return found.groupdict() if found else {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which interpreter a base needs: the newest of a Python that was built up to a day.

    Bases of one Python and one machine share it, whatever their operating system.
    """

    python: str
    arch: str
    machine: str
    as_of: str

    @property
    def key(self) -> str:
        """The hash under which the answer is recorded."""
        return digest("interpreter", self.python, self.arch, self.as_of)

    @property
    def target(self) -> str:
        """What it is for, in the words of a lock."""
        return f"Python {self.python}, glibc {GLIBC}, {self.arch}"

    def is_met_by(self, filename: str) -> bool:
        """Return whether an archive of this name is for this Python, and not too new."""
        found = told(filename)
        return bool(found) and (
            (found["python"], found["machine"]) == (self.python, self.machine)
            and found["build"] <= self.as_of.replace("-", "")
        )
