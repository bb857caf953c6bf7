"""Two builds of a layer, compared path by path."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from typing import Any

import pytest

from envmatrix.engine.layerdiff import EMPTY, TEXT_LIMIT, Entry, differences, entries
from envmatrix.model.evidence import Difference


def layer(*members: tuple[str, bytes | None, int], **attributes: Any) -> io.BytesIO:
    """Return a layer of files and, where there are no bytes, folders, each with its time.

    `attributes` are set on the last entry.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for place, (name, data, time) in enumerate(members, 1):
            entry = tarfile.TarInfo(name)
            entry.mtime = time
            if data is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(data)
            for attribute, value in attributes.items() if place == len(members) else ():
                setattr(entry, attribute, value)
            tar.addfile(entry, io.BytesIO(data or b""))
    buffer.seek(0)
    return buffer


def compare(first: io.BytesIO, second: io.BytesIO) -> dict[str, Difference]:
    """Return the differences by path."""
    return {found.path: found for found in differences(entries(first), entries(second))}


def test_the_same_layer_differs_in_nothing() -> None:
    """The order of the paths does not count."""
    one, other = ("opt", None, 5), ("opt/a", b"text", 5)
    assert compare(layer(one, other), layer(other, one)) == {}


def test_a_compressed_layer_holds_the_same() -> None:
    """Engines that keep images in containerd hand out compressed layers."""
    plain = layer(("opt", None, 5), ("opt/a", b"text", 5), ("opt/b", bytes(3_000_000), 5))
    compressed = io.BytesIO(gzip.compress(plain.getvalue()))
    assert entries(compressed) == entries(plain)


def test_an_entry_has_every_attribute_of_its_path() -> None:
    """The text of a short file is kept, and that of any other file is not."""
    found = entries(
        layer(
            ("opt", None, 5),
            ("opt/text", "ä\n".encode(), 6),
            ("opt/binary", b"\0\1", 7),
            ("opt/latin", b"\xe4", 7),
            ("opt/long", b"x" * (TEXT_LIMIT + 1), 7),
            ("opt/link", b"", 8),
            type=tarfile.SYMTYPE,
            linkname="../text",
            mode=0o777,
            uid=65532,
            gid=0,
        )
    )
    assert found["/opt"] == Entry("directory", "0644", "0:0", 5, 0, "", "")
    assert found["/opt/text"] == Entry(
        "file",
        "0644",
        "0:0",
        6,
        3,
        "",
        hashlib.sha256("ä\n".encode()).hexdigest(),
        "ä\n",
    )
    assert found["/opt/link"] == Entry("link", "0777", "65532:0", 8, 0, "../text", "")
    assert (found["/opt/binary"].text, found["/opt/long"].text) == ("", "")
    assert found["/opt/latin"].text == "\N{REPLACEMENT CHARACTER}"


def test_the_empty_layer_holds_no_path() -> None:
    """Its diff id is the hash of two blocks of zeros."""
    assert entries(io.BytesIO(bytes(1024))) == {}
    assert f"sha256:{hashlib.sha256(bytes(1024)).hexdigest()}" == EMPTY


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"mode": 0o755}, "mode 0644 / 0755"),
        ({"uid": 7}, "owner 0:0 / 7:0"),
        ({"gid": 7}, "owner 0:0 / 0:7"),
        ({"mtime": 7}, "time 5 / 7"),
        ({"type": tarfile.DIRTYPE}, "kind file / directory"),
    ],
)
def test_each_attribute_that_differs_is_named(attributes: dict[str, Any], expected: str) -> None:
    """Both values are shown, the first build before the rebuilt one."""
    first, second = layer(("opt/a", b"", 5)), layer(("opt/a", b"", 5), **attributes)
    assert expected in compare(first, second)["/opt/a"].what


def test_links_differ_in_their_targets() -> None:
    """A symbolic link and a hard link both have one."""
    kinds = (tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "file")
    for type_, kind in kinds:
        first, second = (
            layer(("opt/a", b"", 5), type=type_, linkname=target) for target in ("b", "c")
        )
        assert entries(first)["/opt/a"].kind == kind
        first.seek(0)
        assert compare(first, second)["/opt/a"].what == "link b / c"


def test_files_without_a_line_that_differs_are_told_apart_by_their_hashes() -> None:
    """A binary file has no lines, and one text may be the beginning of the other."""
    for one, other in ((b"\0a", b"\0b"), (b"same\n", b"same")):
        before, after = (entries(layer(("a", data, 5)))["/a"] for data in (one, other))
        (found,) = differences({"/a": before}, {"/a": after})
        assert f"content {before.content[:12]} / {after.content[:12]}" in found.what


def test_long_lines_are_cut() -> None:
    """The evidence of a cell stays readable."""
    before = entries(layer(("a", b"x" * 5000, 5)))["/a"]
    after = replace(before, content="other", text="y" * 5000)
    (found,) = differences({"/a": before}, {"/a": after})
    assert found.what == f"content (line 1: {'x' * 80!r} / {'y' * 80!r})"


def test_differences_are_sorted_by_path() -> None:
    """Two comparisons of the same builds read the same."""
    first = layer(("b", b"1", 5), ("a", b"1", 5))
    second = layer(("c", b"1", 5), ("b", b"2", 5))
    assert list(compare(first, second)) == ["/a", "/b", "/c"]


@pytest.mark.parametrize(
    ("name", "first", "second", "what", "cause"),
    [
        ("opt/a", (b"x", 5), (b"x", 7), "time 5 / 7", "SOURCE_DATE_EPOCH"),
        ("opt", (None, 5), (None, 7), "time 5 / 7", "COPY and ADD"),
        ("opt/.wh.a", (b"", 5), (b"", 7), "time 5 / 7", "deleted"),
        ("a/x.pyc", (b"\0a", 5), (b"\0b", 5), "content ", "unchecked"),
        ("var/log/dpkg.log", (b"9:01", 5), (b"9:02", 5), "'9:01' / '9:02'", "a log"),
        ("etc/shadow", (b"u:1", 5), (b"u:2", 5), "line 1", "useradd"),
        ("opt/a", (b"same\nx", 5), (b"same\ny", 5), "(line 2: 'x' / 'y')", "depends on"),
        ("opt/a", (b"x", 5), (b"xx", 7), "time 5 / 7; size 1 / 2; content", "depends on"),
    ],
)
def test_a_difference_is_named_with_its_likely_cause(
    name: str,
    first: tuple[bytes | None, int],
    second: tuple[bytes | None, int],
    what: str,
    cause: str,
) -> None:
    """Each attribute has both values, and the cause says what to do."""
    (found,) = compare(layer((name, *first)), layer((name, *second))).values()
    assert found.path == f"/{name}"
    assert what in found.what
    assert cause in found.cause


def test_a_path_of_one_build_only_is_named() -> None:
    """The path may be in the first build or in the rebuilt one."""
    both, extra = ("opt/a", b"x", 5), ("opt/b", b"x", 5)
    assert compare(layer(both), layer(both, extra))["/opt/b"].what == "only in the rebuilt one"
    assert compare(layer(both, extra), layer(both))["/opt/b"].what == "only in the first one"


def test_permissions_alone_point_to_the_umask() -> None:
    """Other attributes beside them point to something else."""
    first = layer(("opt/a", b"x", 5))
    assert "umask" in compare(first, layer(("opt/a", b"x", 5), mode=0o600))["/opt/a"].cause
    first.seek(0)
    both = compare(first, layer(("opt/a", b"x", 7), mode=0o600))["/opt/a"].cause
    assert "umask" not in both
