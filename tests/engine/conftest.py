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

from envmatrix.engine import Engine
from envmatrix.errors import EngineError

REPOSITORY = Path(__file__).parents[2]

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

IMPORT_PROBE = """\
# /// probe
# name = "jinja2-import"
# framework = "jinja2"
# proves = "Jinja imports and says its version."
# required = true
# timeout = 30
# ///
import json, os, platform
import jinja2

report = {"probe": "jinja2-import", "nonce": os.environ["ENVMATRIX_NONCE"]}
observed = {"version": jinja2.__version__, "python": platform.python_version()[:4]}
print(json.dumps({**report, "observed": observed}))
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
def checkout(engine: Engine) -> Folder:
    """The project itself, with its own state."""
    return Folder(REPOSITORY)


@pytest.fixture(scope="session")
def quick(checkout: Folder) -> tuple[int, dict[str, dict[str, Any]]]:
    """What the run of the quick profile gave, for real."""
    return checkout.run_json("run", "--profile", "quick")


@pytest.fixture
def folder(tmp_path: Path, engine: Engine, quick: object) -> Iterator[Folder]:
    """A small project of a third framework. The images it makes are removed after it."""
    project = Folder(tmp_path)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    # The operating system and the base that the checkout made are taken, not made anew.
    for step in ("os", "base"):
        shutil.copytree(
            REPOSITORY / ".envmatrix/records" / step, tmp_path / ".envmatrix/records" / step
        )
    yield project
    for name in engine.names("envmatrix/cell:jinja2*"):
        engine.remove_image(name)


@pytest.fixture
def base_image(quick: object, checkout: Folder, engine: Engine) -> str:
    """The id of a base image: a Python, and nothing else."""
    image = engine.image("envmatrix/base:debian12-py3.11-cpu")
    assert image is not None
    return image.id
