"""Records under the hash of what went into them."""

import subprocess
import sys
from pathlib import Path

import pytest

from envmatrix.errors import SurroundingsError
from envmatrix.evidence import Judgement, Store, Verdict, digest, write_text


def test_a_record_is_found_under_its_kind_and_key(tmp_path: Path) -> None:
    """The last one put there; under another kind or key there is none."""
    store = Store(tmp_path / "state")
    assert store.get("build", "k") is None
    store.put("build", "k", {"a": [1, "é"]})
    store.put("build", "k", {"a": [2, "é"]})
    assert store.get("build", "k") == {"a": [2, "é"]}
    assert store.get("probe", "k") is None
    assert store.get("build", "j") is None


@pytest.mark.parametrize("damage", [b"", b'{"a": 1', b"[1]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_none(tmp_path: Path, damage: bytes) -> None:
    """The stage is run again, nothing breaks."""
    store = Store(tmp_path)
    store.put("build", "k", {"a": 1})
    store.path("build", "k").write_bytes(damage)
    assert store.get("build", "k") is None


def test_a_digest_stays_the_same_between_runs_and_versions() -> None:
    """Evidence of yesterday is found today: this value must never change."""
    assert (
        digest("lock", ("a", "é"), None, {"b": 1, "a": [True]})
        == "aee189c2befc5077493fcb85ecabbb99ccb8dde25300b9e179e37264f963ce67"
    )


def test_a_digest_tells_apart_what_looks_alike() -> None:
    """Neither the order of keys nor joining parts confuses it."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    parts: list[tuple[object, ...]] = [("ab",), ("a", "b"), (("a", "b"),), ("a", None), ("a", "")]
    assert len(parts) == len({digest(*part) for part in parts})


def test_a_file_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    """No part of it is left behind, folders are made, and line ends are kept."""
    path = tmp_path / "deep" / "file"
    write_text(path, "old")
    write_text(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert [path] == list(path.parent.iterdir())
    assert path.stat().st_mode & 0o444


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """It is a failure of the surroundings, with a next step; the file that was there stays."""
    (tmp_path / "file").write_text("old", encoding="utf-8")
    with pytest.raises(SurroundingsError, match="cannot write") as caught:
        write_text(tmp_path / "file" / "below", "new")
    assert caught.value.next_step
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "half \ud800")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_judgement_survives_its_json() -> None:
    """Also one from before remedies were kept."""
    judgement = Judgement(Verdict.BROKEN, "probe", "crash", "ended by SIGSEGV", "read the log")
    assert judgement == Judgement.from_json(judgement.to_json())
    data = judgement.to_json()
    del data["remedy"]
    assert Judgement.from_json(data).remedy == ""


HOLD = """
import pathlib, sys
from envmatrix.evidence import Store
with Store(pathlib.Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path, root: Path) -> None:
    """The second is told; when the first is gone, however it went, the folder is free."""
    store = Store(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root / "src")},
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(SurroundingsError, match="another envmatrix"), store.exclusive():
            pass
        first.kill()
    with store.exclusive():
        pass
