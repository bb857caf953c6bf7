"""Two checkouts on one engine, whose images have the same names."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import REPOSITORY, Folder

from envmatrix.engine.client import Engine

CELL = "jinja2-3.1.6-py3.11-debian12-cpu"
NAME = f"envmatrix/cell:{CELL}"


def test_neither_removes_what_the_other_built(folder: Folder, engine: Engine) -> None:
    """The name goes to whoever ran last; the first finds its image, and has nothing to build."""
    assert folder.run_json("run", CELL)[0] == 0
    ours = engine.images.find(NAME)
    other = other_checkout(folder)

    assert other.run_json("run", CELL)[0] == 0
    theirs = engine.images.find(NAME)
    again = folder.run("run", CELL)

    assert ours is not None
    assert theirs is not None
    assert theirs.layers != ours.layers
    assert "nothing built, nothing probed" in again.stdout
    assert engine.images.find(NAME) == ours
    engine.images.remove(theirs.id)


def other_checkout(folder: Folder) -> Folder:
    """The same project in a folder of its own, where a cell has a layer more."""
    root = Path(shutil.copytree(folder.root, folder.root.parent / f"{folder.root.name}-other"))
    shutil.rmtree(root / ".envmatrix" / "records" / "name")  # which it gave, not this one
    shutil.copytree(REPOSITORY / "templates", root / "templates")
    with (root / "templates" / "cell.Dockerfile.j2").open("a", encoding="utf-8") as template:
        template.write("\nRUN touch /opt/venv/other\n")
    return Folder(root)
