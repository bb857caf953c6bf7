"""The tests of tests/engine that hold every engine, with small images only.

`nox -s engines` runs them, and ENVMATRIX_ENGINE names the engine. Without that name, nothing is
collected here: `nox -s tests` runs the same tests where they stand.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from conftest import MATRIX, Folder, base_image, engine, folder, wheelhouse
from small_project import IMPORT_PROBE

from envmatrix.engine.client import Engine

__all__ = ["base_image", "engine", "folder", "wheelhouse"]

NAME = os.environ.get("ENVMATRIX_ENGINE", "")
collect_ignore_glob = [] if NAME else ["test_*.py"]


@pytest.fixture(scope="session")
def engine_name(engine: Engine) -> str:
    """The name of the engine, such as 28-containerd. It must be the one that answers."""
    version, _, store = NAME.partition("-")
    drivers = {"overlay2": "overlay2", "containerd": "overlayfs"}
    assert engine.version.startswith(f"{version}.")
    assert drivers[store] == engine.connection.info["Driver"]
    return NAME


@pytest.fixture(autouse=True)
def own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a step of these tests only: other tests may run beside them, on another engine."""
    monkeypatch.setattr("test_verdicts.LONG_STEP", f"sleep 2917.{os.getpid()}")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Any, engine_name: str) -> Folder:
    """A small project, where tests/engine has the checkout with its large frameworks."""
    root = tmp_path_factory.mktemp("small")
    project = Folder(root)
    project.write("matrix.yaml", MATRIX)
    project.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    (root / ".envmatrix").mkdir()
    (root / ".envmatrix" / "wheelhouse").symlink_to(wheelhouse)
    return project


@pytest.fixture(scope="session")
def quick(checkout: Folder) -> tuple[int, dict[str, dict[str, Any]]]:
    """What a run of one small cell gave. The other tests use its base image."""
    return checkout.run_json("run", "--profile", "good")
