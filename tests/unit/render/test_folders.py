"""The folders of bases and cells, and the hashes of what evidence depends on."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from samples import the_cell, the_lock, the_wheel

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Inputs
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load
from envmatrix.render.dockerfiles import Renderer
from envmatrix.render.folders import Folders, split_settings
from envmatrix.render.sharing import Sharing
from envmatrix.store.files import write_text
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions

CELL = "torch-2.10.0-py3.11-debian12-cpu"
PROBES = {"torch-import": "hash"}


class Project:
    """A project in a folder, with one locked cell."""

    def __init__(self, folder: Path, text: str, templates: Path) -> None:
        self.folder = folder
        self.text = text
        self.templates = folder / "templates"
        shutil.copytree(templates, self.templates)

    @property
    def matrix(self) -> Matrix:
        """The matrix as it is now."""
        return load(self.text, "matrix.yaml")

    @property
    def cell(self) -> Cell:
        """The cell that is locked."""
        return the_cell(self.matrix, CELL)

    @property
    def layout(self) -> Layout:
        """Where the project lies."""
        return Layout(self.folder / "matrix.yaml")

    @property
    def resolutions(self) -> Resolutions:
        """Its locks."""
        return Resolutions(self.matrix, self.layout, Records(self.layout.state))

    @property
    def folders(self) -> Folders:
        """Its folders, which share no layer."""
        sharing = Sharing((), lambda _: None)
        renderer = Renderer(self.matrix, self.templates)
        return Folders(self.matrix, renderer, self.resolutions, sharing)

    def lock(self, version: str = "2.10.0") -> Lock:
        """Commit a lock for the cell and for its base; return that of the cell."""
        base = self.resolutions.base_problem(self.cell).key
        lock = the_lock(the_wheel("torch", version), key=self.resolutions.problem(self.cell).key)
        write_text(self.layout.lock(CELL), lock.text)
        base_lock = the_lock(the_wheel("uv"), key=base)
        write_text(self.layout.lock(f"base/{self.cell.base_id}"), base_lock.text)
        return lock

    def edit(self, template: str, old: str, new: str) -> None:
        """Change every place of a template."""
        path = self.templates / template
        text = path.read_text(encoding="utf-8")
        assert old in text
        write_text(path, text.replace(old, new))

    def inputs(self) -> Inputs:
        """Return the inputs of the cell now."""
        found = self.folders.inputs(self.cell, PROBES, "runner")
        assert found is not None
        return found


@pytest.fixture
def project(tmp_path: Path, small_text: str, root: Path) -> Project:
    """A project without locks."""
    return Project(tmp_path, small_text, root / "templates")


def test_a_cell_without_a_lock_has_no_inputs(project: Project) -> None:
    """A cell has inputs once it and its base have a lock."""
    assert project.folders.inputs(project.cell, PROBES, "runner") is None
    assert project.folders.base(project.cell) is None
    lock = project.lock()
    assert project.inputs().probes == PROBES
    project.layout.lock(f"base/{project.cell.base_id}").unlink()
    assert project.folders.inputs(project.cell, PROBES, "runner") is None
    assert set(project.folders.cell(project.cell, lock)) == {
        "Dockerfile",
        "constraints.txt",
        "requirements.lock",
    }


@pytest.mark.parametrize(
    ("template", "old", "new", "changed"),
    [
        ("cell.Dockerfile.j2", "\nENV ", "\nENV MORE=1 ", ["image settings"]),
        ("cell.Dockerfile.j2", "--no-deps", "--no-deps --quiet", ["Dockerfile"]),
        ("base.Dockerfile.j2", "ENV ", "ENV MORE=1 ", ["base"]),
        ("base.Dockerfile.j2", "RUN ", "RUN true && ", ["base"]),
    ],
)
def test_a_change_of_a_template_changes_the_input_it_belongs_to(
    project: Project, template: str, old: str, new: str, changed: list[str]
) -> None:
    """ENV of a cell is an image setting, RUN is the Dockerfile, and all of a base is the base."""
    project.lock()
    before = project.inputs()
    project.edit(template, old, new)
    assert before.changed(project.inputs()) == changed


def test_the_same_project_has_the_same_inputs(project: Project) -> None:
    """Inputs do not change without a cause."""
    project.lock()
    before = project.inputs()
    project.lock()
    assert before.changed(project.inputs()) == []


def test_another_wheel_changes_the_lock(project: Project) -> None:
    """Another version in the lock changes the lock, the step that installs it, and the label."""
    project.lock()
    before = project.inputs()
    project.lock("2.10.0.post1")
    assert before.changed(project.inputs()) == ["lock", "Dockerfile", "image settings"]


def test_another_release_of_the_os_changes_what_is_declared(project: Project) -> None:
    """A cell that declares another codename has other declared axes."""
    project.lock()
    before = project.inputs()
    project.text = project.text.replace("codename: bookworm", "codename: forky")
    assert "declared axes" in before.changed(project.inputs())


def test_another_probe_changes_that_probe(project: Project) -> None:
    """A probe whose hash differs is named."""
    project.lock()
    before = project.inputs()
    now = project.folders.inputs(project.cell, PROBES | {"torch-sum": "hash"}, "runner")
    assert now is not None
    assert before.changed(now) == ["probe torch-sum"]


def test_a_beginning_ends_after_its_steps(project: Project) -> None:
    """A beginning of no step installs no wheel, and one of all steps installs all of them."""
    lock = project.lock()
    for count, wheels in ((0, 0), (1, 1)):
        text = project.folders.beginning(project.cell, lock, count)["Dockerfile"]
        assert text.count("--hash=") == wheels
    other = replace(project.cell, id="another")
    assert project.folders.beginning(other, lock, 1).keys() == {"Dockerfile"}


DOCKERFILE = """\
# A comment
FROM x
ENV A=1 \\
    B=2
RUN ENV=1 && \\
    echo USER
LABEL c=d
  CMD ["x"]
USER 1
ENVIRONMENT is no instruction
ENV LAST=1"""


def test_settings_are_told_apart_from_what_makes_files() -> None:
    """An instruction of several lines is one setting, and a word inside a RUN is none."""
    settings, rest = split_settings(DOCKERFILE)
    assert settings == [
        "ENV A=1 \\\n    B=2\n",
        "LABEL c=d\n",
        "USER 1\n",
        "ENV LAST=1",
    ]
    assert rest == (
        "# A comment\nFROM x\nRUN ENV=1 && \\\n    echo USER\n"
        '  CMD ["x"]\nENVIRONMENT is no instruction\n'
    )


def test_a_dockerfile_without_settings_stays_whole() -> None:
    """A Dockerfile without settings is left as it is."""
    assert split_settings("FROM x\nRUN y\n") == ([], "FROM x\nRUN y\n")


def test_the_published_dockerfiles_hold_settings_and_steps(root: Path) -> None:
    """Each committed Dockerfile of a cell splits into settings and steps without a rest of ENV."""
    paths = sorted((root / "images").glob("t*/Dockerfile"))
    assert paths
    for path in paths:
        settings, rest = split_settings(path.read_text(encoding="utf-8"))
        assert {setting.split()[0] for setting in settings} >= {"CMD", "LABEL"}, path
        instructions = {line.split()[0] for line in rest.splitlines() if line[:1].isupper()}
        assert instructions == {"ARG", "FROM", "RUN"}, path
