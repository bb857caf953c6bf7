"""Cells: unique ids, and what rules and variants say of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import STACK, the_cell

from envmatrix.model.cells import declared, expand
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load


def test_every_combination_that_a_variant_offers_is_a_cell(small: Matrix) -> None:
    """Each version and accelerator that a variant offers is a cell on each OS and Python."""
    cells = expand(small)
    assert len(cells) == (2 * 2 + 1) * 4
    assert cells[0].id == "torch-2.9.1-py3.9-debian11-cpu"
    assert cells[0].axes.to_json() == {
        "os": "debian11",
        "python": "3.9",
        "accelerator": "cpu",
        "framework": "torch",
        "version": "2.9.1",
        "arch": "amd64",
    }
    assert cells[0].base_id == "debian11-py3.9-cpu"


def test_a_cell_declares_the_release_of_its_os(small: Matrix) -> None:
    """A cell declares its axes, and the distribution, release and glibc of its OS."""
    assert declared(small, expand(small)[0]).to_json() == {
        "version": "2.9.1",
        "python": "3.9",
        "distribution": "debian",
        "codename": "bullseye",
        "glibc": "2.31",
        "accelerator": "cpu",
        "arch": "amd64",
    }


def test_the_first_variant_that_offers_an_accelerator_gives_the_cell(small: Matrix) -> None:
    """The first variant wins, its placeholders are filled, and the wheels of `venv` are added."""
    first = the_cell(small, "torch-2.10.0-py3.11-debian12-cu130")
    assert first.requires == ("torch===2.10.0", "numpy", "pip")
    assert first.index is None
    second = the_cell(small, "torch-2.9.1-py3.11-debian12-cu130")
    assert second.requires == ("torch==2.9.1+cu130", "pip")
    assert second.index == "https://wheels.example/whl/cu130"


def test_rules_exclude_with_their_reason_or_constrain(small: Matrix) -> None:
    """A rule touches the cells that match on every axis that it names, and no other cell."""
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
    """A clause compares versions as pip does: 2.10 is above 2.9."""
    matrix = load(small_text.replace('"<2.10"', '">=2.9.2"'), "f")
    constrained = {cell.version for cell in expand(matrix) if cell.constraints}
    assert {"2.10.0"} == constrained


def test_a_rule_can_speak_of_the_own_python_of_each_os(small_text: str) -> None:
    """A rule on the Python `own` touches the cells that have the Python of their OS."""
    matrix = load(small_text.replace('python: "3.9"}', "python: own}"), "f")
    constrained = {(cell.os, cell.python) for cell in expand(matrix) if cell.constraints}
    assert {("debian11", "3.9"), ("debian12", "3.11")} == constrained


TWO_ARCHS = ("arch: [amd64]", "arch: [amd64, arm64]")


def test_a_variant_without_an_architecture_offers_all(small_text: str) -> None:
    """One that names some offers those alone, and the next variant has its turn on the others."""
    text = small_text.replace(*TWO_ARCHS)
    arm64 = {cell.id: cell for cell in expand(load(text, "f")) if cell.arch == "arm64"}
    assert len(arm64) == 2 * 2 * 4
    assert {cell.framework for cell in arm64.values()} == {"torch"}  # small's TensorFlow is amd64
    found = arm64["torch-2.10.0-py3.11-debian12-cu130-arm64"]
    assert found.requires[0] == "torch===2.10.0"
    text = text.replace("- name: default-wheel", "- name: default-wheel\n        arch: [amd64]")
    found = the_cell(load(text, "f"), found.id)
    assert found.requires[0] == "torch==2.10.0+cu130"


def test_ids_name_an_architecture_that_is_not_the_first(small_text: str) -> None:
    """Cells, bases and systems of two architectures have different ids; those of amd64 stay."""
    matrix = load(small_text.replace(*TWO_ARCHS), "f")
    cells = expand(matrix)
    assert [cell.id for cell in expand(load(small_text, "f"))] == [
        cell.id for cell in cells if cell.arch == "amd64"
    ]
    found = the_cell(matrix, "torch-2.10.0-py3.11-debian12-cpu-arm64")
    assert (found.base_id, found.system_id) == ("debian12-py3.11-cpu-arm64", "debian12-arm64")
    assert declared(matrix, found).arch == "arm64"
    assert {"debian11", "debian12", "debian11-arm64", "debian12-arm64"} == {
        cell.system_id for cell in cells
    }


def test_rules_and_stacks_hold_on_every_architecture(small_text: str) -> None:
    """A pattern that names no architecture matches all."""
    text = small_text.replace(*TWO_ARCHS) + STACK
    cells = expand(load(text, "f"))
    constrained = {cell.arch for cell in cells if cell.constraints}
    assert constrained == {"amd64", "arm64"}
    stacked = [cell.id for cell in cells if cell.stack]
    assert stacked == [
        "torch+vision-2.10.0-py3.11-debian12-cpu",
        "torch+vision-2.10.0-py3.11-debian12-cpu-arm64",
    ]


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
    """Whatever names a matrix takes, its cells have different ids, and bases have too."""
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
                "arch": ["amd64", "arm64"],
            },
            "base": {"installer": "uv"},
            "frameworks": dict.fromkeys(frameworks, framework),
            "profiles": {"all": [{}]},
        }
    )
    try:
        cells = expand(load(text, "f"))
    except InputError:
        return  # The matrix refuses such names, so no cells exist.
    ids = [cell.id for cell in cells]
    assert len(ids) == len(set(ids))
    assert len(systems) * len(accelerators) * 4 == len({cell.base_id for cell in cells})
    assert len(systems) * 2 == len({cell.system_id for cell in cells})


def test_the_longest_id_fits_an_image_tag(small_text: str) -> None:
    """Names are limited so that no id is longer than the 128 characters of a tag."""
    framework, word, version = "f" * 40, "a" * 24, "1." + "2" * 22
    text = small_text.replace("tensorflow", framework).replace("2.21.0", version)
    text = text.replace("debian12", word).replace("cpu", word).replace(f"{framework}-", "tf-")
    longest = max(len(cell.id) for cell in expand(load(text, "f")))
    assert 120 < longest <= 128
    with pytest.raises(InputError):
        load(text.replace(framework, framework + "f"), "f")
    with pytest.raises(InputError):
        load(text.replace(word, word + "a"), "f")
    both = text.replace(*TWO_ARCHS)
    assert max(len(cell.id) for cell in expand(load(both, "f"))) <= 128
    stacks = f"stacks: {{{word}: {{title: T, cells: [{{os: {word}}}], requires: [x]}}}}\n"
    with pytest.raises(InputError, match="could have 153 characters, and 128 are the most"):
        load(both + stacks, "f")
