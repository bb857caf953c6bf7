"""The workspace: what a command works with on this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from small_project import ARM, ARM_MATRIX, GOOD, make_project

from envmatrix.cli.workspace import native_arch


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "amd64"),
        ("AMD64", "amd64"),
        ("aarch64", "arm64"),
        ("arm64", "arm64"),
        ("riscv64", "riscv64"),
    ],
)
def test_a_machine_has_an_architecture(
    monkeypatch: pytest.MonkeyPatch, machine: str, expected: str
) -> None:
    """Linux, macOS and Windows each have words of their own for it."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert native_arch() == expected


@pytest.mark.parametrize(("machine", "cell_id"), [("x86_64", GOOD), ("arm64", ARM)])
def test_a_profile_of_native_cells_has_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, cell_id: str
) -> None:
    """A newcomer builds what their machine runs by itself; what is published stays the same."""
    good = 'good: [{version: "3.1.6", os: debian12, python: own, accelerator: cpu'
    matrix = ARM_MATRIX.replace(good, f"{good}, arch: native")
    matrix = matrix.replace("published: [{profile: quick}]", "published: [{profile: good}]")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    workspace = make_project(tmp_path, {}, matrix).workspace()
    assert [cell.id for cell in workspace.choose((), "good")] == [cell_id]
    assert [cell.id for cell in workspace.choose((), "published")] == [GOOD]
    assert [cell.id for cell in workspace.published] == [GOOD]
