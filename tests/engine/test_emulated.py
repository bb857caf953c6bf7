"""Images of another architecture on a real engine: loaded, built on and run, where it emulates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MATRIX, REPOSITORY, Folder, with_wheels
from small_project import IMPORT_PROBE

from envmatrix.engine import emulation
from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.process import Limits

OTHER = {"amd64": "arm64", "arm64": "amd64"}
BELOW = "envmatrix/test:foreign"
PROGRAM = "/ends-well"
DOCKERFILE = f'ARG BASE\nFROM ${{BASE}}\nRUN ["{PROGRAM}"]\n'


@pytest.fixture
def foreign(engine: Engine) -> str:
    """The architecture that is not the engine's."""
    return OTHER[engine.architecture]


@pytest.fixture
def emulated(engine: Engine, foreign: str) -> str:
    """The architecture that the engine emulates."""
    if not engine.emulates(foreign):
        pytest.skip(f"the engine does not emulate {foreign}: scripts/setup-engine --emulate")
    return foreign


@pytest.fixture
def below(engine: Engine, emulated: str, tmp_path: Path) -> Iterator[Image]:
    """An image of that architecture with one program."""
    root = tmp_path / "root.tar"
    root.write_bytes(emulation._root(emulation.program(emulated)))
    yield engine.images.load_tar(root, BELOW, emulated)
    engine.images.remove(BELOW)


@pytest.mark.parametrize("fresh", [False, True], ids=["buildkit", "classic"])
def test_a_foreign_image_is_built_on_and_run(
    engine: Engine, emulated: str, below: Image, fresh: bool
) -> None:
    """The steps run by emulation, and the result is of the architecture of the image below."""
    said: list[str] = []
    image = engine.builds.build(
        {"Dockerfile": DOCKERFILE},
        tag=None,
        arguments={"BASE": BELOW},
        hosts={},
        labels={},
        log=said.append,
        platform=f"linux/{emulated}",
        fresh=fresh,
    )
    try:
        assert emulated == engine.images.architecture(image), "".join(said)
        assert image.layers[:1] == below.layers
        ran = engine.containers.run(image.id, [PROGRAM], environment={}, limits=Limits(seconds=60))
        assert ran.exit_code == 0, ran
    finally:
        engine.images.remove(image.id)


@pytest.fixture
def project(
    tmp_path: Path, engine: Engine, foreign: str, wheelhouse: Path
) -> Iterator[tuple[Folder, str]]:
    """A small project for both architectures, and the id of its foreign cell."""
    folder = with_wheels(tmp_path, wheelhouse)
    folder.write(
        "matrix.yaml", MATRIX.replace("{cpu: {}}\n", "{cpu: {}}\n  arch: [amd64, arm64]\n")
    )
    folder.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    suffix = "" if foreign == "amd64" else f"-{foreign}"
    yield folder, f"jinja2-3.1.6-py3.11-debian12-cpu{suffix}"
    for name in engine.images.names(f"envmatrix/cell:jinja2*{suffix}"):
        engine.images.remove(name)


def test_an_engine_that_does_not_emulate_leaves_the_cell_unknown(
    project: tuple[Folder, str], engine: Engine, foreign: str
) -> None:
    """Exit code 3, and the remedy names the way to emulation. Nothing is downloaded."""
    if engine.emulates(foreign):
        pytest.skip(f"the engine emulates {foreign}")
    folder, cell_id = project
    code, cells = folder.run_json("run", cell_id)
    found = cells[cell_id]
    assert (code, found["verdict"], found["class"]) == (3, "unknown", "engine")
    assert f"scripts/setup-engine --emulate {foreign}" in found["remedy"]


def test_a_cell_is_built_and_probed_by_emulation(
    project: tuple[Folder, str], engine: Engine, emulated: str
) -> None:
    """It works, and its evidence says that it was emulated."""
    # Another checkout may have made the base. Only the records of this one tell of it.
    records = [Path(".envmatrix", "records", step) for step in ("os", "base")]
    known = all((REPOSITORY / one).is_dir() for one in records)
    if not known or not engine.images.find(f"envmatrix/base:debian12-py3.11-cpu-{emulated}"):
        pytest.skip("to bootstrap a system by emulation takes minutes: `run --profile arm64` first")
    folder, cell_id = project
    for one in records:
        shutil.copytree(REPOSITORY / one, folder.root / one)
    code, cells = folder.run_json("run", cell_id)
    found = cells[cell_id]
    assert (code, found["verdict"], found["emulated"]) == (0, "works", True), found["cause"]
    assert found["observed"]["arch"] == emulated
