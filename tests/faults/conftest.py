"""Faults that are really caused: an engine of these tests' own, which may be killed and frozen.

`nox -s faults` runs these tests. They need root on Linux, for the engine. ENVMATRIX_FAULTS_ENGINE
names its version (default: 20.10), ENVMATRIX_FAULTS_STORE its image store (default: overlay2),
and ENVMATRIX_FAULTS_DIR the folder that keeps it. Tests that need no engine take no fixture of one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MATRIX, REPOSITORY, Folder, wheelhouse
from disturbed import OUR_NAMES
from private_engine import NoEngineError, PrivateEngine
from small_project import GOOD, IMPORT_PROBE

from envmatrix.engine.client import Engine

__all__ = ["wheelhouse"]


@pytest.fixture(scope="session")
def machine() -> Iterator[PrivateEngine]:
    """The engine of these tests, which answers at DOCKER_HOST. A test that stops it starts it."""
    folder = os.environ.get("ENVMATRIX_FAULTS_DIR", str(REPOSITORY / ".envmatrix" / "engines"))
    version = os.environ.get("ENVMATRIX_FAULTS_ENGINE", "20.10")
    store = os.environ.get("ENVMATRIX_FAULTS_STORE", "overlay2")
    private = PrivateEngine(version, Path(folder).resolve(), store)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            patch.delenv(name, raising=False)
        patch.setenv("DOCKER_HOST", private.address)
        try:
            private.start()
        except NoEngineError as error:
            if os.environ.get("ENVMATRIX_REQUIRE_ENGINE") == "1":
                raise
            pytest.skip(f"needs a private engine: {error}")
        try:
            yield private
        finally:
            private.close()


@pytest.fixture
def engine(machine: PrivateEngine) -> Iterator[Engine]:
    """Our client of the engine, connected for one test."""
    with Engine.connect() as connected:
        yield connected


@pytest.fixture(scope="session")
def checkout(
    tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, machine: PrivateEngine
) -> Folder:
    """A small project. Its system and its base serve all tests."""
    return make_project(tmp_path_factory.mktemp("small"), wheelhouse)


@pytest.fixture(scope="session")
def quick(checkout: Folder) -> dict[str, Any]:
    """The evidence of the good cell after a run that nothing disturbed."""
    code, cells = checkout.run_json("run", "--profile", "good")
    assert (code, cells[GOOD]["verdict"]) == (0, "works"), cells[GOOD]["cause"]
    return cells[GOOD]


@pytest.fixture
def folder(
    tmp_path: Path, machine: PrivateEngine, quick: object, checkout: Folder, wheelhouse: Path
) -> Iterator[Folder]:
    """A small project of a test's own. It knows the system and the base, and nothing else.

    What a test that fails leaves on the engine is removed, so that no other test sees it.
    """
    _clean(machine)
    yield take_base(make_project(tmp_path / "project", wheelhouse), checkout)
    _clean(machine)


def _clean(machine: PrivateEngine) -> None:
    """Remove the containers of the private engine, and the names that runs give and take away."""
    if not machine.answers():
        return
    with Engine.connect() as engine:
        for container in engine.containers.all():
            engine.connection.client.remove_container(container, force=True)
        for pattern in OUR_NAMES:
            for name in engine.images.names(pattern):
                engine.images.remove(name)


def make_project(root: Path, wheelhouse: Path) -> Folder:
    """Write the small project of tests/engine, with the shared wheels and without other state."""
    project = Folder(root)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    (root / ".envmatrix").mkdir()
    (root / ".envmatrix" / "wheelhouse").symlink_to(wheelhouse)
    return project


def take_base(project: Folder, checkout: Folder) -> Folder:
    """Let a project know the system and the base that another one made."""
    for step in ("os", "base"):
        records = Path(".envmatrix", "records", step)
        shutil.copytree(checkout.root / records, project.root / records)
    return project
