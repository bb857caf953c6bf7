"""A real Docker engine, and small projects of a third framework to run on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_project import IMPORT_PROBE

from envmatrix.engine.client import Engine
from envmatrix.model.errors import EngineError

REPOSITORY = Path(__file__).parents[2]
COMMITTED = ("matrix.yaml", "templates", "scripts/probes", "images", "reports")
"""What a clone of the project holds and a run of it reads."""

MATRIX = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian12: {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
               image: "debian:12-slim", bootstrap: bookworm}
  python: ["3.11", "3.12"]
  accelerator: {cpu: {}}
base: {installer: "uv==0.13.9", venv: ["pip"]}
frameworks:
  jinja2:
    title: Jinja
    versions: ["2.9.6", "3.1.6", "9.9.9"]
    variants:
      - {name: wheel, requires: ["jinja2=={version}"], accelerators: {cpu: [">=2"]}}
profiles:
  quick: [{version: ["2.9.6", "3.1.6"], python: own}]
  good: [{version: "3.1.6", python: own}]
"""


@dataclass(frozen=True)
class Folder:
    """A project in a folder of its own."""

    root: Path

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs envmatrix."""
        return [sys.executable, "-c", "from envmatrix.cli import main; main()", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run envmatrix as a user would."""
        return subprocess.run(
            self.command(*arguments), cwd=self.root, capture_output=True, text=True, check=False
        )

    def run_json(self, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Run envmatrix; return its exit code and the cells of its JSON by id."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        return done.returncode, {cell["id"]: cell for cell in json.loads(done.stdout)["cells"]}


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The Docker engine; its absence is a failure where one is required, such as in CI."""
    try:
        with Engine.connect() as connected:
            yield connected
    except EngineError as error:
        if os.environ.get("ENVMATRIX_REQUIRE_ENGINE") == "1":
            raise
        pytest.skip(f"needs a Docker engine: {error.what}")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheels of all tests. Their hashes are checked before each use, so they may be shared."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    yield folder
    shutil.rmtree(folder)


def with_wheels(root: Path, wheelhouse: Path) -> Folder:
    """Give a project without any state the shared wheels."""
    state = root / ".envmatrix"
    state.mkdir()
    (state / "wheelhouse").symlink_to(wheelhouse)
    return Folder(root)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, engine: Engine) -> Folder:
    """The project itself as a clone has it: without the state of this checkout."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COMMITTED:
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return with_wheels(root, wheelhouse)


@pytest.fixture(scope="session")
def quick(checkout: Folder) -> tuple[int, dict[str, dict[str, Any]]]:
    """What the run of the quick profile gave, for real."""
    return checkout.run_json("run", "--profile", "quick")


@pytest.fixture
def folder(
    tmp_path: Path, engine: Engine, quick: object, checkout: Folder, wheelhouse: Path
) -> Iterator[Folder]:
    """A small project of a third framework. The images it makes are removed after it."""
    project = with_wheels(tmp_path, wheelhouse)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    # To bootstrap a system takes half a minute: those of this session's quick run are taken.
    for step in ("os", "base"):
        records = Path(".envmatrix", "records", step)
        shutil.copytree(checkout.root / records, tmp_path / records)
    yield project
    for name in engine.images.names("envmatrix/cell:jinja2*"):
        engine.images.remove(name)


@pytest.fixture
def base_image(quick: object, checkout: Folder, engine: Engine) -> str:
    """The id of a base image: a Python, and nothing else. Other tests may take its name."""
    return engine.images.get(named(checkout)["envmatrix/base:debian12-py3.11-cpu"]).id


@pytest.fixture(scope="module")
def proven(
    tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, engine: Engine
) -> Iterator[Folder]:
    """A small project with evidence of one cell. The images that it made are removed after it."""
    project = with_wheels(tmp_path_factory.mktemp("publish"), wheelhouse)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    done = project.run("run", "-p", "good")
    assert done.returncode == 0, done.stderr
    assert project.run("report", "-p", "good", "--out", "reports").returncode == 0
    yield project
    images = named(project)
    for name in sorted(images, key=lambda name: "/cell:" not in name):
        engine.images.remove(images[name])


def named(project: Folder) -> dict[str, str]:
    """Return the ids of the images that a project made, by their names."""
    paths = (project.root / ".envmatrix/records/name").glob("*.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return {record["name"]: record["id"] for record in records}


def published(project: Folder, registry: str) -> dict[str, Any]:
    """Return what is noted of the image of the cell in a registry."""
    text = (project.root / "reports/published.json").read_text(encoding="utf-8")
    images: list[dict[str, Any]] = json.loads(text)["images"]
    (found,) = (one for one in images if one["registry"] == registry)
    return found
