"""Emulation: how much longer a probe may take under it, and which failures it may be to blame for.

QEMU translates each instruction, so a program takes 5 to 100 times as long. It also lacks some
instructions and system calls, and has faults of its own that end a program by a signal. Such an end
says nothing about a cell. An error that a program tells in its own words does.
"""

from __future__ import annotations

import re

from envmatrix.model.probe_results import Outcome, ProbeResult

EMULATION = "emulation"
"""The class of a failure that the emulation may be to blame for."""

SLOWDOWN = 20
"""By how much the time limit of a probe grows. No time that was taken under emulation is compared
with another: it says nothing about a machine of that architecture."""

REMEDY = "run it on an engine of that architecture (DOCKER_HOST=ssh://USER@HOST)"

_UNSURE = (
    Outcome.CRASHED,
    Outcome.COULD_NOT_START,
    Outcome.OUT_OF_MEMORY,
    Outcome.TIMED_OUT,
)
_WORDS = re.compile(
    r"qemu(?:-\w+)?: |uncaught target signal|rosetta error|exec format error|illegal instruction|"
    r"function not implemented|\bENOSYS\b",
    re.IGNORECASE,
)


def may_be_to_blame(output: str) -> bool:
    """Return whether the output of a failure tells of the emulator, or of what it does not know."""
    return bool(_WORDS.search(output))


def under_emulation(result: ProbeResult) -> ProbeResult:
    """Return the result of a probe that ran under emulation, with its class where that is unsure.

    Whether the probe crashed, was too slow or ran out of memory is the emulator's doing as well.
    """
    if not result.failed or not (
        result.outcome in _UNSURE or may_be_to_blame(f"{result.cause}\n{result.log_tail}")
    ):
        return result
    return result.model_copy(
        update={
            "kind": EMULATION,
            "cause": f"under emulation, which may be to blame: {result.cause}",
            "remedy": REMEDY,
        }
    )
