"""Choosing cells: by id, by glob, by axis, by profile."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_evidence

from envmatrix.model.cells import Cell, expand
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load
from envmatrix.model.probe_results import Observed
from envmatrix.model.selection import choose, published
from envmatrix.model.verdicts import NOT_ATTEMPTED, Judgement, Verdict

TORCH_39 = "torch-2.9.1-py3.9-debian11-cpu"


def chosen(matrix: Matrix, *selectors: str, profile: str | None = None) -> list[str]:
    """Return the ids of the chosen cells."""
    return [cell.id for cell in choose(matrix, expand(matrix), selectors, profile)]


def test_without_anything_it_is_the_quick_profile(small: Matrix) -> None:
    """Without a selector and a profile, the profile quick is chosen."""
    quick = ["torch-2.10.0-py3.9-debian11-cpu", "torch-2.10.0-py3.11-debian12-cpu"]
    assert quick == chosen(small)
    assert quick == chosen(small, profile="quick")


def test_a_profile_holds_the_cells_of_the_one_it_names(small: Matrix) -> None:
    """A profile that names another holds its cells and the other's, each once."""
    assert [*chosen(small), *chosen(small, "framework=tensorflow")] == chosen(small, profile="wide")


@pytest.mark.parametrize(
    ("native", "suffix"), [("amd64", ""), ("arm64", "-arm64"), ("riscv64", "")]
)
def test_native_is_the_architecture_of_this_machine(
    small_text: str, native: str, suffix: str
) -> None:
    """One that the matrix does not have counts as amd64."""
    text = small_text.replace("arch: [amd64]", "arch: [amd64, arm64]")
    matrix = load(text.replace("python: own}", "python: own, arch: native}"), "f")
    found = [cell.id for cell in choose(matrix, expand(matrix), (), None, native)]
    assert found == [
        f"torch-2.10.0-py3.9-debian11-cpu{suffix}",
        f"torch-2.10.0-py3.11-debian12-cpu{suffix}",
    ]


def test_what_is_published_is_the_same_on_every_machine(small_text: str) -> None:
    """A profile that names native cells publishes those of amd64."""
    text = small_text.replace("arch: [amd64]", "arch: [amd64, arm64]")
    text = text.replace("python: own}", "python: own, arch: native}")
    matrix = load(f"{text}  published:\n    - {{profile: quick}}\n", "f")
    cells = expand(matrix)
    committed = published(matrix, cells)
    assert {cell.arch for cell in committed} == {"amd64"}
    assert choose(matrix, cells, (), "published", "arm64") == committed


def test_only_a_profile_speaks_of_this_machine(small_text: str) -> None:
    """What a rule says is true everywhere."""
    text = small_text.replace('python: "3.9"}', 'python: "3.9", arch: native}')
    with pytest.raises(InputError, match='no arch in the matrix matches "native"'):
        load(text, "f")


def test_exact_ids_are_alternatives(small: Matrix) -> None:
    """Two ids choose two cells, in the order of the matrix."""
    other = "tensorflow-2.21.0-py3.11-debian12-cpu"
    assert [TORCH_39, other] == chosen(small, other, TORCH_39)


def test_selectors_narrow_down(small: Matrix) -> None:
    """A cell is chosen if it fits every glob, every axis and the profile.

    Several values of one axis are alternatives.
    """
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
    """A selector that matches no cell is an error of input that names what is near."""
    with pytest.raises(InputError) as caught:
        chosen(small, selector)
    assert what in caught.value.what
    assert f"selector {selector}" == caught.value.where
    assert next_step in caught.value.next_step
    assert caught.value.next_step


def test_selectors_that_exclude_each_other_are_refused(small: Matrix) -> None:
    """Two selectors that no cell fits both are an error, though each fits some cell."""
    with pytest.raises(InputError, match="framework=tensorflow"):
        chosen(small, "torch-*", "framework=tensorflow")


def test_a_cell_outside_the_profile_is_refused_by_its_name(small: Matrix) -> None:
    """The error about a cell outside the profile names the profile."""
    with pytest.raises(InputError, match="in the profile quick"):
        chosen(small, TORCH_39, profile="quick")


def test_the_published_cells_are_those_of_the_profile_of_that_name(
    small: Matrix, small_text: str
) -> None:
    """The profile `published` says which cells are published; without it none is."""
    assert published(small, expand(small)) == []
    with_profile = load(small_text.replace("  wide:", "  published:"), "f")
    assert chosen(with_profile, profile="published") == [
        cell.id for cell in published(with_profile, expand(with_profile))
    ]
    assert len(published(with_profile, expand(with_profile))) == 6


def test_without_a_quick_profile_the_first_one_is_chosen(small_text: str) -> None:
    """A matrix without the profile quick starts with its first profile."""
    matrix = load(small_text.replace("quick", "first"), "f")
    assert chosen(matrix) == chosen(matrix, profile="first")


def test_an_unknown_profile_names_the_nearest(small: Matrix) -> None:
    """The error about an unknown profile suggests the nearest one."""
    with pytest.raises(InputError, match='no profile "quik"') as caught:
        chosen(small, profile="quik")
    assert "quick" in caught.value.next_step


@given(st.text(max_size=12) | st.from_regex(r"(version|python|os)=[<>=!~*\[\]0-9.,a-z]{0,8}"))
def test_any_selector_chooses_or_is_refused(selector: str) -> None:
    """Any text chooses at least one cell, or is refused with an InputError."""
    with suppress(InputError):
        assert choose(MATRIX, CELLS, [selector], None)


MATRIX = load(
    """
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os: {d: {distribution: debian, codename: c, glibc: "2.31", python: "3.9", image: d}}
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


# --- by what is known ------------------------------------------------------------------------

CUDA = "torch-2.10.0-py3.11-debian12-cu130"
FACTS = ["verdict=works", "driver=580", "gpu=8.9"]


class Told:
    """What is known of cells: evidence of some, and nothing of the others."""

    def __init__(self, *evidence: Evidence) -> None:
        self._evidence = {one.id: one for one in evidence}

    def judgement(self, cell: Cell) -> Judgement:
        """Return what is known of a cell."""
        found = self._evidence.get(cell.id)
        return found.judgement if found else NOT_ATTEMPTED

    def current(self, cell: Cell) -> Evidence | None:
        """Return the evidence of a cell."""
        return self._evidence.get(cell.id)


def told(matrix: Matrix, *selectors: str) -> list[str]:
    """Return the ids of the chosen cells, where a CUDA cell and a cell for cpu are known."""
    cells = expand(matrix)
    cuda = next(cell for cell in cells if cell.id == CUDA)
    observed = Observed(architectures=("sm_75", "sm_86"))
    knowledge = Told(
        the_evidence(Verdict.PARTIAL, id=CUDA, axes=cuda.axes, observed=observed), the_evidence()
    )
    return [cell.id for cell in choose(matrix, cells, selectors, None, known=knowledge)]


def test_a_verdict_chooses_the_cells_that_have_it(small: Matrix) -> None:
    """Several verdicts are alternatives, and axes narrow down beside them."""
    assert told(small, "verdict=works") == ["torch-2.10.0-py3.11-debian12-cpu"]
    both = told(small, "verdict=partial", "verdict=works", "framework=torch")
    assert both == [CUDA, "torch-2.10.0-py3.11-debian12-cpu"]
    assert told(small, "verdict=partial", "*-cu130") == [CUDA]


def test_a_driver_chooses_the_cuda_lines_that_it_serves(small: Matrix) -> None:
    """A CPU build is served by no driver."""
    assert {"cu130"} == {one.rpartition("-")[2] for one in told(small, "driver=580.65.06")}


def test_a_gpu_chooses_every_cell_with_a_build_that_serves_it(small: Matrix) -> None:
    """The evidence of one cell tells of all cells with its build, and of no others."""
    chosen = told(small, "gpu=RTX 4090")
    assert CUDA in chosen
    assert all(one.startswith("torch-2.10.0-") and one.endswith("-cu130") for one in chosen)
    assert len(chosen) == 4


@pytest.mark.parametrize(
    ("selector", "what", "near"),
    [
        ("verdict=work", "no verdict", "works"),
        ("verdict=broken", "no cell of those", "envmatrix plan"),
        ("driver=570", "no cell of those", "envmatrix plan"),
        ("driver=x", "no version", "nvidia-smi"),
        ("gpu=V100", "no cell of those", "envmatrix plan"),
        ("gpu=RTX 4091", "RTX 4091", "RTX 4090"),
        ("gpus=8.9", "no axis", "gpu"),
    ],
)
def test_a_fact_that_chooses_nothing_is_an_error(
    small: Matrix, selector: str, what: str, near: str
) -> None:
    """The error tells whether there is no such thing, or no cell of which it is known."""
    with pytest.raises(InputError, match=what) as caught:
        told(small, selector)
    assert caught.value.where == f"selector {selector}"
    assert near in caught.value.next_step


@pytest.mark.parametrize("selector", FACTS)
def test_facts_choose_nothing_where_nothing_is_known(small: Matrix, selector: str) -> None:
    """Without knowledge the selector is an error, and chooses no cell by chance."""
    with pytest.raises(InputError, match="nothing is known here"):
        chosen(small, selector)
