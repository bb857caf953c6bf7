"""Emulation: which failures it may be to blame for."""

from __future__ import annotations

import pytest

from envmatrix.model.emulation import EMULATION, may_be_to_blame, under_emulation
from envmatrix.model.probe_results import Outcome, ProbeResult


def result(outcome: Outcome, log_tail: str = "", cause: str = "why") -> ProbeResult:
    """Return the result of a probe."""
    return ProbeResult(
        probe="torch-nn", required=True, outcome=outcome, kind="own", cause=cause, log_tail=log_tail
    )


@pytest.mark.parametrize(
    "outcome",
    [Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.COULD_NOT_START],
)
def test_an_end_that_the_emulator_may_have_made_is_of_its_class(outcome: Outcome) -> None:
    """The outcome and the cause stay, and the remedy is another engine."""
    found = under_emulation(result(outcome))
    assert (found.outcome, found.kind) == (outcome, EMULATION)
    assert found.cause == "under emulation, which may be to blame: why"
    assert "DOCKER_HOST" in found.remedy


@pytest.mark.parametrize(
    "text",
    [
        "qemu: uncaught target signal 11 (Segmentation fault) - core dumped",
        "qemu-aarch64: Unable to reserve 0xffff",
        "qemu: Unsupported syscall: 282",
        "rosetta error: unexpectedly need to EmulateForward",
        "OSError: [Errno 38] Function not implemented",
        "Illegal instruction (core dumped)",
        "exec /usr/bin/python3: exec format error",
    ],
)
def test_words_of_the_emulator_are_its_class(text: str) -> None:
    """A program that tells of an emulator, or of what the emulator lacks, proves nothing."""
    assert may_be_to_blame(text)
    assert under_emulation(result(Outcome.FAILED, log_tail=f"Traceback\n{text}")).kind == EMULATION
    assert under_emulation(result(Outcome.FAILED, cause=text)).kind == EMULATION


@pytest.mark.parametrize(
    "found",
    [
        result(Outcome.PASSED, "qemu: a warning"),
        result(Outcome.NOT_RUN),
        result(Outcome.FAILED, "ModuleNotFoundError: No module named 'x'"),
        result(Outcome.FLOODED),
        result(Outcome.BAD_REPORT),
    ],
)
def test_an_error_of_the_programs_own_stays_its_own(found: ProbeResult) -> None:
    """What passed has passed, and an exception of Python is about the cell."""
    assert found is under_emulation(found)
