"""Faults of this machine and of the network, which need no real engine.

The disks, downloads, programs, users and folders are real: pip and uv ask a real server on
loopback. Only the engine is the fake one of tests/support, since it is not at fault here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from fake_index import FakeIndex
from small_fixtures import fake, locked
from small_project import Folder, environment, make_project, serve_wheels

__all__ = ["fake", "locked"]

USER = 42424
NOBODY = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index that has every wheel of the small matrix."""
    with FakeIndex() as found:
        serve_wheels(found)
        yield found
    assert found.errors == []


@pytest.fixture
def unlocked(fake: FakeEngine, index: FakeIndex, tmp_path: Path) -> Folder:
    """A project of which nothing is known."""
    return make_project(tmp_path / "project", environment(fake.url, index.url))


@pytest.fixture
def here(locked: Folder, fake: FakeEngine, index: FakeIndex, tmp_path: Path) -> Folder:
    """A project whose cells are locked and whose wheels are here."""
    return locked.copy(tmp_path / "project", environment(fake.url, index.url))


@pytest.fixture
def ahead(here: Folder) -> Folder:
    """A project whose cells are locked and whose wheels have to be downloaded."""
    shutil.rmtree(here.root / ".envmatrix" / "wheelhouse")
    return here


@pytest.fixture
def public(locked: Folder, fake: FakeEngine, index: FakeIndex) -> Iterator[Folder]:
    """A project like `here`, which every user of this machine may read."""
    with tempfile.TemporaryDirectory(prefix="public-") as folder:
        Path(folder).chmod(0o755)
        yield locked.copy(Path(folder) / "project", environment(fake.url, index.url))


@pytest.fixture
def nobody() -> tuple[str, ...]:
    """What begins a command that a user without a name, a home and any rights runs."""
    try_it = [*NOBODY, sys.executable, "-m", "envmatrix", "--version"]
    done = subprocess.run(try_it, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"another user cannot run envmatrix here: {done.stderr.strip()[-200:]}")
    return NOBODY


@pytest.fixture
def own(public: Folder, nobody: tuple[str, ...]) -> Folder:
    """The public project, which belongs to that user."""
    for path in [public.root, *public.root.rglob("*")]:
        os.chown(path, USER, USER)
    return public
