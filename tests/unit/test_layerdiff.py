"""Two builds of a layer, compared path by path."""

import gzip
import io
import tarfile

import pytest

from envmatrix.layerdiff import Difference, differences, entries


def layer(*members: tuple[str, bytes | None, int]) -> io.BytesIO:
    """Return a layer of files and, where there are no bytes, folders, each with its time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, time in members:
            entry = tarfile.TarInfo(name)
            entry.mtime = time
            if data is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data or b""))
    buffer.seek(0)
    return buffer


def compare(first: io.BytesIO, second: io.BytesIO) -> dict[str, Difference]:
    """Return what differs, by path."""
    return {found.path: found for found in differences(entries(first), entries(second))}


def test_the_same_layer_differs_in_nothing() -> None:
    """Whatever the order of its paths."""
    one, other = ("opt", None, 5), ("opt/a", b"text", 5)
    assert compare(layer(one, other), layer(other, one)) == {}


def test_a_compressed_layer_holds_the_same() -> None:
    """Engines whose images are containerd's hand layers out compressed."""
    plain = layer(("opt", None, 5), ("opt/a", b"text", 5), ("opt/b", bytes(3_000_000), 5))
    compressed = io.BytesIO(gzip.compress(plain.getvalue()))
    assert entries(compressed) == entries(plain)


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
def test_what_differs_is_named_with_its_likely_cause(
    name: str,
    first: tuple[bytes | None, int],
    second: tuple[bytes | None, int],
    what: str,
    cause: str,
) -> None:
    """The attributes, both values of each, and what to do."""
    (found,) = compare(layer((name, *first)), layer((name, *second))).values()
    assert found.path == f"/{name}"
    assert what in found.what
    assert cause in found.cause


def test_a_path_of_one_build_only_is_named() -> None:
    """On either side."""
    both, extra = ("opt/a", b"x", 5), ("opt/b", b"x", 5)
    assert compare(layer(both), layer(both, extra))["/opt/b"].what == "only in the rebuilt one"
    assert compare(layer(both, extra), layer(both))["/opt/b"].what == "only in the first one"
