"""Writing and removing files."""

import json
from pathlib import Path

import pytest

from envmatrix.model.errors import SurroundingsError
from envmatrix.store.files import names, remove, to_text, write_text


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
