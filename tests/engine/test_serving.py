"""An engine that does not reach this machine's loopback network gets its wheels all the same."""

from __future__ import annotations

import json
import subprocess
import sys

from conftest import Folder

from envmatrix.engine.client import Engine

ELSEWHERE = """
from envmatrix.engine.client import Engine
Engine.reaches = lambda *_: False
from envmatrix.cli import main
main()
"""
"""Runs envmatrix as if the loopback network of the engine was another one."""


def test_an_engine_elsewhere_gets_the_same_image(folder: Folder, engine: Engine) -> None:
    """A container on the engine serves the wheels. The layers are those of a build from here."""
    name = "envmatrix/cell:jinja2-3.1.6-py3.11-debian12-cpu"
    # Both are built by the classic builder: BuildKit makes no empty layer for a WORKDIR.
    assert folder.run("run", "-p", "good", "--fresh").returncode == 0
    here = engine.images.find(name)
    before = engine.containers.all()
    command = [sys.executable, "-c", ELSEWHERE, "run", "-p", "good", "--fresh", "--json"]
    done = subprocess.run(command, cwd=folder.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["verdict"] == "works"
    there = engine.images.find(name)
    assert here is not None
    assert there is not None
    assert (here.id != there.id, here.layers) == (True, there.layers)
    assert engine.containers.all() == before
