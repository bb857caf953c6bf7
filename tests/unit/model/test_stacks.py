"""Stacks: more wheels and probes on some cells, as cells of their own."""

from __future__ import annotations

import pytest
from samples import STACK

from envmatrix.model.cells import expand
from envmatrix.model.errors import InputError
from envmatrix.model.image_names import cell_tag
from envmatrix.model.matrix_file import load
from envmatrix.model.selection import choose

STACKED = "torch+vision-2.10.0-py3.11-debian12-cpu"
PLAIN = "torch-2.10.0-py3.11-debian12-cpu"


def test_a_stack_adds_cells_and_changes_none(small_text: str) -> None:
    """A stack adds its cells after all others, and changes no other cell."""
    before = expand(load(small_text, "matrix.yaml"))
    after = expand(load(small_text + STACK, "matrix.yaml"))

    assert after[: len(before)] == before
    assert [cell.id for cell in after[len(before) :]] == [STACKED]


def test_a_cell_with_a_stack_asks_for_more_wheels_on_the_same_base(small_text: str) -> None:
    """A cell with a stack asks for the wheels of both, and stands on the same base."""
    cells = {cell.id: cell for cell in expand(load(small_text + STACK, "matrix.yaml"))}
    plain, stacked = cells[PLAIN], cells[STACKED]

    assert stacked.requires == (*plain.requires, "torchvision==0.25.0")
    assert stacked.base_id == plain.base_id
    assert (stacked.family, stacked.stack) == ("torch", "vision")
    assert (plain.family, plain.stack) == ("torch", "")


def test_its_image_tag_is_one_that_docker_takes(small_text: str) -> None:
    """The image tag of a cell with a stack has no plus, which Docker refuses."""
    cells = expand(load(small_text + STACK, "matrix.yaml"))

    assert "+" not in cell_tag(cells[-1])


def test_it_is_chosen_by_its_framework(small_text: str) -> None:
    """A cell with a stack is chosen by framework+stack, and not by the framework alone."""
    matrix = load(small_text + STACK, "matrix.yaml")
    cells = expand(matrix)

    assert [cell.id for cell in choose(matrix, cells, ["framework=torch+vision"], None)] == [
        STACKED
    ]
    assert STACKED not in {cell.id for cell in choose(matrix, cells, ["framework=torch"], None)}


def test_a_stack_on_what_does_not_exist_is_refused(small_text: str) -> None:
    """A stack on an OS that does not exist gives the place and the nearest OS."""
    with pytest.raises(InputError) as caught:
        load(small_text + STACK.replace("debian12", "debian21"), "matrix.yaml")

    assert "stacks.vision.cells.0.os" in str(caught.value)
    assert "debian12" in str(caught.value)
