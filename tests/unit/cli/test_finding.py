"""matrix.yaml is found from a subfolder, and paths are told from the current folder on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shown import Commands
from small_project import GOOD, MATRIX, Folder

from envmatrix.cli.finding import find_matrix


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a matrix, with folders below it, and a home elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "matrix.yaml").touch()
    return tmp_path


def test_the_nearest_folder_above_counts(tree: Path) -> None:
    """The search goes up to the first folder that has a matrix."""
    assert find_matrix(tree / "a/b/c") == tree / "matrix.yaml"
    (tree / "a/matrix.yaml").touch()
    assert find_matrix(tree / "a/b/c") == tree / "a/matrix.yaml"
    assert find_matrix(tree) == tree / "matrix.yaml"


@pytest.mark.parametrize("git", ["folder", "file"])
def test_the_search_ends_at_a_work_tree(tree: Path, git: str) -> None:
    """The matrix of another repository is not taken; that of the root of this one is."""
    mark = tree / "a/.git"
    mark.mkdir() if git == "folder" else mark.touch()
    assert find_matrix(tree / "a/b") == tree / "a/b/matrix.yaml"
    (tree / "a/matrix.yaml").touch()
    assert find_matrix(tree / "a/b") == tree / "a/matrix.yaml"


def test_the_search_ends_at_the_home(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies above the home of a user is not theirs. Without a home nothing ends there."""
    monkeypatch.setenv("HOME", str(tree / "a/b"))
    assert find_matrix(tree / "a/b/c") == tree / "a/b/c/matrix.yaml"
    monkeypatch.delenv("HOME")
    assert find_matrix(tree / "a/b/c") == tree / "matrix.yaml"


def test_a_folder_of_that_name_is_no_matrix(tree: Path) -> None:
    """Only a file counts."""
    (tree / "a/matrix.yaml").mkdir()
    assert find_matrix(tree / "a/b") == tree / "matrix.yaml"


def test_commands_in_a_subfolder(project: Folder, command: Commands) -> None:
    """State and reports lie beside the matrix, and each path that is told exists from here."""
    below = project.root / "scripts" / "probes"
    os.chdir(below)
    shown = command(project, "run", GOOD)
    assert shown.code == 0
    assert "evidence: ../../.envmatrix/report/ (" in shown.out
    assert (below / "../../.envmatrix/report/report.json").is_file()
    assert not (below / ".envmatrix").exists()
    assert command(project, "report", GOOD, "--out", "here").out.endswith("written to here/\n")
    assert (below / "here/report.json").is_file()


def test_an_error_in_a_subfolder_names_the_file_from_there(
    offline: Folder, command: Commands
) -> None:
    """The file and the line can be pasted."""
    offline.write("matrix.yaml", MATRIX.replace("glibc:", "libc:", 1))
    os.chdir(offline.root / "scripts")
    assert command(offline, "plan").is_refusal(2, "where: ../matrix.yaml:5:")


def test_a_matrix_that_is_named_wins(offline: Folder, command: Commands, tmp_path: Path) -> None:
    """--matrix names another file, whose state lies beside it."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "matrix.yaml").write_text(MATRIX.replace("9.9.9", "9.9.8"), encoding="utf-8")
    path = str(other / "matrix.yaml")
    assert "9.9.8" in command(offline, "--matrix", path, "plan", "version=9.9.8").out
    shown = command(offline, "--matrix", str(other), "plan")
    assert shown.is_refusal(2, f"`envmatrix --matrix {path} plan`")


def test_without_a_matrix(tmp_path: Path, command: Commands) -> None:
    """Where there is none, the next step writes one."""
    nowhere = Folder(tmp_path / "empty", dict(os.environ) | {"HOME": str(tmp_path / "empty")})
    nowhere.root.mkdir()
    with nowhere.inside():
        assert command(nowhere, "plan").is_refusal(2, "`envmatrix init`")
