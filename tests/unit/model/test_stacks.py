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


def with_rule(text: str, where: str, what: str) -> str:
    """Return a matrix with the stack and one more rule."""
    rule = f"  - when: {where}\n    {what}\n    reason: told\n"
    assert "rules:\n" in text
    return text.replace("rules:\n", f"rules:\n{rule}") + STACK


def test_a_rule_on_a_stack_applies_to_its_cells_only(small_text: str) -> None:
    """A rule may name a framework with its stack: it excludes, or constrains, just these cells."""
    rule = with_rule(small_text, "{framework: torch+vision}", "exclude: true")
    cells = {cell.id: cell for cell in expand(load(rule, "matrix.yaml"))}
    assert (cells[STACKED].excluded, cells[PLAIN].excluded) == ("told", None)
    rule = with_rule(small_text, '{framework: "*+vision"}', 'constrain: ["pillow<12"]')
    cells = {cell.id: cell for cell in expand(load(rule, "matrix.yaml"))}
    assert "pillow<12" in cells[STACKED].constraints
    assert "pillow<12" not in cells[PLAIN].constraints


def test_a_rule_on_a_framework_is_not_applied_twice(small_text: str) -> None:
    """A cell with a stack has the constraints of its plain cell once."""
    rule = with_rule(small_text, '{framework: "torch*"}', 'constrain: ["pillow<12"]')
    cells = {cell.id: cell for cell in expand(load(rule, "matrix.yaml"))}
    assert cells[STACKED].constraints.count("pillow<12") == 1
    assert cells[PLAIN].constraints == cells[STACKED].constraints


@pytest.mark.parametrize("name", ["tensorflow+vision", "torch+visoin", "jax"])
def test_a_rule_on_a_stack_that_no_cell_has_is_refused(small_text: str, name: str) -> None:
    """A framework with a stack that is not declared on it matches nothing, and that is told."""
    with pytest.raises(InputError, match="no framework in the matrix matches"):
        load(with_rule(small_text, f"{{framework: {name}}}", "exclude: true"), "matrix.yaml")


def test_a_stack_on_a_stack_is_refused(small_text: str) -> None:
    """A stack stands on a framework."""
    text = small_text + STACK.replace("{framework: torch,", "{framework: torch+vision,")
    with pytest.raises(InputError, match="no framework in the matrix matches"):
        load(text, "matrix.yaml")
