"""What the matrix knows to be broken, beside what was found."""

import re

import pytest
from samples import STACK, the_evidence

from envmatrix.model.cells import expand
from envmatrix.model.errors import InputError
from envmatrix.model.expectations import Standing, compared, counts_said, expected, known_of
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load
from envmatrix.model.verdicts import Verdict

CELL = "torch-2.10.0-py3.11-debian12-cpu"
KNOWN = """
known:
  - when: {framework: torch, version: "2.10.0", accelerator: cpu, os: debian12, python: own}
    verdict: broken
    class: crash
    reason: it crashes, see the issue
    link: https://example.org/issues/7
  - when: {framework: [torch, torch+vision]}
    verdict: broken
    reason: all of it is
"""


@pytest.fixture
def unknowing(small_text: str) -> str:
    """The small matrix with a stack, and without its own known failures."""
    return re.sub(r"known:\n(  .*\n)+", "", small_text) + STACK


@pytest.fixture
def matrix(unknowing: str) -> Matrix:
    """The small matrix with the known failures of these tests."""
    return load(unknowing + KNOWN, "matrix.yaml")


def test_the_first_entry_for_a_cell_counts(matrix: Matrix) -> None:
    """Each cell that an entry names is known by the first of them, stacks by their own names."""
    found = expected(matrix, expand(matrix))
    assert found[CELL].reason == "it crashes, see the issue"
    assert found["torch-2.9.1-py3.11-debian12-cpu"].reason == "all of it is"
    assert found["torch+vision-2.10.0-py3.11-debian12-cpu"].reason == "all of it is"
    assert not any(cell_id.startswith("tensorflow") for cell_id in found)


def test_without_known_failures_nothing_is_expected(unknowing: str) -> None:
    """A matrix need not know any."""
    matrix = load(unknowing, "matrix.yaml")
    assert expected(matrix, expand(matrix)) == {}


@pytest.mark.parametrize(
    ("verdict", "kind", "standing", "said"),
    [
        (Verdict.BROKEN, "crash", Standing.AS_KNOWN, "known: it crashes, see the issue"),
        (Verdict.BROKEN, "exception", Standing.OTHERWISE,
         "not as known (known: crash: it crashes, see the issue)"),
        (Verdict.WORKS, "", Standing.PASSED,
         "passed, though known to be broken: it crashes, see the issue"),
        (Verdict.PARTIAL, "gpu-not-run", Standing.PASSED,
         "passed, though known to be broken: it crashes, see the issue"),
        (Verdict.UNKNOWN, "engine", Standing.NOT_SEEN, "known: it crashes, see the issue"),
        (Verdict.IMPOSSIBLE, "rule", Standing.NOT_SEEN, "known: it crashes, see the issue"),
    ],
)  # fmt: skip
def test_a_verdict_is_compared_with_what_is_known(
    matrix: Matrix, verdict: Verdict, kind: str, standing: Standing, said: str
) -> None:
    """Only the known class is as known, and whatever passes is told."""
    found = compared(expected(matrix, expand(matrix))[CELL], verdict, kind)
    assert (found.standing, found.said) == (standing, said)
    assert (found.class_, found.link) == ("crash", "https://example.org/issues/7")


def test_without_a_class_any_failure_is_the_known_one(matrix: Matrix) -> None:
    """An entry that names no class takes every class."""
    known = expected(matrix, expand(matrix))["torch-2.9.1-py3.11-debian12-cpu"]
    assert compared(known, Verdict.BROKEN, "anything").standing is Standing.AS_KNOWN
    assert compared(known, Verdict.BROKEN, "anything").to_json() == {
        "standing": "as known",
        "class": "",
        "reason": "all of it is",
        "link": "",
    }


def test_evidence_of_cells_that_nothing_is_known_of_is_left_out(matrix: Matrix) -> None:
    """Only cells that the matrix knows are told."""
    cells = [the_evidence(Verdict.BROKEN, class_="crash"), the_evidence(id="other")]
    found = known_of(expected(matrix, expand(matrix)), cells)
    assert {name: one.standing for name, one in found.items()} == {CELL: Standing.AS_KNOWN}


def test_the_counts_name_what_needs_a_look(matrix: Matrix) -> None:
    """Each standing that there is has a count; what was not seen has none."""
    known = expected(matrix, expand(matrix))[CELL]
    verdicts = [
        (Verdict.BROKEN, "crash"),
        (Verdict.BROKEN, "crash"),
        (Verdict.BROKEN, "x"),
        (Verdict.WORKS, ""),
        (Verdict.UNKNOWN, ""),
    ]
    found = [compared(known, verdict, kind) for verdict, kind in verdicts]
    assert counts_said(found) == (
        "2 broken as known, 1 broken otherwise than known, 1 passed though known to be broken"
    )
    assert counts_said(found[-1:]) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("class: crash", "clas: crash", ('unknown key "clas"', "(known.0.clas)", "class")),
        ("class: crash", "class: Crash!", ("is not allowed", "(known.0.class)", "docs/causes.md")),
        ("verdict: broken\n    class", "verdict: works\n    class",
         ("is not allowed", "(known.0.verdict)", "broken")),
        ("    reason: all of it is\n", "", ('"reason" is missing', "(known.1.reason)", "why")),
        ("link: https://", "link: ftp://", ("is not allowed", "(known.0.link)", "https://")),
        ("torch+vision", "torch+video", ('"torch+video"', "(known.1.when.framework)", "vision")),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(
    unknowing: str, old: str, new: str, said: tuple[str, str, str]
) -> None:
    """Each mistake gives an error that says what is wrong, where, and what to do."""
    assert KNOWN.count(old) == 1
    with pytest.raises(InputError) as caught:
        load(unknowing + KNOWN.replace(old, new), "matrix.yaml")
    what, where, next_step = said
    assert what in caught.value.what
    assert where in caught.value.where
    assert next_step in caught.value.next_step


def test_each_known_failure_of_the_project_is_of_a_cell(real: Matrix) -> None:
    """Every entry names cells that there are, and a class."""
    found = expected(real, expand(real))
    assert {name.partition("-")[0] for name in found} == {
        "torch",
        "torch+xla",
        "tensorflow+gan",
        "tensorflow+hub",
        "tensorflow+serving",
        "tensorflow+tfjs",
    }
    assert all(one.class_ for one in found.values())
