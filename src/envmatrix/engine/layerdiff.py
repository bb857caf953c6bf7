"""How two builds of one layer differ: the paths, their attributes, and the likely cause. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from envmatrix.engine import layer_content
from envmatrix.engine.layer_content import Kind, read
from envmatrix.model.evidence import Difference

TEXT_LIMIT = 100_000
"""The number of bytes up to which the text of a file is kept, to show the first difference."""

WHITEOUT = ".wh."
EMPTY = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The diff id of a layer that holds no path. Its tar is two blocks of zeros."""


_DELETION = "deletion"
_WORDS = {
    Kind.SYMLINK: "link",
    Kind.HARDLINK: "hard link",
    # A lower layer holds its content; the link says where.
    Kind.LOWERLINK: "file",
    Kind.WHITEOUT: _DELETION,
    Kind.OPAQUE: _DELETION,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer. `content` is a hash. `text` is empty unless the file is a short text."""

    kind: str
    mode: str
    owner: str
    time: int
    size: int
    link: str
    content: str
    text: str = ""
    attributes: str = ""


def entries(layer: IO[bytes]) -> dict[str, Entry]:
    """Return the entries of a layer, by path. They are equal where only engines differ.

    An entry of a deletion holds what its engine wrote: its mode, owner and time.

    Raises:
        EngineError: the layer is not a whole tar, or no engine can have written it.
    """
    return {_text(path): _entry(found) for path, found in read(layer, TEXT_LIMIT).items()}


def _entry(found: layer_content.Entry) -> Entry:
    return Entry(
        kind=f"{_WORDS.get(found.kind, found.kind)} {found.device}".rstrip(),
        mode=f"{found.mode:04o}",
        owner=f"{found.uid}:{found.gid}",
        time=found.time,
        size=found.size,
        link=_text(found.target if found.kind == Kind.SYMLINK else found.target[1:]),
        content=found.sha256,
        text="" if b"\0" in found.text else found.text.decode("utf-8", "replace"),
        attributes=" ".join(f"{_text(name)}={value.hex()}" for name, value in found.attributes),
    )


def _text(data: bytes) -> str:
    """Return text that evidence can keep."""
    return data.decode("utf-8", "backslashreplace")


def differences(
    first: Mapping[str, Entry], second: Mapping[str, Entry], *, content_only: bool = False
) -> Iterator[Difference]:
    """Yield each path that differs between two builds of a layer, sorted by path.

    With `content_only` the header of a deletion does not count: image stores disagree about it.
    Then no path differs exactly where both layers have the same `content_digest`.
    """
    for path in sorted({*first, *second}):
        one, other = first.get(path), second.get(path)
        if one is None or other is None:
            build = "rebuilt" if one is None else "first"
            yield Difference(path=path, what=f"only in the {build} one", cause=ONLY_ONCE)
        elif content_only and one.kind == other.kind == _DELETION:
            continue
        elif found := list(_attributes(one, other)):
            names = frozenset(name for name, _ in found)
            yield Difference(
                path=path, what="; ".join(said for _, said in found), cause=_cause(path, names)
            )


def _attributes(one: Entry, other: Entry) -> Iterator[tuple[str, str]]:
    """Yield the name of each attribute that differs, and both values in words."""
    for name in ("kind", "mode", "owner", "time", "size", "link", "attributes"):
        before, after = getattr(one, name), getattr(other, name)
        if before != after:
            yield name, f"{name} {before!s:.200} / {after!s:.200}"
    if one.content != other.content:
        yield "content", f"content {_first_difference(one, other)}"


def _first_difference(one: Entry, other: Entry) -> str:
    lines = zip(one.text.splitlines(), other.text.splitlines(), strict=False)
    for number, (before, after) in enumerate(lines, 1):
        if before != after:
            return f"(line {number}: {before[:80]!r} / {after[:80]!r})"
    return f"{one.content[:12]} / {other.content[:12]}"


ONLY_ONCE = "the result of the step depends on the time, on chance or on the network"
_DELETED = (
    "a path of a lower layer is deleted here, and the deletion carries the time of the build: "
    "empty the path instead, or do not create the path in the lower layer"
)
_UNSETTLED = (
    "the path carries the time of the build: set the time to SOURCE_DATE_EPOCH in the same RUN; "
    "COPY and ADD give folders a time that no setting changes"
)
_BYTECODE = (
    "the bytecode holds a time, or Python wrote the bytecode while it ran: compile bytecode with "
    "unchecked hashes, and run Python with -B before that"
)
_ACCOUNT = (
    "the file holds the day on which an account changed: set SOURCE_DATE_EPOCH, from which "
    "useradd takes the day"
)
_LOG = "the file belongs to a log or a cache: empty the log or the cache in the same RUN"
_UMASK = "the permissions that new files get (umask) differ"
# The first row that fits tells the cause: the attributes that differ (None: any), and the path.
_CAUSES: tuple[tuple[frozenset[str] | None, str, str], ...] = (
    (None, rf"/{re.escape(WHITEOUT)}[^/]*$", _DELETED),
    (frozenset({"time"}), "", _UNSETTLED),
    (None, r"\.pyc$", _BYTECODE),
    (None, r"^/var/(log|cache|lib/apt)/", _LOG),
    (None, r"^/etc/(passwd|shadow|group|gshadow)-?$", _ACCOUNT),
    (frozenset({"mode"}), "", _UMASK),
    (None, "", ONLY_ONCE),
)


def _cause(path: str, names: frozenset[str]) -> str:
    return next(
        cause
        for differing, place, cause in _CAUSES
        if differing in (None, names) and re.search(place, path)
    )
