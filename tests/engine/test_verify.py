"""Images that are rebuilt from nothing, on a real engine: the same, or told where not and why."""

from __future__ import annotations

import os
import shutil

import pytest
from conftest import REPOSITORY, Folder

from envmatrix.engine.client import Engine

CELL = "jinja2-3.1.6-py3.11-debian12-cpu"

UNSTABLE = """
RUN date +%s%N > /opt/venv/built-at
RUN echo steady > /opt/venv/unsettled
"""


@pytest.fixture
def unstable(folder: Folder) -> Folder:
    """A project whose cells write down when they were built, and set no time."""
    shutil.copytree(REPOSITORY / "templates", folder.root / "templates")
    template = folder.root / "templates" / "cell.Dockerfile.j2"
    template.write_text(template.read_text("utf-8") + UNSTABLE, encoding="utf-8")
    return folder


def test_a_cell_rebuilds_to_the_same_layers_and_configuration(
    folder: Folder, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operating system and base with it, whatever the user's shell has set for Python.

    The proof becomes a field of its evidence.
    """
    images_before = engine.images.names("envmatrix/*")
    code, cells = folder.run_json("run", CELL)
    assert (code, cells[CELL]["reproducibility"]["status"]) == (0, "not checked")
    cached = engine.build_cache.ids()

    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    else:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code, cells = folder.run_json("verify", CELL)

    assert code == 0
    found = cells[CELL]
    rebuilt = found["reproducibility"]
    assert (rebuilt["status"], rebuilt["differences"]) == ("proven", [])
    assert rebuilt["verified_at"] >= "2026"
    assert len(found["image"]["contents"]) == len(found["image"]["layers"])
    assert found["verdict"] == "works"  # what the probes gave is still there
    _, explained = folder.run_json("run", CELL)
    assert explained[CELL]["reproducibility"]["status"] == "proven"
    left = {
        name for name in engine.images.names("envmatrix/*") - images_before if "jinja2" not in name
    }
    assert left == set()
    assert engine.build_cache.ids() == cached


def test_a_layer_that_differs_is_told_with_path_and_cause(unstable: Folder) -> None:
    """Exit code 1; what differs in content and what only in its time have causes of their own."""
    code, cells = unstable.run_json("verify", CELL)

    assert (code, cells[CELL]["reproducibility"]["status"]) == (1, "differs")
    found = {one["path"]: one for one in cells[CELL]["reproducibility"]["differences"]}
    assert "content (line 1: " in found["/opt/venv/built-at"]["what"]
    assert "depends on the time" in found["/opt/venv/built-at"]["cause"]
    assert found["/opt/venv/unsettled"]["what"].startswith("time ")
    assert "SOURCE_DATE_EPOCH" in found["/opt/venv/unsettled"]["cause"]
    assert not [path for path in found if "site-packages" in path]


def test_a_pruned_run_keeps_the_evidence_and_no_image(folder: Folder, engine: Engine) -> None:
    """Run again it finds all evidence current and builds nothing; without --prune it does."""
    cached = engine.build_cache.ids()
    code, cells = folder.run_json("run", "--profile", "good", "--prune")
    assert (code, cells[CELL]["verdict"]) == (0, "works")
    assert engine.images.find(f"envmatrix/cell:{CELL}") is None
    assert engine.build_cache.ids() <= cached

    again = folder.run("run", "--profile", "good", "--prune")
    assert again.returncode == 0
    assert "nothing built, nothing probed" in again.stdout
    assert engine.images.find(f"envmatrix/cell:{CELL}") is None

    assert folder.run("run", "--profile", "good").returncode == 0
    assert engine.images.find(f"envmatrix/cell:{CELL}") is not None
