"""The lock stage: what is asked of the resolver, and how the committed tree has drifted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_index import FakeIndex
from small_project import (
    CUDA,
    EXCLUDED,
    GOOD,
    IMPOSSIBLE,
    OLD,
    Folder,
    Told,
    environment,
    make_project,
    serve_wheels,
)

from envmatrix.model.cells import Cell
from envmatrix.model.locks import Resolution
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.stages.lock import Found, Locking


def lock(project: Folder, *ids: str, fresh: bool = False) -> tuple[Found, Told]:
    """Lock cells as a new command does."""
    told = Told()
    return project.workspace().locking.lock(project.cells(*ids), told, jobs=1, fresh=fresh), told


def test_a_problem_is_asked_once(tmp_path: Path) -> None:
    """Cells that pose the same problem share the answer, and a base is asked for once."""
    with FakeIndex() as index:
        serve_wheels(index)
        project = make_project(tmp_path / "new", environment("unix:///nowhere", index.url))
        with project.inside():
            found, told = lock(project, GOOD, CUDA, EXCLUDED)
    assert told.expected == {"lock": 2}
    assert list(told.said("lock")) == ["locked"] * 2
    assert {"jinja2==3.1.6 py3.11 glibc 2.36", "uv==0.13.9 py3.11 glibc 2.36"} == {
        subject for _, subject, _, _ in told.finished_items
    }
    assert len(found) == 2
    assert all(resolution.lock for resolution in found.values())


def test_what_is_known_is_not_asked_again(offline: Folder) -> None:
    """Recorded locks are taken. A proof of other indexes is asked again, and kept in an outage."""
    found, told = lock(offline, GOOD, IMPOSSIBLE)
    assert told.expected == {"lock": 1}
    (said,) = told.texts
    assert said == "the indexes did not answer 1 question: what was known before is used"
    assert sorted(resolution.lock is not None for resolution in found.values()) == [
        False,
        True,
        True,
    ]


def test_a_fresh_run_asks_again(offline: Folder) -> None:
    """A fresh run takes no recorded answer: without an index it learns nothing."""
    found, told = lock(offline, GOOD, fresh=True)
    assert told.expected == {"lock": 2}
    assert {"blocked"} == {one.judgement.kind for one in found.values() if one.judgement}


def test_a_fresh_run_goes_on_with_a_lock_that_is_known(offline: Folder) -> None:
    """Where no index answers, a run takes the lock that it has, and tells so."""
    told = Told()
    locking = offline.workspace().locking
    found = locking.lock(offline.cells(GOOD), told, jobs=1, fresh=True, keeping=True)
    assert told.expected == {"lock": 2}
    assert all(one.lock for one in found.values())
    assert told.texts == ["the indexes did not answer 2 questions: what was known before is used"]


def test_a_fresh_clone_with_a_dead_index_keeps_what_is_published(offline: Folder) -> None:
    """A committed proof is taken as it was published, and no committed line changes."""
    found, _ = lock(offline, GOOD, IMPOSSIBLE)
    workspace = offline.workspace()
    cells = offline.cells(GOOD, IMPOSSIBLE)
    workspace.resolutions.write_verdicts(found, cells, workspace.cells)
    workspace.resolutions.write_locks(found, cells)
    before = offline.read("images/resolved.json")
    for record in (offline.root / ".envmatrix/records/lock").iterdir():
        record.unlink()

    found, told = lock(offline, GOOD, IMPOSSIBLE)

    proof = found[workspace.resolutions.problem(cells[1]).key].judgement
    assert proof is not None
    assert (proof.verdict, proof.kind) == (Verdict.IMPOSSIBLE, "no-such-version")
    assert len(told.texts) == 1
    workspace.resolutions.write_verdicts(found, cells, workspace.cells)
    fresh, _ = lock(offline, GOOD, IMPOSSIBLE, fresh=True)
    workspace.resolutions.write_verdicts(fresh, cells, workspace.cells)
    assert before == offline.read("images/resolved.json")


def test_a_mirror_without_the_installer_makes_no_cell_impossible(tmp_path: Path) -> None:
    """The base has no lock, the stage says so, and a later command asks again."""
    with FakeIndex() as index:
        serve_wheels(index)
        index.remove("uv")
        project = make_project(tmp_path / "new", environment("unix:///nowhere", index.url))
        with project.inside():
            (cell,) = project.cells(GOOD)
            workspace = project.workspace()
            found = workspace.locking.lock([cell], Told(), jobs=1)
            base = found[workspace.resolutions.base_problem(cell).key].judgement
            assert base is not None
            assert (base.verdict, base.stage, base.kind) == (
                Verdict.UNKNOWN,
                "base",
                "base-package",
            )
            told = workspace.resolutions.of_base(cell)
            assert told is not None
            assert told.judgement == base
            index.add("uv", "0.13.9", tags="py3-none-manylinux_2_17_x86_64")
            again = workspace.locking.lock([cell], Told(), jobs=1)
            assert again[workspace.resolutions.base_problem(cell).key].lock is not None


def test_only_cells_with_a_lock_can_be_built(offline: Folder) -> None:
    """Neither excluded cells nor cells without a lock can be built."""
    found, _ = lock(offline, GOOD, IMPOSSIBLE, EXCLUDED)
    locking = offline.workspace().locking
    cells = offline.cells(EXCLUDED, GOOD, IMPOSSIBLE, OLD)
    assert [one.cell.id for one in locking.locked(cells, found)] == [GOOD]


# --- drift -----------------------------------------------------------------------------------


class Committed:
    """A project whose locks and verdicts are committed."""

    def __init__(self, project: Folder) -> None:
        self.project = project
        workspace = project.workspace()
        self.cells = project.cells(GOOD, OLD, IMPOSSIBLE, EXCLUDED)
        self.found = dict(lock(project, GOOD, OLD, IMPOSSIBLE)[0])
        self.published = [cell for cell in self.cells if cell.id in (GOOD, OLD)]
        asked = [cell for cell in self.cells if not cell.excluded]
        workspace.resolutions.write_verdicts(self.found, asked, workspace.cells)
        workspace.resolutions.write_locks(self.found, self.published)

    @property
    def locking(self) -> Locking:
        """The lock stage of a new command."""
        return self.project.workspace().locking

    def drift(self) -> list[str]:
        """Return what drift is found."""
        return self.locking.drift(self.cells, self.found, self.published)

    def answer(self, cell: Cell, resolution: Resolution) -> None:
        """Let the resolver say something else of a cell."""
        self.found[self.locking.resolutions.problem(cell).key] = resolution


@pytest.fixture
def committed(offline: Folder) -> Committed:
    """A project whose locks and verdicts are committed."""
    return Committed(offline)


def test_what_was_just_committed_has_no_drift(committed: Committed) -> None:
    """Locks and verdicts that are as they were found have no drift."""
    assert committed.drift() == []


def test_another_lock_is_drift(committed: Committed) -> None:
    """A published cell whose lock would differ is told by the file that differs."""
    good = committed.cells[0]
    found = committed.found[committed.locking.resolutions.problem(good).key].lock
    assert found is not None
    committed.answer(good, Resolution(replace(found, wheels=found.wheels[:-1]), None))
    assert [f"lock differs: images/{GOOD}/requirements.lock"] == committed.drift()


def test_a_lock_that_is_gone_is_drift(committed: Committed) -> None:
    """A published cell whose lock is not committed is told where its record is gone too."""
    root = committed.project.root
    (root / f"images/{GOOD}/requirements.lock").unlink()
    for record in (root / ".envmatrix/records/lock").iterdir():
        record.unlink()
    assert [f"lock differs: images/{GOOD}/requirements.lock"] == committed.drift()


def test_another_verdict_is_drift(committed: Committed) -> None:
    """A cell that was impossible and now has a lock is told, and the other way round."""
    good, _, impossible, _ = committed.cells
    gone = Judgement(Verdict.IMPOSSIBLE, "lock", "no-such-version", "it is gone")
    lock_of_good = committed.found[committed.locking.resolutions.problem(good).key]
    committed.answer(impossible, lock_of_good)
    assert [f"verdict differs: {IMPOSSIBLE}"] == committed.drift()
    committed.answer(good, Resolution(None, gone))
    assert [
        f"lock differs: images/{GOOD}/requirements.lock",
        f"verdict differs: {GOOD}",
        f"verdict differs: {IMPOSSIBLE}",
    ] == committed.drift()


def test_an_index_that_cannot_be_reached_is_no_drift(committed: Committed) -> None:
    """An answer that is unknown says nothing about what is committed."""
    blocked = Judgement(Verdict.UNKNOWN, "lock", "blocked", "no index")
    for cell in committed.cells:
        committed.answer(cell, Resolution(None, blocked))
    assert committed.drift() == []


def test_a_verdict_that_was_never_committed_is_drift(committed: Committed) -> None:
    """A cell with a lock and without a committed verdict is told."""
    (committed.project.root / "images/resolved.json").unlink()
    assert [f"verdict differs: {GOOD}", f"verdict differs: {OLD}"] == committed.drift()
