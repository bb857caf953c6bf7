"""Archives that would write outside of their folder: refused by name, before a build gets them."""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import replace

import pytest
from fake_index import FakeIndex
from small_project import GOOD, Folder

MEMBERS = {
    "upwards": ("../../escaped.py", None),
    "absolute": ("/tmp/envmatrix-escaped.py", None),  # noqa: S108  (a name in an archive)
    "link": ("jinja2/escaped", "../../../etc"),
    "absolute link": ("jinja2/escaped", "/etc"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_that_leaves_its_folder(name: str, unlocked: Folder, index: FakeIndex) -> None:
    """The index, the hash and the lock are right, and the wheel is refused all the same."""
    member, target = MEMBERS[name]
    spoil(index, member, target)
    code, cells = unlocked.run_json("run", GOOD)
    cell = cells[GOOD]
    assert (code, cell["verdict"], cell["class"]) == (3, "unknown", "unsafe-archive"), cell
    assert "jinja2-3.1.6-py3-none-any.whl is refused" in cell["cause"]
    assert member in cell["cause"]
    wheels = unlocked.root / ".envmatrix" / "wheelhouse"
    assert not list(wheels.rglob("jinja2*"))
    assert not list(unlocked.root.parent.rglob("*escaped*"))


def spoil(index: FakeIndex, member: str, target: str | None) -> None:
    """Let the wheel of the good cell hold one more member: a file, or a link to a target."""
    at, wheel = next(
        (at, one)
        for at, one in enumerate(index._files)
        if one.name == "jinja2" and one.version == "3.1.6"
    )
    data = io.BytesIO(wheel.data)
    with zipfile.ZipFile(data, "a") as archive:
        info = zipfile.ZipInfo(member)
        info.external_attr = (stat.S_IFLNK if target else stat.S_IFREG | 0o644) << 16
        archive.writestr(info, target or "escaped = True\n")
    index._files[at] = replace(wheel, data=data.getvalue())
