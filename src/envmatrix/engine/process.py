"""What a process in a container may use, and how the process ended. Nothing here needs docker."""

from __future__ import annotations

from dataclasses import dataclass

OUTPUT_LIMIT = 1_000_000
"""The bytes of output that we keep of one process. A process that writes more is killed."""


class Cancelled(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user asked to stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use. `memory` and `scratch` are bytes; `scratch` is the size of /tmp."""

    seconds: float = 60
    memory: int = 4 * 2**30
    processes: int = 512
    scratch: int = 2**30


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended. `exit_code` is None if we killed the process."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    out_of_memory: bool = False
    timed_out: bool = False
    flooded: bool = False
