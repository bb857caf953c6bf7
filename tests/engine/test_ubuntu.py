"""Ubuntu, pulled from a registry by a tag and known by its digest, on a real engine.

The registry is real and lies on loopback. The image is made of Ubuntu's own packages, as no public
registry answers everywhere: it is not the image that Ubuntu publishes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, with_wheels
from registry import serve_images
from small_project import IMPORT_PROBE

from envmatrix.engine.client import Engine

MATRIX = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    ubuntu24.04: {distribution: ubuntu, codename: noble, glibc: "2.39", python: "3.12",
                  image: "IMAGE"}
  python: ["3.12"]
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
CELL = "jinja2-3.1.6-py3.12-ubuntu24.04-cpu"
MIRROR = "http://archive.ubuntu.com/ubuntu"
KEYRING = f"{MIRROR}/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
KEYRING_SHA256 = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"


@pytest.fixture(scope="module")
def ubuntu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of the smallest Ubuntu 24.04, made of its packages."""
    folder = tmp_path_factory.mktemp("ubuntu")
    package, root = folder / "keyring.deb", folder / "ubuntu.tar"
    try:
        with urllib.request.urlopen(KEYRING, timeout=30) as answer:  # noqa: S310  (a constant)
            package.write_bytes(answer.read())
    except OSError as error:
        pytest.skip(f"needs a mirror of Ubuntu: {error}")
    assert hashlib.sha256(package.read_bytes()).hexdigest() == KEYRING_SHA256
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    keyring = folder / "usr/share/keyrings/ubuntu-archive-keyring.gpg"
    source = f"deb {MIRROR} noble main universe"
    # Only root reads the folder of a test. The image keeps no setting of this apt.
    command = [
        *("mmdebstrap", "--variant=minbase", "--include=apt", f"--keyring={keyring}"),
        '--aptopt=APT::Sandbox::User "root"',
        '--customize-hook=rm "$1/etc/apt/apt.conf.d/99mmdebstrap"',
        "noble",
    ]
    # As in any image of a registry, no file is new: a step takes new ones for its own.
    old = os.environ | {"SOURCE_DATE_EPOCH": "1704067200"}
    subprocess.run([*command, str(root), source], env=old, check=True, capture_output=True)
    return root


@dataclass(frozen=True)
class Registry:
    """A registry with an image of Ubuntu, and the engine that pushes to it."""

    name: str
    engine: Engine
    root: Path

    @property
    def reference(self) -> str:
        """The image as a matrix names it."""
        return f"{self.name}/ubuntu:24.04"

    def push(self, label: str) -> None:
        """Publish an image under the tag. The engine has no image of this name after it."""
        client: Any = self.engine.connection.client
        repository = self.reference.removesuffix(":24.04")
        client.import_image(
            str(self.root), repository=repository, tag="24.04", changes=[f"LABEL of={label}"]
        )
        said = "".join(map(str, client.push(repository, tag="24.04", stream=True, decode=True)))
        assert "digest" in said, said
        client.remove_image(self.reference)

    def pull(self) -> None:
        """Let the engine take what the tag names now, as `docker pull` does."""
        client: Any = self.engine.connection.client
        client.pull(self.reference.removesuffix(":24.04"), tag="24.04")


@pytest.fixture
def registry(tmp_path: Path, ubuntu: Path, engine: Engine) -> Iterator[Registry]:
    """A registry that serves Ubuntu 24.04."""
    with serve_images(tmp_path / "registry") as name:
        found = Registry(name, engine, ubuntu)
        found.push("yesterday")
        yield found
    client: Any = engine.connection.client
    for image in client.images(name=f"{name}/ubuntu"):  # by digest, too
        client.remove_image(image["Id"], force=True)


@pytest.fixture
def project(
    tmp_path: Path, registry: Registry, engine: Engine, wheelhouse: Path
) -> Iterator[Folder]:
    """A small project whose cell stands on Ubuntu. Its images are removed after it."""
    root = tmp_path / "project"
    root.mkdir()
    found = with_wheels(root, wheelhouse)
    found.write("matrix.yaml", MATRIX.replace("IMAGE", registry.reference))
    found.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    yield found
    for name in engine.images.names("envmatrix/*ubuntu24.04*"):
        engine.images.remove(name)


def test_a_cell_on_ubuntu_works_and_a_moved_tag_is_told(
    project: Folder, registry: Registry, engine: Engine
) -> None:
    """Evidence names the digest. Once the tag names another image here, a run tells both."""
    code, cells = project.run_json("run", CELL, "--base", "pull")
    found = cells[CELL]
    assert (code, found["verdict"], found["cause"]) == (0, "works", "")
    assert (found["observed"]["distribution"], found["observed"]["codename"]) == ("ubuntu", "noble")
    before = found["base"]["digest"]
    assert (found["base"]["origin"], before[:7]) == ("pull", "sha256:")
    code, cells = project.run_json("verify", CELL, "--base", "pull")
    assert (code, cells[CELL]["reproducibility"]["status"]) == (0, "proven")

    registry.push("today")
    registry.pull()
    done = project.run("run", CELL, "--base", "pull", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["cells"]
    now = found["base"]["digest"]
    assert (found["verdict"], now != before) == ("works", True)
    assert f"{registry.reference} has moved: {before[:19]} -> {now[:19]}" in done.stderr
