"""init: a first matrix that is right, beside nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from shown import Commands
from small_project import Folder, environment

from envmatrix.model.cells import expand
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.first_matrix import CELL, FIRST_MATRIX, example
from envmatrix.model.matrix_file import load
from envmatrix.model.verdicts import Verdict


@pytest.fixture
def empty(tmp_path: Path) -> Folder:
    """A folder outside of any checkout, without an engine and without an index."""
    made = Folder(tmp_path / "empty", environment("unix:///nowhere"))
    made.root.mkdir()
    return made


def test_init_writes_a_matrix_that_works_alone(empty: Folder) -> None:
    """The file is read, and both commands that init names start in its folder."""
    done = empty.run("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("written: matrix.yaml\n")
    plan = empty.run("plan")
    assert (plan.returncode, plan.stderr) == (0, "")
    assert CELL in plan.stdout
    assert "1 cells: 1 unknown" in plan.stdout or "1 cell: 1 unknown" in plan.stdout
    run = empty.run("run")
    assert run.returncode == 3
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in empty.root.iterdir()) == [".envmatrix", "matrix.yaml"]


def test_init_in_another_folder(empty: Folder, command: Commands) -> None:
    """The folder is made, and the commands that follow go there first."""
    with empty.inside():
        shown = command(empty, "init", "my project/x", "--json").document()
        assert shown["matrix"] == "my project/x/matrix.yaml"
        assert shown["next"][0] == "cd 'my project/x' && envmatrix plan"
        assert command(empty, "--matrix", shown["matrix"], "plan").code == 0


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_init_replaces_nothing(empty: Folder, command: Commands, kind: str) -> None:
    """What is there stays, also a link that leads nowhere."""
    path = empty.root / "matrix.yaml"
    match kind:
        case "file":
            path.write_text("mine", encoding="utf-8")
        case "link":
            path.symlink_to("nowhere")
        case _:
            path.mkdir()
    with empty.inside():
        assert command(empty, "init").is_refusal(2, "is there already", "`envmatrix init FOLDER`")
    assert os.path.lexists(path)
    assert not path.is_file() or path.read_text(encoding="utf-8") == "mine"


def test_the_first_cell_works(root: Path) -> None:
    """The published evidence has the cell that init declares, from the same day."""
    matrix = load(FIRST_MATRIX, "matrix.yaml")
    assert [cell.id for cell in expand(matrix)] == [CELL]
    name = f"{CELL}.json"
    text = (root / "reports/cells" / name).read_text(encoding="utf-8")
    assert read_evidence(text, name, CELL).verdict is Verdict.WORKS
    published = load((root / "matrix.yaml").read_text(encoding="utf-8"), "matrix.yaml")
    assert matrix.resolve.as_of == published.resolve.as_of
    assert matrix.axes.os.items() <= published.axes.os.items()


def test_the_comments_of_the_first_matrix_are_right(root: Path) -> None:
    """What a user gets by removing the marks of comments is a matrix, too."""
    # A sentence has one blank after its mark.
    matrix = load(re.sub(r"(?m)^( +)#(?=\S|  )", r"\1", FIRST_MATRIX), "matrix.yaml")
    assert {"torch", "tensorflow"} == set(matrix.frameworks)
    assert len(expand(matrix)) > 1


def test_examples_in_messages_are_right() -> None:
    """The data that messages show is accepted, but for a rule that shows both of its forms."""
    data = example()
    data["rules"][0].pop("constrain")
    assert load(json.dumps(data), "matrix.yaml").probes == ["probes"]
