"""Services: containers that serve files to builds, and that leave nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import DiskFull, Exit, FakeEngine, Refuses, RunRequest

from envmatrix.engine.client import Engine
from envmatrix.engine.containers import RUN_LABEL
from envmatrix.engine.services import FOLDER
from envmatrix.model.errors import EngineError

COMMAND = ("perl", "-e", "serve")
CHOICES = [("127.0.0.2", "1"), ("127.0.0.3", "1")]


@pytest.fixture
def image(fake: FakeEngine, engine: Engine) -> str:
    """The name of an image to run services in."""
    fake.add_image("envmatrix/os:a")
    return "envmatrix/os:a"


def test_a_service_has_the_network_of_the_host_and_is_isolated_otherwise(
    fake: FakeEngine, engine: Engine, image: str
) -> None:
    """It runs as nobody, cannot gain rights, writes to its volume only, and ends with its input."""
    with engine.service(engine.images.get(image), COMMAND, CHOICES) as (_, choice):
        (asked,) = fake.runs
    assert (choice, asked.command) == (CHOICES[0], (*COMMAND, *CHOICES[0]))
    wanted = {
        "NetworkMode": "host",
        "AutoRemove": True,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
    }
    assert wanted.items() <= asked.host_config.items()
    assert asked.spec["User"] == "65532:65532"
    assert asked.spec["Volumes"] == {FOLDER: {}}
    assert asked.spec["StdinOnce"]
    assert asked.labels == {RUN_LABEL: engine.connection.run_id}
    assert engine.containers.all() == frozenset()


def test_files_are_copied_with_their_folders(
    fake: FakeEngine, engine: Engine, image: str, tmp_path: Path
) -> None:
    """A later copy adds to an earlier one; a file of any size arrives whole."""
    sizes = {"a/one": 0, "a/two": 512, "b/three": 3_000_001}
    for name, size in sizes.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
    with engine.service(engine.images.get(image), COMMAND, CHOICES) as (service, _):
        service.put({"a/one": tmp_path / "a/one", "a/two": tmp_path / "a/two"})
        service.put({"b/three": tmp_path / "b/three"})
        assert {name: len(data) for name, data in fake.served.items()} == sizes


def taken(request: RunRequest) -> Exit:
    """End as a service whose first address is in use."""
    if CHOICES[0][0] in request.command:
        return Exit(98, stderr="Address already in use\n")
    return Exit(stdout="ready\n", seconds=60)


def test_an_address_that_is_taken_is_passed_over(
    fake: FakeEngine, engine: Engine, image: str
) -> None:
    """The next one is tried, and the container of the first is removed."""
    fake.containers.on_service = taken
    with engine.service(engine.images.get(image), COMMAND, CHOICES) as (service, choice):
        assert choice == CHOICES[1]
        assert service.container in engine.containers.running()
    assert engine.containers.all() == frozenset()


def test_a_service_that_never_starts_says_why(fake: FakeEngine, engine: Engine, image: str) -> None:
    """The error has the last words of the program, and no container is left."""
    fake.containers.on_service = lambda _: Exit(127, stderr="perl: not found\n")
    with (
        pytest.raises(EngineError, match="could serve wheels: perl: not found"),
        engine.service(engine.images.get(image), COMMAND, CHOICES),
    ):
        pass
    assert engine.containers.all() == frozenset()


@pytest.mark.parametrize("path", ["POST /containers/create", "POST /containers/*/start"])
def test_an_engine_that_refuses_is_an_error_of_the_engine(
    fake: FakeEngine, engine: Engine, image: str, path: str
) -> None:
    """The words of the engine are told, and no container is left."""
    found = engine.images.get(image)
    fake.fail(Refuses(path, 500, "no more containers"), times=None)
    with (
        pytest.raises(EngineError, match="no more containers"),
        engine.service(found, COMMAND, CHOICES),
    ):
        pass
    fake.heal()
    assert engine.containers.all() == frozenset()


def test_a_full_disk_of_the_engine_is_named(
    fake: FakeEngine, engine: Engine, image: str, tmp_path: Path
) -> None:
    """Copying fails with the class of the disk."""
    (tmp_path / "one").write_bytes(b"x")
    fake.fail(DiskFull("archive"))
    with (
        pytest.raises(EngineError) as caught,
        engine.service(engine.images.get(image), COMMAND, CHOICES) as (service, _),
    ):
        service.put({"one": tmp_path / "one"})
    assert caught.value.kind == "disk-full"


def test_what_fails_beside_a_service_is_not_a_fault_of_the_engine(
    engine: Engine, image: str
) -> None:
    """An error of the work that a service is for stays what it is."""
    with (
        pytest.raises(OSError, match="mine"),
        engine.service(engine.images.get(image), COMMAND, CHOICES),
    ):
        raise OSError(json.dumps("mine"))
