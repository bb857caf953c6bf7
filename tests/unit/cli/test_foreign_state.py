"""Commands where the state, a tool or the disk is not as it was left: an error, no traceback."""

from __future__ import annotations

import errno
import os
import urllib.request
from pathlib import Path
from typing import NoReturn

import pytest
from shown import Commands
from small_project import GOOD, Folder, environment

from envmatrix.resolve import wheel_server
from envmatrix.stages.report import Reporting


def test_without_uv(offline: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uv is gone, locking says how to install it again."""

    def missing() -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "uv")

    monkeypatch.setattr("envmatrix.resolve.uv.find_uv_bin", missing)
    done = command(offline, "lock", GOOD, "--fresh")
    assert done.code == 3
    assert "pip install 'uv~=" in done.err


def test_records_that_hold_nothing(project: Folder, command: Commands) -> None:
    """Every record that was emptied counts as absent, and the work is done again."""
    command(project, "run", GOOD)
    records = [
        path
        for path in (project.root / ".envmatrix" / "records").rglob("*.json")
        if path.parent.name != "lock"
    ]
    assert len(records) > 2
    for path in records:
        path.write_text("{}", encoding="utf-8")
    assert command(project, "run", GOOD).code == 0


def test_a_stray_file_in_the_wheelhouse(tmp_path: Path) -> None:
    """A file that is no wheel is not served, and those beside it are."""
    for name in ("bad.whl", "jinja2-3.1.6-py3-none-any.whl"):
        path = tmp_path / "wheels" / "0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with wheel_server.serve(tmp_path) as address:
        url = f"http://{address}:{wheel_server.PORT}/simple/jinja2/"
        with urllib.request.urlopen(url) as answer:
            page = answer.read().decode()
    assert "jinja2-3.1.6" in page
    assert "bad" not in page


def test_evidence_of_a_host_that_is_cut_off(offline: Folder, command: Commands) -> None:
    """A file of a host that was cut off is named, with the command that removes it."""
    offline.write(".envmatrix/host/host-a.json", '{"schema": 2, "id": "ho')
    told = (".envmatrix/host/host-a.json", "`rm .envmatrix/host/host-a.json`")
    assert command(offline, "report", GOOD).is_refusal(2, *told)


@pytest.mark.parametrize("place", [".envmatrix", ".envmatrix/report", ".envmatrix/report/cells"])
def test_a_file_in_the_place_of_a_folder(offline: Folder, command: Commands, place: str) -> None:
    """A file where the state needs a folder is a failure of the surroundings that names it."""
    aside = offline.root / "aside"
    (offline.root / ".envmatrix").rename(aside)
    offline.write(place, "mine")
    assert command(offline, "report", GOOD).is_refusal(3, place)


@pytest.mark.parametrize("name", ["[bold]x", "x[/b]", "[/]", ":100:", "a b"])
def test_a_project_in_a_folder_with_marks(
    locked: Folder, command: Commands, tmp_path: Path, name: str
) -> None:
    """A path is shown as it is, whatever rich could read in it."""
    if "/" in name:
        (tmp_path / name).parent.mkdir()
    project = locked.copy(tmp_path / name, environment("unix:///nowhere"))
    with project.inside():
        assert command(project, "plan").code == 0
        assert command(project, "report", GOOD, "--out", str(tmp_path / name / "out")).code == 0
        project.write("images/resolved.json", "{")
        done = command(project, "plan")
        assert done.code == 2
        assert str(project.root / "images/resolved.json") in done.err


def test_anything_that_the_operating_system_refuses(
    offline: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal that no part of envmatrix expected is an error with the path, and ends with 3."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere/file")

    monkeypatch.setattr(Reporting, "write", refuse)
    assert command(offline, "report", GOOD).is_refusal(3, "Input/output error", "/somewhere/file")
