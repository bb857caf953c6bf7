"""Members of archives that would be written outside of their folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from envmatrix.resolve.archives import outside

INSIDE = [
    ("pkg/__init__.py", None),
    ("pkg/..data", None),
    ("pkg/lib/libx.so", "libx.so.1"),
    ("pkg/lib/up", "../data/x"),
    ("pkg/lib/root", "../.."),
]
OUTSIDE = [
    ("../x", None),
    ("pkg/../../x", None),
    ("pkg/../x", None),
    ("/etc/x", None),
    ("pkg/link", "/etc"),
    ("pkg/link", "../../x"),
    ("link", ".."),
    ("pkg/link", "lib/../x"),
]


def wheel_of(folder: Path, *members: tuple[str, str | None]) -> Path:
    """Write a wheel of files and links."""
    path = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, target in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if target else stat.S_IFREG) << 16
            archive.writestr(info, target or "x")
    return path


def tar_of(folder: Path, *members: tuple[str, str | None], kind: bytes = tarfile.SYMTYPE) -> Path:
    """Write a compressed tar of files and links."""
    path = folder / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, target in members:
            info = tarfile.TarInfo(name)
            if target is None:
                info.size = 1
                archive.addfile(info, io.BytesIO(b"x"))
            else:
                info.type, info.linkname = kind, target
                archive.addfile(info)
    return path


@pytest.mark.parametrize("make", [wheel_of, tar_of])
def test_members_that_stay_inside_are_well(tmp_path: Path, make: type) -> None:
    """Links within the folder and names with dots are no harm."""
    assert outside(make(tmp_path, *INSIDE)) == ""


@pytest.mark.parametrize("make", [wheel_of, tar_of])
@pytest.mark.parametrize("member", OUTSIDE, ids=str)
def test_a_member_that_leaves_is_named(
    tmp_path: Path, make: type, member: tuple[str, str | None]
) -> None:
    """The first one is named, also behind others that stay inside."""
    assert outside(make(tmp_path, *INSIDE, member)).startswith(member[0])


@pytest.mark.parametrize("make", [wheel_of, tar_of])
def test_a_path_through_a_link_is_named(tmp_path: Path, make: type) -> None:
    """Two links that stay inside by themselves can lead out together."""
    assert outside(make(tmp_path, ("a/b/link", "../.."), ("a/b/link/c", None))) == "a/b/link/c"


@pytest.mark.parametrize(
    ("kind", "target", "told"),
    [(tarfile.LNKTYPE, "../x", "../x"), (tarfile.CHRTYPE, "", "dev (a link to /dev)")],
)
def test_other_members_of_a_tar(tmp_path: Path, kind: bytes, target: str, told: str) -> None:
    """A hard link counts by the member that it names, and a device is never well."""
    assert outside(tar_of(tmp_path, ("dev", target), kind=kind)) == told


def test_a_hard_link_to_a_member_is_well(tmp_path: Path) -> None:
    """The path of the member is one from the root of the archive."""
    assert outside(tar_of(tmp_path, ("a/b", None), ("c/d", "a/b"), kind=tarfile.LNKTYPE)) == ""


@pytest.mark.parametrize("name", ["x.whl", "x.tar.gz"])
def test_what_is_no_archive_is_left_to_others(tmp_path: Path, name: str) -> None:
    """Whoever unpacks it says that it is damaged."""
    path = tmp_path / name
    path.write_bytes(b"no archive at all")
    assert outside(path) == ""


def test_a_name_in_another_encoding_than_it_says_is_left_to_others(tmp_path: Path) -> None:
    """A wheel whose list of members Python cannot read ends no run."""
    path = wheel_of(tmp_path, ("pkg/\u00e9.py", None))
    data = path.read_bytes()
    path.write_bytes(data.replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(path)
    assert outside(path) == ""
