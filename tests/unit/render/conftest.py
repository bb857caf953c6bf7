"""The rendered folders of the project itself."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from envmatrix.model.cells import Cell, expand
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import Matrix
from envmatrix.model.selection import published
from envmatrix.render.dockerfiles import Renderer
from envmatrix.render.folders import Folders
from envmatrix.render.sharing import Sharing
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions


@pytest.fixture(scope="session")
def resolutions(real: Matrix, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Resolutions:
    """The committed locks of the project, without what this machine has recorded."""
    records = Records(tmp_path_factory.mktemp("state"))
    return Resolutions(real, Layout(root / "matrix.yaml"), records)


@pytest.fixture(scope="session")
def sharing(real: Matrix, resolutions: Resolutions) -> Sharing:
    """How the cells of the project share layers."""
    return Sharing(published(real, expand(real)), resolutions.committed_lock)


@pytest.fixture(scope="session")
def renderer(real: Matrix, root: Path) -> Renderer:
    """The renderer of the project's own matrix and templates."""
    return Renderer(real, root / "templates")


@pytest.fixture(scope="session")
def folders(
    real: Matrix, renderer: Renderer, resolutions: Resolutions, sharing: Sharing
) -> Folders:
    """The folders of the project."""
    return Folders(real, renderer, resolutions, sharing)


@pytest.fixture(scope="session")
def published_locks(real: Matrix, resolutions: Resolutions) -> Sequence[tuple[Cell, Lock]]:
    """The published cells of the project that have a lock, with it."""
    found = [(cell, resolutions.of_cell(cell)) for cell in published(real, expand(real))]
    return [(cell, known.lock) for cell, known in found if known and known.lock]
