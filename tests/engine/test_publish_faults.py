"""A registry fails while images go there: nothing false is noted, and the next run goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, published
from faulty_registry import FaultyRegistry
from registry import serve_images
from small_project import GOOD

from envmatrix.engine.client import Engine
from envmatrix.engine.registry import Registry
from envmatrix.model.publications import layers_digest

TAG = GOOD.removeprefix("jinja2-")
REPOSITORY = "team/jinja2"
BLOB = "P[AU]T* /v2/*/blobs/uploads/*"
"""The requests in which a part of a layer comes, or in which its upload ends."""
MANIFEST = "PUT /v2/*/manifests/*"


@pytest.fixture
def faulty(proven: Folder, tmp_path: Path) -> Iterator[FaultyRegistry]:
    """A registry that fails on command. After the test all that is noted of it must be there."""
    before = evidence_of(proven)
    with serve_images(tmp_path / "registry") as registry, FaultyRegistry(registry) as between:
        yield between
        between.mend()
        all_that_is_noted_is_there(proven, between.name)
    assert evidence_of(proven) == before


def evidence_of(project: Folder) -> dict[str, bytes]:
    """Return the files of evidence, which no publishing may change."""
    return {path.name: path.read_bytes() for path in project.root.glob("reports/cells/*.json")}


def all_that_is_noted_is_there(project: Folder, name: str) -> None:
    """Check that the registry has each image and each tag that `published.json` names."""
    path = project.root / "reports/published.json"
    noted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    registry = Registry.open(name)
    for image in noted.get("images", ()):
        if image["registry"] == name:
            there = registry.image(image["repository"], image["digest"], "amd64")
            assert there is not None
            assert layers_digest(there.layers) == image["layers"]
            assert registry.digest_of(image["repository"], image["tag"]) == image["digest"]
    for tag in noted.get("tags", ()):
        if tag["registry"] == name:
            assert registry.digest_of(tag["repository"], tag["tag"]) == tag["digest"]


def publish(project: Folder, faulty: FaultyRegistry) -> tuple[int, dict[str, Any], str]:
    """Publish the cell; return the exit code, what is said of the cell, and what is on stderr."""
    name = f"{faulty.name}/team"
    done = project.run("publish", "-p", "good", "--registry", name, "--attestations", "--json")
    assert done.stdout, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    return done.returncode, cell, done.stderr


def test_passing_faults_are_waited_for(proven: Folder, faulty: FaultyRegistry) -> None:
    """A registry that is busy, broken or cut off for a moment gets the image all the same."""
    faulty.fail("HEAD *", status=429, headers={"Retry-After": "1"})
    faulty.fail(BLOB, status=500)
    faulty.fail(BLOB)
    faulty.fail(MANIFEST, status=503)
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (0, "pushed"), f"{cell} {said}"
    assert faulty.refused == 4
    assert "trying again in 1 s" in said
    moved = faulty.moved
    assert moved > 1_000_000
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (0, "there"), f"{cell} {said}"
    assert faulty.moved == moved


@pytest.mark.parametrize(("where", "status"), [(BLOB, 401), (MANIFEST, 403)])
def test_a_login_that_ends_on_the_way(
    proven: Folder, faulty: FaultyRegistry, where: str, status: int
) -> None:
    """Nothing is noted, the login is named as the remedy, and the next run goes on."""
    faulty.fail(where, status=status, times=1000)
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (3, "failed"), f"{cell} {said}"
    assert "docker login" in cell["next"]
    assert not is_noted(proven, faulty)
    there = faulty.moved
    faulty.mend()
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (0, "pushed"), f"{cell} {said}"
    if where == MANIFEST:
        assert faulty.moved - there < 1_000_000  # The layers were there: documents and tags only.


def test_a_registry_that_stays_broken(proven: Folder, faulty: FaultyRegistry) -> None:
    """The run ends in bounded time, says that it goes on later, and it does."""
    faulty.fail(MANIFEST, status=502, times=1000)
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (3, "failed"), f"{cell} {said}"
    assert not is_noted(proven, faulty)
    faulty.mend()
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (0, "pushed"), f"{cell} {said}"


def is_noted(project: Folder, faulty: FaultyRegistry) -> bool:
    """Return whether `published.json` names an image in the registry."""
    path = project.root / "reports/published.json"
    return path.exists() and faulty.name in path.read_text(encoding="utf-8")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 8 MB in the memory: an image of the tests does not fit."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which needs root")
def test_the_disk_of_the_registry_is_full(proven: Folder, tmp_path: Path) -> None:
    """Nothing is noted. Once there is room, the next run goes on."""
    store = tmp_path / "registry" / "images"
    with (
        serve_images(tmp_path / "registry") as registry,
        small_disk(store),
        FaultyRegistry(registry) as faulty,
    ):
        code, cell, said = publish(proven, faulty)
        assert (code, cell["state"]) == (3, "failed"), f"{cell} {said}"
        assert cell["next"]
        assert not is_noted(proven, faulty)
        subprocess.run(["mount", "-o", "remount,size=800m", store], check=True)
        code, cell, said = publish(proven, faulty)
        assert (code, cell["state"]) == (0, "pushed"), f"{cell} {said}"
        all_that_is_noted_is_there(proven, faulty.name)


def test_tags_that_somebody_else_moved(
    proven: Folder, faulty: FaultyRegistry, engine: Engine
) -> None:
    """A moving tag stays where somebody put it, an immutable one is not overwritten; both told."""
    code, cell, said = publish(proven, faulty)
    assert code == 0, f"{cell} {said}"
    image = published(proven, faulty.name)
    other = f"{faulty.name}/{REPOSITORY}:other"
    base = engine.images.get("envmatrix/base:debian12-py3.11-cpu")
    engine.images.tag(base, other)
    engine.images.push(other, set())
    engine.images.untag(base, other, "envmatrix/base:debian12-py3.11-cpu")
    registry = Registry.open(faulty.name)
    theirs = registry.manifest(REPOSITORY, "other")
    ours = registry.manifest(REPOSITORY, image["tag"])
    assert theirs is not None
    assert ours is not None
    registry.tag(REPOSITORY, theirs, "latest")
    done = proven.run("publish", "-p", "good", "--registry", f"{faulty.name}/team")
    assert done.returncode == 3
    assert "somebody else moved it" in done.stdout + done.stderr
    assert registry.digest_of(REPOSITORY, "latest") == theirs.digest
    registry.tag(REPOSITORY, ours, "latest")

    registry.tag(REPOSITORY, theirs, image["tag"])
    code, cell, said = publish(proven, faulty)
    assert (code, cell["state"]) == (3, "refused"), f"{cell} {said}"
    assert "it is not overwritten" in cell["why"]
    assert registry.digest_of(REPOSITORY, image["tag"]) == theirs.digest
    done = proven.run("pull", GOOD, "--registry", faulty.name)
    assert done.returncode == 0, done.stderr  # By digest: a tag counts for nothing.
    registry.tag(REPOSITORY, ours, image["tag"])
