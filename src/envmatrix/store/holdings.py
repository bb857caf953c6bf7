"""What the state of a project holds, by kind, and the removal of what can be made again.

The state is not trusted: a clone may hold links that lead out of it. So no link is followed, no
other file system is entered, and what is not as it should be is left and named.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from envmatrix.store.layout import Layout
from envmatrix.store.records import half_made

_BLOCK = 512
"""The unit of `st_blocks`, whatever the file system."""
_LINK = "it is a link, and no link is followed"
_AT_WORK = "a private engine is at work there"
_MOUNT = "another file system is mounted there"


class Kind(StrEnum):
    """The kinds of what the state holds."""

    WHEELHOUSE = "wheelhouse"
    LOGS = "logs"
    TEMPORARY = "temporary"
    ENGINES = "engines"
    EVIDENCE = "evidence"
    RECORDS = "records"
    TOOLS = "tools"


_PLACES: dict[Kind, tuple[str, ...]] = {
    Kind.WHEELHOUSE: ("wheelhouse",),
    Kind.LOGS: ("logs",),
    Kind.EVIDENCE: ("cells", "host", "report", "records/probe", "records/verify"),
    Kind.RECORDS: ("records",),
    Kind.TOOLS: ("tools", "engine"),
}
"""The folders of each kind, from the state. The records of evidence count as evidence."""
_TEMPORARY = {
    "wheelhouse": ("incoming-*",),
    "verify": ("*",),
}
"""By folder, the names of what only a run at work needs, beside what is half made."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What there is of a kind: its paths, their bytes on the disk, and what is `left` and why."""

    kind: Kind
    paths: tuple[Path, ...]
    size: int
    left: tuple[tuple[Path, str], ...] = ()


def holdings(layout: Layout) -> list[Holding]:
    """Return what the state holds of each kind. Nothing is changed, and no link is followed."""
    root = layout.state
    if root.is_symlink():
        return [Holding(Kind.WHEELHOUSE, (), 0, ((root, _LINK),))]
    if not root.is_dir():
        return []
    temporary = tuple(sorted(_temporary(root)))
    evidence = {root / name for name in _PLACES[Kind.EVIDENCE]}
    found = []
    for kind in Kind:
        places = tuple(root / name for name in _PLACES.get(kind, ()))
        if kind is Kind.TEMPORARY:
            places = temporary
        if kind is Kind.ENGINES:
            places = tuple(sorted(_engines(root)))
        skipped = set(temporary) if kind is not Kind.TEMPORARY else set()
        if kind is Kind.RECORDS:
            skipped |= evidence
        found.append(_holding(root, kind, places, frozenset(skipped)))
    return found


def _holding(root: Path, kind: Kind, places: Sequence[Path], skipped: frozenset[Path]) -> Holding:
    paths, left, size = [], [], 0
    device = root.stat().st_dev
    for place in places:
        if not os.path.lexists(place):
            continue
        with _unused(kind, place) as is_unused:
            why = _unfit(root, place, device) if is_unused else _AT_WORK
        if why:
            left.append((place, why))
            continue
        paths.append(place)
        size += _size(place, skipped)
    return Holding(kind, tuple(paths), size, tuple(left))


def _unfit(root: Path, place: Path, device: int) -> str:
    """Return why a place is left; empty where it lies in the state as it should."""
    between = [one for one in place.parents if one.is_relative_to(root) and one != root]
    if any(one.is_symlink() for one in (place, *between)):
        return _LINK
    for folder, names, _ in os.walk(place):  # It follows no link.
        for name in (folder, *(f"{folder}/{one}" for one in names)):
            with suppress(OSError):
                found = os.lstat(name)
                if stat.S_ISDIR(found.st_mode) and found.st_dev != device:
                    return _MOUNT
    return ""


def _engines(root: Path) -> Iterator[Path]:
    """Yield the folders of the engines that scripts/private-engine unpacked."""
    folder = root / "engines"
    if folder.is_symlink():
        yield folder  # It is told as what it is.
        return
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (Path(one.path) for one in entries if one.is_dir(follow_symlinks=False))


@contextmanager
def _unused(kind: Kind, place: Path) -> Iterator[bool]:
    """Hold the lock of a private engine, and yield whether nothing else does.

    Anything else is not used by anyone while the state is held alone.
    """
    lock = place.with_name(f"{place.name}.lock")
    if kind is not Kind.ENGINES or lock.is_symlink() or not lock.is_file():
        yield True
        return
    import fcntl  # noqa: PLC0415  (Windows has none, nor private engines)

    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _temporary(root: Path) -> Iterator[Path]:
    for name, patterns in _TEMPORARY.items():
        folder = root / name
        if folder.is_dir() and not folder.is_symlink():
            for pattern in patterns:
                yield from folder.glob(pattern)
    yield from half_made(root)


def _size(place: Path, skipped: frozenset[Path] = frozenset()) -> int:
    """Return the bytes that a file or a folder has on the disk. A file of two names counts once."""
    seen: set[tuple[int, int]] = set()

    def of(path: str) -> int:
        try:
            found = os.lstat(path)
        except OSError:
            return 0
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in seen:
                return 0
            seen.add((found.st_dev, found.st_ino))
        return found.st_blocks * _BLOCK

    if place in skipped:
        return 0
    total = of(str(place))
    for folder, names, files in os.walk(place):
        names[:] = [one for one in names if Path(folder, one) not in skipped]
        kept = [one for one in files if not skipped or Path(folder, one) not in skipped]
        total += sum(of(f"{folder}/{one}") for one in (*names, *kept))
    return total


@dataclass(frozen=True, slots=True)
class Emptied:
    """What came of a removal: the bytes that are gone, and what stayed and why."""

    freed: int
    stayed: tuple[tuple[Path, str], ...] = ()


def empty(layout: Layout, kind: Kind, paths: Sequence[Path], size: int) -> Emptied:
    """Remove paths of a kind that were shown, where they still lie in the state as they should.

    The state must be held alone. `size` is what the paths had, and what is freed is measured
    against it: what a sweep of the state has removed meanwhile counts.
    """
    root = layout.state
    if root.is_symlink() or not root.is_dir():
        return Emptied(0, ((root, _LINK),) if root.is_symlink() else ())
    stayed: list[tuple[Path, str]] = []
    device = root.stat().st_dev
    for path in paths:
        with _unused(kind, path) as is_unused:
            why = _unfit(root, path, device) if is_unused else _AT_WORK
            if not why and os.path.lexists(path):
                why = _remove(path)
        if why:
            stayed.append((path, why))
    kept = sum(_size(path) for path in paths if os.path.lexists(path))
    return Emptied(max(0, size - kept), tuple(stayed))


def _remove(path: Path) -> str:
    """Remove a file or a folder; return why something of it stayed, and nothing where all went."""
    problems: list[str] = []

    def told(_: object, __: object, info: Any) -> None:  # noqa: ANN401  (as shutil calls it)
        problems.append(info[1].strerror or str(info[1]))

    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            # It works by descriptors: a link that is put there meanwhile is not followed.
            shutil.rmtree(path, onerror=told)
        else:
            path.unlink()
    except OSError as error:
        problems.append(error.strerror or str(error))
    return problems[0] if problems else ""
