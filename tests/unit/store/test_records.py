"""Records under the hash of what went into them."""

import subprocess
import sys
from pathlib import Path

import pytest

from envmatrix.model.errors import SurroundingsError
from envmatrix.model.part import Part
from envmatrix.store.records import Records


class Form(Part):
    """A form of record."""

    held: tuple[str, ...]


class OtherForm(Part):
    """Another form of record."""

    count: int


def test_a_record_is_found_under_its_kind_and_key(tmp_path: Path) -> None:
    """The last record of a kind and key is found there, and under no other kind or key."""
    records = Records(tmp_path / "state")
    assert records.get("build", "k", Form) is None
    records.put("build", "k", Form(held=("a", "é")))
    records.put("build", "k", Form(held=("b", "é")))
    assert records.get("build", "k", Form) == Form(held=("b", "é"))
    assert records.get("probe", "k", Form) is None
    assert records.get("build", "j", Form) is None
    assert records.keys("build") == {"k"}
    assert records.keys("probe") == frozenset()


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b'{"held": ["a"]', b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"held": [1]}'),
        *(b'{"held": ["a"], "more": 1}', b'{"held": "a"}', b"{}"),
    ],
)
def test_a_damaged_record_is_as_absent(tmp_path: Path, damage: bytes) -> None:
    """A file that is damaged, or lacks a field, or has one more, is no record."""
    records = Records(tmp_path)
    records.put("build", "k", Form(held=("a",)))
    records.path("build", "k").write_bytes(damage)
    assert records.get("build", "k", Form) is None


def test_a_record_of_another_form_is_as_absent(tmp_path: Path) -> None:
    """A record that an earlier envmatrix wrote in another form is not read."""
    records = Records(tmp_path)
    records.put("build", "k", OtherForm(count=1))
    assert records.get("build", "k", Form) is None
    assert records.get("build", "k", OtherForm) == OtherForm(count=1)


def test_a_log_lies_beside_the_records(tmp_path: Path) -> None:
    """The log of a stage has the name of its cell."""
    assert Records(tmp_path).log_path("build", "x") == tmp_path / "logs" / "build" / "x.log"


HOLD = """
import pathlib, sys
from envmatrix.store.records import Records
with Records(pathlib.Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path, root: Path) -> None:
    """A second process is refused with a clear message, until the first ends or is killed."""
    records = Records(tmp_path / "state")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root / "src")},
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(SurroundingsError, match="another envmatrix") as caught:
            records.exclusive().__enter__()
        first.kill()
    assert caught.value.where == str(tmp_path / "state")
    assert "wait for it to end" in caught.value.next_step
    with records.exclusive():
        pass
    with records.exclusive():
        pass


def test_a_folder_is_free_after_an_error(tmp_path: Path) -> None:
    """An error while the folder is held frees the folder."""
    records = Records(tmp_path)
    with pytest.raises(KeyboardInterrupt), records.exclusive():
        raise KeyboardInterrupt
    with records.exclusive():
        pass


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """A state folder that cannot be made is a failure of the surroundings."""
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    with pytest.raises(SurroundingsError, match="cannot use") as caught:
        Records(tmp_path / "state").exclusive().__enter__()
    assert caught.value.next_step


def test_git_ignores_a_folder_that_is_held(tmp_path: Path) -> None:
    """A folder without a .gitignore gets one when it is held, and one that is there stays."""
    ignored = tmp_path / "state" / ".gitignore"
    with Records(tmp_path / "state").exclusive():
        assert ignored.read_text(encoding="utf-8") == "*\n"
    ignored.write_text("/cells/\n", encoding="utf-8")
    with Records(tmp_path / "state").exclusive():
        assert ignored.read_text(encoding="utf-8") == "/cells/\n"


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have no locks: the error says where to work instead."""

    def refuse(_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(SurroundingsError, match="has no locks") as caught:
        Records(tmp_path).exclusive().__enter__()
    assert "local disk" in caught.value.next_step


def test_what_killed_runs_left_is_swept_when_the_folder_is_held(tmp_path: Path) -> None:
    """Only half-written files in folders of ours are removed."""
    state, images = tmp_path / "state", tmp_path / "images"
    left = ".x.json.12345678"
    ours = [
        *(state / folder / left for folder in ("", "records/lock", "cells", "host", "report")),
        *(state / "report" / folder / left for folder in ("cells", "host", "packages")),
        *(images / folder / ".Dockerfile.12345678" for folder in ("", "a-cell", "base/a-base")),
        *(state / "logs" / folder / ".x.log.12345678" for folder in ("resolve", "probe/a-cell")),
        *(state / "bootstrap" / f"bookworm{end}" for end in (".tar", ".partial.tar", ".packages")),
    ]
    others = [
        *(state / name for name in (f"logs/{left}", f"tools/lib/{left}", "bootstrap/notes.txt")),
        *(images / name for name in ("a-cell/Dockerfile", f"a-cell/more/{left}")),
        tmp_path / left,
    ]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (state / "report" / "linked").symlink_to(tmp_path)
    with Records(state, images).exclusive():
        assert [path for path in ours if path.exists()] == []
        assert others == [path for path in others if path.exists()]


def test_nothing_is_swept_through_a_link(tmp_path: Path) -> None:
    """A folder of the state that is a symbolic link, and a linked tree, are left alone."""
    elsewhere = tmp_path / "elsewhere" / ".x.json.12345678"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    (tmp_path / "state").mkdir()
    for name in ("cells", "logs", "records"):
        (tmp_path / "state" / name).symlink_to(elsewhere.parent)
    deeper = elsewhere.parent / "build" / ".x.log.12345678"
    deeper.parent.mkdir()
    deeper.touch()
    (tmp_path / "images").symlink_to(elsewhere.parent)
    with Records(tmp_path / "state", tmp_path / "images").exclusive():
        assert elsewhere.exists()
        assert deeper.exists()
