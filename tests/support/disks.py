"""Small file systems, mounted for a test and unmounted whatever happens. Only root mounts them.

with small_disk(tmp_path / "disk", "size=1m") as disk, filled(disk):
    ...
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory, such as `size=1m` or `size=1m,nr_inodes=20`."""
    with _mounted(place, ["-t", "tmpfs", "-o", options, "tmpfs"]):
        yield place


@contextmanager
def image_disk(place: Path, image: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system that lies in a file, of at most 1 GB. Docker's storage works on it."""
    assert megabytes <= 1000, "the real disk is not for tests to fill"
    with image.open("wb") as file:
        file.truncate(megabytes * 10**6)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        with _mounted(place, ["-o", "loop", str(image)]):
            yield place
    finally:
        image.unlink()


@contextmanager
def _mounted(place: Path, arguments: list[str]) -> Iterator[None]:
    if os.geteuid():
        pytest.skip("only root mounts a file system")
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", *arguments, str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        # A process that still has a file open there would keep it mounted.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def read_only(place: Path, *, ro: bool = True) -> None:
    """Let nothing be written to a mounted file system, or let it again."""
    options = f"remount,{'ro' if ro else 'rw'}"
    subprocess.run(["mount", "-o", options, str(place)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk up to some bytes, as another program would; return the file that fills it."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file:
        state = os.statvfs(disk)
        more = state.f_bavail * state.f_frsize - leave
        if more > 0:
            with suppress(OSError):  # An index of the blocks may take the last of them.
                os.posix_fallocate(file.fileno(), ballast.stat().st_size, more)
    return ballast


def fill_table(disk: Path) -> Path:
    """Make empty files until the disk takes no other one; return their folder."""
    folder = disk / "files"
    folder.mkdir()
    with suppress(OSError):
        for number in range(1_000_000):
            (folder / str(number)).touch()
    return folder


@contextmanager
def filled(disk: Path, leave: int = 0) -> Iterator[Path]:
    """Fill a disk for a while."""
    ballast = fill(disk, leave)
    try:
        yield disk
    finally:
        ballast.unlink(missing_ok=True)
