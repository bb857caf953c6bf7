"""Completion: what a shell asks, and what it is answered."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from small_project import CUDA, GOOD, Folder, environment, make_project


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project for processes."""
    root = tmp_path_factory.mktemp("completing") / "project"
    return make_project(root, environment("unix:///nowhere"))


def asked(folder: Folder, *words: str) -> list[str]:
    """Return what bash is answered for the last of some words."""
    variables = dict(folder.environment) | {
        "_ENVMATRIX_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        folder.command(),
        cwd=folder.root,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_options(folder: Folder) -> None:
    """Names of commands and of options are completed."""
    assert asked(folder, "envmatrix", "reco") == ["recommend"]
    assert "--profile" in asked(folder, "envmatrix", "plan", "--pro")


def test_profiles(folder: Folder) -> None:
    """Profiles are those of the matrix."""
    assert asked(folder, "envmatrix", "plan", "-p", "") == ["quick", "good", "published"]


def test_cells_and_selectors(folder: Folder) -> None:
    """Axes come first, then values and ids that begin with what is typed."""
    assert "accelerator=" in asked(folder, "envmatrix", "plan", "")
    assert asked(folder, "envmatrix", "run", GOOD[:-2]) == [GOOD, CUDA]
    assert asked(folder, "envmatrix", "explain", GOOD[:-2]) == [GOOD, CUDA]
    # bash makes words of both sides of a =.
    assert asked(folder, "envmatrix", "plan", "accelerator", "=", "c") == ["cpu", "cu130"]
    assert asked(folder, "envmatrix", "plan", "accelerator", "=") == ["cpu", "cu130"]


def test_a_matrix_that_is_wrong_offers_nothing(folder: Folder) -> None:
    """A shell gets no errors, and no words."""
    folder.write("wrong/matrix.yaml", "schema: [")
    assert asked(folder, "envmatrix", "--matrix", "wrong/matrix.yaml", "plan", "j") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(folder: Folder, shell: str) -> None:
    """Each shell gets a script that it can read, for the program by its name."""
    done = folder.run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_ENVMATRIX_COMPLETE" in done.stdout
    program = shutil.which(shell)
    if program:
        read = subprocess.run(
            [program, "-n"], input=done.stdout, capture_output=True, text=True, check=False
        )
        assert (read.returncode, read.stderr) == (0, "")


def test_an_unknown_shell(folder: Folder) -> None:
    """A shell that has no script is told, with those that have one."""
    for arguments in (["completion", "tcsh"], ["completion"]):
        folder_without = Folder(folder.root, dict(folder.environment) | {"SHELL": "/bin/tcsh"})
        done = folder_without.run(*arguments)
        assert done.returncode == 2
        assert "`envmatrix completion bash`" in done.stderr
