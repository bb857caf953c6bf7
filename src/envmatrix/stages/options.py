"""What the user chose for a run, and how much work fits on this machine side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MEMORY_FOR_A_CELL = 6 * 2**30
ENGINE = "engine"
DOWNLOAD = "download"


class Origin(StrEnum):
    """Where the root filesystem of a base comes from."""

    AUTO = "auto"
    PULL = "pull"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose for a run. `jobs` is None where the machine decides."""

    jobs: int | None = None
    fresh: bool = False
    origin: Origin = Origin.AUTO
    probing: bool = True
    prune: bool = False

    @property
    def lanes(self) -> Mapping[str, int]:
        """How many pieces of work each lane does side by side."""
        return {DOWNLOAD: 1, ENGINE: self.jobs or default_jobs()}


def default_jobs() -> int:
    """Return how many cells fit side by side: one for each core, as far as memory allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 2 * MEMORY_FOR_A_CELL
    return max(1, min(cores or 1, memory // MEMORY_FOR_A_CELL))
