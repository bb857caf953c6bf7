"""What a layer contains, in one form for every engine and image store."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import stat
import tarfile
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.engine.layer_content import (
    LARGEST_SPARSE,
    PIECE,
    SCHEME,
    content_digest,
    manifest,
)
from envmatrix.engine.layerdiff import EMPTY, differences, entries
from envmatrix.model.errors import EngineError

CAPABILITY = b"\1\0\0\2\0\x20\0\0\0\0\0\xff"
TYPE_BITS = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


class Info(tarfile.TarInfo):
    """A header whose mode is written as it is. Python's own leaves the type of the file out."""

    def tobuf(self, *args: Any, **options: Any) -> bytes:
        """Return the blocks of this header. Extended headers come before its own block."""
        blocks = super().tobuf(*args, **options)
        return blocks[:-512] + edited(blocks[-512:], 100, b"%07o\0" % self.mode)


def edited(layer: bytes, start: int, piece: bytes) -> bytes:
    """Return a layer whose first header has other bytes in one field, and the right checksum."""
    data = bytearray(layer)
    data[start : start + len(piece)] = piece
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


@dataclass(frozen=True)
class Header:
    """A header of a tar with its content. `fields` are those of `TarInfo`."""

    name: str
    data: bytes = b""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **fields: Any) -> Header:
        """Return this header with other fields."""
        return replace(self, fields={**self.fields, **fields})

    def info(self, *, old: bool) -> tarfile.TarInfo:
        """Return the header as a new engine writes it, or as an `old` one, before 23, does."""
        info = Info(self.name)
        info.size, info.mtime = len(self.data), 5
        for name, value in self.fields.items():
            setattr(info, name, value)
        if old:
            info.mode |= TYPE_BITS.get(info.type, stat.S_IFREG)
            info.uname, info.gname = "root", "games"
        return info


def header(name: str, data: bytes = b"", **fields: Any) -> Header:
    """Return a header of a regular file at the time 5, unless the fields say something else."""
    return Header(name, data, fields)


def tar(*headers: Header, old: bool = False, **options: Any) -> io.BytesIO:
    """Return a layer as a new engine writes it, or as an `old` one, before 23, does."""
    buffer = io.BytesIO()
    options = {"format": tarfile.PAX_FORMAT, **options}
    with tarfile.open(
        fileobj=buffer, mode="w", encoding="utf-8", errors="surrogateescape", **options
    ) as archive:
        for one in headers:
            archive.addfile(one.info(old=old), io.BytesIO(one.data))
    buffer.seek(0)
    return buffer


def digest(*headers: Header, **options: Any) -> str:
    """Return the digest of a layer of these headers."""
    return content_digest(tar(*headers, **options))


def text(data: bytes) -> str:
    """Return bytes as tarfile takes them."""
    return data.decode("utf-8", "surrogateescape")


def xattrs(**values: bytes) -> dict[str, str]:
    """Return the pax records of extended attributes."""
    return {f"SCHILY.xattr.user.{name}": text(value) for name, value in values.items()}


FOLDER = header("opt", type=tarfile.DIRTYPE, mode=0o755)
FILE = header("opt/a", b"text")
LINK = header("opt/link", type=tarfile.SYMTYPE, mode=0o777, linkname="../a")
HARD = header("opt/z", type=tarfile.LNKTYPE, linkname="opt/a")
DEVICE = header("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
PIPE = header("opt/pipe", type=tarfile.FIFOTYPE)
DELETED = header("opt/.wh.gone")
HIDING = header("opt/.wh..wh..opq")
ALL = (FOLDER, FILE, LINK, HARD, DEVICE, PIPE, DELETED, HIDING)


# What counts.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FILE, replace(FILE, name="opt/b")),
        (FILE, FILE.but(mode=0o755)),
        (FILE, FILE.but(mode=0o4644)),
        (FOLDER, FOLDER.but(mode=0o1755)),
        (FILE, FILE.but(uid=1)),
        (FILE, FILE.but(gid=1)),
        (FILE, FILE.but(mtime=6)),
        (FILE, FILE.but(mtime=-6)),
        (FILE, replace(FILE, data=b"texT")),
        (FILE, replace(FILE, data=b"text\0")),
        (FILE, FILE.but(pax_headers=xattrs(a=b"1"))),
        (FILE.but(pax_headers=xattrs(a=b"1")), FILE.but(pax_headers=xattrs(b=b"1"))),
        (FILE.but(pax_headers=xattrs(a=b"1")), FILE.but(pax_headers=xattrs(a=b"2"))),
        (FILE.but(pax_headers=xattrs(a=b"1")), FILE.but(pax_headers=xattrs(a=b""))),
        (LINK, LINK.but(linkname="/a")),
        (LINK, LINK.but(linkname="../a/")),
        (HARD, HARD.but(linkname="opt/b")),
        (HARD, HARD.but(type=tarfile.SYMTYPE)),
        (DEVICE, DEVICE.but(devmajor=2)),
        (DEVICE, DEVICE.but(devminor=4)),
        (DEVICE, DEVICE.but(type=tarfile.BLKTYPE)),
        (PIPE, PIPE.but(type=tarfile.REGTYPE)),
        (PIPE, PIPE.but(type=tarfile.DIRTYPE)),
        (DELETED, replace(DELETED, name="opt/.wh.other")),
        (DELETED, HIDING),
        (DELETED, replace(DELETED, name="opt/gone")),
    ],
)
def test_one_attribute_changes_the_digest(one: Header, other: Header) -> None:
    """Also beside other entries, and in the old dialect."""
    assert digest(one) != digest(other)
    assert digest(FOLDER, one, old=True) != digest(FOLDER, other)
    assert list(differences(entries(tar(one)), entries(tar(other))))


def test_each_path_counts() -> None:
    """A layer without one of its entries has another digest."""
    whole = digest(*ALL)
    for left_out in ALL:
        assert whole != digest(*(one for one in ALL if one != left_out))


def test_the_digest_names_its_form() -> None:
    """So that a later form is not taken for other content."""
    form, _, rest = digest(*ALL).partition(":")
    assert form == SCHEME == "envmatrix-content-1"
    assert re.fullmatch("[0-9a-f]{64}", rest)


def test_the_empty_layer_has_the_digest_of_the_first_line_alone() -> None:
    """Its tar is two blocks of zeros."""
    assert f"sha256:{hashlib.sha256(bytes(1024)).hexdigest()}" == EMPTY
    expected = hashlib.sha256(b"envmatrix-content-1\n").hexdigest()
    assert content_digest(io.BytesIO(bytes(1024))) == f"{SCHEME}:{expected}"
    assert manifest(tar()) == f"{SCHEME}\n"


# What does not count.


def test_both_dialects_give_the_same_digest() -> None:
    """Engines before 23 write the type into the mode, and the names of users and groups."""
    old, new = tar(*ALL, old=True), tar(*ALL)
    assert (b"0100644" in old.getvalue(), b"0100644" in new.getvalue()) == (True, False)
    assert (b"games" in old.getvalue(), b"games" in new.getvalue()) == (True, False)
    assert content_digest(old) == content_digest(new)


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": stat.S_IFREG | 0o644},
        {"uname": "root"},
        {"gname": "root"},
        {"type": tarfile.AREGTYPE},
        {"type": tarfile.CONTTYPE},
        {"linkname": "opt/of-another"},
        {"devmajor": 7},
        {"name": "./opt/a"},
        {"name": "/opt/a"},
        {"name": "opt//./a"},
        {"mtime": 5.75},
        {"pax_headers": {"mtime": "5.999999999999"}},
        {"pax_headers": {"atime": "7", "ctime": "8.5", "comment": "anything"}},
        {"pax_headers": {"LIBARCHIVE.creationtime": "9", "SCHILY.fflags": "nodump"}},
        {"pax_headers": {"uname": "root", "uid": "0", "gid": "0"}},
    ],
)
def test_the_dialect_alone_does_not_change_the_digest(changed: dict[str, Any]) -> None:
    """Each of these is in the tar of some engine or tool, and in no file."""
    assert digest(FILE.but(**changed)) == digest(FILE)
    assert entries(tar(FILE.but(**changed))) == entries(tar(FILE))


@pytest.mark.parametrize("name", ["opt/", "./opt/", "/opt", "opt/./"])
def test_a_directory_has_one_path_however_it_is_written(name: str) -> None:
    """Some tools write a slash behind it."""
    assert digest(replace(FOLDER, name=name)) == digest(FOLDER)


@pytest.mark.parametrize("name", [".", "./", "/"])
def test_the_root_has_a_path(name: str) -> None:
    """Some tools write it, and others do not; where it is written, it sets the mode of `/`."""
    assert manifest(tar(replace(FOLDER, name=name))).splitlines()[1].startswith("/ directory ")


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_format_of_the_tar_does_not_count(format_: int) -> None:
    """Also where the formats write numbers and long paths in their own ways."""
    assert digest(*ALL, format=format_) == digest(*ALL)
    if format_ != tarfile.USTAR_FORMAT:
        long = (
            header(f"{'d' * 90}/" * 4 + "f", uid=4_000_000_000, mtime=2**35),
            header("l", type=tarfile.SYMTYPE, linkname="t" * 300),
            header(text(b"lat\xe4in"), mtime=-5),
        )
        assert digest(*long, format=format_) == digest(*long)


def test_compression_does_not_count() -> None:
    """Engines that keep images in containerd hand out compressed layers."""
    plain = tar(*ALL, header("big", bytes(3_000_000))).getvalue()
    for level in (1, 9):
        compressed = io.BytesIO(gzip.compress(plain, level))
        assert content_digest(compressed) == content_digest(io.BytesIO(plain))


def test_what_stands_behind_the_end_mark_does_not_count() -> None:
    """Tools fill up their last block with zeros, each to a length of its own."""
    whole = tar(*ALL).getvalue()
    assert content_digest(io.BytesIO(whole.rstrip(b"\0") + bytes(4096))) == digest(*ALL)


# Hard links.


def test_either_name_may_be_the_file() -> None:
    """The path that sorts first holds the content, whichever the tar begins with."""
    one = header("b", b"1"), header("a", type=tarfile.LNKTYPE, linkname="./b")
    other = header("a", b"1"), header("b", type=tarfile.LNKTYPE, linkname="/a")
    assert manifest(tar(*one)) == manifest(tar(*other))
    assert [line.split()[:2] for line in manifest(tar(*one)).splitlines()[1:]] == [
        ["/a", "file"],
        ["/b", "hardlink"],
    ]


def test_names_in_other_folders_sort_by_their_whole_path() -> None:
    """Engines go folder by folder, so they write `d/x` before `d.txt`. The dot sorts first."""
    walked = header("d/x", b"1"), header("d.txt", type=tarfile.LNKTYPE, linkname="d/x")
    assert "/d/x hardlink " in manifest(tar(*walked))
    assert manifest(tar(*walked)).endswith("to=/d.txt\n")


def test_names_sort_as_they_are_written() -> None:
    """So the first line of one thing has its content. A space is written as a backslash."""
    linked = header("a b", b"1"), header("aZ", type=tarfile.LNKTYPE, linkname="a b")
    first, second = manifest(tar(*linked)).splitlines()[1:]
    assert first.startswith("/aZ file ")
    assert second.startswith("/a\\040b hardlink ")


def test_a_link_to_a_link_is_a_link_to_the_file() -> None:
    """All names of one thing are equal."""
    chain = (
        header("a", b"1"),
        header("b", type=tarfile.LNKTYPE, linkname="a"),
        header("c", type=tarfile.LNKTYPE, linkname="b"),
    )
    star = (*chain[:2], chain[2].but(linkname="a"))
    assert digest(*chain) == digest(*star)


def test_two_files_of_the_same_content_are_no_hard_links() -> None:
    """A write to one of two hard links would change the other."""
    linked = header("a", b"1"), header("b", type=tarfile.LNKTYPE, linkname="a")
    assert digest(*linked) != digest(header("a", b"1"), header("b", b"1"))
    found = list(differences(*(entries(tar(*x)) for x in (linked, (linked[0],)))))
    assert [one.path for one in found] == ["/b"]


def test_the_first_line_that_differs_is_found_behind_any_name() -> None:
    """The content goes with its path."""
    one, other = (
        tar(header("b", data), header("a", type=tarfile.LNKTYPE, linkname="b"))
        for data in (b"same\n1", b"same\n2")
    )
    (found,) = differences(entries(one), entries(other))
    assert (found.path, found.what) == ("/a", "content (line 2: '1' / '2')")


def test_links_and_devices_and_pipes_have_hard_links_too() -> None:
    """Docker 20.10 and 28 write them so."""
    for thing in (LINK, DEVICE, PIPE):
        one = thing, header("z", type=tarfile.LNKTYPE, linkname=thing.name)
        other = (
            replace(thing, name="z"),
            header(thing.name, type=tarfile.LNKTYPE, linkname="z").but(
                mode=thing.fields.get("mode", 0o644)
            ),
        )
        same = (one[0], one[1].but(mode=thing.fields.get("mode", 0o644)))
        assert digest(*same) == digest(*other)


def test_what_the_header_of_a_hard_link_says_counts() -> None:
    """Engines set it on the file when they unpack the layer, so it could hide a set-uid bit."""
    assert digest(FILE, HARD) != digest(FILE, HARD.but(mode=0o4755))
    assert digest(FILE, HARD) != digest(FILE, HARD.but(pax_headers=xattrs(a=b"1")))


def test_a_hard_link_to_a_lower_layer_keeps_its_target() -> None:
    """Its content is in no file of this layer."""
    (line,) = manifest(tar(HARD)).splitlines()[1:]
    assert line == "/opt/z lowerlink mode=0644 uid=0 gid=0 time=5 to=/opt/a"
    more = header("opt/y", type=tarfile.LNKTYPE, linkname="opt/z")
    assert digest(HARD, more) == digest(HARD, more.but(linkname="opt/a"))
    assert digest(HARD, DELETED) != digest(HARD.but(linkname=DELETED.name), DELETED)
    assert " lowerlink " in manifest(tar(DELETED, HARD.but(linkname=DELETED.name)))


def test_a_target_that_comes_later_is_of_a_lower_layer() -> None:
    """An engine makes the link when it reads it."""
    assert digest(HARD, FILE) != digest(FILE, HARD)
    found = differences(entries(tar(HARD, FILE)), entries(tar(FILE, HARD)))
    assert [one.what for one in found] == ["kind file / hard link"]


# Several headers of one path.


def test_the_last_header_of_a_path_counts() -> None:
    """An engine unpacks one after another."""
    assert digest(FILE.but(mode=0o600), header("opt/a", type=tarfile.DIRTYPE), FILE) == digest(FILE)


def test_a_link_stays_with_the_file_that_it_was_made_to() -> None:
    """The path of that file may get another one later in the tar."""
    twice = FILE, HARD, replace(FILE, data=b"new")
    apart = replace(FILE, data=b"new"), replace(FILE, name=HARD.name)
    assert digest(*twice) == digest(*apart)


# Deletions.


def test_the_header_of_a_deletion_does_not_count() -> None:
    """Docker's own store writes 0600 and the time of the build; containerd's writes zeros."""
    for name in (DELETED.name, HIDING.name):
        ours = header(name, mode=0o600, mtime=1_795_655_808, linkname="opt/other", uid=7)
        theirs = header(name, mode=0, mtime=0)
        assert digest(ours) == digest(theirs)
        assert list(differences(entries(tar(ours)), entries(tar(theirs))))
        assert not list(differences(entries(tar(ours)), entries(tar(theirs)), content_only=True))


def test_deletions_have_types_of_their_own() -> None:
    """Their names alone say what they are."""
    assert manifest(tar(DELETED, HIDING)).splitlines()[1:] == [
        "/opt/.wh..wh..opq opaque",
        "/opt/.wh.gone whiteout",
    ]


# Attributes, times and names.


def test_the_order_of_attributes_does_not_count() -> None:
    """Their names sort by bytes, and their values are any bytes."""
    one = {**xattrs(b=b"2", a=b"\0\n="), "SCHILY.xattr.security.capability": text(CAPABILITY)}
    other = dict(reversed(one.items()))
    assert list(one) != list(other)
    assert digest(FILE.but(pax_headers=one)) == digest(FILE.but(pax_headers=other))
    assert manifest(tar(FILE.but(pax_headers=one))).endswith(
        " xattr.security.capability=0100000200200000000000ff xattr.user.a=000a3d xattr.user.b=32\n"
    )


def test_attributes_that_differ_are_named() -> None:
    """A capability that is lost breaks a program without any other trace."""
    with_one = FILE.but(pax_headers={"SCHILY.xattr.security.capability": text(CAPABILITY)})
    (found,) = differences(entries(tar(with_one)), entries(tar(FILE)))
    assert found.what == "attributes security.capability=0100000200200000000000ff / "


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("5", 5),
        ("5.", 5),
        ("1700000000.999999999", 1_700_000_000),
        ("-5", -5),
        ("-5.000", -5),
        ("-5.1", -6),
        ("-0.5", -1),
    ],
)
def test_times_are_rounded_down_to_seconds(said: str, seconds: int) -> None:
    """A number of floating point would round the third one up."""
    assert f" time={seconds} " in manifest(tar(FILE.but(pax_headers={"mtime": said})))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"sp ace", "/sp\\040ace"),
        (b"new\nline", "/new\\012line"),
        (b"back\\slash", "/back\\134slash"),
        ("\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode(), "/\\303\\274"),
        (b"lat\xe4in", "/lat\\344in"),
        (b"del\x7f~!", "/del\\177~!"),
    ],
)
def test_any_bytes_of_a_name_are_written_in_ascii(name: bytes, written: str) -> None:
    """One line for each path, and one space between its parts."""
    link = header(text(name), type=tarfile.SYMTYPE, linkname=text(name))
    (line,) = manifest(tar(link)).splitlines()[1:]
    path, *_, target = line.split(" ")
    assert (path, target) == (written, f"to={written.removeprefix('/')}")


def test_paths_that_are_no_unicode_can_stand_in_evidence() -> None:
    """JSON keeps no half of a surrogate."""
    (path,) = entries(tar(header(text(b"lat\xe4in"))))
    assert path == "/lat\\xe4in"


def test_devices_and_pipes_are_told_apart_in_words() -> None:
    """A difference names both values."""
    one, other = entries(tar(DEVICE)), entries(tar(DEVICE.but(devminor=5)))
    (found,) = differences(one, other)
    assert found.what == "kind character 1:3 / character 1:5"


# A worked example, for whoever writes the same in another language.


def example(headers: str) -> list[Header]:
    """Return the headers that a JSON text describes."""
    found = []
    for said in json.loads(headers):
        records = {"mtime": said.pop("mtime")}
        for name, value in said.pop("xattrs", {}).items():
            records[f"SCHILY.xattr.{name}"] = text(bytes.fromhex(value))
        mode, type_ = int(said.pop("mode"), 8), said.pop("type").encode()
        name, data = said.pop("name"), said.pop("content", "").encode()
        found.append(header(name, data, mode=mode, type=type_, pax_headers=records, **said))
    return found


def test_the_example_of_the_decision_is_right(root: Path) -> None:
    """Its manifest and its digest are those of its layer, in both dialects."""
    decision = (root / "docs" / "decisions" / "0013-layer-content.md").read_text("utf-8")
    headers, expected, wanted = re.findall(r"```(?:json|text)\n(.*?)```", decision, re.DOTALL)
    layer = example(headers)
    assert expected == manifest(tar(*layer))
    assert wanted.strip() == digest(*layer) == digest(*layer, old=True)
    assert wanted.strip() == f"{SCHEME}:{hashlib.sha256(expected.encode('ascii')).hexdigest()}"


# A layer is untrusted.


def refused(layer: bytes | io.BytesIO) -> str:
    """Return why a layer is refused."""
    stream = io.BytesIO(layer) if isinstance(layer, bytes) else layer
    with pytest.raises(EngineError, match="a layer cannot be read: ") as caught:
        content_digest(stream)
    return str(caught.value)


@pytest.mark.parametrize("name", ["../a", "opt/../../a", "opt/.."])
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    """So is such a target of a hard link. A symbolic link may lead anywhere."""
    assert "leads out" in refused(tar(header(name)))
    assert "leads out" in refused(tar(HARD.but(linkname=name)))
    assert digest(LINK.but(linkname=name))


def test_a_layer_that_is_cut_off_is_refused() -> None:
    """Wherever it is cut, also between two headers. Its end mark may lack its second half."""
    whole = tar(*ALL, FILE.but(pax_headers=xattrs(a=b"1"))).getvalue().rstrip(b"\0")
    end = -(-len(whole) // 512) * 512
    whole += bytes(end + 1024 - len(whole))
    for length in (*range(0, end + 512, 64), end + 511):
        refused(whole[:length])
    assert content_digest(io.BytesIO(whole[: end + 512])) == content_digest(io.BytesIO(whole))
    compressed = gzip.compress(whole)
    for length in range(len(compressed) - 20):
        refused(compressed[:length])


def test_a_broken_header_is_not_the_end_of_a_layer() -> None:
    """What stands behind it would be missing in the digest."""
    whole = tar(FOLDER, FILE, LINK).getvalue()
    assert "no header before byte" in refused(whole[:512] + b"x" + whole[513:])
    assert "no header before byte" in refused(whole[:512] + bytes(512) + whole[512:])


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8bnot gzip", b"x" * 4096])
def test_what_is_no_tar_is_refused(data: bytes) -> None:
    """Whatever it is."""
    refused(data)


def test_other_compressions_are_named() -> None:
    """A registry may hand out layers in zstd."""
    assert "zstd" in refused(b"\x28\xb5\x2f\xfd" + bytes(100))


def test_an_unknown_type_is_refused() -> None:
    """No engine unpacks it."""
    assert "unknown type" in refused(tar(FILE.but(type=b"Z")))


@pytest.mark.parametrize(
    "size",
    [
        b"77777777777\0",
        b"\x80" + (2**62).to_bytes(11, "big"),
        b"\xff" + (2**88 - 1024).to_bytes(11, "big"),
        b"not a size \0",
    ],
)
def test_a_size_that_lies_is_refused(size: bytes) -> None:
    """Enormous, negative, or no number."""
    refused(edited(tar(FILE).getvalue(), 124, size))


def test_a_negative_size_does_not_lead_back() -> None:
    """Python's tarfile alone would read the same headers for ever."""
    negative = b"\xff" + (2**88 - 1024).to_bytes(11, "big")
    assert "bytes of -1024" in refused(edited(tar(FILE, FOLDER).getvalue(), 124, negative))
    assert "points back" in refused(edited(tar(DELETED, FOLDER).getvalue(), 124, negative))


@pytest.mark.parametrize("type_", [b"x", b"g", b"L", b"K"])
def test_an_enormous_extended_header_is_refused_before_it_is_read(type_: bytes) -> None:
    """Memory would have to hold all of it."""
    layer = edited(tar(header("a", b"", type=type_)).getvalue(), 124, b"%011o\0" % (2**32))
    assert f"an extended header of {2**32} bytes" in refused(layer)
    assert PIECE < 2**32


def test_endless_extended_headers_are_refused() -> None:
    """Each is read inside of the one before."""
    name = edited(
        tar(header("a", b"", type=tarfile.GNUTYPE_LONGNAME)).getvalue(), 124, b"%011o\0" % 512
    )
    refused((name[:512] + bytes(512)) * 5000)


@pytest.mark.parametrize("record", ["uid", "gid", "mtime"])
@pytest.mark.parametrize("value", ["", "nan", "inf", "1e9", "x", "9" * 1000, "0x10", "1 2"])
def test_a_record_that_is_no_number_is_refused(record: str, value: str) -> None:
    """Python's tarfile would make 0 of most of them."""
    assert record in refused(tar(FILE.but(pax_headers={record: value})))


@pytest.mark.parametrize("record", ["uid", "path", "SCHILY.xattr.user.a"])
def test_a_global_header_must_not_set_what_counts(record: str) -> None:
    """Python's tarfile obeys it, and engines do not."""
    assert "global header" in refused(tar(FILE, pax_headers={record: "1"}))


def test_a_global_comment_does_not_count() -> None:
    """Archives that git makes begin with one."""
    assert digest(FILE, pax_headers={"comment": "1"}) == digest(FILE)


def sparse(size: int) -> Header:
    """Return a file of this size with holes around ten bytes at 1000."""
    records = {"GNU.sparse.map": "1000,10", "GNU.sparse.size": str(size)}
    return header("a", b"0123456789", pax_headers=records)


def test_a_file_with_holes_is_the_same_without_them() -> None:
    """Holes are a way to write zeros."""
    data = bytes(1000) + b"0123456789" + bytes(5000 - 1010)
    assert digest(sparse(5000), FOLDER) == digest(header("a", data), FOLDER)


def test_enormous_holes_are_refused() -> None:
    """They take a moment to write, and years to read."""
    assert "with holes of" in refused(tar(sparse(LARGEST_SPARSE + 1)))


@pytest.mark.parametrize("holes", ["x", "1000", "-5,10", "10,5,0,5", "0,99999", f"{2**70},1"])
def test_a_map_of_holes_may_say_anything(holes: str) -> None:
    """The layer is read, or it is refused."""
    records = {"GNU.sparse.map": holes, "GNU.sparse.size": "5000"}
    layer = tar(header("a", b"0123456789", pax_headers=records), FOLDER)
    try:
        assert content_digest(layer)
    except EngineError as error:
        assert "a layer cannot be read" in str(error)  # noqa: PT017 - either way is right


WHOLE = tar(*ALL, sparse(5000), FILE.but(pax_headers=xattrs(a=b"1"))).getvalue()


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=12))),
    st.booleans(),
)
def test_any_bytes_are_read_or_refused(edits: list[tuple[int, bytes]], checked: bool) -> None:
    """Also with the right checksums, so that the fields behind them are reached."""
    data = bytearray(WHOLE)
    for start, piece in edits:
        data[start : start + len(piece)] = piece
    for block in range(0, len(data) - 511, 512) if checked else ():
        if data[block + 257 : block + 262] == b"ustar":
            data[block + 148 : block + 156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    try:
        assert content_digest(io.BytesIO(data))
    except EngineError as error:
        assert "a layer cannot be read" in str(error)  # noqa: PT017 - either way is right


# How a layer is read.


class Trickle:
    """A stream that cannot go back, and gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        """Return some of the bytes that were asked for."""
        return self.data.read(min(size, 100))


def test_a_layer_is_read_once_from_any_stream() -> None:
    """No step back, so a layer can come straight from an engine."""
    whole = tar(*ALL, header("big", bytes(10_000))).getvalue()
    for data in (whole, gzip.compress(whole)):
        stream = cast("IO[bytes]", Trickle(data))
        assert content_digest(stream) == content_digest(io.BytesIO(whole))


def test_a_large_file_takes_little_memory() -> None:
    """Only the list of entries grows."""
    layer = gzip.compress(tar(header("big", bytes(2**25))).getvalue())
    tracemalloc.start()
    content_digest(io.BytesIO(layer))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**23


def test_many_paths_take_little_memory() -> None:
    """What the tar says beside is not kept."""
    records = {"comment": "x" * 5000}
    layer = tar(*(header(f"{number}", pax_headers=records) for number in range(2000)))
    tracemalloc.start()
    content_digest(layer)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2000 * 2000


# Any layer.


@dataclass(frozen=True)
class Thing:
    """Something that has one or more paths in a layer."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    time: int
    data: bytes
    target: str
    attributes: tuple[tuple[str, bytes], ...]


names = st.text(st.sampled_from("ab .\n\u00fc\udce4"), min_size=1, max_size=6).filter(
    lambda name: name.strip(".")
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
things = st.builds(
    Thing,
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]),
    mode=st.integers(0, 0o7777),
    owner=st.tuples(st.integers(0, 2**32), st.integers(0, 9)),
    time=st.integers(-10, 2**34),
    data=st.binary(max_size=20),
    target=st.sampled_from(["", "a", "../b", "/c"]),
    attributes=st.lists(
        st.tuples(st.sampled_from(["user.a", "user.b", "security.capability"]), st.binary()),
        max_size=3,
        unique_by=lambda pair: pair[0],
    ).map(tuple),
)
layers = st.dictionaries(paths, st.integers(0, 3), max_size=6)
"""For each path which of four things it is. Paths of the same thing are hard links."""


def written(layer: Mapping[str, int], made: list[Thing], order: list[str]) -> list[Header]:
    """Return the headers of a layer in some order. The first path of a thing is no link."""
    first: dict[int, str] = {}
    headers = []
    for path in order:
        thing = made[layer[path]]
        records = {f"SCHILY.xattr.{name}": text(value) for name, value in thing.attributes}
        one = Header(
            path,
            thing.data if thing.kind == tarfile.REGTYPE else b"",
            {
                "type": thing.kind,
                "mode": thing.mode,
                "uid": thing.owner[0],
                "gid": thing.owner[1],
                "mtime": thing.time,
                "linkname": thing.target if thing.kind == tarfile.SYMTYPE else "",
                "pax_headers": records,
            },
        )
        target = first.setdefault(layer[path], path)
        if target != path:
            one = replace(one, data=b"").but(type=tarfile.LNKTYPE, linkname=target)
        headers.append(one)
    return headers


@given(layers, st.lists(things, min_size=4, max_size=4), st.data())
def test_the_order_of_headers_does_not_count(
    layer: dict[str, int], made: list[Thing], data: st.DataObject
) -> None:
    """Neither does the dialect, nor which of several hard links holds the content."""
    one, other = (data.draw(st.permutations(sorted(layer))) for _ in range(2))
    first = tar(*written(layer, made, one), old=True, format=tarfile.GNU_FORMAT)
    if any(made[number].attributes for number in layer.values()):
        # Only pax has attributes.
        first = tar(*written(layer, made, one), old=True)
    second = tar(*written(layer, made, other))
    assert manifest(first) == manifest(second)


@given(layers, layers, st.lists(things, min_size=4, max_size=4))
def test_digests_are_equal_exactly_where_nothing_differs(
    one: dict[str, int], other: dict[str, int], made: list[Thing]
) -> None:
    """So `verify` finds paths wherever it finds two digests."""
    first, second = (tar(*written(layer, made, sorted(layer))) for layer in (one, other))
    same = content_digest(first) == content_digest(second)
    first.seek(0)
    second.seek(0)
    found = list(differences(entries(first), entries(second), content_only=True))
    assert same == (not found)
