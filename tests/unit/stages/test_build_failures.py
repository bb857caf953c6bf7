"""Builds that fail: when the cell is at fault, and when it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_engine import FakeEngine, StepFails
from small_project import GOOD, Folder, judged, run_one

from envmatrix.engine.builds import BuildError
from envmatrix.model.verdicts import Judgement
from envmatrix.stages.build_failures import Room, judge_failure

OWN = "Traceback (most recent call last):\nRuntimeError: it is about the cell\n"


def judge(folder: Path, error: str, output: str = OWN, room: Room | None = None) -> Judgement:
    """Judge a build that printed an output and ended with an error."""
    log = folder / "build.log"
    log.write_text(output, encoding="utf-8")
    return judge_failure("build", BuildError(error), log, room or Room(None))


@pytest.mark.parametrize(
    "error",
    [
        "the step failed: exit code: 1",
        "The command '/bin/sh -c x' returned a non-zero code: 125",
        "the step failed: exit code: 2\n",
    ],
)
def test_a_step_that_ended_with_an_error_of_its_own_is_broken(tmp_path: Path, error: str) -> None:
    """Both builders tell the exit code of the process."""
    assert judge(tmp_path, error).verdict == "broken"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("the step failed: exit code: 126", "command-missing"),
        ("the step failed: exit code: 127", "command-missing"),
        ("the step failed: exit code: 137", "killed"),
        ("The command 'x' returned a non-zero code: 139", "killed"),
        ("the step failed: exit code: 143", "killed"),
        ("the step failed: exit code: 0", "engine"),
        ("the step failed: context canceled", "engine"),
        ("the step failed: exit code: 1: context canceled", "engine"),
        ("stat /merged: invalid path", "engine"),
        ("", "engine"),
    ],
)
def test_a_build_in_which_no_process_ended_by_itself_is_unknown(
    tmp_path: Path, error: str, kind: str
) -> None:
    """A signal, a command that is not there, and the engine itself say nothing about the cell."""
    found = judge(tmp_path, error)
    assert (found.verdict, found.kind) == ("unknown", kind)
    assert found.remedy


@pytest.mark.parametrize(
    ("output", "kinds"),
    [
        ("E: Failed to fetch http://m/x  403  Forbidden [IP: 1.2.3.4 80]\n", {"refused"}),
        ("E: Failed to fetch http://m/x  404  Not Found [IP: 1.2.3.4 80]\n", {"mirror"}),
        ("E: Failed to fetch http://m/x  407  Proxy Authentication Required\n", {"credentials"}),
        ("E: Failed to fetch http://m/x  502  Bad Gateway [IP: 1.2.3.4 80]\n", {"mirror"}),
        ("E: Failed to fetch http://m/x  Hash Sum mismatch\n", {"mirror"}),
        ("error: operation timed out\n", {"blocked"}),
        ("curl: (56) Recv failure: Connection reset by peer\n", {"blocked"}),
        ("OSError: [Errno 28] No space left on device\n", {"disk-full"}),
        ("MemoryError\n", {"out-of-memory"}),
    ],
)
def test_a_step_whose_output_tells_of_the_surroundings_is_unknown(
    tmp_path: Path, output: str, kinds: set[str]
) -> None:
    """The exit code of the step is 1, and the reason is not the cell."""
    found = judge(tmp_path, "the step failed: exit code: 1", output)
    assert found.verdict == "unknown"
    assert found.kind in kinds


def test_a_step_that_fails_without_a_reason_on_a_full_disk_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensurepip says only that it failed; the least that was free while it ran is what counts."""
    free = iter([15 * 2**20, 10 * 2**30])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=next(free)))
    room = Room(tmp_path)
    room.look()
    room.look()
    said = "Error: Command 'ensurepip --upgrade' returned non-zero exit status 1.\n"
    found = judge(tmp_path, "the step failed: exit code: 1", said, room)
    assert (found.verdict, found.kind) == ("unknown", "disk-full")
    assert "15 MiB" in found.cause
    assert str(tmp_path) in found.remedy


def test_a_disk_without_room_for_another_file_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may have bytes and no inode left; some count no inodes at all."""
    few = SimpleNamespace(
        f_files=10**6, f_favail=3, f_bavail=2**30, f_blocks=2**31, f_bfree=2**30, f_frsize=4096
    )
    monkeypatch.setattr("os.statvfs", lambda _: few)
    room = Room(tmp_path)
    room.look()
    assert room.is_short
    few.f_files = 0
    other = Room(tmp_path)
    other.look()
    assert other.files is None


def test_a_disk_that_cannot_be_looked_at_explains_nothing(tmp_path: Path) -> None:
    """The folder of the engine may be on another machine, or gone."""
    for room in (Room(None), Room(tmp_path / "gone")):
        room.look()
        assert not room.is_short


def test_a_wheel_that_was_damaged_after_its_check_breaks_no_cell(
    project: Folder, fake: FakeEngine
) -> None:
    """The wheels are read again after a failure that nothing explains."""

    def damage(*_: object) -> str:
        for path in (project.root / ".envmatrix/wheelhouse/wheels").glob("*/jinja2-3.1.6*.whl"):
            path.write_bytes(b"x" * path.stat().st_size)
        return "did RUN\n"

    fake.builds.printed = damage
    fake.fail(StepFails("jinja2===3.1.6", output="no such thing\n"))
    found = run_one(project, GOOD)
    assert judged(found) == ("unknown", "build", "wheel-damaged")
    assert "jinja2-3.1.6" in found.cause
    assert found.remedy
