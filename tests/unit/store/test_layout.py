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
    """The folders of a project stand beside those of envmatrix, and hide none of them."""
    layout = Layout(tmp_path / "matrix.yaml")
    assert (layout.own_templates, layout.own_probes) == (None, None)
    (tmp_path / "templates").mkdir()
    (tmp_path / "scripts" / "probes").mkdir(parents=True)
    assert tmp_path / "templates" == layout.own_templates
    assert tmp_path / "scripts" / "probes" == layout.own_probes
    assert root / "templates" == layout.templates()
    assert root / "scripts" / "probes" == layout.probes()


def test_in_its_own_checkout_the_folders_are_those_of_envmatrix(root: Path) -> None:
    """There the project brings nothing of its own."""
    layout = Layout(root / "matrix.yaml")
    assert (layout.own_templates, layout.own_probes) == (None, None)


def test_an_installed_envmatrix_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a checkout the folders of the installed package are taken, or an error tells."""
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path / "no checkout")
    monkeypatch.setattr(module, "_PACKAGE_DATA", tmp_path / "data")
    layout = Layout(tmp_path / "matrix.yaml")
    with pytest.raises(
        InputError, match="the folder templates of envmatrix is not there"
    ) as caught:
        layout.templates()
    assert "reinstall envmatrix" in caught.value.next_step
    (tmp_path / "data" / "templates").mkdir(parents=True)
    assert layout.templates() == tmp_path / "data" / "templates"
    (tmp_path / "data" / "probes").mkdir()
    assert layout.runner() == tmp_path / "data" / "probes" / "runner" / "probe_runner.py"
