"""Cells: unique ids, what rules and variants say of them, and choosing some."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.cells import Cell, choose, expand
from envmatrix.errors import InputError
from envmatrix.matrix import Matrix, load

TORCH_39 = "torch-2.9.1-py3.9-debian11-cpu"


def chosen(matrix: Matrix, *selectors: str, profile: str | None = None) -> list[str]:
    """Return the ids of the chosen cells."""
    return [cell.id for cell in choose(matrix, expand(matrix), selectors, profile)]


def the_cell(matrix: Matrix, cell_id: str) -> Cell:
    """Return the cell of an id."""
    return next(cell for cell in expand(matrix) if cell.id == cell_id)


# --- cells -----------------------------------------------------------------------------------


def test_every_combination_that_a_variant_offers_is_a_cell(small: Matrix) -> None:
    """Two OSes and two Pythons, for each version and accelerator of each framework."""
    cells = expand(small)
    assert len(cells) == (2 * 2 + 1) * 4
    assert cells[0].id == TORCH_39
    assert cells[0].axes == {
        "os": "debian11",
        "python": "3.9",
        "accelerator": "cpu",
        "framework": "torch",
        "version": "2.9.1",
        "arch": "amd64",
    }
    assert cells[0].base_id == "debian11-py3.9-cpu"


def test_the_first_variant_that_offers_an_accelerator_gives_the_cell(small: Matrix) -> None:
    """Its placeholders are filled; what every environment holds is added."""
    first = the_cell(small, "torch-2.10.0-py3.11-debian12-cu130")
    assert first.requires == ("torch===2.10.0", "numpy", "pip")
    assert first.index is None
    second = the_cell(small, "torch-2.9.1-py3.11-debian12-cu130")
    assert second.requires == ("torch==2.9.1+cu130", "pip")
    assert second.index == "https://wheels.example/whl/cu130"


def test_rules_exclude_with_their_reason_or_constrain(small: Matrix) -> None:
    """A rule touches the cells that match on every axis it names, and no other."""
    excluded = {cell.id: cell.excluded for cell in expand(small) if cell.excluded}
    assert excluded == {
        "tensorflow-2.21.0-py3.9-debian11-cpu": "nobody asked for it",
        "tensorflow-2.21.0-py3.11-debian11-cpu": "nobody asked for it",
    }
    constrained = {cell.id for cell in expand(small) if cell.constraints == ("setuptools<82",)}
    assert {
        f"torch-2.9.1-py3.9-{os}-{accelerator}"
        for os in ("debian11", "debian12")
        for accelerator in ("cpu", "cu130")
    } == constrained


def test_versions_are_compared_as_versions(small_text: str) -> None:
    """2.10 is above 2.9, and an exact version is no prefix."""
    matrix = load(small_text.replace('"<2.10"', '">=2.9.2"'), "f")
    constrained = {cell.version for cell in expand(matrix) if cell.constraints}
    assert {"2.10.0"} == constrained


def test_a_rule_can_speak_of_the_own_python_of_each_os(small_text: str) -> None:
    """Which that is, each OS says."""
    matrix = load(small_text.replace('python: "3.9"}', "python: own}"), "f")
    constrained = {(cell.os, cell.python) for cell in expand(matrix) if cell.constraints}
    assert {("debian11", "3.9"), ("debian12", "3.11")} == constrained


words = st.from_regex(r"[a-z][a-z0-9]{0,2}([.-][a-z0-9]{1,2}){0,2}", fullmatch=True)


@given(
    systems=st.lists(words, min_size=1, max_size=3, unique=True),
    accelerators=st.lists(words, min_size=1, max_size=3, unique=True),
    frameworks=st.lists(words, min_size=1, max_size=3, unique=True),
    versions=st.lists(
        st.from_regex(r"[0-2](\.[01]){1,2}", fullmatch=True), min_size=1, unique=True
    ),
)
def test_no_two_cells_have_one_id_or_base(
    systems: list[str], accelerators: list[str], frameworks: list[str], versions: list[str]
) -> None:
    """Ids are folders and tags: whatever names are taken, they differ, and a tag can hold them."""
    system = {"distribution": "d", "codename": "c", "glibc": "2.31", "python": "3.9", "image": "d"}
    offered = {name: ["*"] for name in accelerators}
    variant = {"name": "v", "requires": ["x"], "accelerators": offered}
    framework = {"title": "T", "versions": versions, "variants": [variant]}
    text = json.dumps(
        {
            "schema": 1,
            "resolve": {"as_of": "2026-11-20"},
            "axes": {
                "os": dict.fromkeys(systems, system),
                "python": ["3.9", "3.10"],
                "accelerator": {name: {} for name in accelerators},
            },
            "base": {"installer": "uv"},
            "frameworks": dict.fromkeys(frameworks, framework),
            "profiles": {"all": [{}]},
        }
    )
    try:
        cells = expand(load(text, "f"))
    except InputError:
        return  # such names are refused, which is as good
    ids = [cell.id for cell in cells]
    assert len(ids) == len(set(ids))
    assert len(systems) * len(accelerators) * 2 == len({cell.base_id for cell in cells})


def test_the_longest_id_fits_an_image_tag(small_text: str) -> None:
    """A tag holds at most 128 characters: names are limited so that no id is longer."""
    framework, word, version = "f" * 40, "a" * 24, "1." + "2" * 22
    text = small_text.replace("tensorflow", framework).replace("2.21.0", version)
    text = text.replace("debian12", word).replace("cpu", word).replace(f"{framework}-", "tf-")
    longest = max(len(cell.id) for cell in expand(load(text, "f")))
    assert 120 < longest <= 128
    with pytest.raises(InputError):
        load(text.replace(framework, framework + "f"), "f")
    with pytest.raises(InputError):
        load(text.replace(word, word + "a"), "f")


# --- choosing --------------------------------------------------------------------------------


def test_without_anything_it_is_the_quick_profile(small: Matrix) -> None:
    """`python: own` takes the OS's own Python."""
    quick = ["torch-2.10.0-py3.9-debian11-cpu", "torch-2.10.0-py3.11-debian12-cpu"]
    assert quick == chosen(small)
    assert quick == chosen(small, profile="quick")


def test_a_profile_holds_the_cells_of_the_one_it_names(small: Matrix) -> None:
    """And its own, in the order of the matrix, each once."""
    assert [*chosen(small), *chosen(small, "framework=tensorflow")] == chosen(small, profile="wide")


def test_exact_ids_are_alternatives(small: Matrix) -> None:
    """Two ids choose two cells, in the order of the matrix."""
    other = "tensorflow-2.21.0-py3.11-debian12-cpu"
    assert [TORCH_39, other] == chosen(small, other, TORCH_39)


def test_selectors_narrow_down(small: Matrix) -> None:
    """Globs, axes and the profile leave what fits them all; values of one axis are alternatives."""
    assert len(chosen(small, "*-cpu", "framework=torch")) == 8
    assert len(chosen(small, "*-cpu", "framework=torch", "version=>=2.10")) == 4
    assert chosen(small, "*-cpu", "version=2.9.*", "python=3.9", "os=debian11") == [TORCH_39]
    assert len(chosen(small, "os=debian11", "os=debian12", "version=2.9.1", "version=2.21.0")) == 12
    assert len(chosen(small, "python=own", "version=2.21.0")) == 2
    assert chosen(small, "python=3.9", profile="quick") == ["torch-2.10.0-py3.9-debian11-cpu"]


@pytest.mark.parametrize(
    ("selector", "what", "next_step"),
    [
        ("torch-2.10.0-py3.9-debian11-cup", "no cell matches", "torch-2.10.0-py3.9-debian11-cpu"),
        ("tensorflow", "no cell matches", '"*tensorflow*"'),
        ("torch-3*", "no cell matches", ""),
        ("os=debian21", "no cell matches", "os=debian11"),
        ("version=9", "no cell matches", ""),
        ("version=", "no cell matches", ""),
        ("", "no cell matches", ""),
        ("pyhton=3.9", 'no axis "pyhton"', "python"),
        ("=3.9", 'no axis ""', "python"),
        ("version=<", "'<' is no version specifier", ">=2.4,<2.8"),
        ("version=>=2.x", "no version specifier", ">=2.4,<2.8"),
        ("python=~=3", "no version specifier", ">=2.4,<2.8"),
        ("os=[", "no cell matches", "debian11"),
    ],
)
def test_a_selector_that_fits_nothing_names_the_nearest(
    small: Matrix, selector: str, what: str, next_step: str
) -> None:
    """It is an error of input, never an empty run."""
    with pytest.raises(InputError) as caught:
        chosen(small, selector)
    assert what in caught.value.what
    assert f"selector {selector}" == caught.value.where
    assert next_step in caught.value.next_step
    assert caught.value.next_step


def test_selectors_that_exclude_each_other_are_refused(small: Matrix) -> None:
    """Each fits some cell, none fits both: that is said, not an empty run."""
    with pytest.raises(InputError, match="framework=tensorflow"):
        chosen(small, "torch-*", "framework=tensorflow")


def test_a_cell_outside_the_profile_is_refused_by_its_name(small: Matrix) -> None:
    """The message names the profile, since the cell itself exists."""
    with pytest.raises(InputError, match="in the profile quick"):
        chosen(small, TORCH_39, profile="quick")


def test_an_unknown_profile_names_the_nearest(small: Matrix) -> None:
    """Profiles are suggested like keys."""
    with pytest.raises(InputError, match='no profile "quik"') as caught:
        chosen(small, profile="quik")
    assert "quick" in caught.value.next_step


@given(st.text(max_size=12) | st.from_regex(r"(version|python|os)=[<>=!~*\[\]0-9.,a-z]{0,8}"))
def test_any_selector_chooses_or_is_refused(selector: str) -> None:
    """Nothing but InputError, and never an empty choice."""
    with suppress(InputError):
        assert choose(MATRIX, CELLS, [selector], None)


MATRIX = load(
    """
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os: {d: {distribution: d, codename: c, glibc: "2.31", python: "3.9", image: d}}
  python: ["3.9"]
  accelerator: {cpu: {}}
base: {installer: uv}
frameworks:
  t: {title: T, versions: ["1.0"], variants: [{name: v, requires: [t], accelerators: {cpu: ["*"]}}]}
profiles: {all: [{}]}
""",
    "f",
)
CELLS = expand(MATRIX)
