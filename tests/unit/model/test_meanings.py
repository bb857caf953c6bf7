"""What a word of another program stands for in a matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from envmatrix.model.cells import expand
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import read_matrix
from envmatrix.model.meanings import axis_of, meaning
from envmatrix.model.selection import choose


@pytest.fixture(scope="module")
def matrix(root: Path) -> Matrix:
    """The matrix of this project."""
    return read_matrix(root / "matrix.yaml")


WORDS = [
    ("accelerator", "cuda", "cu*"),
    ("accelerator", "gpu", "cu*"),
    ("accelerator", "GPU", "cu*"),
    ("accelerator", "cuda12.6", "cu126"),
    ("accelerator", "cu12.6", "cu126"),
    ("accelerator", "12.6", "cu126"),
    ("accelerator", "CPU", "cpu"),
    ("framework", "pytorch", "torch"),
    ("framework", "PyTorch", "torch"),
    ("framework", "tf", "tensorflow"),
    ("framework", "TensorFlow", "tensorflow"),
    ("python", "py3.11", "3.11"),
    ("python", "python3.11", "3.11"),
    ("python", "3.11.4", "3.11"),
    ("python", "cp311", "3.11"),
    ("python", "311", "3.11"),
    ("os", "debian-12", "debian12"),
    ("os", "Debian 12", "debian12"),
    ("os", "bookworm", "debian12"),
    ("os", "ubuntu", "ubuntu*"),
    ("os", "ubuntu-22.04", "ubuntu22.04"),
    ("arch", "x86_64", "amd64"),
    ("arch", "aarch64", "arm64"),
    ("version", "v2.13.0", "2.13.0"),
    ("version", "2.13", "2.13.*"),
    ("framework", "jax", ""),
    ("accelerator", "rocm", ""),
    ("python", "pypy", ""),
    ("os", "", ""),
]


@pytest.mark.parametrize(("axis", "word", "expected"), WORDS)
def test_a_word_stands_for_a_value(matrix: Matrix, axis: str, word: str, expected: str) -> None:
    """The meaning is a value or a pattern of the axis, or nothing."""
    assert meaning(matrix, axis, word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("torch", "framework=torch"),
        ("pytorch", "framework=torch"),
        ("cuda", "accelerator=cu*"),
        ("debian-12", "os=debian12"),
        ("py3.11", "python=3.11"),
        ("nonsense", ""),
    ],
)
def test_a_word_alone_stands_for_a_selector(matrix: Matrix, word: str, expected: str) -> None:
    """A word without an axis is found on the axis that has it."""
    assert axis_of(matrix, word) == expected


@pytest.mark.parametrize(("axis", "word", "expected"), [one for one in WORDS if one[2]])
def test_a_selector_with_a_word_of_another_program(
    matrix: Matrix, axis: str, word: str, expected: str
) -> None:
    """The error names the selector that is meant, and that one chooses cells."""
    cells = expand(matrix)
    with pytest.raises(InputError) as error:
        choose(matrix, cells, [f"{axis}={word}"], None)
    assert error.value.instead == (f"{axis}={word}", f"{axis}={expected}")
    assert choose(matrix, cells, [f"{axis}={expected}"], None)
