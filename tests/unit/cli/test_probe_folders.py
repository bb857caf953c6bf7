"""`probes` of the matrix: folders of the project, which no link leads out of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shown import Commands
from small_project import GOOD, MATRIX, RENDER_PROBE, Folder

MINE = RENDER_PROBE.replace("jinja2-render", "jinja2-mine")


@pytest.fixture
def mine(offline: Folder) -> Folder:
    """A project whose matrix names a folder with a probe."""
    offline.write("checks/mine.py", MINE)
    offline.write("matrix.yaml", MATRIX + "probes: [checks]\n")
    return offline


def names(project: Folder, command: Commands, *options: str) -> list[str]:
    """Return the names of the probes that commands use."""
    found = command(project, *options, "probes", "--json").document()["probes"]
    return [one["name"] for one in found]


def test_the_matrix_names_a_folder_of_probes(mine: Folder, command: Commands) -> None:
    """Its probes are used as those of the option --probes are, from any folder."""
    assert "jinja2-mine" in names(mine, command)
    assert "jinja2-mine" in names(mine, command, "--probes", "checks")
    os.chdir(mine.root / "scripts")
    assert "jinja2-mine" in names(mine, command)
    assert "jinja2-mine" in names(mine, command, "--probes", "../checks")


def test_such_a_probe_is_run(project: Folder, command: Commands) -> None:
    """A run has the result of the probe, and its hash is an input of the evidence."""
    project.write("checks/mine.py", MINE)
    project.write("matrix.yaml", MATRIX + "probes: [checks]\n")
    (cell,) = command(project, "run", GOOD, "--json").document()["cells"]
    assert "jinja2-mine" in [one["probe"] for one in cell["probes"]]
    assert "jinja2-mine" in cell["inputs"]["probes"]


@pytest.mark.parametrize("kind", ["file", "folder", "parent"])
def test_a_link_out_of_the_project(
    mine: Folder, command: Commands, tmp_path: Path, kind: str
) -> None:
    """No file and no folder elsewhere becomes a program by a matrix."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text(MINE, encoding="utf-8")
    checks = mine.root / "checks"
    (checks / "mine.py").unlink()
    match kind:
        case "file":
            (checks / "mine.py").symlink_to(elsewhere / "mine.py")
        case "folder":
            checks.rmdir()
            checks.symlink_to(elsewhere)
        case _:
            checks.rmdir()
            (mine.root / "up").symlink_to(tmp_path)
            mine.write("matrix.yaml", MATRIX + "probes: [up/elsewhere]\n")
    shown = command(mine, "probes")
    assert shown.is_refusal(2, "a link leads out of the project", "`envmatrix --probes FOLDER ...`")
    assert command(mine, "plan").code == 2


def test_a_link_within_the_project(mine: Folder, command: Commands) -> None:
    """A link to another place of the project is as good as a folder."""
    (mine.root / "also").symlink_to("checks")
    mine.write("matrix.yaml", MATRIX + "probes: [also]\n")
    assert "jinja2-mine" in names(mine, command)


@pytest.mark.parametrize("there", ["nothing", "a file"])
def test_a_folder_that_is_not_there(mine: Folder, command: Commands, there: str) -> None:
    """The command that makes it is told."""
    mine.write("matrix.yaml", MATRIX + "probes: [more]\n")
    if there == "a file":
        mine.write("more", "")
    assert command(mine, "plan").is_refusal(2, "where: more", "`mkdir -p more`", "matrix.yaml")
