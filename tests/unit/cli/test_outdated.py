"""outdated: newer releases and Pythons on an index, and the matrix with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_index import FakeIndex, Status
from shown import Commands
from small_project import MATRIX, Folder, environment, make_project

from envmatrix.model.matrix_edit import extended
from envmatrix.model.matrix_file import load

COMMENTED = MATRIX.replace(
    '    versions: ["2.9.6", "3.1.6", "9.9.9"]\n',
    '    # why these\n    versions:\n      - "2.9.6"  # old\n      - "3.1.6" # good\n',
)


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index of the framework of the small project."""
    with FakeIndex() as found:
        for version in ("2.8", "2.9.6", "3.1.6", "4.0rc1"):
            found.add("jinja2", version)
        yield found


@pytest.fixture
def project(index: FakeIndex, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A project that asks this index."""
    root = tmp_path_factory.mktemp("outdated")
    folder = make_project(root, environment("unix:///nowhere", index.url), COMMENTED)
    with folder.inside():
        yield folder


def test_a_matrix_that_is_up_to_date(project: Folder, command: Commands) -> None:
    """Older lines and releases that are not final are nothing new, and nothing is written."""
    shown = command(project, "outdated", "--write")
    assert (shown.code, shown.out) == (0, "the matrix has the newest releases\n")
    assert project.read("matrix.yaml") == COMMENTED


def test_newer_releases_are_told_and_written(
    project: Folder, index: FakeIndex, command: Commands
) -> None:
    """The newest of a new line, the newest of a line of the matrix, and a new Python."""
    for version in ("2.9.9", "4.0.1", "4.0.2"):
        index.add("jinja2", version, tags=["cp315-cp315-manylinux_2_17_x86_64"])
    found = command(project, "outdated", "--json").document()
    assert [(one["version"], one["has"]) for one in found["releases"]] == [
        ("2.9.9", "2.9.6"),
        ("4.0.2", ""),
    ]
    assert (found["schema"], found["pythons"]) == (1, ["3.15"])
    shown = command(project, "outdated", "--write")
    assert "jinja2 4.0.2" in shown.out
    assert "Python 3.15: " in shown.out
    text = project.read("matrix.yaml")
    assert (
        '    # why these\n    versions:\n      - "2.9.6"  # old\n      - "2.9.9"\n'
        '      - "3.1.6" # good\n      - "4.0.2"\n'
    ) in text
    assert 'python: ["3.11", "3.13", "3.15"]' in text
    assert command(project, "outdated").out == "the matrix has the newest releases\n"


def test_an_index_that_fails(project: Folder, index: FakeIndex, command: Commands) -> None:
    """No answer is no news: the command ends with 3."""
    index.fail(Status(503))
    assert command(project, "outdated").is_refusal(3, "gave no answer")


def test_a_flow_list_is_extended_in_its_place() -> None:
    """The text around stays, and so does the day unless there is a new one."""
    new = extended(MATRIX, {"jinja2": ["2.9.7", "10.0"]}, [])
    assert 'versions: ["2.9.6", "2.9.7", "3.1.6", "9.9.9", "10.0"]' in new
    assert load(new, "matrix.yaml").resolve.as_of == "2026-11-20"
    assert 'as_of: "2026-12-01"' in extended(MATRIX, {}, [], "2026-12-01")
