"""The engine as the stages see it: facts about it, and what is cleaned up after a run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Facts, FakeEngine, Refuses

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import Address, Connection
from envmatrix.engine.containers import RUN_LABEL
from envmatrix.engine.process import UNKNOWN, Capacity
from envmatrix.model.errors import EngineError


def made(info: Mapping[str, Any], url: str = "unix:///var/run/docker.sock") -> Engine:
    """Return an engine that says this of itself, without any connection."""
    return Engine(Connection(Address(url), info))


def test_a_connected_engine_tells_its_facts(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version, folder and GPU are those of the engine that DOCKER_HOST names."""
    fake.facts = Facts(version="20.10.24", nvidia=True, root=str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.version == "20.10.24"
        assert engine.is_local
        assert engine.root == tmp_path
        assert engine.has_gpu
        assert not engine.cancelled.is_set()


def test_an_engine_tells_what_it_has_to_work_with() -> None:
    """The cores and the memory are those of its machine; what it does not tell is not known."""
    assert made({"NCPU": 64, "MemTotal": 2**40}).capacity == Capacity(64, 2**40)
    assert made({"NCPU": None}).capacity == UNKNOWN


@pytest.mark.parametrize(
    ("url", "system", "expected"),
    [
        ("unix:///var/run/docker.sock", "Debian GNU/Linux 12 (bookworm)", True),
        ("unix:///home/user/.docker/desktop/docker.sock", "Docker Desktop", False),
        ("tcp://127.0.0.1:2375", "Debian GNU/Linux 12 (bookworm)", False),
        ("ssh://user@engine.example", "Debian GNU/Linux 12 (bookworm)", False),
    ],
)
def test_an_engine_is_local_if_its_socket_is_here_and_it_is_no_virtual_machine(
    url: str, system: str, expected: bool
) -> None:
    """Only such an engine reaches the loopback network of this machine."""
    assert expected == made({"OperatingSystem": system}, url).is_local


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///var/run/docker.sock", True),
        ("unix:///home/user/.docker/desktop/docker.sock", True),
        ("npipe:////./pipe/docker_engine", True),
        ("tcp://127.0.0.1:2375", False),
        ("ssh://user@engine.example", False),
    ],
)
def test_an_engine_shows_folders_of_this_machine_if_its_address_is_here(
    url: str, expected: bool
) -> None:
    """Docker Desktop does, though its engine is in a virtual machine."""
    assert expected == made({"OperatingSystem": "Docker Desktop"}, url).shows_folders


def test_an_engine_says_that_it_is_rootless() -> None:
    """What does not tell is not rootless."""
    assert made({"SecurityOptions": ["name=seccomp", "name=rootless"]}).is_rootless
    assert not made({"SecurityOptions": None}).is_rootless


def test_the_folder_of_an_engine_is_known_only_on_its_own_machine(tmp_path: Path) -> None:
    """A folder that is elsewhere, is not there, or is not told is None."""
    info = {"DockerRootDir": str(tmp_path)}
    assert made(info).root == tmp_path
    assert made(info, "tcp://engine.example:2375").root is None
    assert made({"DockerRootDir": str(tmp_path / "gone")}).root is None
    assert made({}).root is None


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}, True),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, True),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": None}, False),
        ({}, False),
    ],
)
def test_an_engine_has_a_gpu_if_it_has_nvidias_runtime_or_device(
    info: Mapping[str, Any], expected: bool
) -> None:
    """Older engines have a runtime, newer ones may have devices of CDI."""
    assert expected == made(info).has_gpu


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_a_run_removes_its_containers_and_no_others(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Containers of this run go, also if the run fails; those of other runs and people stay."""
    image = fake.add_image("cell:1")
    theirs = [
        fake.add_container(image, labels=labels) for labels in ({}, {RUN_LABEL: "another run"})
    ]
    monkeypatch.setenv("DOCKER_HOST", fake.url)

    def run() -> None:
        with Engine.connect() as engine, closing(engine.connection.client):
            engine.connection.client.create_container(
                "cell:1", ["true"], labels={RUN_LABEL: engine.run_id}
            )
            assert len(fake.containers.by_id) == 3
            if fails:
                raise ZeroDivisionError

    if fails:
        with pytest.raises(ZeroDivisionError):
            run()
    else:
        run()
    assert {one.id for one in theirs} == set(fake.containers.by_id)


def test_a_run_that_only_asked_has_nothing_to_remove(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end asks nothing. What another run left is looked for and removed all the same."""
    image = fake.add_image("cell:1")
    left = fake.add_container(image, labels={RUN_LABEL: "another"})
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.images.get("cell:1").id == image.id
        fake.requests.clear()
        assert engine.sweep(engine.run_id)
    assert not fake.requests
    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.sweep("another")
    assert left.id not in fake.containers.by_id


def test_a_container_that_cannot_be_removed_keeps_no_other(
    fake: FakeEngine, engine: Engine
) -> None:
    """One refusal is passed over, and the other containers of the run are removed."""
    image = fake.add_image("cell:1")
    for _ in range(3):
        fake.add_container(image, labels={RUN_LABEL: engine.connection.run_id})
    fake.fail(Refuses("DELETE /containers/*", 500, "device or resource busy"))

    engine.containers.remove_of(engine.run_id)

    assert len(fake.containers.by_id) == 1
    assert not fake.pending


def test_an_engine_that_went_away_fails_no_clean_up(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has its own outcome, which the end of the connection must not hide."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as engine, closing(engine.connection.client):
        fake.vanish()


def test_an_engine_that_refuses_to_tell_about_itself_is_told(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error repeats the words of the engine."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    fake.fail(Refuses("GET /info", 503, "the engine is shutting down"))
    with (
        pytest.raises(EngineError, match="the engine is shutting down"),
        Engine.connect(),
    ):
        pass


@pytest.mark.parametrize(
    ("told", "expected"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64"), ("", "")],
)
def test_an_engine_has_an_architecture(told: str, expected: str) -> None:
    """It is told in the words of images."""
    assert expected == made({"Architecture": told}).architecture


@pytest.mark.parametrize("reaches", [False, True])
def test_whether_an_engine_reaches_this_machine_is_tried(
    fake: FakeEngine, engine: Engine, reaches: bool
) -> None:
    """The engine is asked once for a page that only we serve; nothing is built."""
    fake.facts = Facts(reaches=reaches)
    assert reaches is engine.reaches("127.0.0.1")
    assert len(fake.asked("POST /build")) == 1
    assert fake.build_records == []
    assert not engine.reaches("no address")


def test_an_engine_that_cannot_be_asked_reaches_nothing(fake: FakeEngine, engine: Engine) -> None:
    """A refusal of the request is no proof."""
    fake.fail(Refuses("POST /build", 400, "no remote contexts"))
    assert not engine.reaches("127.0.0.1")


def test_a_gpu_is_unseen_only_where_the_engine_is_here_and_serves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is on this machine says nothing about an engine elsewhere."""
    monkeypatch.setattr("envmatrix.engine.client.unseen_gpu", lambda: "a GPU")
    assert made({}).unseen_gpu == "a GPU"
    assert made({"Runtimes": {"nvidia": {}}}).unseen_gpu == ""
    assert made({}, "tcp://engine.example:2375").unseen_gpu == ""
