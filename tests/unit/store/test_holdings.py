"""What the state holds, and what may be removed of it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from envmatrix.store.files import write_text
from envmatrix.store.holdings import Emptied, Holding, Kind, empty, holdings
from envmatrix.store.layout import Layout

MEGABYTE = 2**20


@pytest.fixture
def filled(layout: Layout) -> Layout:
    """A state that holds something of each kind."""
    for name in (
        "wheelhouse/wheels/aa/a.whl",
        "wheelhouse/incoming-1/half.whl",
        "logs/build/cell.log",
        "engines/28/root/bin/dockerd",
        "cells/cell.json",
        "report/report.json",
        "records/probe/one.json",
        "records/lock/two.json",
        "bootstrap/bookworm.tar",
        "cells/.cell.json.1234567a",
        "tools/bin/python",
    ):
        write_text(layout.state / name, "x" * MEGABYTE)
    return layout


def of(layout: Layout, kind: Kind) -> Holding:
    """Return what the state holds of a kind."""
    (found,) = (one for one in holdings(layout) if one.kind is kind)
    return found


def free(layout: Layout, kind: Kind) -> Emptied:
    """Show what there is of a kind, and remove it."""
    shown = of(layout, kind)
    return empty(layout, kind, shown.paths, shown.size)


def there(layout: Layout) -> set[str]:
    """Return the paths of all files of the state."""
    return {
        str(path.relative_to(layout.state))
        for path in layout.state.rglob("*")
        if path.is_file() and path.name != ".gitignore"
    }


def test_every_file_belongs_to_one_kind(filled: Layout) -> None:
    """The bytes of the kinds are those of the files: none counts twice, and none is left out."""
    found = {one.kind: one.size // MEGABYTE for one in holdings(filled)}
    assert found == {
        Kind.WHEELHOUSE: 1,
        Kind.LOGS: 1,
        Kind.TEMPORARY: 3,
        Kind.ENGINES: 1,
        Kind.EVIDENCE: 3,
        Kind.RECORDS: 1,
        Kind.TOOLS: 1,
    }


def test_a_project_without_state_holds_nothing(layout: Layout) -> None:
    """And looking at it makes nothing."""
    assert holdings(layout) == []
    assert not layout.state.exists()


def test_evidence_goes_and_locks_stay(filled: Layout) -> None:
    """The records of probes are evidence. A lock cannot be made again, since indexes change."""
    emptied = free(filled, Kind.EVIDENCE)
    assert emptied.freed // MEGABYTE == 3
    assert emptied.stayed == ()
    assert "records/lock/two.json" in there(filled)
    assert not {name for name in there(filled) if name.startswith(("cells", "report"))}
    assert "records/probe/one.json" not in there(filled)


def test_only_what_a_killed_run_left_is_temporary(filled: Layout) -> None:
    """Half of a download, half of a write, and the tar of a system."""
    gone = there(filled)
    free(filled, Kind.TEMPORARY)
    gone -= there(filled)
    assert gone == {
        "wheelhouse/incoming-1/half.whl",
        "bootstrap/bookworm.tar",
        "cells/.cell.json.1234567a",
    }


@pytest.mark.parametrize("name", ["wheelhouse", "logs", "cells", "records", "engines", "bootstrap"])
def test_a_link_is_not_followed(filled: Layout, tmp_path: Path, name: str) -> None:
    """A clone may hold a link that leads out of it. The link stays, and so does its target."""
    outside = tmp_path / "precious"
    (filled.state / name).rename(outside)
    (filled.state / name).symlink_to(outside)
    kept = {path for path in outside.rglob("*") if path.is_file()}
    for kind in Kind:
        free(filled, kind)
    assert {path for path in outside.rglob("*") if path.is_file()} == kept
    assert (filled.state / name).is_symlink()


def test_a_link_is_named(filled: Layout, tmp_path: Path) -> None:
    """The user is told what stays, and why."""
    (filled.state / "logs").rename(tmp_path / "precious")
    (filled.state / "logs").symlink_to(tmp_path / "precious")
    found = of(filled, Kind.LOGS)
    assert (found.paths, found.size) == ((), 0)
    assert found.left == ((filled.state / "logs", "it is a link, and no link is followed"),)


def test_a_link_that_is_put_there_after_it_was_shown_stays(filled: Layout, tmp_path: Path) -> None:
    """What was shown is looked at again before it is removed."""
    shown = of(filled, Kind.LOGS)
    (filled.state / "logs").rename(tmp_path / "precious")
    (filled.state / "logs").symlink_to(tmp_path / "precious")
    emptied = empty(filled, Kind.LOGS, shown.paths, shown.size)
    assert emptied.stayed == ((filled.state / "logs", "it is a link, and no link is followed"),)
    assert (tmp_path / "precious/build/cell.log").exists()


def test_a_link_within_a_folder_goes_alone(filled: Layout, tmp_path: Path) -> None:
    """The folder is ours, so the link in it goes. What it leads to is not ours."""
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine", encoding="utf-8")
    (filled.state / "logs/build/link").symlink_to(outside)
    free(filled, Kind.LOGS)
    assert not (filled.state / "logs").exists()
    assert (outside / "file").read_text(encoding="utf-8") == "mine"


def test_a_state_that_is_a_link_is_left(filled: Layout, tmp_path: Path) -> None:
    """Nothing behind it is shown or removed, and that is told."""
    filled.state.rename(tmp_path / "elsewhere")
    filled.state.symlink_to(tmp_path / "elsewhere")
    (found,) = holdings(filled)
    assert found.paths == ()
    assert found.left[0][0] == filled.state
    paths = (filled.state / "logs",)
    assert empty(filled, Kind.LOGS, paths, 1).stayed[0][0] == filled.state
    assert (tmp_path / "elsewhere/logs/build/cell.log").exists()


def test_an_engine_at_work_is_left(filled: Layout) -> None:
    """scripts/private-engine holds a lock as long as its engine runs."""
    lock = filled.state / "engines/28.lock"
    lock.touch()
    shown = of(filled, Kind.ENGINES)
    assert shown.paths == (filled.state / "engines/28",)
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        why = "a private engine is at work there"
        assert of(filled, Kind.ENGINES).left == ((filled.state / "engines/28", why),)
        emptied = empty(filled, Kind.ENGINES, shown.paths, shown.size)
        assert emptied.stayed == ((filled.state / "engines/28", why),)
        assert (emptied.freed, (filled.state / "engines/28/root").exists()) == (0, True)
    assert empty(filled, Kind.ENGINES, shown.paths, shown.size).freed == shown.size


def test_a_file_with_two_names_counts_once(filled: Layout) -> None:
    """The disk holds it once."""
    before = of(filled, Kind.LOGS).size
    (filled.state / "logs/again").hardlink_to(filled.state / "logs/build/cell.log")
    assert of(filled, Kind.LOGS).size - before < MEGABYTE


def test_what_cannot_be_removed_stays_and_is_named(
    filled: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The freed bytes are those that are gone, not those that were to go."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.unlink", refuse)
    emptied = free(filled, Kind.LOGS)
    assert emptied.stayed == ((filled.state / "logs", "Permission denied"),)
    assert emptied.freed == 0
