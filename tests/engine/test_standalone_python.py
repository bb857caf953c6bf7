"""A Python that the operating system does not have, on a real engine, from a mirror on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Folder, with_wheels
from small_project import IMPORT_PROBE
from standalone_python import OF_DEBIAN, Mirror, download_list, pack_python, serve_mirror

from envmatrix.engine.client import Engine
from envmatrix.engine.process import Limits

MATRIX = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian12: {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
               image: "debian:12-slim", bootstrap: bookworm}
  python: ["3.9"]
  accelerator: {cpu: {}}
base: {installer: "uv==0.13.9", venv: ["pip"]}
frameworks:
  jinja2:
    title: Jinja
    versions: ["3.1.6"]
    variants:
      - {name: wheel, requires: ["jinja2=={version}"], accelerators: {cpu: [">=2"]}}
profiles:
  quick: [{}]
"""
CELL = "jinja2-3.1.6-py3.9-debian12-cpu"
BASE = "debian12-py3.9-cpu"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> bytes:
    """The bytes of a standalone CPython 3.9.2."""
    return pack_python(tmp_path_factory.mktemp("python")).read_bytes()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror without any archive."""
    with serve_mirror(tmp_path / "mirror") as found:
        yield found


@pytest.fixture
def settings(
    tmp_path: Path, mirror: Mirror, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user has set: a mirror that needs a password, and a list of downloads."""
    listed = tmp_path / "python.json"
    sha256 = mirror.put(OF_DEBIAN, archive)
    listed.write_text(download_list(OF_DEBIAN, sha256), encoding="utf-8")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    address = mirror.url.replace("//", "//user:secret7f@")
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", address)


@pytest.fixture
def project(tmp_path: Path, settings: None, engine: Engine, wheelhouse: Path) -> Iterator[Folder]:
    """A small project whose cell needs Python 3.9 on Debian 12. Its images are removed after it."""
    found = with_wheels(tmp_path, wheelhouse)
    found.write("matrix.yaml", MATRIX)
    found.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    before = engine.images.names("envmatrix/*")
    yield found
    for name in engine.images.names("envmatrix/*") - before:
        if "jinja2" in name or "py3.9" in name:
            engine.images.remove(name)


def test_a_python_that_the_os_has_not_comes_from_the_users_mirror(
    project: Folder, mirror: Mirror, archive: bytes, engine: Engine
) -> None:
    """It is downloaded once, pinned, built, observed, told and proven."""
    code, cells = project.run_json("run", CELL)
    found = cells[CELL]
    assert (code, found["verdict"], found["cause"]) == (0, "works", "")
    assert found["observed"]["python"] == "3.9"
    python = found["base"]["python"]
    assert (python["version"], python["build"]) == ("3.9.2", "20261101")
    assert len(mirror.asked) == 1

    image = engine.images.find(f"envmatrix/cell:{CELL}")
    assert image is not None
    ran = engine.containers.run(
        image.id, ["python3", "-c", _WHERE], environment={}, limits=Limits(seconds=60)
    )
    assert json.loads(ran.stdout) == ["/opt/venv/bin/python3", "3.9.2", True]

    mirror.put(OF_DEBIAN, b"")  # Nothing more is taken from the mirror.
    code, cells = project.run_json("verify", CELL)
    assert (code, cells[CELL]["reproducibility"]["status"]) == (0, "proven")
    explained = project.run("explain", CELL, "--verbose").stdout
    assert "standalone CPython 3.9.2, build 20261101" in explained


_WHERE = (
    "import json, os, sys, importlib.util as u; print(json.dumps([sys.executable, "
    "sys.version.split()[0], os.path.exists(u.cache_from_source(os.__file__))]))"
)


def test_wrong_bytes_of_a_mirror_are_refused_and_nothing_is_built(
    project: Folder, mirror: Mirror, archive: bytes
) -> None:
    """The error names the file. The cell is unknown, and its wheels are locked all the same."""
    mirror.put(OF_DEBIAN, archive[:-4] + b"evil")
    code, cells = project.run_json("run", CELL)
    found = cells[CELL]
    assert (code, found["verdict"], found["class"]) == (3, "unknown", "blocked")
    assert OF_DEBIAN in found["cause"]
    assert found["lock"] is not None


def test_without_a_mirror_the_cell_is_blocked(
    project: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cause names the interpreter, and the remedy the setting."""
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:9")
    code, cells = project.run_json("run", CELL)
    found = cells[CELL]
    assert (code, found["verdict"], found["class"]) == (3, "unknown", "blocked")
    assert OF_DEBIAN in found["cause"]
    assert "UV_PYTHON_INSTALL_MIRROR" in found["remedy"]
