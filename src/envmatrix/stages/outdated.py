"""What indexes have that the matrix does not: newer releases of its frameworks, newer Pythons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envmatrix.model.cells import Cell
from envmatrix.model.errors import NetworkError
from envmatrix.model.matrix import Matrix
from envmatrix.resolve.indexes import Indexes, Trouble
from envmatrix.resolve.pages import File

Line = tuple[int, ...]
"""The first two numbers of a version: the matrix has one release of each."""


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A final release that an index has, and the release of its line that the matrix has.

    `uploaded` is the day of its first file; empty where the index does not tell.
    """

    framework: str
    version: str
    has: str
    uploaded: str

    def to_json(self) -> dict[str, str]:
        """Return the fields as `outdated --json` names them. An empty `has` is null for no one."""
        return {
            "framework": self.framework,
            "version": self.version,
            "has": self.has,
            "uploaded": self.uploaded,
        }


@dataclass(frozen=True, slots=True)
class Outdated:
    """What the matrix lacks."""

    releases: tuple[NewRelease, ...]
    pythons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document of `envmatrix outdated --json`."""
        return {
            "schema": 1,
            "releases": [one.to_json() for one in self.releases],
            "pythons": list(self.pythons),
        }


def look(matrix: Matrix, cells: Iterable[Cell], indexes: Indexes) -> Outdated:
    """Ask the user's indexes for what the matrix lacks.

    A release counts where it is final, and either of a
    line newer than all those of the matrix, or the newest of a line that the matrix has.

    Raises:
        NetworkError: an index gave no answer that can be relied on.
    """
    projects: dict[str, set[str]] = {}
    for cell in cells:
        if not cell.stack:
            name = canonicalize_name(Requirement(cell.requires[0]).name)
            projects.setdefault(cell.family, set()).add(name)
    releases: list[NewRelease] = []
    pythons: set[str] = set()
    for framework, names in projects.items():
        files = [file for name in sorted(names) for file in _files(indexes, name)]
        releases += _newer(framework, matrix.frameworks[framework].versions, files)
        pythons |= _pythons(files)
    newest = max(map(Version, matrix.axes.python))
    return Outdated(
        tuple(releases),
        tuple(sorted((one for one in pythons if Version(one) > newest), key=Version)),
    )


def _files(indexes: Indexes, name: str) -> list[File]:
    found: list[File] = []
    for place in indexes.own:
        answer = indexes.ask(place, name)
        if isinstance(answer, Trouble):
            raise NetworkError(
                answer.cause,
                where=f"outdated {name}",
                next_step="see pip's settings with `pip config list`; then ask again",
            )
        found += answer
    return found


def _newer(framework: str, has: Sequence[str], files: Sequence[File]) -> list[NewRelease]:
    ours: dict[Line, Version] = {}
    for version in map(Version, has):
        ours[_line(version)] = max(version, ours.get(_line(version), version))
    theirs: dict[Line, Version] = {}
    days: dict[Version, str] = {}
    for file in files:
        told = file.version
        if told is None or told.is_prerelease or told.local:
            continue
        theirs[_line(told)] = max(told, theirs.get(_line(told), told))
        if day := file.uploaded[:10]:
            days[told] = min(day, days.get(told, day))
    return [
        NewRelease(
            framework,
            str(version),
            str(ours[line]) if line in ours else "",
            days.get(version, ""),
        )
        for line, version in sorted(theirs.items())
        if (line in ours and version > ours[line]) or line > max(ours)
    ]


def _line(version: Version) -> Line:
    return version.release[:2]


def _pythons(files: Iterable[File]) -> set[str]:
    """Return the Pythons that wheels of the newest final release are built for."""
    found: dict[Version, set[str]] = {}
    for file in files:
        try:
            _, version, _, tags = parse_wheel_filename(file.filename)
        except InvalidWheelFilename:
            continue
        if not version.is_prerelease:
            found.setdefault(version, set()).update(
                f"3.{tag.interpreter[3:]}"
                for tag in tags
                if tag.interpreter.startswith("cp3") and tag.interpreter[3:].isdigit()
            )
    return found[max(found)] if found else set()
