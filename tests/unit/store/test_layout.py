"""Where things lie."""

from pathlib import Path

import pytest

from envmatrix.model.errors import InputError
from envmatrix.store import layout as module
from envmatrix.store.layout import Layout


def test_everything_lies_beside_the_matrix(tmp_path: Path) -> None:
    """Committed folders and the state lie beneath the folder of the matrix file."""
    layout = Layout(tmp_path / "matrix.yaml")
    assert layout.root == tmp_path
    assert layout.resolved == tmp_path / "images" / "resolved.json"
    assert layout.lock("base/x") == tmp_path / "images" / "base" / "x" / "requirements.lock"
    assert layout.packages("debian12") == tmp_path / "reports" / "packages" / "debian12.txt"
    assert layout.wheelhouse == tmp_path / ".envmatrix" / "wheelhouse"
    assert layout.report == tmp_path / ".envmatrix" / "report"


def test_a_path_is_told_relative_to_the_project(tmp_path: Path) -> None:
    """A path inside the project is told without the project's folder; another one in full."""
    layout = Layout(tmp_path / "matrix.yaml")
    assert layout.short(tmp_path / "reports" / "cells") == "reports/cells"
    assert layout.short(Path("/elsewhere/x")) == "/elsewhere/x"


def test_a_project_may_bring_templates_and_probes_of_its_own(tmp_path: Path, root: Path) -> None:
    """The folders of the project come before those of envmatrix."""
    layout = Layout(tmp_path / "matrix.yaml")
    assert layout.templates() == root / "templates"
    assert layout.probes() == root / "scripts" / "probes"
    (tmp_path / "templates").mkdir()
    (tmp_path / "scripts" / "probes").mkdir(parents=True)
    assert layout.templates() == tmp_path / "templates"
    assert layout.probes() == tmp_path / "scripts" / "probes"


def test_an_installed_envmatrix_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a checkout the folders of the installed package are taken, or an error tells."""
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path / "no checkout")
    monkeypatch.setattr(module, "_PACKAGE_DATA", tmp_path / "data")
    layout = Layout(tmp_path / "matrix.yaml")
    with pytest.raises(InputError, match="there is no folder templates") as caught:
        layout.templates()
    assert "reinstall envmatrix" in caught.value.next_step
    (tmp_path / "data" / "templates").mkdir(parents=True)
    assert layout.templates() == tmp_path / "data" / "templates"
