"""What an archive would write: a wheel is a zip, and a standalone Python is a tar.

Nothing is unpacked here. pip and uv have checks of their own, and they differ: one passes over a
member that the other refuses.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

_LONGEST_TARGET = 4096
"""The bytes of the target of a link. The kernel takes no more."""
_NO_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    RuntimeError,
    UnicodeDecodeError,
)


def outside(path: Path) -> str:
    """Return the first member of an archive that could be written outside of its folder.

    That are absolute paths, paths with `..`, paths through a link, links that lead out, and
    devices. Empty where there is none, and where the file is no archive, such as one with a name
    that is not in the encoding it says: whoever unpacks it tells that.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return next(_escaping(_members(path)), "")
    except _NO_ARCHIVE:
        return ""


def _members(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield each member: its name, and where it leads to, if it is a link."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                target = None
                if stat.S_ISLNK(info.external_attr >> 16):
                    with wheel.open(info) as file:
                        target = file.read(_LONGEST_TARGET).decode("utf-8", "replace")
                yield info.filename, target
        return
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.issym():
                yield member.name, member.linkname
            elif member.islnk():  # It names another member by its path from the root.
                yield member.linkname, None
                yield member.name, None
            else:
                yield member.name, None if member.isfile() or member.isdir() else "/dev"


def _escaping(members: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    links: set[PurePosixPath] = set()
    for name, target in members:
        # A wheel has thousands of members and hardly a link. To make a path of each takes long.
        through_a_link = links and not links.isdisjoint(PurePosixPath(name).parents)
        if name.startswith("/") or ".." in name.split("/") or through_a_link:
            yield name
        elif target is not None:
            path = PurePosixPath(name)
            links.add(path)
            if _leads_out(path, PurePosixPath(target)):
                yield f"{name} (a link to {target})"


def _leads_out(link: PurePosixPath, target: PurePosixPath) -> bool:
    """Return whether a link may lead out of the folder. Behind a name, `..` may follow a link."""
    rest = list(target.parts)
    while rest[:1] == [".."]:
        rest.pop(0)
    upwards = len(target.parts) - len(rest)
    return target.is_absolute() or ".." in rest or upwards >= len(link.parts)
