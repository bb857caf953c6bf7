"""Questions: they are put in the words of the matrix, or refused with what is near."""

from __future__ import annotations

from typing import Any

import pytest

from envmatrix.model.cells import expand
from envmatrix.model.errors import InputError
from envmatrix.model.gpus import Gpu
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import NOT_ATTEMPTED
from envmatrix.report.entries import Entry
from envmatrix.report.questions import Question, checked

ADA = Gpu("RTX 4090", "8.9", "Ada")


def ask(matrix: Matrix, **fields: Any) -> Question:
    """Return a question that was checked."""
    entries = [Entry(cell.id, cell.axes, NOT_ATTEMPTED) for cell in expand(matrix)]
    return checked(Question(**fields), matrix, entries)


@pytest.mark.parametrize(
    ("fields", "option", "near"),
    [
        ({"framework": "pytorch"}, "--framework", "torch"),
        ({"version": "2.10"}, "--version", "2.10.0"),
        ({"framework": "torch", "version": "2.21.0"}, "--version", "2.10.0"),
        ({"python": "3.12"}, "--python", "3.11"),
        ({"os": "debian13"}, "--os", "debian12"),
        ({"arch": "x86_64"}, "--arch", "amd64"),
        ({"accelerator": "cu131"}, "--accelerator", "cu130"),
        ({"driver": "new"}, "--driver", "nvidia-smi"),
    ],
)
def test_what_the_matrix_does_not_have_is_refused(
    small: Matrix, fields: dict[str, str], option: str, near: str
) -> None:
    """The error names the option, and what is near."""
    with pytest.raises(InputError) as caught:
        ask(small, **fields)
    assert caught.value.where == option
    assert near in caught.value.next_step


def test_a_question_is_put_in_the_words_of_the_matrix(small: Matrix) -> None:
    """Newest asks for no certain version, and the patch number of a Python does not count."""
    found = ask(small, framework="torch", version="newest", python="3.11.4", driver="570.86.10")
    assert (found.version, found.python, found.driver) == ("", "3.11", "570.86.10")
    assert ask(small).to_json()["version"] is None


def test_a_question_says_what_it_asks() -> None:
    """Only what is asked is told, and a question can be put without some of it."""
    found = Question(framework="torch", python="3.11", gpus=(ADA, Gpu("9.0", "9.0", "Hopper")))
    assert found.asked == {"python": "Python 3.11", "gpus": "RTX 4090 (8.9), 9.0"}
    without = found.without(["gpus"])
    assert without == Question(framework="torch", python="3.11")
    assert found.asks_cuda
    assert not without.asks_cuda
    assert found.to_json()["gpus"][0] == {"name": "RTX 4090", "capability": "8.9"}
