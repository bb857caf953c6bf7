"""The committed tree under images/: what it should hold, and how it differs from that."""

from pathlib import Path

import pytest
from samples import the_cell, the_lock, the_wheel

from envmatrix.model.cells import Cell, expand
from envmatrix.model.errors import SurroundingsError
from envmatrix.model.matrix import Matrix
from envmatrix.model.selection import published
from envmatrix.render.dockerfiles import Renderer
from envmatrix.render.folders import Folders
from envmatrix.render.sharing import Sharing
from envmatrix.render.tree import Drift, Tree
from envmatrix.store.files import write_text
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The layout of a project without files."""
    return Layout(tmp_path / "matrix.yaml")


@pytest.fixture
def tree(small: Matrix, layout: Layout, root: Path) -> Tree:
    """The tree of that project."""
    known = Resolutions(small, layout, Records(layout.state))
    renderer = Renderer(small, root / "templates")
    return Tree(layout, known, Folders(small, renderer, known, Sharing((), lambda _: None)))


@pytest.fixture
def locked(small: Matrix, layout: Layout) -> Cell:
    """A cell that has a committed lock, and whose base has one."""
    cell = the_cell(small, "torch-2.10.0-py3.11-debian12-cpu")
    known = Resolutions(small, layout, Records(layout.state))
    for folder, problem in (
        (cell.id, known.problem(cell)),
        (f"base/{cell.base_id}", known.base_problem(cell)),
    ):
        write_text(layout.lock(folder), the_lock(the_wheel("a"), key=problem.key).text)
    return cell


@pytest.fixture
def unlocked(small: Matrix) -> Cell:
    """A cell without a lock."""
    return the_cell(small, "torch-2.9.1-py3.9-debian11-cpu")


def test_the_files_of_locked_cells_are_rendered(
    tree: Tree, layout: Layout, locked: Cell, unlocked: Cell
) -> None:
    """A locked cell gives the files of its folder and its base. Others are told apart."""
    files, without = tree.rendered([unlocked, locked])
    assert without == [unlocked]
    base, own = layout.images / "base" / locked.base_id, layout.images / locked.id
    assert set(files) == {
        base / "Dockerfile",
        base / "etc.tar",
        base / "requirements.lock",
        own / "Dockerfile",
        own / "constraints.txt",
        own / "requirements.lock",
    }


def test_a_cell_whose_base_has_no_lock_is_not_rendered(
    tree: Tree, layout: Layout, locked: Cell
) -> None:
    """A cell with a lock whose base has none counts as unlocked."""
    layout.lock(f"base/{locked.base_id}").unlink()
    assert tree.rendered([locked]) == ({}, [locked])


def test_drift_is_found_and_written_away(tree: Tree, layout: Layout, locked: Cell) -> None:
    """Missing, changed and foreign files are drift, and writing leaves none."""
    files, _ = tree.rendered([locked])
    foreign = layout.images / "gone" / "Dockerfile"
    changed = layout.images / locked.id / "constraints.txt"
    write_text(foreign, "FROM x")
    write_text(changed, "another==1\n")
    write_text(layout.resolved, "[]")
    missing = tuple(path for path in files if path.name in ("Dockerfile", "etc.tar"))
    drift = tree.drift(files, whole_tree=True)
    assert drift == Drift(missing, (changed,), (foreign,))
    assert drift.count == 5
    assert drift.lines(layout) == [
        *(f"missing: {path.relative_to(layout.root)}" for path in missing),
        f"differs: images/{locked.id}/constraints.txt",
        "too many: images/gone/Dockerfile",
    ]
    assert tree.drift(files, whole_tree=False) == Drift(missing, (changed,), ())

    tree.write(files, drift)
    assert tree.drift(files, whole_tree=True) == Drift()
    assert Drift().count == 0
    assert Drift().lines(layout) == []
    assert layout.resolved.read_text(encoding="utf-8") == "[]"
    assert {path: path.read_text(encoding="utf-8") for path in files} == files


@pytest.mark.parametrize("held", [b"\xff\xfe", b"", b"FROM x\r\n"])
def test_a_file_that_is_not_its_text_differs(
    tree: Tree, layout: Layout, locked: Cell, held: bytes
) -> None:
    """A file that is not UTF-8, is empty, or has other line ends differs."""
    files, _ = tree.rendered([locked])
    tree.write(files, tree.drift(files, whole_tree=True))
    path = layout.images / locked.id / "Dockerfile"
    path.write_bytes(held)
    assert tree.drift(files, whole_tree=True) == Drift((), (path,), ())
    tree.write(files, tree.drift(files, whole_tree=True))
    assert tree.drift(files, whole_tree=True) == Drift()


def test_a_folder_in_the_place_of_a_file_is_told(tree: Tree, layout: Layout, locked: Cell) -> None:
    """A folder where a file should be differs, and writing it is an error with the path."""
    files, _ = tree.rendered([locked])
    path = layout.images / locked.id / "Dockerfile"
    (path / "below").mkdir(parents=True)
    drift = tree.drift(files, whole_tree=True)
    assert drift.differing == (path,)
    with pytest.raises(SurroundingsError, match="cannot write"):
        tree.write(files, drift)


def test_a_file_that_went_meanwhile_is_told(tree: Tree, layout: Layout) -> None:
    """A file that cannot be removed is an error with its path."""
    path = layout.images / "gone" / "Dockerfile"
    with pytest.raises(SurroundingsError, match="cannot remove"):
        tree.write({}, Drift((), (), (path,)))


def test_the_committed_tree_is_what_the_matrix_and_the_locks_give(
    root: Path, real: Matrix, resolutions: Resolutions, folders: Folders
) -> None:
    """The committed tree of the project itself does not drift."""
    layout = Layout(root / "matrix.yaml")
    tree = Tree(layout, resolutions, folders)
    files, _ = tree.rendered(published(real, expand(real)))
    assert tree.drift(files, whole_tree=True).lines(layout) == []
