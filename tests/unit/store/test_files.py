"""Writing and removing files, and what is left of a write that was stopped."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from disks import read_only, small_disk

from envmatrix.model.errors import DiskError, SurroundingsError
from envmatrix.store.files import names, refusal, remove, sweep, to_text, using, write_text


def test_a_file_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    """A file is replaced in one step, its folders are made, and its line ends are kept."""
    path = tmp_path / "deep" / "file"
    write_text(path, "old")
    write_text(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert [path] == list(path.parent.iterdir())
    assert path.stat().st_mode & 0o444


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A failed write is a failure of the surroundings, and the file that was there stays."""
    (tmp_path / "file").write_text("old", encoding="utf-8")
    with pytest.raises(SurroundingsError, match="cannot write") as caught:
        write_text(tmp_path / "file" / "below", "new")
    assert caught.value.next_step
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "half \ud800")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_removed_says_so(tmp_path: Path) -> None:
    """A failed removal is a failure of the surroundings that names the path."""
    write_text(tmp_path / "file", "text")
    remove(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SurroundingsError, match="cannot remove") as caught:
        remove(tmp_path / "file")
    assert caught.value.where == str(tmp_path / "file")


def test_the_names_of_a_folder_are_those_of_its_json_files(tmp_path: Path) -> None:
    """A folder that is not there has no names, and other files are no names."""
    assert names(tmp_path / "none") == frozenset()
    for name in ("a.json", "b.c.json", "c.txt"):
        write_text(tmp_path / name, "")
    assert names(tmp_path) == {"a", "b.c"}


def test_the_text_of_data_is_json_that_ends_its_line() -> None:
    """Data is written as JSON with its letters as they are."""
    text = to_text({"a": ["é"]})
    assert json.loads(text) == {"a": ["é"]}
    assert "é" in text
    assert text.endswith("}\n")


def test_a_name_that_begins_with_a_dot_is_no_name(tmp_path: Path) -> None:
    """What a killed run left beside a file is not taken for a file."""
    write_text(tmp_path / ".a.json", "")
    assert names(tmp_path) == frozenset()


def test_a_file_in_the_place_of_a_folder_holds_no_names(tmp_path: Path) -> None:
    """A file has no names, and a folder that cannot be read is an error."""
    write_text(tmp_path / "file", "")
    assert names(tmp_path / "file") == frozenset()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SurroundingsError, match="cannot read"):
        names(tmp_path / "loop")


def test_a_file_gets_the_permissions_that_the_user_chose(tmp_path: Path) -> None:
    """The umask of the user decides who may read what is written."""
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write_text(path, "")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


# --- git ignores the state -------------------------------------------------------------------


def test_git_ignores_a_new_state_folder(tmp_path: Path) -> None:
    """Whoever writes into the state first lets git ignore it. Another folder gets no file."""
    write_text(tmp_path / ".envmatrix" / "report" / "table.md", "")
    assert (tmp_path / ".envmatrix" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    write_text(tmp_path / "reports" / "table.md", "")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["table.md"]


def test_a_state_folder_that_is_there_is_not_changed(tmp_path: Path) -> None:
    """What a user lets git ignore in the state stays as it is."""
    state = tmp_path / ".envmatrix"
    state.mkdir()
    write_text(state / "report.json", "")
    assert [path.name for path in state.iterdir()] == ["report.json"]


# --- what the operating system refuses -------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "free some room (`df -h {0}; df -i {0}`"),
        (errno.EDQUOT, "free some room"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "`ls -ld {0}`"),
        (errno.EIO, "check the disk"),
    ],
)
def test_each_refusal_has_its_next_step(tmp_path: Path, number: int, told: str) -> None:
    """The error names the path, and a command for the folder that is there."""
    path = tmp_path / "gone" / "file"
    with pytest.raises(SurroundingsError) as caught, using(path, "write"):
        raise OSError(number, os.strerror(number))
    assert f"cannot write {path}: {os.strerror(number)}" == caught.value.what
    assert str(path) == caught.value.where
    assert told.format(tmp_path) in caught.value.next_step
    full = number in {errno.ENOSPC, errno.EDQUOT}
    assert isinstance(caught.value, DiskError) is full
    assert caught.value.kind == (
        "disk-full" if full else "read-only" if number == errno.EROFS else "infrastructure"
    )


@pytest.mark.parametrize("name", ["/somewhere/file", b"/somewhere/file", None, 7])
def test_a_refusal_knows_its_file_or_nobody_does(name: str | bytes | int | None) -> None:
    """An error may name its file as text, as bytes, by a number, or not at all."""
    error = refusal(OSError(errno.EIO, "broken", name), "it was refused")
    assert error.what == "it was refused: broken"
    assert error.where == ("/somewhere/file" if isinstance(name, str | bytes) else ".")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts tiny file systems in memory, with the options given."""
    with ExitStack() as stack:
        yield lambda options: stack.enter_context(
            small_disk(tmp_path / f"mounted{options}", options)
        )


def write_all(paths: Iterable[Path], text: str) -> None:
    """Write the same text into some files."""
    for path in paths:
        write_text(path, text)


@pytest.mark.parametrize("options", ["size=16k", "size=1m,nr_inodes=6"])
def test_a_full_disk_leaves_the_old_file(mounted: Callable[[str], Path], options: str) -> None:
    """On a disk without room or without inodes the old text stays whole, and nothing beside it."""
    place = mounted(options)
    write_text(place / "file", "old")
    fillers = [place / f"filler{number}" for number in range(10)]
    with pytest.raises(SurroundingsError, match="No space left") as caught:
        write_all(fillers, "x" * 4096)
    kept = {"file", *(path.name for path in fillers if path.exists())}
    assert len(kept) > 1
    assert "df -i" in caught.value.next_step
    with pytest.raises(SurroundingsError, match="No space left"):
        write_text(place / "file", "new" * 10_000)
    assert kept == {path.name for path in place.iterdir()}
    assert (place / "file").read_text(encoding="utf-8") == "old"
    (place / "filler0").unlink()
    write_text(place / "file", "new")
    assert (place / "file").read_text(encoding="utf-8") == "new"


def test_a_read_only_disk_leaves_the_old_file(mounted: Callable[[str], Path]) -> None:
    """On a read-only disk nothing is written or removed, and the error says so."""
    place = mounted("size=64k")
    write_text(place / "file", "old")
    read_only(place)
    with pytest.raises(SurroundingsError, match="Read-only") as caught:
        write_text(place / "file", "new")
    assert "read-only" in caught.value.next_step
    with pytest.raises(SurroundingsError, match="cannot remove"):
        remove(place / "file")
    assert (place / "file").read_text(encoding="utf-8") == "old"


# --- what a killed run leaves ----------------------------------------------------------------

WRITER = """
import itertools, pathlib, sys
from envmatrix.store.files import to_text, write_text
for number in itertools.count():
    for name in ("a", "b"):
        text = to_text({"number": number, "held": ["x" * 200] * (number % 500)})
        write_text(pathlib.Path(sys.argv[1]) / f"{name}.json", text, durable=number % 2 == 0)
    if not number:
        print("begun", flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    """After SIGKILL at any moment every file is whole, and the next run sweeps the rest."""
    for attempt in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
        for name in ("a", "b"):
            found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
            assert found["number"] % 500 == len(found["held"])
    sweep([tmp_path])
    assert {"a.json", "b.json"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "name",
    [
        *(".x.json.12345678", ".x.json.a1b2c3_z", ".Dockerfile.00000000", ".table.md.12345678"),
        *(".requirements.lock.12345678", ".constraints.txt.12345678", ".etc.tar.12345678"),
        *("..gitignore.12345678", ".history.jsonl.12345678", ".feed.atom.12345678"),
    ],
)
def test_a_leftover_is_swept(tmp_path: Path, name: str) -> None:
    """A file with a name that a write gives before it renames is removed."""
    write_text(tmp_path / name, "half")
    sweep([tmp_path, tmp_path / "gone"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("x.json", ".x.json", ".x.json.1234567", ".x.json.123456789", ".x.json.1234567Z"),
        *(".Dockerfile.original", ".notes.md.12345678", ".Dockerfile.swp", "x.json.12345678"),
    ],
)
def test_a_file_that_is_no_leftover_stays(tmp_path: Path, name: str) -> None:
    """Files of other names stay, and so do folders and links of such a name."""
    write_text(tmp_path / name, "mine")
    (tmp_path / ".y.json.12345678").mkdir()
    (tmp_path / ".z.json.12345678").symlink_to(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    sweep([tmp_path])
    assert before == sorted(tmp_path.iterdir())
