"""Writing and removing files: every file that must not be lost goes through here.

What is guaranteed: `write_text` writes a new file beside the old one, and renames it. A reader sees
the old text or the new one, and no part of either, also after SIGKILL, a full disk, or the crash of
the machine. After such a crash the file may hold the old text. A run that is killed between the two
steps leaves the new file beside the old one; `sweep` removes it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envmatrix.model.errors import DiskError, SurroundingsError
from envmatrix.model.text import inert
from envmatrix.store.layout import STATE

_IGNORED = ".gitignore"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
# Earlier releases used letters, too. One digit at least: people call a copy `.Dockerfile.original`.
_LEFTOVER = re.compile(
    r"\.(?:.+\.jsonl?|.+\.txt|.+\.log|.+\.atom|.+\.html|table\.md|requirements\.lock|Dockerfile|etc\.tar"
    r"|\.gitignore)"
    r"\.(?=[a-z_]*\d)[a-z0-9_]{8}"
)

# No text of JSON holds a break of a line, so a break is always one between values.
_PLAIN_LIST = re.compile(r"\[\n([^\[\]{}]*)\n *\]")


@contextmanager
def using(path: Path, verb: str = "use") -> Iterator[None]:
    """Turn an error of the operating system into one that names the file and says what to do.

    Raises:
        SurroundingsError: the disk or the permissions failed.
    """
    try:
        yield
    except OSError as error:
        raise refusal(error, f"cannot {verb} {path}", path) from error


def refusal(error: OSError, what: str, path: Path | None = None) -> SurroundingsError:
    """Return what the operating system refused as an error that says what to do.

    `what` says what was tried. Without a path, the error knows it, or nobody does. A full disk is
    a `DiskError`, so that whoever catches it can tell it from other refusals.
    """
    if path is None:
        named = isinstance(error.filename, str | bytes)
        path = Path(os.fsdecode(error.filename)) if named else Path()
    kind = DiskError if error.errno in _FULL else SurroundingsError
    return kind(
        f"{what}: {error.strerror or error}",
        where=str(path),
        next_step=_next_step(error, path),
        kind="read-only" if error.errno == errno.EROFS else "",
    )


def _next_step(error: OSError, path: Path) -> str:
    there = next((folder for folder in path.parents if os.path.isdir(folder)), Path())  # noqa: PTH112  (Path.is_dir raises where a folder cannot be searched)
    folder = shlex.quote(str(there))
    if error.errno in _FULL:
        return f"free some room (`df -h {folder}; df -i {folder}` shows what is left), run again"
    if error.errno == errno.EROFS:
        return "this file system is read-only: work in a copy of the project that can be written"
    if error.errno in _FORBIDDEN:
        return f"`ls -ld {folder}` shows whose folder this is: make it writable, then run again"
    return "check the disk and the permissions, then run again"


def make_folder(folder: Path) -> None:
    """Make a folder, and the folders above it. A new state folder tells git to ignore it.

    Raises:
        OSError: it cannot be made.
    """
    states = [place for place in (folder, *folder.parents) if place.name == STATE]
    new = [place for place in states[:1] if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for state in new:
        ignore(state)


def ignore(state: Path) -> None:
    """Let git ignore a folder from within, unless the folder says already what git ignores.

    Raises:
        OSError: the file cannot be written.
    """
    path = state / _IGNORED
    if not path.exists():
        _replace(path, b"*\n", durable=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file in one step, and make the folders above it.

    What is not `durable` may be empty after a crash of the machine. That saves the time of fsync,
    for what is made again at once.

    Raises:
        SurroundingsError: the file cannot be written.
    """
    data = text.encode()
    with using(path, "write"):
        make_folder(path.parent)
        _replace(path, data, durable=durable)


def write_log(path: Path, *parts: str) -> None:
    """Write what a program said for people to read: inert, and each part on lines of its own.

    Raises:
        SurroundingsError: the file cannot be written.
    """
    text = "".join(f"{part.rstrip()}\n" for part in parts if part.strip())
    write_text(path, inert(text), durable=False)


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.randbelow(10**8):08}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def leftovers(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield what a killed run left of a write: plain files with a name that `write_text` gives."""
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _LEFTOVER.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def sweep(folders: Iterable[Path]) -> None:
    """Remove from these folders what a killed run left of a write. Nobody may write there now.

    What cannot be removed stays.
    """
    remove_all(leftovers(folders))


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files. What cannot be removed stays."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def without_links(folders: Iterable[Path], root: Path) -> Iterator[Path]:
    """Yield the folders to which no link leads, from `root` on, which is one of those looked at."""
    for folder in folders:
        below = len(folder.parts) - len(root.parts)
        if not any(one.is_symlink() for one in (folder, *folder.parents)[: below + 1]):
            yield folder


def remove(path: Path) -> None:
    """Remove a file.

    Raises:
        SurroundingsError: the file cannot be removed.
    """
    with using(path, "remove"):
        path.unlink()


def to_text(data: object) -> str:
    """Return `data` as the JSON text that records and evidence are kept in.

    Each value of an object has a line of its own, for people and for git. A list of numbers or of
    texts is one line: the losses of a model would be hundreds.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return _PLAIN_LIST.sub(_on_one_line, text) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + " ".join(part.strip() for part in found[1].split("\n")) + "]"


def names(folder: Path) -> frozenset[str]:
    """Return the names of the JSON files of a folder, without their ending.

    Raises:
        SurroundingsError: the folder cannot be read.
    """
    try:
        with using(folder, "read"), os.scandir(folder) as entries:
            return frozenset(
                entry.name.removesuffix(".json")
                for entry in entries
                if entry.name.endswith(".json") and not entry.name.startswith(".")
            )
    except SurroundingsError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return frozenset()
        raise
