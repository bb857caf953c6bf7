"""How two builds of one layer differ: the paths, their attributes, and the likely cause."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from envmatrix.model.evidence import Difference

TEXT_LIMIT = 100_000
WHITEOUT = ".wh."
EMPTY = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The diff id of a layer without a path: two blocks of zeros."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer. `content` is a hash; `text` is there for short text files."""

    kind: str
    mode: str
    owner: str
    time: int
    size: int
    link: str
    content: str
    text: str = ""


def entries(layer: IO[bytes]) -> dict[str, Entry]:
    """Return what a layer holds, by path."""
    found = {}
    with tarfile.open(fileobj=layer) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content, text = _read(file, member.size) if file else ("", b"")
            found[f"/{member.name}"] = Entry(
                kind={tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}.get(
                    member.type, "file"
                ),
                mode=f"{member.mode:04o}",
                owner=f"{member.uid}:{member.gid}",
                time=int(member.mtime),
                size=member.size,
                link=member.linkname,
                content=content,
                text="" if b"\0" in text else text.decode("utf-8", "replace"),
            )
    return found


def _read(file: IO[bytes], size: int) -> tuple[str, bytes]:
    """Return the hash of a file, and what is in it if that is short.

    Reads it once, never back: where engines compress layers, to go back is to start over.
    """
    found, text = hashlib.sha256(), b""
    while piece := file.read(2**20):
        found.update(piece)
        if size <= TEXT_LIMIT:
            text += piece
    return found.hexdigest(), text


def differences(first: Mapping[str, Entry], second: Mapping[str, Entry]) -> Iterator[Difference]:
    """Yield each path that differs between two builds of a layer, in their order."""
    for path in sorted({*first, *second}):
        one, other = first.get(path), second.get(path)
        if one is None or other is None:
            yield Difference(
                path=path,
                what=f"only in the {'rebuilt' if one is None else 'first'} one",
                cause=ONLY_ONCE,
            )
        elif found := list(_attributes(one, other)):
            names = frozenset(name for name, _ in found)
            what = "; ".join(said for _, said in found)
            yield Difference(path=path, what=what, cause=_cause(path, names))


def _attributes(one: Entry, other: Entry) -> Iterator[tuple[str, str]]:
    for name in ("kind", "mode", "owner", "time", "size", "link"):
        before, after = getattr(one, name), getattr(other, name)
        if before != after:
            yield name, f"{name} {before} / {after}"
    if one.content != other.content:
        yield "content", f"content {_first_difference(one, other)}"


def _first_difference(one: Entry, other: Entry) -> str:
    lines = zip(one.text.splitlines(), other.text.splitlines(), strict=False)
    for number, (before, after) in enumerate(lines, 1):
        if before != after:
            return f"(line {number}: {before[:80]!r} / {after[:80]!r})"
    return f"{one.content[:12]} / {other.content[:12]}"


ONLY_ONCE = "what the step makes depends on the time, on chance or on the network"
_DELETED = (
    "a path of a lower layer is deleted, and the deletion carries the time of the build: "
    "empty it instead, or do not make it below"
)
_UNSETTLED = (
    "the time of the build: in the same RUN, set it to SOURCE_DATE_EPOCH; COPY and ADD give "
    "folders a time that nothing can set"
)
_BYTECODE = (
    "bytecode that holds a time, or that the interpreter wrote by itself: compile it with "
    "unchecked hashes, and run Python with -B before that"
)
_ACCOUNT = "the day of a change to an account: useradd takes it from SOURCE_DATE_EPOCH"
# In order: what differs (None: anything), where, and the cause.
_CAUSES: tuple[tuple[frozenset[str] | None, str, str], ...] = (
    (None, rf"/{re.escape(WHITEOUT)}[^/]*$", _DELETED),
    (frozenset({"time"}), "", _UNSETTLED),
    (None, r"\.pyc$", _BYTECODE),
    (None, r"^/var/(log|cache|lib/apt)/", "a log or a cache: empty it in the same RUN"),
    (None, r"^/etc/(passwd|shadow|group|gshadow)-?$", _ACCOUNT),
    (frozenset({"mode"}), "", "the permissions that files get by default (umask) differ"),
    (None, "", ONLY_ONCE),
)


def _cause(path: str, names: frozenset[str]) -> str:
    return next(
        cause
        for differing, place, cause in _CAUSES
        if differing in (None, names) and re.search(place, path)
    )
