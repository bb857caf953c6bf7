"""Locks: what is asked of the resolver for a cell, and the hash-pinned wheels that it gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.interpreters import Interpreter, Wanted, parse_line
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import Judgement, Verdict

# The releases of uv whose words and log `resolve/uv_output.py` reads. uv promises neither to stay
# the same, so pyproject.toml allows these releases only. Before you change them, record the outputs
# in tests/unit/resolve/uv_output again; the tests say how, and whether UV_GLIBC still holds.
UV_RELEASES = "0.13"

# The glibc versions that uv 0.13 has a platform for. A newer glibc takes the newest of them.
UV_GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""By architecture: its name in the tags of wheels."""
OLDER_MANYLINUX = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""By minor version of glibc: older names of platforms, which wheels still carry (PEP 600)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question to the resolver. Cells that ask the same question share the answer."""

    requires: tuple[str, ...]
    constraints: tuple[str, ...]
    index: str | None
    python: str
    glibc: str
    arch: str
    as_of: str

    @property
    def key(self) -> str:
        """The hash of everything the answer depends on, except what indexes hold."""
        return digest(
            "lock",
            UV_RELEASES,
            self.cutoff,
            self.requires,
            self.constraints,
            self.index,
            self.python,
            self.uv_platform,
            self.arch,
        )

    @property
    def cutoff(self) -> str:
        """The moment from which published files do not count: the end of the day, in UTC.

        uv would read a day as a day of the machine's own time zone.
        """
        return f"{date.fromisoformat(self.as_of) + timedelta(days=1)}T00:00:00Z"

    @property
    def roots(self) -> frozenset[str]:
        """The names of the distributions that are asked for, without their dependencies."""
        return frozenset(map(requirement_name, self.requires))

    @property
    def uv_glibc(self) -> int:
        """The minor version of the newest glibc that uv knows and that is not newer than ours."""
        minor = int(self.glibc.split(".")[1])
        return max(known for known in UV_GLIBC if known <= minor)

    @property
    def uv_platform(self) -> str:
        """The platform in uv's words, such as `x86_64-manylinux_2_36`."""
        return f"{MACHINES[self.arch]}-manylinux_2_{self.uv_glibc}"

    @property
    def target(self) -> str:
        """What a lock is for, in the words of its file."""
        return f"Python {self.python}, glibc 2.{self.uv_glibc}, {self.arch}"


def problem_of(matrix: Matrix, cell: Cell) -> Problem:
    """Return what is asked of the resolver for a cell."""
    return Problem(
        cell.requires,
        cell.constraints,
        cell.index,
        cell.python,
        matrix.axes.os[cell.os].glibc,
        cell.arch,
        matrix.resolve.as_of,
    )


def base_problem_of(matrix: Matrix, cell: Cell) -> Problem:
    """Return what is asked of the resolver for the base of a cell.

    A base holds the installer, and the Python of the operating system runs it.
    """
    os = matrix.axes.os[cell.os]
    return Problem(
        (matrix.base.installer,), (), None, os.python, os.glibc, cell.arch, matrix.resolve.as_of
    )


def wanted_interpreter(matrix: Matrix, cell: Cell) -> Wanted | None:
    """Return which standalone CPython the base of a cell needs; None: the system's own is it."""
    if cell.own_python:
        return None
    return Wanted(cell.python, cell.arch, MACHINES[cell.arch], matrix.resolve.as_of)


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a lock. `size` is in bytes, and 0 where the index does not say."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Lock:
    """The wheels of a cell, one for each distribution, in the order of their names.

    The lock of a base also has the `interpreter`, where the operating system has another Python.
    """

    problem_key: str
    target: str
    as_of: str
    wheels: tuple[Wheel, ...]
    interpreter: Interpreter | None = None

    @property
    def text(self) -> str:
        """The lock as a requirements file with hashes, as `uv pip install` and pip read it."""
        lines = [
            "# GENERATED by `envmatrix lock`; do not edit. Wheels and their SHA-256.",
            f"# target: {self.target}, files published up to {self.as_of}",
            f"# problem: {self.problem_key}",
            *([self.interpreter.line] if self.interpreter else []),
        ]
        for wheel in self.wheels:
            lines += [
                f"# {wheel.filename} {wheel.size}",
                f"{wheel.name}=={wheel.version} \\",
                f"    --hash=sha256:{wheel.sha256}",
            ]
        return "\n".join(lines) + "\n"

    @property
    def sha256(self) -> str:
        """The hash of the wheels that are installed, whatever was asked to get them."""
        return digest(*([wheel.filename, wheel.sha256] for wheel in self.wheels))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def files(self) -> tuple[Wheel | Interpreter, ...]:
        """Everything that has to be downloaded."""
        return (*self.wheels, *([self.interpreter] if self.interpreter else []))


_AFTER_NAME = re.compile(r"[^A-Za-z0-9._-]")


def requirement_name(requirement: str) -> str:
    """Return the name of the distribution that a requirement asks for, as pip compares it."""
    return canonicalize_name(_AFTER_NAME.split(requirement, maxsplit=1)[0])


_MANYLINUX = re.compile(r"manylinux_2_([0-9]{1,3})_\w+")


def glibc_floor(lock: Lock, requirement: str) -> str | None:
    """Return the lowest glibc that the wheel of a requirement is tagged for, such as 2.28.

    None: the lock has no such wheel, or its tags name no glibc.
    """
    name = requirement_name(requirement)
    minors = [
        minor
        for wheel in lock.wheels
        if wheel.name == name
        for tag in parse_wheel_filename(wheel.filename)[3]
        if (minor := _glibc_minor(tag.platform)) is not None
    ]
    return f"2.{min(minors)}" if minors else None


def _glibc_minor(platform: str) -> int | None:
    if found := _MANYLINUX.fullmatch(platform):
        return int(found[1])
    older = (minor for minor, name in OLDER_MANYLINUX.items() if platform.startswith(f"{name}_"))
    return next(older, None)


_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 10**12
_LONGEST = 300

_TITLE = "# GENERATED by `envmatrix lock`; do not edit. Wheels and their SHA-256."
_TARGET = re.compile(
    rf"# target: (?P<target>Python 3\.[0-9]{{1,2}}, glibc 2\.[0-9]{{2}}, ({'|'.join(MACHINES)})), "
    r"files published up to (?P<as_of>[0-9]{4}-[0-9]{2}-[0-9]{2})"
)
_PROBLEM = re.compile(r"# problem: (?P<problem>[0-9a-z]{1,64})")
_FILE_LINE = re.compile(r"# (?P<filename>\S+) (?P<size>[0-9]{1,13})")
_REQUIREMENT_LINE = re.compile(r"(?P<name>\S+?)==(?P<version>\S+) \\")
_HASH_LINE = re.compile(r"    --hash=sha256:(?P<sha256>[0-9a-f]{64})")


@lru_cache(maxsize=4096)
def check_wheel(wheel: Wheel) -> None:
    """Check that no field of a wheel can be anything else: an option, a path, another wheel.

    Most wheels stand in several locks, and are checked once.

    Locks are committed and indexes are foreign, so both are untrusted. pip and uv read the name,
    the version and the hash; the file name is a part of a path.

    Raises:
        ValueError: a field is not as it must be, and why.
    """
    if not _NAME.fullmatch(wheel.name) or len(wheel.name) > _LONGEST:
        raise ValueError(f"{wheel.name!r:.80} is not the name of a distribution")
    try:
        version = Version(wheel.version)
    except InvalidVersion:
        version = None
    if version is None or str(version) != wheel.version or len(wheel.version) > _LONGEST:
        raise ValueError(f"{wheel.version!r:.80} is not a version")
    if _told(wheel.filename) != (wheel.name, version):
        raise ValueError(
            f"{wheel.filename!r:.80} is not a wheel of {wheel.name:.80} {wheel.version:.80}"
        )
    if not _SHA256.fullmatch(wheel.sha256):
        raise ValueError(f"{wheel.sha256!r:.80} is not a SHA-256")
    if not 0 <= wheel.size <= _LARGEST:
        raise ValueError(f"{wheel.size} is not the size of a wheel")


def _told(filename: str) -> tuple[str, Version] | None:
    """Return the name and the version that the file name of a wheel tells."""
    if not _FILENAME.fullmatch(filename) or len(filename) > _LONGEST:
        return None
    try:
        name, version, *_ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    return name, version


@lru_cache(maxsize=256)
def parse_lock(text: str, where: str) -> Lock:
    """Read back a lock file, which is untrusted. `where` names the file.

    A command asks for the same lock several times, and each of its wheels is checked.

    Raises:
        InputError: the text is not one that `Lock.text` gives, and at which line.
    """
    lines = _Lines(text, where)
    if lines.take("the first line of a lock") != _TITLE:
        raise lines.wrong("this is not the first line of a lock")
    target = lines.match(_TARGET, "a line `# target: ...`")
    try:
        date.fromisoformat(target["as_of"])
    except ValueError:
        raise lines.wrong(f"{target['as_of']} is not a day") from None
    problem = lines.match(_PROBLEM, "a line `# problem: ...` with the hash of the problem")
    interpreter = _interpreter(lines)
    wheels = tuple(_wheels(lines))
    return Lock(problem["problem"], target["target"], target["as_of"], wheels, interpreter)


def _interpreter(lines: _Lines) -> Interpreter | None:
    try:
        found = parse_line(lines.next)
    except ValueError as error:
        lines.take("an interpreter")
        raise lines.wrong(str(error)) from None
    if found:
        lines.take("an interpreter")
    return found


def _wheels(lines: _Lines) -> Iterator[Wheel]:
    last = ""
    while lines.are_left:
        file = lines.match(_FILE_LINE, "a line with a file name and a size")
        requirement = lines.match(_REQUIREMENT_LINE, "a line `name==version \\`")
        sha256 = lines.match(_HASH_LINE, "a line `    --hash=sha256:...`")
        wheel = Wheel(
            requirement["name"],
            requirement["version"],
            file["filename"],
            sha256["sha256"],
            int(file["size"]),
        )
        try:
            check_wheel(wheel)
        except ValueError as error:
            raise lines.wrong(str(error), back=1) from None
        if wheel.name <= last:
            raise lines.wrong(
                f"{wheel.name} stands twice, or the names are not in their order", back=1
            )
        last = wheel.name
        yield wheel


class _Lines:
    """The lines of a lock, one after another, and the error that names one of them."""

    def __init__(self, text: str, where: str) -> None:
        self._lines = text.split("\n")
        self._where = where
        self._number = 0

    @property
    def are_left(self) -> bool:
        """Whether there is a line after the ones that were taken."""
        return self._lines[self._number :] != [""]

    @property
    def next(self) -> str:
        """The line after the ones that were taken; empty if there is none."""
        return self._lines[self._number] if self._number < len(self._lines) else ""

    def take(self, wanted: str) -> str:
        """Return the next line.

        Raises:
            InputError: there is none.
        """
        self._number += 1
        if self._number > len(self._lines):
            raise self.wrong(f"the file ends, and {wanted} is needed")
        return self._lines[self._number - 1]

    def match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        """Return the next line, matched as a whole.

        Raises:
            InputError: it has another form.
        """
        line = self.take(wanted)
        found = pattern.fullmatch(line)
        if found is None:
            raise self.wrong(f"found {line!r:.80}, and {wanted} is needed")
        return found

    def wrong(self, why: str, back: int = 0) -> InputError:
        """Return the error about the last line that was taken, or about one before it."""
        return InputError(
            f"this lock was damaged or changed by hand: {why}",
            where=f"{self._where}, line {self._number - back}",
            next_step=f"restore it with `git checkout -- {self._where}`; or remove it with "
            f"`rm {self._where}` and make it anew with `envmatrix lock`",
        )


def lock_of_interpreter(wanted: Wanted, interpreter: Interpreter) -> Lock:
    """Return the lock that answers which interpreter a base gets. It has no wheels."""
    return Lock(wanted.key, wanted.target, wanted.as_of, (), interpreter)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to a problem: a lock, or the judgement that there is none.

    `settings` is the digest of the user's settings (indexes, certificates, proxy) under which a
    proof was made. A lock is valid under any settings, since it has hashes.
    """

    lock: Lock | None
    judgement: Judgement | None
    settings: str = ""

    @property
    def lasting(self) -> bool:
        """Whether a second question would get the same answer.

        An index that cannot be reached now may be reached later.
        """
        return self.judgement is None or self.judgement.verdict is Verdict.IMPOSSIBLE
