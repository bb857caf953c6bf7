"""Disks of this machine that are full: named as such, no work begins, nothing is half written.

The disks are small ones in memory. "Another program" fills them while a run is at work.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from disks import fill, fill_table, filled, small_disk
from fake_engine import Exit, FakeEngine, Request, RunRequest, Step
from fake_index import FakeIndex
from small_project import GOOD, OLD, Folder, environment, make_project

from envmatrix.store.files import _LEFTOVER

DISK = "size=40m"
KEPT = ("cells", "records", "report")
"""The folders of the state in which no file may be half written."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, which holds the state of a project."""
    with small_disk(tmp_path / "disk", DISK) as place:
        yield place


@pytest.fixture
def large(disk: Path, tmp_path: Path, fake: FakeEngine) -> Iterator[tuple[Folder, FakeIndex]]:
    """A project of which nothing is known, with wheels of some megabytes, and its index."""
    with FakeIndex() as index:
        for version, size in (("3.1.6", 12), ("2.9.6", 1)):
            data = random.Random(version).randbytes(size * 10**6)  # noqa: S311  (it only has to be large)
            files: dict[str, str | bytes] = {"jinja2/__init__.py": "", "jinja2/data": data}
            index.add("jinja2", version, files=files)
        index.add("pip", "26.0")
        index.add("uv", "0.13.9")
        project = make_project(tmp_path / "project", environment(fake.url, index.url))
        (project.root / ".envmatrix").symlink_to(disk)
        yield project, index


@pytest.fixture
def small(here: Folder, disk: Path) -> Folder:
    """A project that is locked, and whose wheels are here, with its state on the small disk."""
    state = here.root / ".envmatrix"
    shutil.copytree(state, disk, dirs_exist_ok=True)
    shutil.rmtree(state)
    state.symlink_to(disk)
    return here


def all_is_whole(project: Folder) -> bool:
    """Assert that no file of the state is one that a write began and did not end."""
    state = project.root / ".envmatrix"
    files = [path for name in KEPT for path in (state / name).rglob("*") if path.is_file()]
    assert not [path for path in files if _LEFTOVER.fullmatch(path.name)]
    assert not [path for path in files if path.stat().st_size == 0]
    assert not list((state / "wheelhouse").glob("incoming-*"))
    return True


def works(project: Folder, *ids: str) -> bool:
    """Assert that a run works, now that there is room."""
    code, cells = project.run_json("run", *ids)
    assert {cell["verdict"] for cell in cells.values()} == {"works"}, cells
    assert code == 0
    return True


def test_a_plan_that_does_not_fit(large: tuple[Folder, FakeIndex], disk: Path) -> None:
    """Nothing is downloaded. The error says how much is needed, how much is free, and where."""
    project, index = large
    assert project.run("lock", GOOD).returncode == 0
    with filled(disk, leave=15 * 10**6):
        done = project.run("run", GOOD)
        assert done.returncode == 3
        assert "of disk and" in done.stderr
        assert "free some disk" in done.stderr
        assert index.asked("GET /files/*.whl") == []
        assert all_is_whole(project)
    assert works(project, GOOD)


def test_another_program_fills_the_disk_during_a_download(
    large: tuple[Folder, FakeIndex], disk: Path
) -> None:
    """The cell is unknown for that. The next one is not begun, and no part of a wheel stays."""
    project, index = large

    def meanwhile(request: Request) -> None:
        if request.path.endswith("jinja2-3.1.6-py3-none-any.whl"):
            # Some room, but neither for this wheel nor for all that the next cell needs.
            fill(disk, leave=10_500_000)

    index.meanwhile = meanwhile
    code, cells = project.run_json("run", GOOD, OLD, "--jobs", "1")
    assert code == 3
    for cell_id in (GOOD, OLD):
        found = cells[cell_id]
        assert (found["verdict"], found["class"]) == ("unknown", "disk-full"), found["cause"]
        assert "free some" in found["remedy"]
    assert index.asked("GET /files/jinja2/jinja2-2.9.6*.whl") == []
    assert all_is_whole(project)
    index.meanwhile = lambda _: None
    (disk / "ballast").unlink()
    assert works(project, GOOD, OLD)


def test_another_program_fills_the_disk_during_a_build(
    small: Folder, disk: Path, fake: FakeEngine
) -> None:
    """A log that cannot be written says nothing about the cell, and the next one is not begun."""
    before = fake.on_layer

    def full(step: Step, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        fill(disk)
        return before(step, files)

    fake.on_layer = full
    done = small.run("run", GOOD, OLD, "--jobs", "1", "--json")
    assert done.returncode == 3
    assert "No space left on device" in done.stderr + done.stdout
    assert len(fake.build_records) == 1
    assert all_is_whole(small)
    fake.on_layer = before
    (disk / "ballast").unlink()
    assert works(small, GOOD, OLD)


def test_another_program_fills_the_disk_during_the_probes(
    small: Folder, disk: Path, fake: FakeEngine
) -> None:
    """The run ends where evidence cannot be kept. What was kept before is whole."""
    before = fake.on_run

    def full(request: RunRequest) -> Exit:
        fill(disk)
        return before(request)

    fake.on_run = full
    done = small.run("run", GOOD)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert ".envmatrix/cells" in done.stderr
    assert "free some room" in done.stderr
    assert all_is_whole(small)
    fake.on_run = before
    (disk / "ballast").unlink()
    assert works(small, GOOD)


@pytest.mark.parametrize("last", ["cells/*.json", "report/report.json", "report/cells/*.json"])
def test_another_program_fills_the_disk_between_two_writes(
    last: str, small: Folder, disk: Path, tmp_path: Path
) -> None:
    """Evidence that was kept before is there, and the report is made again from it."""
    script = tmp_path / "fill"
    script.write_text(
        f"dd if=/dev/zero of={disk}/ballast bs=64k 2>/dev/null; truncate -s 0 {disk}/none\n"
        f"for n in 1 2 3 4 5 6 7 8; do head -c 4096 /dev/zero >>{disk}/ballast; done 2>/dev/null\n"
        "true\n",
        encoding="utf-8",
    )
    hook = Path(__file__).parents[2] / "support" / "stopped_writes"
    asked = {
        "root": str(small.root / ".envmatrix"),
        "log": str(tmp_path / "log"),
        "path": last,
        "do": f"sh {script}",
    }
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    writing = {**small.environment, "PYTHONPATH": path, "AT_A_WRITE": json.dumps(asked)}
    done = Folder(small.root, writing).run("run", GOOD)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert all_is_whole(small)
    (disk / "ballast").unlink()
    done = small.run("report", GOOD)
    assert done.returncode == 0, done.stderr
    assert "works" in done.stdout


def test_a_report_on_a_full_disk(here: Folder, disk: Path, tmp_path: Path) -> None:
    """The old report stays whole, and the error names the disk."""
    assert here.run("run", GOOD).returncode == 0
    out = disk / "out"
    assert here.run("report", GOOD, "--out", str(out)).returncode == 0
    old = {path: path.read_bytes() for path in out.rglob("*.json")}
    fill(disk)
    done = here.run("report", GOOD, OLD, "--out", str(out), "--site")
    assert done.returncode == 3
    assert str(out) in done.stderr
    assert "No space left on device" in done.stderr
    assert not [path for path in out.rglob(".*") if _LEFTOVER.fullmatch(path.name)]
    assert {path: path.read_bytes() for path in old} == old


def test_a_disk_without_room_for_another_file(here: Folder, tmp_path: Path) -> None:
    """An inode table that is full is a full disk, and the remedy shows how to see it."""
    state = here.root / ".envmatrix"
    with small_disk(tmp_path / "disk", "size=40m,nr_inodes=120") as place:
        shutil.copytree(state, place, dirs_exist_ok=True)
        shutil.rmtree(state)
        state.symlink_to(place)
        folder = fill_table(place)
        done = here.run("run", GOOD)
        assert done.returncode == 3
        assert "No space left on device" in done.stderr + done.stdout
        assert "df -i" in done.stderr + done.stdout
        shutil.rmtree(folder)
        assert works(here, GOOD)


@pytest.mark.parametrize(
    "arguments", [("plan",), ("explain", GOOD), ("recommend",), ("lock", GOOD)]
)
def test_commands_that_need_no_room(arguments: tuple[str, ...], small: Folder, disk: Path) -> None:
    """What only reads works on a full disk."""
    fill(disk)
    done = small.run(*arguments)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or (arguments[0] == "lock" and done.returncode == 3), done.stderr
