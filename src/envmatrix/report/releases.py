"""What is known of each release of each framework: the cells of it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from envmatrix.model.verdicts import Verdict
from envmatrix.report.entries import Entry


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a framework, with what is known of its cells."""

    framework: str
    version: str
    entries: tuple[Entry, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict of its best cell."""
        return self.best.verdict

    @property
    def best(self) -> Entry:
        """The best of its cells."""
        return min(self.entries, key=lambda entry: entry.rank)

    def pythons(self, verdict: Verdict) -> list[str]:
        """Return the Pythons with which a cell has this verdict, oldest first.

        Cells that ran under emulation count where there are no others.
        """
        held = [entry for entry in self.entries if entry.verdict is verdict]
        native = [entry for entry in held if not entry.emulated]
        found = {entry.axes.python for entry in native or held}
        return sorted(found, key=in_order)


def releases(entries: Iterable[Entry]) -> dict[str, tuple[Release, ...]]:
    """Return the releases of each framework, newest first. Frameworks are in their own order."""
    found: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        versions = found.setdefault(entry.axes.framework, {})
        versions.setdefault(entry.axes.version, []).append(entry)
    return {
        framework: tuple(
            Release(framework, version, tuple(versions[version]))
            for version in sorted(versions, key=in_order, reverse=True)
        )
        for framework, versions in found.items()
    }


def newest(found: Sequence[Release], verdict: Verdict) -> Release | None:
    """Return the newest of releases, newest first, whose best verdict is this one."""
    return next((release for release in found if release.verdict is verdict), None)


def in_order(version: str) -> tuple[int, Version, str]:
    """Return what sorts versions from old to new. What is no version comes before all others."""
    try:
        return (1, Version(version), version)
    except InvalidVersion:
        return (0, Version("0"), version)
