"""A project folder with the small matrix in it."""

from pathlib import Path

import pytest

from envmatrix.store.layout import Layout
from envmatrix.store.records import Records


@pytest.fixture
def layout(tmp_path: Path, small_text: str) -> Layout:
    """The layout of a project that holds nothing but the small matrix."""
    path = tmp_path / "project" / "matrix.yaml"
    path.parent.mkdir()
    path.write_text(small_text, encoding="utf-8")
    return Layout(path)


@pytest.fixture
def records(layout: Layout) -> Records:
    """The records of that project."""
    return Records(layout.state)
