"""What a run that fails leaves of what was known: evidence is never replaced by an outage."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable

import pytest
from fake_engine import FakeEngine, Refuses
from small_project import GOOD, Folder, Told, judged, run, run_one

from envmatrix.model.errors import EngineError, SurroundingsError
from envmatrix.model.evidence import Evidence
from envmatrix.store.files import to_text


def forget(project: Folder, *kinds: str) -> None:
    """Let this machine forget its records of some kinds, so that the work is done again."""
    for kind in kinds:
        shutil.rmtree(project.root / ".envmatrix" / "records" / kind)


def known(project: Folder) -> Evidence | None:
    """Return the evidence that a new command finds for the cell."""
    (cell,) = project.cells(GOOD)
    return project.workspace().knowledge.current(cell)


def publish(project: Folder, evidence: Evidence) -> None:
    """Publish the evidence of the cell, and let this machine forget it."""
    project.write(f"reports/cells/{GOOD}.json", to_text(evidence.to_json()))
    shutil.rmtree(project.root / ".envmatrix" / "cells")


@pytest.fixture(params=["local", "published"])
def works(request: pytest.FixtureRequest, project: Folder) -> Evidence:
    """The evidence of the cell, which works, on this machine or published."""
    found = run_one(project, GOOD)
    assert judged(found) == ("works", "probe", "")
    if request.param == "published":
        publish(project, found)
    return found


def test_an_engine_that_starts_no_container(
    project: Folder, fake: FakeEngine, works: Evidence
) -> None:
    """The run says that the cell stays unknown, and the cell goes on to work."""
    forget(project, "probe")
    fake.fail(Refuses("POST /containers/create", 500, "no space left on device"), times=None)
    found = run_one(project, GOOD)
    assert (found.verdict, found.stage) == ("unknown", "probe")
    assert works == known(project)


def test_an_engine_that_is_gone(project: Folder, fake: FakeEngine, works: Evidence) -> None:
    """A run without an engine is an error, and the cell goes on to work."""
    fake.vanish()
    with pytest.raises(EngineError):
        run(project, GOOD)
    assert works == known(project)


def test_an_index_that_is_down(project: Folder, works: Evidence) -> None:
    """Wheels that cannot be fetched leave the cell unknown in the run only."""
    forget(project, "base", "build", "probe")
    shutil.rmtree(project.root / ".envmatrix" / "wheelhouse")
    found = run_one(project, GOOD)
    assert found.verdict == "unknown"
    assert works == known(project)


def test_an_index_that_is_down_for_a_lock(
    project: Folder, works: Evidence, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A cell whose lock was lost and cannot be had keeps its evidence until the lock is back."""
    aside = tmp_path_factory.mktemp("aside") / "lock"
    locks = project.root / ".envmatrix" / "records" / "lock"
    shutil.move(locks, aside)
    found = run_one(project, GOOD)
    assert (found.verdict, found.stage) == ("unknown", "lock")
    shutil.rmtree(locks, ignore_errors=True)
    shutil.move(aside, locks)
    assert works == known(project)


def test_a_disk_that_is_full(
    project: Folder, works: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that can keep nothing is an error, and leaves what was kept before."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(SurroundingsError, match="No space left"):
            run(project, GOOD)
    assert works == known(project)


def refuse(_: int) -> None:
    """Answer as a disk without room does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("stage", ["base", "build", "probe"])
def test_ctrl_c(project: Folder, works: Evidence, stage: str) -> None:
    """A run that is stopped at any stage leaves what was known."""
    with pytest.raises(KeyboardInterrupt):
        run(project, GOOD, progress=Stopped(at=lambda name: name == stage))
    assert works == known(project)


class Stopped(Told):
    """A progress during which the user stops the run."""

    def __init__(self, at: Callable[[str], bool]) -> None:
        super().__init__()
        self._at = at

    def started(self, stage: str, subject: str) -> None:
        """Stop at some stage."""
        super().started(stage, subject)
        if self._at(stage):
            raise KeyboardInterrupt
