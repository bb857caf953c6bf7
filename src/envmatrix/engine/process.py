"""What a process in a container may use, and how the process ended. Nothing here needs docker."""

from __future__ import annotations

from dataclasses import dataclass

OUTPUT_LIMIT = 1_000_000
"""The bytes of output that we keep of one process. A process that writes more is killed."""


class Cancelled(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user asked to stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use.

    `memory`, `scratch` and `output` are bytes; `scratch` is the size of /tmp, and `output` what we
    keep of both streams.
    """

    seconds: float = 60
    memory: int = 4 * 2**30
    processes: int = 512
    scratch: int = 2**30
    output: int = OUTPUT_LIMIT


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has to work with: processor cores, and bytes of memory. 0: it is not known."""

    cores: int
    memory: int


UNKNOWN = Capacity(0, 0)


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
