"""The command that frees what runs made: clean."""

from __future__ import annotations

import os
from pty import openpty
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeImage, Refuses
from shown import Commands
from small_project import BASE, GOOD, Folder

from envmatrix.engine.build_cache import BUILD_MARK
from envmatrix.engine.containers import RUN_LABEL

NAME = f"envmatrix/cell:{GOOD}"


@pytest.fixture
def ran(project: Folder, command: Commands) -> Folder:
    """A project in which a cell was run."""
    assert command(project, "run", GOOD).code == 0
    return project


def kinds(document: Any) -> dict[str, Any]:
    """Return what a document of clean tells of each kind."""
    return {one["kind"]: one for one in document["kinds"]}


def image(fake: FakeEngine, name: str) -> FakeImage:
    """Return an image of the engine."""
    return fake.images.get(name)


def test_without_a_terminal_it_only_shows(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """It tells the bytes of each kind, and how to free them. Nothing changes anywhere."""
    before = set(fake.images.by_id)
    asked = len(fake.requests)
    shown = command(ran, "clean")
    assert shown.code == 0
    assert "images" in shown.out
    assert f"    {NAME}\n" in shown.out
    assert "    .envmatrix/wheelhouse\n" in shown.out
    assert shown.err == "nothing was freed; give --yes to free it\n"
    assert set(fake.images.by_id) == before
    assert {one.method for one in fake.requests[asked:]} == {"GET"}


def test_it_asks_nothing_where_there_is_nothing(offline: Folder, command: Commands) -> None:
    """And it makes no folder."""
    os.rename(".envmatrix", "gone")  # noqa: PTH104  (this process stands in the project)
    assert command(offline, "clean", "logs").out == "about 0 bytes can be freed\n"
    assert not (offline.root / ".envmatrix").exists()


def test_what_is_freed_is_gone(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """Images, wheels and logs go. Evidence, what is published and pulled systems stay."""
    evidence = ran.read(f".envmatrix/cells/{GOOD}.json")
    ran.write("reports/table.md", "published")
    pulled = image(fake, "debian:12-slim")
    freed = kinds(command(ran, "clean", "--yes", "--json").document())
    assert freed["images"]["freed_bytes"] > 0
    assert freed["wheelhouse"]["freed_bytes"] == freed["wheelhouse"]["bytes"] > 0
    assert list(fake.images.by_id) == [pulled.id]
    assert not [one for one in fake.cache if BUILD_MARK in one.description]
    assert not (ran.root / ".envmatrix/wheelhouse").exists()
    assert ran.read(f".envmatrix/cells/{GOOD}.json") == evidence
    assert ran.read("reports/table.md") == "published"
    again = command(ran, "clean", "--yes", "--json").document()
    assert [one for one in again["kinds"] if one["things"]] == []


def test_a_run_works_again(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """It builds what is gone, and takes what stayed."""
    command(ran, "clean", "images", "cache", "logs", "temporary", "--yes")
    assert fake.images.find(NAME) is None
    assert command(ran, "run", GOOD).code == 0
    assert fake.images.find(NAME) is not None


def test_a_pulled_system_stays(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """Also where its own tag has moved on, and only the name that a build needed is left."""
    pulled = image(fake, "debian:12-slim")
    del fake.images.names["debian:12-slim"]
    assert fake.images.names_of(pulled) == ["envmatrix/os:debian12"]
    command(ran, "clean", "images", "--yes")
    assert list(fake.images.by_id) == [pulled.id]


def test_only_the_named_kinds_are_freed(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """The engine is not even asked for what lies on the disk."""
    asked = len(fake.requests)
    freed = kinds(command(ran, "clean", "wheelhouse", "--yes", "--json").document())
    assert list(freed) == ["wheelhouse"]
    assert len(fake.requests) == asked
    assert fake.images.find(NAME) is not None


def test_what_is_not_of_this_folder_stays(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """Images of another checkout, and the base on which one of them stands."""
    other = fake.add_image("envmatrix/cell:other", files={"other": b"x"})
    base = image(fake, f"envmatrix/base:{BASE}")
    child = FakeImage(
        (*base.layers, b"more"), base.config, history=(*base.history, "RUN more"), created="later"
    )
    fake.images.add(child, "envmatrix/cell:child")
    freed = kinds(command(ran, "clean", "images", "--yes", "--json").document())
    assert freed["images"]["things"] == [NAME]
    (left,) = [one for one in freed["images"]["left"] if one["thing"].startswith("envmatrix/base")]
    assert left["why"] == "envmatrix/cell:child stands on it, which is not of this folder"
    assert {other.id, base.id, child.id} <= set(fake.images.by_id)
    assert fake.images.find(NAME) is None


def test_an_image_that_the_user_named_stays(
    ran: Folder, command: Commands, fake: FakeEngine
) -> None:
    """It is the user's since."""
    kept = image(fake, NAME)
    fake.images.add(kept, "mine:1")
    freed = kinds(command(ran, "clean", "images", "--yes", "--json").document())
    assert {"thing": NAME, "why": "you gave it the name mine:1"} in freed["images"]["left"]
    assert kept.id in fake.images.by_id


def test_a_forged_record_frees_nothing(ran: Folder, command: Commands, fake: FakeEngine) -> None:
    """A clone may hold records that name any image. Ours has a name or a label of ours."""
    precious = fake.add_image(files={"precious": b"x"})
    ran.write(
        ".envmatrix/records/name/forged.json",
        f'{{"name": "envmatrix/cell:x", "id": "{precious.id}"}}',
    )
    command(ran, "clean", "images", "--yes")
    assert precious.id in fake.images.by_id


def test_an_image_in_use_stays_and_that_is_told(
    ran: Folder, command: Commands, fake: FakeEngine
) -> None:
    """The engine refuses to remove what a container runs, and nobody forces it. The exit is 3."""
    used = image(fake, NAME)
    fake.add_container(used)
    freed = kinds(command(ran, "clean", "images", "--yes", "--json").document(3))
    (stayed,) = [one for one in freed["images"]["stayed"] if one["thing"] == NAME]
    assert "is using" in stayed["why"]
    assert used.id in fake.images.by_id


def test_only_containers_that_ended_and_are_ours_go(
    ran: Folder, command: Commands, fake: FakeEngine
) -> None:
    """One that runs may belong to a run, and one of another image to another checkout."""
    ours, other = image(fake, NAME), fake.add_image("envmatrix/cell:other")
    label = {RUN_LABEL: "killed"}
    ended = fake.add_container(ours, label, running=False)
    running = fake.add_container(ours, label)
    kept = [
        running,
        fake.add_container(other, label, running=False),
        fake.add_container(ours, running=False),
    ]
    freed = kinds(command(ran, "clean", "containers", "--yes", "--json").document())
    assert freed["containers"]["things"] == [ended.id[:12]]
    assert freed["containers"]["left"][0]["thing"] == running.id[:12]
    assert {one.id for one in fake.containers.by_id.values()} == {one.id for one in kept}


def test_evidence_goes_only_where_it_is_asked_for(ran: Folder, command: Commands) -> None:
    """By its own option, whether or not kinds are named."""
    refused = command(ran, "clean", "evidence")
    assert refused.is_refusal(2, "envmatrix clean evidence --evidence")
    command(ran, "clean", "logs", "--yes")
    assert (ran.root / ".envmatrix/cells").exists()
    command(ran, "clean", "evidence", "--evidence", "--yes")
    assert not (ran.root / ".envmatrix/cells").exists()
    assert command(ran, "plan", GOOD).out.startswith("? unknown")


def test_an_unknown_kind_is_wrong_input(offline: Folder, command: Commands) -> None:
    """And the nearest is named."""
    assert command(offline, "clean", "image").is_refusal(2, "did you mean images?")


def test_without_an_engine_the_disk_is_cleaned(offline: Folder, command: Commands) -> None:
    """An engine that is named has to answer."""
    shown = command(offline, "clean", "--yes")
    assert shown.code == 0
    assert "what is on an engine is not looked at" in shown.err
    assert not (offline.root / ".envmatrix/wheelhouse").exists()
    assert command(offline, "clean", "images").is_refusal(3)


def test_while_a_run_is_at_work_nothing_is_freed(ran: Folder, command: Commands) -> None:
    """It is shown, and then refused: the run needs its wheels."""
    with ran.workspace().records.exclusive():
        shown = command(ran, "clean", "wheelhouse", "--yes")
    assert shown.code == 3
    assert "another envmatrix is at work here" in shown.err
    assert (ran.root / ".envmatrix/wheelhouse").exists()


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("\n", False)])
def test_a_person_is_asked(
    ran: Folder, monkeypatch: pytest.MonkeyPatch, answer: str, *, goes: bool
) -> None:
    """Enter alone means no."""
    primary, terminal = openpty()
    with (
        os.fdopen(terminal, "r", encoding="utf-8") as keys,
        os.fdopen(os.dup(terminal), "w", encoding="utf-8") as screen,
    ):
        monkeypatch.setattr("sys.stdin", keys)
        monkeypatch.setattr("sys.stdout", screen)
        os.write(primary, answer.encode())
        assert ran.main("clean", "wheelhouse") == 0
    os.close(primary)
    assert (ran.root / ".envmatrix/wheelhouse").exists() is not goes


def test_an_engine_that_fails_ends_no_other_kind(
    ran: Folder, command: Commands, fake: FakeEngine
) -> None:
    """What failed is told, and the exit code is 3."""
    fake.fail(Refuses("DELETE /images/*", 500, "the disk is gone"), times=None)
    freed = kinds(command(ran, "clean", "images", "logs", "--yes", "--json").document(3))
    assert "the disk is gone" in freed["images"]["stayed"][0]["why"]
    assert not (ran.root / ".envmatrix/logs").exists()
