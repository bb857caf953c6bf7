"""The disks of an engine that are full: where it keeps images, and where it runs containers.

The engine gets a small disk for its images. That it is full says nothing about a cell.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MATRIX, Folder
from disks import fill, filled, image_disk
from private_engine import PrivateEngine, wait_until
from small_project import IMPORT_PROBE

from envmatrix.engine.client import Engine

GOOD = "jinja2-3.1.6-py3.11-debian12-cpu"
OLD = "jinja2-2.9.6-py3.11-debian12-cpu"
NEW = "jinja2-3.1.5-py3.11-debian12-cpu"
"""A cell that the project gets later, so that no cache has a step of it."""
MEGABYTES = {"overlay2": 480, "containerd": 960}
"""The size of the small disk. containerd keeps layers packed, too."""
RUN_MEGABYTES = 64


@dataclass(frozen=True)
class Cramped:
    """An engine whose images lie on a small disk, and a project with a base on it."""

    machine: PrivateEngine
    disk: Path
    project: Folder


@pytest.fixture(scope="module")
def cramped(
    machine: PrivateEngine,
    checkout: Folder,
    quick: object,
    wheelhouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cramped]:
    """The engine of these tests with a small disk. The operating system is taken over to it."""
    folder = tmp_path_factory.mktemp("cramped")
    system = folder / "system.tar"
    with Engine.connect() as engine, system.open("wb") as file:
        (record,) = (checkout.root / ".envmatrix/records/os").glob("*.json")
        image = json.loads(record.read_text(encoding="utf-8"))["id"]
        for part in engine.connection.client.get_image(image):
            file.write(part)
    machine.stop()
    data = machine.folder / machine.version / machine.store
    try:
        with image_disk(data, folder / "disk", MEGABYTES[machine.store]) as disk:
            machine.start()
            with Engine.connect() as engine, system.open("rb") as file:
                engine.connection.client.load_image(file)  # type: ignore[no-untyped-call]
            system.unlink()
            project = Folder(folder / "project")
            shutil.copytree(checkout.root, project.root, symlinks=True)
            for name in ("base", "build", "cell", "layer", "probe"):
                shutil.rmtree(project.root / ".envmatrix/records" / name, ignore_errors=True)
            shutil.rmtree(project.root / ".envmatrix/cells")
            code, cells = project.run_json("run", GOOD)
            assert (code, cells[GOOD]["verdict"]) == (0, "works"), cells[GOOD]["cause"]
            yield Cramped(machine, disk, project)
            machine.stop()
    finally:
        machine.stop()
        machine.start()


def outcome(project: Folder, *arguments: str) -> dict[str, Any]:
    """Run the command; return the one cell that it was about. The command must end with 3."""
    code, cells = project.run_json(*arguments)
    (cell,) = cells.values()
    assert code == 3, cell
    return cell


def works(project: Folder, cell_id: str) -> bool:
    """Assert that a cell works, now that there is room."""
    code, cells = project.run_json("run", cell_id)
    assert (code, cells[cell_id]["verdict"]) == (0, "works"), cells[cell_id]["cause"]
    return True


def test_a_plan_that_does_not_fit_on_the_disk_of_the_engine(cramped: Cramped) -> None:
    """It is refused before anything is built. The error names the folder of the engine."""
    with filled(cramped.disk, leave=4 * 10**6):
        done = cramped.project.run("run", OLD)
        assert done.returncode == 3
        assert "of disk and" in done.stderr
        assert str(cramped.disk) in done.stderr


def test_another_program_fills_the_disk_of_the_engine_during_a_build(cramped: Cramped) -> None:
    """The cell is unknown for that. With room it is judged: its old Jinja cannot be imported."""
    log = cramped.project.root / ".envmatrix/logs/build" / f"{OLD}.log"
    log.unlink(missing_ok=True)
    ended = threading.Event()

    def meanwhile() -> None:
        wait_until(lambda: log.exists() or ended.is_set())
        while not ended.wait(0.05):
            fill(cramped.disk)

    other = threading.Thread(target=meanwhile)
    other.start()
    try:
        cell = outcome(cramped.project, "run", OLD)
    finally:
        ended.set()
        other.join()
        (cramped.disk / "ballast").unlink(missing_ok=True)
    assert (cell["verdict"], cell["class"]) == ("unknown", "disk-full"), cell["cause"]
    code, cells = cramped.project.run_json("run", OLD)
    assert (code, cells[OLD]["verdict"], cells[OLD]["stage"]) == (1, "broken", "import")


@contextmanager
def full_exec_root(machine: PrivateEngine) -> Iterator[None]:
    """Fill the disk in memory on which the engine keeps what belongs to running containers."""
    inside = ["nsenter", f"--target={machine.process}", "--mount", "sh", "-c"]
    script = (
        f"mount -o remount,size={RUN_MEGABYTES}m /run; "
        "dd if=/dev/zero of=/run/ballast bs=4k 2>/dev/null; true"
    )
    subprocess.run([*inside, script], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "rm /run/ballast; mount -o remount,size=2g /run"], check=True)


def test_the_disk_of_running_containers_is_full_at_the_probes(cramped: Cramped) -> None:
    """No container starts, which says nothing about the cell."""
    # A probe that changed is run again. To build all anew would need more than the small disk.
    cramped.project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE + "# changed\n")
    with full_exec_root(cramped.machine):
        cell = outcome(cramped.project, "probe", GOOD)
    assert (cell["verdict"], cell["class"]) == ("unknown", "disk-full"), cell["cause"]
    assert works(cramped.project, GOOD)


def test_the_disk_of_running_containers_is_full_at_a_build(cramped: Cramped) -> None:
    """No step starts, which says nothing about the cell. Not every engine says why."""
    cramped.project.write("matrix.yaml", MATRIX.replace('"9.9.9"', '"3.1.5"'))
    with full_exec_root(cramped.machine):
        cell = outcome(cramped.project, "build", NEW)
    assert cell["verdict"] == "unknown"
    assert cell["class"] in {"disk-full", "engine"}, cell["cause"]
    assert works(cramped.project, NEW)
