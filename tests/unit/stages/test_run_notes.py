"""What killed runs left on the engine, and whose it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_engine import FakeEngine, Refuses
from small_project import Folder

from envmatrix.engine.client import Engine
from envmatrix.engine.containers import RUN_LABEL
from envmatrix.model.image_names import run_tag
from envmatrix.stages.run_notes import accounted
from envmatrix.store.records import Records

KINDS = ("below", "layer", "made")


def killed(project: Folder, fake: FakeEngine) -> str:
    """Leave what a killed run leaves; return its id."""
    with Engine.connect() as engine, accounted(records(project), engine):
        run = engine.run_id
        note = records(project).path("run", run)
        text = note.read_text(encoding="utf-8")
    note.write_text(text, encoding="utf-8")
    image = fake.add_image("envmatrix/base:a", *(run_tag(kind, run, "a") for kind in KINDS))
    fake.add_container(image, labels={RUN_LABEL: run})
    return run


def records(project: Folder) -> Records:
    """Return the records of a project."""
    return Records(project.root / ".envmatrix")


def left(fake: FakeEngine, run: str) -> list[str]:
    """Return what is left of a run."""
    labels = [one.request.labels.get(RUN_LABEL) for one in fake.containers.by_id.values()]
    return [name for name in fake.images.names if f":{run}-" in name] + [
        "container" for label in labels if label == run
    ]


def next_run(project: Folder) -> None:
    """Do what the next run does before and after its work."""
    with Engine.connect() as engine, accounted(records(project), engine):
        pass


def test_the_next_run_removes_what_a_killed_one_left(project: Folder, fake: FakeEngine) -> None:
    """Its container and its names go, the image keeps its usual name, and so does its note."""
    run = killed(project, fake)
    next_run(project)
    assert left(fake, run) == []
    assert fake.images.find("envmatrix/base:a") is not None
    assert records(project).keys("run") == frozenset()


def copied(project: Folder) -> Folder:
    """Return a copy of a project, with all that is noted there."""
    return project.copy(project.root.parent / "copy", project.environment)


def moved_note(project: Folder) -> Folder:
    """Return the project with a note under the id of another run."""
    (note,) = (project.root / ".envmatrix/records/run").iterdir()
    note.rename(note.with_name(f"{'0' * 12}.json"))
    return project


def damaged_note(project: Folder) -> Folder:
    """Return the project with a note that would choose all runs."""
    (note,) = (project.root / ".envmatrix/records/run").iterdir()
    note.write_text(note.read_text(encoding="utf-8").replace('"run": "', '"run": "*'))
    return project


@pytest.mark.parametrize("other", [copied, moved_note, damaged_note])
def test_nothing_is_removed_that_may_be_of_another(
    project: Folder, fake: FakeEngine, other: Callable[[Folder], Folder]
) -> None:
    """A note counts where it was written, and for the run that it is named after."""
    run = killed(project, fake)
    next_run(other(project))
    assert len(left(fake, run)) == len(KINDS) + 1


@pytest.mark.parametrize("refused", ["DELETE /containers/*", "GET /containers/json"])
def test_what_cannot_be_removed_now_is_removed_later(
    project: Folder, fake: FakeEngine, refused: str
) -> None:
    """The note stays until nothing is left of its run."""
    run = killed(project, fake)
    fake.fail(Refuses(refused, 500, "device or resource busy"))
    next_run(project)
    assert left(fake, run)
    next_run(project)
    assert left(fake, run) == []
    assert records(project).keys("run") == frozenset()
