"""Which machines a build serves: GPUs by name or capability, drivers, and builds of evidence."""

from __future__ import annotations

import pytest
from samples import the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.gpus import Code, code_for
from envmatrix.model.probe_results import Observed
from envmatrix.model.served import (
    architectures_known,
    build_of,
    driver_branch,
    driver_for,
    floor_branch,
    the_gpu,
)


@pytest.mark.parametrize(
    ("text", "capability"),
    [("RTX 4090", "8.9"), ("NVIDIA H100 80GB HBM3", "9.0"), ("8.9", "8.9"), ("12.1", "12.1")],
)
def test_a_gpu_is_asked_by_its_name_or_its_capability(text: str, capability: str) -> None:
    """Both give a GPU with a capability and a generation."""
    found = the_gpu(text, "--gpu")
    assert found.capability == capability
    assert found.generation


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("RTX 4091", "RTX 4090"),
        ("RTX 6000", "RTX 6000 Ada"),
        ("7.1", "7.5"),
        ("99.9", "9.0"),
        ("potato", "nvidia-smi"),
        ("", "nvidia-smi"),
    ],
)
def test_a_gpu_that_is_not_known_is_refused(text: str, near: str) -> None:
    """The error names what is near, or how to find the capability."""
    with pytest.raises(InputError) as caught:
        the_gpu(text, "--gpu")
    assert caught.value.where == "--gpu"
    assert near in caught.value.next_step


@pytest.mark.parametrize(
    ("text", "branch"), [("570", 570), ("570.86.10", 570), ("525.60.13", 525), ("1000", 1000)]
)
def test_the_branch_of_a_driver(text: str, branch: int) -> None:
    """The branch is the first number of a driver's version."""
    assert driver_branch(text, "--driver") == branch


@pytest.mark.parametrize("text", ["", "57", "570.", "v570", "570-open", "570.86.10.1.1", "5७0"])
def test_what_is_no_driver_is_refused(text: str) -> None:
    """The error says how to find the version."""
    with pytest.raises(InputError, match="no version of an NVIDIA driver") as caught:
        driver_branch(text, "--driver")
    assert "nvidia-smi" in caught.value.next_step


def test_the_floor_of_a_line() -> None:
    """The lowest driver of a CUDA line is of a branch; cpu has none."""
    assert (floor_branch("525.60"), floor_branch("580"), floor_branch(None)) == (525, 580, None)


def test_the_architectures_of_a_build_are_those_of_any_evidence_of_it() -> None:
    """A cell with a stack has the build of the cell without, and what nobody saw is not there."""
    seen = the_evidence(observed=Observed(architectures=("sm_90",)))
    stacked = seen.axes.model_copy(update={"framework": "torch+vision", "python": "3.12"})
    other = seen.axes.model_copy(update={"accelerator": "cu130"})
    known = architectures_known([seen, the_evidence(axes=other)])
    assert known == {build_of(stacked): ("sm_90",)}
    assert build_of(other) not in known


@pytest.mark.parametrize(
    ("architectures", "device", "code"),
    [
        (["sm_86"], "8.9", Code.MACHINE),
        (["sm_86"], "9.0", None),
        (["sm_86", "compute_86"], "9.0", Code.PTX),
        (["compute_86"], "8.6", Code.PTX),
        (["compute_90", "sm_90"], "9.0", Code.MACHINE),
        (["8.6+PTX"], "8.9", Code.MACHINE),
        (["8.6+PTX"], "12.0", Code.PTX),
        (["sm_90a", "compute_90a"], "10.0", None),
        (["compute_90a"], "9.0", Code.PTX),
        (["compute_100f"], "10.3", Code.PTX),
        (["compute_100f"], "12.0", None),
        (["gfx90a"], "9.0", None),
        (["sm_86"], "nothing", None),
    ],
)
def test_machine_code_is_told_from_ptx(
    architectures: list[str], device: str, code: Code | None
) -> None:
    """Machine code comes before PTX, and PTX of a variant runs on nothing newer."""
    assert code_for(architectures, device) is code


@pytest.mark.parametrize(
    ("cuda", "floor", "gpus", "needed"),
    [
        (None, None, [], 0),
        ("12.8", "525", [], 525),
        ("12.5", "525", [("9.0", Code.MACHINE)], 525),
        ("12.5", "525", [("9.0", Code.PTX)], 555),
        ("12.8", "525", [("12.0", Code.MACHINE)], 570),
        ("12.5", "525", [("12.0", Code.PTX)], 570),
        ("13.0", "580", [("8.9", Code.MACHINE)], 580),
        ("13.2", "580", [("12.1", Code.PTX)], 595),
    ],
)
def test_the_driver_that_a_build_needs(
    cuda: str | None, floor: str | None, gpus: list[tuple[str, Code]], needed: int
) -> None:
    """It is that of the line, of the toolkit that knows the GPU, or of the one that made PTX."""
    assert driver_for(cuda, floor, gpus) == needed
