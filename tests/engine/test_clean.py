"""Cleaning on a real engine: only what this folder made goes, and a run works again after it."""

from __future__ import annotations

import io
import json
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import MATRIX, Folder
from docker.errors import APIError
from small_project import IMPORT_PROBE

from envmatrix.engine.builds import STEP_LABEL
from envmatrix.engine.client import Engine
from envmatrix.engine.containers import RUN_LABEL
from envmatrix.engine.image import Image
from envmatrix.engine.leftovers import Leftovers
from envmatrix.model.digests import digest
from envmatrix.stages.clean import Cleaner, Kind
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.options import Origin
from envmatrix.stages.recipes import Built
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records

CELL = "jinja2-3.1.6-py3.11-debian12-cpu"
MEGABYTE = 2**20
HOUR = 3600.0


class Small:
    """Small images and containers of a test, all of which are removed after it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.mark = f"clean-{uuid.uuid4().hex[:12]}"
        self.names: list[str] = []
        self.containers: list[str] = []

    def system(self, name: str) -> Image:
        """Import a system of one megabyte that no other image has."""
        path = self.folder / "root.tar"
        with tarfile.open(path, "w") as tar:
            entry = tarfile.TarInfo("random")
            data = uuid.uuid4().bytes * (MEGABYTE // 16)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        return self.engine.images.import_tar(path, self.named(name))

    def on(self, below: Image, name: str) -> Image:
        """Build an image with one more file on another."""
        files = {"Dockerfile": f"FROM {below.names[0]}\nCOPY file /{name}\n", "file": self.mark}
        return self.engine.builds.build(
            files,
            tag=self.named(name),
            arguments={},
            hosts={},
            log=lambda _: None,
            labels={STEP_LABEL: "build"},
        )

    def named(self, name: str) -> str:
        """Return a name of this project that only this test uses."""
        self.names.append(f"envmatrix/{name}:{self.mark}")
        return self.names[-1]

    def container(self, image: Image) -> str:
        """Make a container that does not run, as a killed run leaves it."""
        client = self.engine.connection.client
        made = client.create_container(image.id, ["/none"], labels={RUN_LABEL: self.mark})
        self.containers.append(str(made["Id"]))
        return self.containers[-1]

    def remove(self) -> None:
        """Remove what is left of all that."""
        client = self.engine.connection.client
        for container in self.containers:
            with suppress(APIError):
                client.remove_container(container, force=True)
        for name in reversed(self.names):
            self.engine.images.remove(name)


@pytest.fixture
def small(engine: Engine, tmp_path: Path) -> Iterator[Small]:
    """Makes small things."""
    made = Small(engine, tmp_path)
    yield made
    made.remove()


def checkout(engine: Engine, root: Path, *made: Image) -> Cleaner:
    """Return what cleans a folder that recorded these images; of its first one, as a system."""
    records = Records(root / ".envmatrix")
    for number, image in enumerate(made):
        built = Built(image, 1.0, Origin.BOOTSTRAP.value, reused=False)
        step = "build" if number else "os"
        ImageRecords(records, engine).keep(step, digest(image.id), built)
    later = time.time() + HOUR
    return Cleaner(Layout(root / "matrix.yaml"), records, Leftovers(engine), lambda: later)


def clean(cleaner: Cleaner, *kinds: Kind) -> dict[Kind, Any]:
    """Show and free; return what came of each kind."""
    shown = cleaner.look(kinds)
    with cleaner.records.exclusive():
        return {one.kind: one for one in cleaner.free(shown)}


def test_only_ours_goes(engine: Engine, small: Small, tmp_path: Path) -> None:
    """Our system, the image on it, and our container. What another checkout made stays."""
    ours = small.system("os")
    cell = small.on(ours, "cell")
    theirs = small.system("os-other")
    their_cell = small.on(theirs, "cell-other")
    left, their_container = small.container(cell), small.container(their_cell)
    freed = clean(checkout(engine, tmp_path, ours, cell), Kind.CONTAINERS, Kind.IMAGES)
    assert [one.stayed for one in freed.values()] == [(), ()]
    assert freed[Kind.IMAGES].size >= MEGABYTE
    assert engine.images.find(ours.id) is None
    assert engine.images.find(cell.id) is None
    assert engine.images.find(theirs.id)
    assert engine.images.find(their_cell.id)
    assert left not in engine.containers.all()
    assert their_container in engine.containers.all()


def test_what_is_in_use_stays(engine: Engine, small: Small, tmp_path: Path) -> None:
    """A container holds its image. A system stays for what another checkout built on it."""
    ours = small.system("os")
    cell = small.on(ours, "cell")
    shared = small.system("os-shared")
    small.on(shared, "cell-other")
    small.container(cell)
    cleaner = checkout(engine, tmp_path, shared, ours, cell)
    (shown,) = cleaner.look([Kind.IMAGES])
    assert [thing for thing, _ in shown.left] == [shared.names[0]]
    freed = clean(cleaner, Kind.IMAGES)
    assert [thing for thing, _ in freed[Kind.IMAGES].stayed] == [cell.names[0]]
    assert all(engine.images.find(one.id) for one in (cell, shared))


def test_a_run_works_from_nothing_again(engine: Engine, tmp_path: Path) -> None:
    """Nothing of its images and wheels is left, and the next run makes all of them again."""
    project = Folder(tmp_path)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    code, cells = project.run_json("run", CELL)
    assert (code, cells[CELL]["verdict"]) == (0, "works"), cells[CELL]
    image = made(engine)
    try:
        shown = json.loads(project.run("clean", "--json").stdout)
        assert not shown["freed"]
        assert engine.images.find(image)
        done = json.loads(project.run("clean", "--yes", "--json").stdout)
        kinds = {one["kind"]: one for one in done["kinds"]}
        assert f"envmatrix/cell:{CELL}" in kinds["images"]["things"]
        assert engine.images.find(image) is None
        assert not (tmp_path / ".envmatrix/wheelhouse").exists()
        code, cells = project.run_json("run", CELL)
        assert (code, cells[CELL]["verdict"]) == (0, "works"), cells[CELL]
        image = made(engine)
    finally:
        project.run("clean", "--yes")
    assert engine.images.find(image) is None


def made(engine: Engine) -> str:
    """Return the id of the image of the cell that a run has just made."""
    return engine.images.get(f"envmatrix/cell:{CELL}").id
