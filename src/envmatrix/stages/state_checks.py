"""Checks of the folder of a project and of its state: disk, file systems, what it holds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.build_failures import LEAST_FILES, LEAST_FREE
from envmatrix.stages.disk import made, wheels_needed
from envmatrix.stages.doctor import Finding, Work, fine, missing, unknown, warning
from envmatrix.store.holdings import Kind, holdings
from envmatrix.store.layout import Layout

FEW_FILES = 100_000
"""An image of a large framework has tens of thousands of files. A run may end with fewer left."""
MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph"})
_WITHOUT_LINKS = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"})
_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def state(layout: Layout) -> Iterator[Finding]:
    """Check that the state can be written, and tell what it holds."""
    root = layout.state
    if root.is_symlink() and not root.exists():
        yield missing(
            "state",
            f"{root} is a link to nothing",
            f"rm {shlex.quote(str(root))}",
        )
        return
    place = made(root)
    quoted = shlex.quote(str(place))
    if not place.is_dir():
        yield missing("state", f"{place} is no folder", f"mv {quoted} {quoted}.old")
    elif not os.access(place, os.W_OK | os.X_OK):
        yield missing(
            "state",
            f"{place} cannot be written by this user",
            f"sudo chown -R {os.geteuid()} {quoted}",
        )
    elif place != root:
        yield fine("state", f"{layout.short(root)} is not there yet; {place} can be written")
    else:
        yield from _held(layout)


def _held(layout: Layout) -> Iterator[Finding]:
    found = holdings(layout)
    told = ", ".join(f"{one.kind} {decimal(one.size)}" for one in found if one.size)
    yield fine(
        "state", f"{layout.short(layout.state)} can be written and holds {told or 'nothing'}"
    )
    if left := [one for one in found if one.kind is Kind.TEMPORARY and one.paths]:
        count = sum(len(one.paths) for one in left)
        yield warning(
            "leftovers",
            f"{count} temporary files of runs that were killed, or of one at work now",
            "envmatrix clean temporary",
        )
    for one in found:
        for path, why in one.left:
            yield warning(
                "state",
                f"{layout.short(path)} is not used as it should be: {why}",
                f"ls -ld {shlex.quote(str(path))}",
            )


# --- the disk --------------------------------------------------------------------------------


def disk(layout: Layout, work: Work | None) -> Iterator[Finding]:
    """Check the disk of the state against the wheels that are still to be downloaded."""
    place = made(layout.wheelhouse)
    needed = 0
    if work:
        wheelhouse = Wheelhouse(layout.wheelhouse, lambda _: None)
        needed = wheels_needed(wheelhouse, work.locked, None)
    for_what = (
        f"{decimal(needed)} of wheels to download for {work.title}" if work and needed else ""
    )
    yield from room("disk", place, needed, for_what)


def room(topic: str, place: Path, needed: int, for_what: str) -> Iterator[Finding]:
    """Check the free bytes and files of a disk against the bytes that are `needed` there."""
    try:
        found = os.statvfs(place)
    except OSError as error:
        yield unknown(topic, f"{place}: {error.strerror}")
        return
    free = found.f_bavail * found.f_frsize
    said = f"{decimal(free)} are free at {place}"
    said += f"; {for_what}" if for_what else ""
    quoted = shlex.quote(str(place))
    if free < max(needed, LEAST_FREE):
        yield missing(topic, f"{said}: too little", "envmatrix clean")
    elif free - needed < LEAST_FREE * 4:
        yield warning(topic, f"{said}: hardly enough", "envmatrix clean")
    else:
        yield fine(topic, said)
    # Some file systems have no fixed number of files.
    if found.f_files and found.f_favail < FEW_FILES:
        few = missing if found.f_favail < LEAST_FILES else warning
        yield few(
            "inodes",
            f"only {found.f_favail} files can still be created at {place}",
            f"df -i {quoted}; envmatrix clean",
        )


# --- file systems ----------------------------------------------------------------------------


def file_systems(layout: Layout) -> Iterator[Finding]:
    """Check the file system of the state for what is known to break there."""
    place = made(layout.state).resolve()
    flags = os.statvfs(place).f_flag
    kind = kind_of(place)
    wrong = False
    move = "work in a copy of the project on a local disk: `git clone . ~/envmatrix-copy`"
    if flags & os.ST_RDONLY:
        wrong = True
        yield missing("file system", f"{place} is mounted read-only", move)
    if flags & getattr(os, "ST_NOEXEC", 0):
        wrong = True
        yield warning(
            "file system",
            f"{place} is mounted noexec: scripts/nox and scripts/private-engine cannot start "
            "what they put there",
            f"sudo mount -o remount,exec {shlex.quote(str(_mount_of(place)))}",
        )
    if kind in _REMOTE:
        wrong = True
        yield warning(
            "file system",
            f"{place} is on another machine ({kind}): locks may not hold there, and wheels are "
            "read slowly",
            move,
        )
    if kind in _WITHOUT_LINKS:
        wrong = True
        yield warning("file system", f"{place} is on {kind}, which has no links and modes", move)
    if _ignores_case(layout):
        wrong = True
        yield warning(
            "file system",
            f"{place} takes names that differ in case for the same",
            move,
        )
    if not wrong:
        yield fine("file system", f"{kind or 'of an unknown kind'} at {place}")


def _ignores_case(layout: Layout) -> bool:
    """Return whether a file is found under a name in capitals. It is surely so, or not told."""
    for path in (layout.state, layout.matrix):
        other = path.with_name(path.name.upper())
        try:
            if other.name != path.name and other.samefile(path):
                names = {one.name for one in path.parent.iterdir()}
                return other.name not in names
        except OSError:
            continue
    return False


def _mount_of(place: Path) -> Path:
    return next((one for one in (place, *place.parents) if one.is_mount()), Path("/"))


def kind_of(place: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of the file system of a place, such as ext4; nothing where it is not told."""
    best, kind = "", ""
    try:
        rows = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for row in rows:
        fields, _, rest = row.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:  # noqa: PLR2004  (see proc_pid_mountinfo(5))
            continue
        point = parts[4]
        for escape, character in _ESCAPES.items():
            point = point.replace(escape, character)
        # A later mount at the same point covers an earlier one.
        if place.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind
