"""The matrix: what the project's own declares, and the values that no field takes."""

import copy
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from samples import replaced, scalars

from envmatrix.model.cells import expand
from envmatrix.model.matrix import Matrix
from envmatrix.model.selection import in_profile

# --- the real one ----------------------------------------------------------------------------


def test_the_matrix_of_the_project_declares_enough(real: Matrix) -> None:
    """The project's matrix has at least 800 cells, and each profile holds some of them."""
    cells = expand(real)
    assert len(cells) >= 800
    assert {"quick", "cpu", "cuda", "published", "all"} <= set(real.profiles)
    assert all(in_profile(real, cells, profile) for profile in real.profiles)
    assert in_profile(real, cells, "all") == cells


def test_the_quick_profile_holds_the_cells_it_promises(real: Matrix) -> None:
    """The profile quick holds the cells that the quick start shows."""
    quick = {cell.id for cell in in_profile(real, expand(real), "quick")}
    assert {
        "torch-2.13.0-py3.11-debian12-cpu",
        "tensorflow-2.21.0-py3.11-debian12-cpu",
        "tensorflow-2.21.0-py3.13-debian13-cpu",
    } <= quick


# --- values reach Dockerfiles ----------------------------------------------------------------

HOSTILE = {
    "a line that follows": "{}\nRUN id",
    "a trailing newline": "{}\n",
    "a leading newline": "\n{}",
    "a carriage return": "{}\rRUN id",
    "a vertical tab": "{}\x0bx",
    "a tab": "{}\tx",
    "a null byte": "{}\0",
    "an escape": "{}\x1b[2J",
    "a delete": "{}\x7f",
    "a next line": "{}\x85x",
    "a line separator": "{}\u2028x",
    "a bidirectional override": "{}\u202ex",
    "a double quote": '{}"',
    "a single quote": "{}'",
    "an expression of Jinja2": "{}{{{{ 7 }}}}",
    "a statement of Jinja2": "{{% include 'x' %}}{}",
    "a comment of Jinja2": "{}{{# x #}}",
    "a command substitution": "{}$(id)",
    "a variable": "{}$X",
    "a braced variable": "${{X}}{}",
    "a backtick": "{}`id`",
    "a backslash": "{}\\",
    "nothing": "",
    "far too much": "{}" + "a" * 1000,
    "a lone surrogate": "{}\ud800",
}


NAMED = (("axes", "os"), ("axes", "accelerator"), ("frameworks",), ("profiles",))


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_no_field_takes_a_hostile_value(real_text: str, template: str) -> None:
    """No string of the project's matrix may hold a hostile value."""
    data = yaml.safe_load(real_text)
    taken = []
    for path, value in scalars(data):
        try:
            Matrix.model_validate(replaced(data, path, template.format(value)))
        except ValidationError:
            continue
        taken.append(path)
    assert taken == []


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_no_name_takes_a_hostile_value(real_text: str, template: str) -> None:
    """No key that names something may hold a hostile value: it reaches tags and folders."""
    data = yaml.safe_load(real_text)
    taken = []
    for place in NAMED:
        spoiled = copy.deepcopy(data)
        node = spoiled
        for part in place:
            node = node[part]
        name = next(iter(node))
        node[template.format(name)] = node[name]
        try:
            Matrix.model_validate(spoiled)
        except ValidationError:
            continue
        taken.append(place)
    assert taken == []


def test_the_small_matrix_has_every_field_of_the_real_one(small_text: str, real_text: str) -> None:
    """The small matrix of these tests has every field that the project's matrix has."""

    def fields(node: Any) -> set[str]:
        found: set[str] = set()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            found |= {key} if isinstance(key, str) else set()
            found |= fields(value) if isinstance(value, dict | list) else set()
        return found

    data = yaml.safe_load(real_text)
    named: set[str] = {"cells", *data["profiles"], *data["stacks"]}
    for variant in (v for framework in data["frameworks"].values() for v in framework["variants"]):
        named |= set(variant["accelerators"])
    for framework in data["frameworks"].values():
        for companion, releases in framework.get("companions", {}).items():
            named |= {companion, *releases}
        named |= set(framework.get("excludes", ()))
    named |= set(data["axes"]["os"]) | set(data["axes"]["accelerator"])
    assert set() == fields(data) - fields(yaml.safe_load(small_text)) - named
