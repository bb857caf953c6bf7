"""A fake Docker engine, and our client of it. Nothing of the user's own settings reaches them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from envmatrix.engine.client import Engine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder of a user who has chosen no engine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / ".docker"))
    return folder


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """A fake engine, which no test may break from the inside."""
    with FakeEngine() as engine:
        yield engine
    assert engine.errors == []


@pytest.fixture
def engine(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Our client, connected to the fake engine. The fake forgets the requests of connecting."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as connected, closing(connected.connection.client):
        fake.requests.clear()
        yield connected
