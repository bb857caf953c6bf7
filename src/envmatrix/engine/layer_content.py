r"""What a layer contains, in one form for every engine and image store.

An engine writes each layer as a tar. Engines write the same files in different ways, so their diff
ids differ. `content_digest` gives the same digest for the same files. It is the SHA-256 of a text
in ASCII, the manifest. The digest stands behind the name of this form: `envmatrix-content-1:HEX`.

The manifest:

- Each line ends with a newline. The first line is `envmatrix-content-1`. Then comes one line for
  each path of the layer. These lines are sorted by their bytes (`LC_ALL=C sort`).
- A line is `PATH TYPE NAME=VALUE ...`, with one space between any two parts.
- PATH begins with `/`. Empty parts and `.` are left out of it. The path of the root is `/`.
- A byte outside of 0x21 to 0x7e, and the backslash, is written as a backslash and three octal
  digits. This holds for PATH, for a target and for the name of an attribute.

TYPE and the parts behind it:

| TYPE | what it is | parts of its own |
| --- | --- | --- |
| `file` | a regular file | `size=` in bytes, `sha256=` of the content |
| `directory` | a directory | |
| `symlink` | a symbolic link | `to=` the target, as it is |
| `hardlink` | another path of a thing in this layer | `to=` the path that has the thing |
| `lowerlink` | another path of a thing in a lower layer | `to=` the path in the lower layer |
| `character`, `block` | a device | `device=MAJOR:MINOR` |
| `fifo` | a named pipe | |
| `whiteout` | the last part of the path is `.wh.NAME`: NAME of a lower layer is deleted | |
| `opaque` | the last part is `.wh..wh..opq`: the directory hides what lower layers hold in it | |

- `whiteout` and `opaque` have no parts at all. Engines disagree about the rest of their headers.
- Any other line first has `mode=` (the bits 07777, in four octal digits), `uid=`, `gid=` and
  `time=` (whole seconds since 1970, rounded down, in decimal). Then come the parts of its own.
  Then comes `xattr.NAME=` for each extended attribute (`SCHILY.xattr.NAME` in the tar), sorted by
  NAME, with the value in lower-case hexadecimal.
- Where the tar holds a path several times, the last header counts.
- A hard link in the tar stands for the thing that its target is at that place in the tar. Of all
  paths of one thing, the one whose line comes first has the type and the parts of the thing. The
  others are `hardlink`. Mode, owner, time and attributes come from the header of the path itself.
  If no header before the link has the target's path, or if that header is a `whiteout` or
  `opaque`, the link is a `lowerlink`, and so are links to it.

Nothing else counts: the order of the headers, names of users and groups, other times, other pax
records, the format of the tar, and compression.

A layer is untrusted. This module reads it once, from its beginning to its end. It never unpacks
it. It refuses what it cannot read in full.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import IO, Final, cast

from envmatrix.model.digests import CONTENT_SCHEME
from envmatrix.model.errors import EngineError

SCHEME: Final = CONTENT_SCHEME
"""The name of the form. It changes whenever a digest of the same files would change."""

PIECE: Final = 2**20
"""Bytes that are read at once. Engines refuse an extended header that is longer than this, too."""

LARGEST_SPARSE: Final = 2**36
"""The most bytes of a file with holes. Its holes cost time, and nothing in the layer."""


class Kind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    LOWERLINK = "lowerlink"
    CHARACTER = "character"
    BLOCK = "block"
    FIFO = "fifo"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"


_DELETIONS = frozenset({Kind.WHITEOUT, Kind.OPAQUE})
_KINDS: Final[Mapping[bytes, Kind]] = {
    **dict.fromkeys(tarfile.REGULAR_TYPES, Kind.FILE),
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_ATTRIBUTE = "SCHILY.xattr."
# Records that a global header must not set: tarfile obeys it there, and engines do not.
_COUNTING = re.compile(r"(path|linkpath|size|uid|gid|mtime)\Z|(SCHILY\.xattr|GNU\.sparse)\.")
_NUMBER = re.compile(r"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_WRITTEN_AS_OCTAL = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")
_COMPRESSED = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
_BROKEN = (
    *(tarfile.TarError, zlib.error, OSError, EOFError),
    # What tarfile lets through when a header says nonsense.
    *(ValueError, ArithmeticError, LookupError, RecursionError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a layer. Parts that its kind does not have are empty.

    `target` is a path of the layer for a hard link, and any bytes for a symbolic link. `text` is
    the whole content of a short file, where the caller asked for it.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    time: int
    size: int = 0
    sha256: str = ""
    target: bytes = b""
    device: str = ""
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    text: bytes = b""

    @property
    def line(self) -> str:
        """The line of this path in the manifest."""
        line = f"{_ascii(self.path)} {self.kind}"
        if self.kind in _DELETIONS:
            return line
        line += f" mode={self.mode:04o} uid={self.uid} gid={self.gid} time={self.time}"
        match self.kind:
            case Kind.FILE:
                line += f" size={self.size} sha256={self.sha256}"
            case Kind.SYMLINK | Kind.HARDLINK | Kind.LOWERLINK:
                line += f" to={_ascii(self.target)}"
            case Kind.CHARACTER | Kind.BLOCK:
                line += f" device={self.device}"
        return line + "".join(
            f" xattr.{_ascii(name)}={value.hex()}" for name, value in self.attributes
        )


def content_digest(layer: IO[bytes]) -> str:
    """Return the digest of what a layer contains: `envmatrix-content-1:` and 64 digits.

    The layer is a tar, plain or compressed with gzip. It is read once, from where it stands.

    Raises:
        EngineError: the layer is not a whole tar, or no engine can have written it.
    """
    return f"{SCHEME}:{hashlib.sha256(manifest(layer).encode('ascii')).hexdigest()}"


def manifest(layer: IO[bytes]) -> str:
    """Return the text of which `content_digest` is the SHA-256.

    Raises:
        EngineError: the layer is not a whole tar, or no engine can have written it.
    """
    lines = sorted(entry.line for entry in read(layer).values())
    return "".join(f"{line}\n" for line in (SCHEME, *lines))


def read(layer: IO[bytes], text_limit: int = 0) -> dict[bytes, Entry]:
    """Return the entries of a layer by path, in the one form.

    Files up to `text_limit` bytes keep their content.

    Raises:
        EngineError: the layer is not a whole tar, or no engine can have written it.
    """
    headers: dict[bytes, Entry] = {}
    things: dict[bytes, Entry] = {}
    """For each path, the header that made the thing which stands there."""
    for header in _headers(layer, text_limit):
        thing: Entry | None = header
        if header.kind == Kind.HARDLINK:
            thing = things.get(header.target)
        if thing is None or (thing is not header and thing.kind in _DELETIONS):
            thing = replace(header, kind=Kind.LOWERLINK)
        headers[header.path], things[header.path] = header, thing
    first: dict[int, bytes] = {}
    for path in sorted(things, key=_ascii):
        first.setdefault(id(things[path]), path)
    return {
        path: _of_thing(header, things[path], first[id(things[path])])
        for path, header in headers.items()
    }


def _of_thing(header: Entry, thing: Entry, first: bytes) -> Entry:
    """Return the entry of a path. `first` is the first of all paths that have its thing."""
    if thing.kind != Kind.LOWERLINK and header.path != first:
        return replace(
            header, kind=Kind.HARDLINK, size=0, sha256="", target=first, device="", text=b""
        )
    if header is thing:
        return header
    return replace(
        header,
        kind=thing.kind,
        size=thing.size,
        sha256=thing.sha256,
        target=thing.target,
        device=thing.device,
        text=thing.text,
    )


def _headers(layer: IO[bytes], text_limit: int) -> Iterator[Entry]:
    """Yield what each header of a layer says, in the order of the tar."""
    try:
        source = _Source(layer)
        with tarfile.open(
            fileobj=cast("IO[bytes]", source),
            mode="r:",
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            for member in tar:
                if any(map(_COUNTING.match, tar.pax_headers)):
                    raise _refused("a global header sets what belongs to single paths")
                yield _header(tar, member, text_limit)
                # tarfile would keep every header.
                tar.members.clear()  # type: ignore[attr-defined]
        source.check_end()
    except _BROKEN as error:
        raise _refused(str(error) or type(error).__name__) from error


def _header(tar: tarfile.TarFile, member: tarfile.TarInfo, text_limit: int) -> Entry:
    path = _path(member.name)
    kind = _kind(path, member)
    entry = Entry(
        path=path,
        kind=kind,
        # Engines before 23 write the type of the file above these bits.
        mode=member.mode & 0o7777,
        uid=_number(member, "uid", member.uid),
        gid=_number(member, "gid", member.gid),
        time=_number(member, "mtime", member.mtime),
        attributes=_attributes(member),
    )
    match kind:
        case Kind.FILE:
            return _with_content(entry, tar, member, text_limit)
        case Kind.SYMLINK:
            return replace(entry, target=_bytes(member.linkname))
        case Kind.HARDLINK:
            return replace(entry, target=_path(member.linkname))
        case Kind.CHARACTER | Kind.BLOCK:
            return replace(entry, device=f"{member.devmajor}:{member.devminor}")
        case _:
            return entry


def _kind(path: bytes, member: tarfile.TarInfo) -> Kind:
    name = path.rpartition(b"/")[2]
    if name == b".wh..wh..opq":
        return Kind.OPAQUE
    if name.startswith(b".wh."):
        return Kind.WHITEOUT
    kind = _KINDS.get(member.type)
    if kind is None:
        raise _refused(f"{_ascii(path)} is of the unknown type {member.type!r}")
    return kind


def _with_content(
    entry: Entry, tar: tarfile.TarFile, member: tarfile.TarInfo, text_limit: int
) -> Entry:
    if member.issparse() and member.size > LARGEST_SPARSE:
        raise _refused(f"{_ascii(entry.path)} is a file with holes of {member.size} bytes")
    file = cast("IO[bytes]", tar.extractfile(member))
    found, text, size = hashlib.sha256(), b"", 0
    while piece := file.read(PIECE):
        found.update(piece)
        size += len(piece)
        if member.size <= text_limit:
            text += piece
    if size != member.size:
        raise _refused(f"{_ascii(entry.path)} has {size} bytes of {member.size}")
    return replace(entry, size=size, sha256=found.hexdigest(), text=text)


def _path(name: str) -> bytes:
    """Return a path from the root, without empty parts and `.`.

    A path with `..` has no such form, and no engine writes one.
    """
    parts = [part for part in _bytes(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _refused(f"{_ascii(_bytes(name))} leads out of its directory")
    return b"/" + b"/".join(parts)


def _number(member: tarfile.TarInfo, record: str, otherwise: float) -> int:
    """Return a number of a header, rounded down.

    A pax record goes before the header's own field. tarfile makes 0 of a record that is no number,
    and rounds a time with nine decimals to the next second.
    """
    said = member.pax_headers.get(record)
    if said is None:
        return int(otherwise)
    found = _NUMBER.fullmatch(said)
    if found is None:
        raise _refused(f"{_ascii(_bytes(member.name))} has the {record} {_ascii(_bytes(said))}")
    sign, whole, decimals = found.groups()
    if sign:
        return -int(whole) - bool((decimals or "").strip("0"))
    return int(whole)


def _attributes(member: tarfile.TarInfo) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        sorted(
            (_bytes(record.removeprefix(_ATTRIBUTE)), _bytes(value))
            for record, value in member.pax_headers.items()
            if record.startswith(_ATTRIBUTE)
        )
    )


def _bytes(text: str) -> bytes:
    """Return the bytes that stand in the tar. tarfile makes text of them."""
    return text.encode("utf-8", "surrogateescape")


def _ascii(data: bytes) -> str:
    return _WRITTEN_AS_OCTAL.sub(lambda found: b"\\%03o" % found[0][0], data).decode("ascii")


def _refused(why: str) -> EngineError:
    return EngineError(
        f"a layer cannot be read: {why:.300}",
        where="read what a layer contains",
        next_step="build or pull the image again; if that does not help, the tool that wrote the "
        "layer is at fault",
    )


class _Source:
    """A layer as tarfile may read it: forwards only, and never much at once."""

    def __init__(self, layer: IO[bytes]) -> None:
        head = layer.read(6)
        for magic, name in _COMPRESSED.items():
            if head.startswith(magic):
                raise _refused(f"it is compressed with {name}, and only gzip can be read")
        whole = cast("IO[bytes]", _Rejoined(head, layer))
        self._stream = (
            cast("IO[bytes]", gzip.GzipFile(fileobj=whole, mode="rb"))
            if head.startswith(b"\x1f\x8b")
            else whole
        )
        self._position = 0
        self._last = b""

    def read(self, size: int) -> bytes:
        """Return `size` bytes; fewer at the end of the layer."""
        if not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"a header claims an extended header of {size} bytes")
        data = self._stream.read(size)
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        self._position += len(data)
        self._last = data
        return data

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._position

    def seek(self, position: int) -> int:
        """Go forwards to a position, or to the end of the layer if that comes first."""
        if position < self._position:
            raise tarfile.ReadError("a header points back to what was read before")
        while self._position < position and self.read(min(PIECE, position - self._position)):
            pass
        return self._position

    def check_end(self) -> None:
        """Check that a block of zeros ended the tar. tarfile ends at a broken header, too."""
        if len(self._last) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends before its end mark")
        if any(self._last) or any(self.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"there is no header before byte {self._position}")


class _Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size)
