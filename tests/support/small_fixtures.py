"""Fixtures: a fake engine, and a small project whose cells are locked and whose wheels are here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from shown import Commands
from small_project import Folder, environment, make_locked_project


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The small project, with nothing left to lock or to download. Tests take copies."""
    return make_locked_project(tmp_path_factory.mktemp("locked") / "project")


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """An engine in which nothing goes wrong by itself, and which no test may break."""
    with FakeEngine() as engine:
        yield engine
    assert engine.errors == []


@pytest.fixture
def project(locked: Folder, fake: FakeEngine, tmp_path: Path) -> Iterator[Folder]:
    """A project of this test's own, on the fake engine; this process stands in its folder."""
    folder = locked.copy(tmp_path / "project", environment(fake.url))
    with folder.inside():
        yield folder


@pytest.fixture
def offline(locked: Folder, tmp_path: Path) -> Iterator[Folder]:
    """A project of this test's own without an engine and without an index."""
    folder = locked.copy(tmp_path / "project", environment("unix:///nowhere"))
    with folder.inside():
        yield folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Runs commands in this process."""
    return Commands(capsys)
