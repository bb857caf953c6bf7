"""The command that tells what is missing on this machine: doctor."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Facts, FakeEngine, Slow
from fake_index import FakeIndex, Status
from shown import Commands
from small_project import Folder, environment, inside

from envmatrix.resolve.fetching import Reply

DAY = 86_400


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index that has pip."""
    with FakeIndex() as served:
        served.add("pip", "26.0")
        yield served


@pytest.fixture
def served(locked: Folder, fake: FakeEngine, index: FakeIndex, tmp_path: Path) -> Iterator[Folder]:
    """A project with an engine and an index."""
    folder = locked.copy(tmp_path / "project", environment(fake.url, index.url))
    with folder.inside():
        yield folder


def found(document: Any) -> dict[str, dict[str, str]]:
    """Return the findings by topic; the worst one of a topic counts."""
    order = ["ok", "unknown", "warning", "missing"]
    by_topic: dict[str, dict[str, str]] = {}
    for one in sorted(document["findings"], key=lambda one: order.index(one["state"])):
        by_topic[one["topic"]] = one
    return by_topic


def test_a_machine_that_has_all(served: Folder, command: Commands, fake: FakeEngine) -> None:
    """Nothing is missing, the exit code is 0, and nothing was made or pulled."""
    before = set(served.root.rglob("*"))
    document = command(served, "doctor", "--json").document()
    assert (document["schema"], document["ok"]) == (1, True)
    told = found(document)
    assert told["engine"]["said"].startswith(f"Docker 27.5.1 at {fake.url}, chosen by DOCKER_HOST")
    assert told["index"]["state"] == "ok"
    assert told["reach"]["said"].endswith("builds take wheels over loopback")
    assert set(served.root.rglob("*")) == before
    assert fake.images.by_id == {}
    assert not fake.asked("POST /images*")
    assert not fake.asked("POST /containers*")


def test_a_person_sees_a_line_for_each_finding(served: Folder, command: Commands) -> None:
    """The state, the topic, what was found, and the counts at the end."""
    out = command(served, "doctor").out
    assert "ok       pip " in out
    assert " ok" in out.splitlines()[-1]


def test_without_an_engine(offline: Folder, command: Commands) -> None:
    """Something needed is missing: the exit code is 3, and the remedy is told."""
    shown = command(offline, "doctor")
    assert shown.code == 3
    assert "missing  engine" in shown.out
    assert "no Docker engine answers" in shown.out
    assert "-> start Docker, set DOCKER_HOST, or run scripts/setup-engine" in shown.out


def test_without_a_matrix(tmp_path: Path, fake: FakeEngine, command: Commands) -> None:
    """The machine is looked at all the same, and no folder is made."""
    folder = Folder(tmp_path, environment(fake.url))
    with folder.inside():
        document = command(folder, "doctor", "--json").document()
    assert found(document)["matrix"]["state"] == "warning"
    assert found(document)["engine"]["state"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_matrix_is_a_finding(served: Folder, command: Commands) -> None:
    """And the rest is looked at."""
    served.write("matrix.yaml", "schema: 7")
    document = command(served, "doctor", "--json").document(3)
    assert found(document)["matrix"]["state"] == "missing"
    assert found(document)["pip"]["state"] == "ok"


def test_a_profile_that_does_not_exist_is_wrong_input(served: Folder, command: Commands) -> None:
    """The user named it."""
    assert command(served, "doctor", "-p", "nothing").is_refusal(2, "nothing")


@pytest.mark.parametrize(
    "case",
    [
        (Facts(version="19.03.1", api="1.40"), "engine", "missing"),
        (Facts(version="29.0.0"), "engine", "ok"),
        (Facts(memory=2 * 2**30), "engine memory", "warning"),
        (Facts(reaches=False), "reach", "ok"),
        (Facts(nvidia=True), "engine gpu", "ok"),
        (Facts(operating_system="Docker Desktop"), "engine disk", "unknown"),
    ],
    ids=["too old", "untried", "little memory", "apart", "gpu", "elsewhere"],
)
def test_engines(
    served: Folder, command: Commands, fake: FakeEngine, case: tuple[Facts, str, str]
) -> None:
    """What an engine is, is told, and what cannot be used is missing."""
    facts, topic, state = case
    fake.facts = facts
    document = command(served, "doctor", "--json")
    told = found(document.document(3 if state == "missing" else 0))
    assert told[topic]["state"] == state


def test_a_foreign_architecture(served: Folder, command: Commands, fake: FakeEngine) -> None:
    """The engine is of another one than the chosen cells. Nothing is run there to try it."""
    fake.facts = Facts(architecture="aarch64", operating_system="Docker Desktop")
    told = found(command(served, "doctor", "--json").document())
    assert told["architecture"]["said"].endswith("a run tries whether it emulates amd64")
    assert fake.runs == []


def test_an_engine_that_says_nothing(
    served: Folder, command: Commands, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command does not wait for it."""
    monkeypatch.setattr("envmatrix.stages.doctor.examine.__defaults__", (3.0,))
    fake.fail(Slow("GET /info", 30), times=None)
    started = time.monotonic()
    told = found(command(served, "doctor", "--json").document(3))
    assert time.monotonic() - started < 15
    assert told["engine"]["said"] == "no answer within 3 s"


@pytest.mark.parametrize("is_needed", [False, True])
def test_an_index_that_refuses(
    served: Folder, command: Commands, index: FakeIndex, *, is_needed: bool
) -> None:
    """It is missing only where a wheel has to be downloaded. No credential is shown."""
    index.fail(Status(401), times=None)
    if is_needed:
        (served.root / ".envmatrix/wheelhouse").rename(served.root / "gone")
    secret = index.url.replace("http://", "http://me:hunter2@")
    with inside(environment(os.environ["DOCKER_HOST"], secret)):
        shown = command(served, "doctor", "--json")
    told = found(shown.document(3 if is_needed else 0))["index"]
    assert told["state"] == ("missing" if is_needed else "warning")
    assert "answers 401" in told["said"]
    assert told["remedy"].startswith("see the user and the password")
    assert "hunter2" not in shown.out + shown.err


def test_an_index_that_nobody_serves(offline: Folder, command: Commands) -> None:
    """The connection is refused: a warning, since every wheel is here; its clock is not known."""
    told = found(command(offline, "doctor", "--json").document(3))
    assert told["index"]["state"] == "warning"
    assert "Connection refused" in told["index"]["said"]
    assert told["clock"]["state"] == "unknown"


@pytest.mark.parametrize(("age", "state"), [("", "warning"), (str(DAY), "ok")])
def test_a_clock_that_is_wrong(
    served: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch, age: str, state: str
) -> None:
    """By the time that the index tells. An answer from a cache is as old as it says."""
    headers = {"date": formatdate(time.time() - DAY, usegmt=True), "age": age}
    reply = Reply(200, "", headers, b"")
    monkeypatch.setattr("envmatrix.resolve.fetching.Fetcher.get", lambda *_, **__: reply)
    assert found(command(served, "doctor", "--json").document())["clock"]["state"] == state
