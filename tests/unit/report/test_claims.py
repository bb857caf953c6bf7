"""Claims of vendors beside what was observed: evidence and proofs decide, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from samples import the_evidence

from envmatrix.model.claims import Claims, load
from envmatrix.model.evidence import Axes
from envmatrix.model.probe_results import Observed
from envmatrix.model.verdicts import Judgement, Verdict, excluded_by_rule
from envmatrix.report.claims import (
    Agreement,
    Comparison,
    compare,
    contradicted,
    counted,
    disagreements,
)
from envmatrix.report.entries import Entry

NO_WHEEL = Judgement(Verdict.IMPOSSIBLE, "lock", "no-wheel-for-python", "for cp310 only")
BLOCKED = Judgement(Verdict.UNKNOWN, "lock", "blocked", "an index cannot be reached")
WORKS = Judgement(Verdict.WORKS, "probe")
PARTIAL = Judgement(Verdict.PARTIAL, "probe", "gpu-not-run")
BROKEN = Judgement(Verdict.BROKEN, "mismatch", "mismatch")


def claims(**facts: Any) -> Claims:
    """Return one claim about torch 2.10."""
    given = ", ".join(f"{name}: {value}" for name, value in facts.items())
    return load(
        "schema: 1\nsources: {table: {title: The table, url: https://example.org/t,"
        ' read: "2026-11-22"}}\n'
        f'claims: [{{source: table, framework: torch, versions: "2.10.*", {given}}}]\n',
        "claims.yaml",
    )


def entry(
    judgement: Judgement,
    python: str = "3.11",
    *,
    framework: str = "torch",
    accelerator: str = "cpu",
    version: str = "2.10.0",
    arch: str = "amd64",
    observed: Mapping[str, Any] | None = None,
) -> Entry:
    """Return what is known of a cell. One that observed something was run."""
    axes = Axes(
        os="debian12",
        python=python,
        accelerator=accelerator,
        framework=framework,
        version=version,
        arch=arch,
    )
    cell_id = f"{framework}-{version}-py{python}-debian12-{accelerator}-{arch}"
    evidence = None
    if observed is not None:
        facts = Observed.model_validate(
            {"version": version, "accelerator": accelerator, **observed}
        )
        evidence = the_evidence(judgement.verdict, id=cell_id, axes=axes, observed=facts)
    return Entry(cell_id, axes, judgement, evidence)


def results(found: list[Comparison]) -> list[tuple[str, str, str]]:
    """Return what was declared, the result, and what was observed."""
    return [(one.declared, one.result.value, one.observed) for one in found]


# --- Pythons ---------------------------------------------------------------------------------


def test_a_python_that_works_is_confirmed() -> None:
    """A cell that works or is partial confirms its Python, and is named with its evidence."""
    cells = [entry(WORKS, observed={}), entry(BROKEN, framework="torch+xla", observed={})]
    (found,) = compare(claims(pythons='["3.11"]'), cells, {})
    assert (found.result, found.observed) == (Agreement.CONFIRMED, "3.11 works")
    assert found.cells == found.evidence == (cells[0].id,)
    assert (found.framework, found.version, found.field) == ("torch", "2.10.0", "python")
    assert (found.source.title, found.source.read) == ("The table", "2026-11-22")
    partial = [entry(PARTIAL, observed={})]
    assert results(compare(claims(pythons='["3.11"]'), partial, {})) == [
        ("3.11", "confirmed", "3.11 is partial")
    ]


def test_a_stack_that_works_confirms_the_python_of_its_framework() -> None:
    """What runs on a framework shows that the framework runs."""
    cells = [entry(WORKS, framework="torch+vision", observed={})]
    assert results(compare(claims(pythons='["3.11"]'), cells, {}))[0][1] == "confirmed"


def test_a_python_without_wheels_contradicts() -> None:
    """It takes the proof for every cell of the framework alone that no rule excludes."""
    cells = [
        entry(NO_WHEEL, "3.9"),
        entry(NO_WHEEL, "3.9", accelerator="cu130"),
        entry(excluded_by_rule("nobody asked"), "3.9", accelerator="cu126"),
        entry(BLOCKED, "3.9", framework="torch+vision"),
    ]
    (found,) = disagreements(claims(pythons='["3.9"]'), cells, {})
    assert (found.declared, found.observed) == ("3.9", "no wheel for 3.9")
    assert found.cells == (cells[0].id, cells[1].id)
    assert found.evidence == ()


@pytest.mark.parametrize(
    "other",
    [
        BLOCKED,
        BROKEN,
        Judgement(Verdict.IMPOSSIBLE, "lock", "glibc-too-old"),
        Judgement(Verdict.UNKNOWN, "plan", "amended"),
    ],
)
def test_a_python_of_which_anything_is_open_is_unchecked(other: Judgement) -> None:
    """One cell that may still work, or fails for another reason, leaves the Python open."""
    cells = [entry(NO_WHEEL, "3.9"), entry(other, "3.9", accelerator="cu130")]
    assert results(compare(claims(pythons='["3.9"]'), cells, {})) == [("3.9", "unchecked", "")]


def test_a_python_that_no_cell_has_is_unchecked() -> None:
    """A Python that the matrix does not have, or that only rules exclude, is not contradicted."""
    assert results(compare(claims(pythons='["3.15"]', partial="true"), [entry(WORKS)], {})) == [
        ("3.15", "unchecked", "")
    ]
    excluded = [entry(excluded_by_rule("no"), "3.9")]
    assert results(compare(claims(pythons='["3.9"]'), excluded, {}))[0][1] == "unchecked"


def test_a_python_that_works_and_is_left_out_contradicts_a_whole_list() -> None:
    """A list is complete, unless the claim is partial."""
    cells = [entry(WORKS, "3.11", observed={}), entry(WORKS, "3.13", observed={})]
    found = compare(claims(pythons='["3.11", "3.12"]'), cells, {})
    assert results(found) == [
        ("3.11", "confirmed", "3.11 works"),
        ("3.12", "unchecked", ""),
        ("only 3.11, 3.12", "contradicted", "3.13 works"),
    ]
    assert found[-1].cells == (cells[1].id,)
    partial = compare(claims(pythons='["3.11", "3.12"]', partial="true"), cells, {})
    assert contradicted(partial) == []


# --- CUDA and cuDNN --------------------------------------------------------------------------


def on_cuda(line: str, cudnn: object = "9.10.2", loaded: str | None = None, **more: Any) -> Entry:
    """Return a cell whose build tells a CUDA line and a cuDNN."""
    observed = {"accelerator": line, "cudnn_compiled": cudnn, "cudnn_loaded": loaded}
    return entry(PARTIAL, accelerator=line, observed=observed, **more)


def test_a_cuda_line_is_what_a_build_tells() -> None:
    """A line that is told is confirmed; one that a whole list leaves out contradicts it."""
    cells = [on_cuda("cu130"), on_cuda("cu118"), entry(WORKS, observed={"accelerator": "cpu"})]
    assert results(compare(claims(cuda='["13.0", "12.6"]'), cells, {})) == [
        ("13.0", "confirmed", "13.0"),
        ("12.6", "unchecked", ""),
        ("13.0, 12.6", "contradicted", "11.8"),
    ]
    assert results(compare(claims(cuda='["13.0", "12.6"]', partial="true"), cells, {})) == [
        ("13.0", "confirmed", "13.0"),
        ("12.6", "unchecked", ""),
    ]


def test_a_single_line_is_contradicted_once() -> None:
    """A source that names one line, and a build that tells another, are one disagreement."""
    assert results(compare(claims(cuda='["12.3"]'), [on_cuda("cu125")], {})) == [
        ("12.3", "contradicted", "12.5")
    ]
    assert results(compare(claims(cuda='["12.5.1"]'), [on_cuda("cu125")], {})) == [
        ("12.5.1", "confirmed", "12.5")
    ]


def test_a_broken_cell_tells_what_its_build_is() -> None:
    """A cell that is broken because it got a CUDA build is a witness of that build."""
    cell = entry(BROKEN, observed={"accelerator": "cu125"})
    (found,) = disagreements(claims(cuda='["12.3"]'), [cell], {})
    assert (found.observed, found.evidence) == ("12.5", (cell.id,))


def test_a_build_of_another_release_is_no_witness() -> None:
    """An image that holds another release than its name says tells nothing of this one."""
    cell = entry(BROKEN, observed={"accelerator": "cu125", "version": "2.9.1"})
    assert results(compare(claims(cuda='["12.3"]'), [cell], {})) == [("12.3", "unchecked", "")]


@pytest.mark.parametrize(
    ("declared", "observed", "result"),
    [
        ("9.10.2.21", "9.10.2", "confirmed"),
        ("9.10", "9.10.2", "confirmed"),
        ("9", "9.10.2", "confirmed"),
        ("9", "9", "confirmed"),
        ("9.15.1.9", "9.10.2", "contradicted"),
        ("8.9", "9", "contradicted"),
        ("9.3", "9", "unchecked"),
        ("9.3", None, "unchecked"),
        ("9.3", 93, "unchecked"),
        ("9.3", "9.3; rm", "unchecked"),
    ],
)
def test_a_cudnn_is_compared_as_far_as_both_go(
    declared: str, observed: object, result: str
) -> None:
    """A major version alone confirms nothing finer, and what is no version says nothing."""
    (found,) = compare(claims(cudnn=f'"{declared}"'), [on_cuda("cu130", observed)], {})
    assert found.result.value == result
    assert found.observed == (observed if result != "unchecked" else "")


def test_the_cudnn_that_a_build_loads_counts_before_the_one_it_was_compiled_against() -> None:
    """A release brings the one that it loads, and that is what vendors declare."""
    cell = on_cuda("cu128", "9.8.0", "9.10.2")
    assert results(compare(claims(cudnn='"9.10.2.21"'), [cell], {})) == [
        ("9.10.2.21", "confirmed", "9.10.2")
    ]


def test_a_build_without_cuda_has_no_cudnn_to_compare() -> None:
    """What a CPU build says of a cuDNN, and a cell that was not run, leave it open."""
    cells = [entry(WORKS, observed={"cudnn_compiled": "9.1"}), entry(BLOCKED)]
    assert results(compare(claims(cudnn='"9.3"'), cells, {})) == [("9.3", "unchecked", "")]


def test_a_claim_about_an_accelerator_is_about_its_builds() -> None:
    """What a build tells of itself decides which claims are about it, not the name of the cell."""
    cells = [
        on_cuda("cu126", "9.5.1"),
        on_cuda("cu130", "9.20.0"),
        entry(BROKEN, observed={"accelerator": "cu128", "cudnn_compiled": "9.7.1"}),
    ]
    for line, version in (("cu126", "9.5.1.17"), ("cu128", "9.7.1.26")):
        found = compare(claims(accelerator=line, cudnn=f'"{version}"'), cells, {})
        assert results(found)[0][1] == "confirmed"
    assert results(compare(claims(accelerator="cu118", cudnn='"9.1"'), cells, {})) == [
        ("9.1", "unchecked", "")
    ]


# --- glibc -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("floor", "result", "observed"),
    [
        ("2.28", "contradicted", "2.28, by the tag of the wheel"),
        ("2.17", "confirmed", "2.17"),
        ("2.5", "unchecked", ""),
        (None, "unchecked", ""),
    ],
)
def test_a_glibc_is_what_the_wheel_asks_for(floor: str | None, result: str, observed: str) -> None:
    """A newer one contradicts. The tags of old wheels promise too much, so an older one is open."""
    cell = entry(WORKS, observed={})
    floors = {cell.id: floor} if floor else {}
    assert results(compare(claims(glibc='"2.17"'), [cell], floors)) == [("2.17", result, observed)]


def test_one_newer_wheel_contradicts() -> None:
    """The cells whose wheels ask for more are named, and no others."""
    cells = [entry(WORKS, observed={}), entry(BLOCKED, arch="arm64")]
    floors = {cells[0].id: "2.17", cells[1].id: "2.28"}
    (found,) = disagreements(claims(glibc='"2.17"'), cells, floors)
    assert found.cells == (cells[1].id,)
    assert found.evidence == ()
    confirmed = compare(claims(glibc='"2.17"', arch="amd64"), cells, floors)
    assert results(confirmed) == [("2.17", "confirmed", "2.17")]


# --- all of them -----------------------------------------------------------------------------


def test_a_claim_is_about_its_releases_only() -> None:
    """Another release and another framework are not judged by it."""
    cells = [entry(WORKS, version="2.9.1"), entry(WORKS, framework="tensorflow")]
    assert compare(claims(pythons='["3.11"]'), cells, {}) == []


def test_every_result_is_counted() -> None:
    """The counts name all results, and add up."""
    cells = [entry(WORKS, "3.11", observed={}), entry(NO_WHEEL, "3.9")]
    found = compare(claims(pythons='["3.9", "3.11", "3.12"]'), cells, {})
    assert counted(found) == {"confirmed": 1, "contradicted": 1, "unchecked": 1}
    assert counted([]) == {"confirmed": 0, "contradicted": 0, "unchecked": 0}
