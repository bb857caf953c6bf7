"""What the user chose for a run, and how much work fits on this machine side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from envmatrix.engine.process import UNKNOWN, Capacity

MEMORY_FOR_A_CELL = 6 * 2**30
DOWNLOADED_AHEAD = 2
ENGINE = "engine"
DOWNLOAD = "download"


class Origin(StrEnum):
    """Where the root filesystem of a base comes from."""

    AUTO = "auto"
    PULL = "pull"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose for a run. `jobs` is None where the machine decides.

    With `from_registry`, what is published is pulled and not built.
    """

    jobs: int | None = None
    fresh: bool = False
    origin: Origin = Origin.AUTO
    probing: bool = True
    prune: bool = False
    isolated: bool = False
    from_registry: bool = False

    def lanes(self, engine: Capacity) -> Mapping[str, int]:
        """Return how many pieces of work each lane does side by side.

        `engine` is what the machine of the engine has: the work of its lane is done there.
        """
        return {DOWNLOAD: 1, ENGINE: self.jobs or default_jobs(engine)}

    def ahead(self, engine: Capacity) -> int | None:
        """Return for how many cells there may be wheels at the same time. None: for all.

        A run that prunes is a stream: it downloads wheels for the cells at work and a few more, and
        removes what no cell ahead needs.
        """
        return self.lanes(engine)[ENGINE] + DOWNLOADED_AHEAD if self.prune else None


def default_jobs(machine: Capacity = UNKNOWN) -> int:
    """Return how many cells fit on a machine: one for each core, as far as memory allows.

    What is not known of the machine is taken from the one that runs this.
    """
    cores, memory = machine.cores or _own_cores(), machine.memory or _own_memory()
    return max(1, min(cores, memory // MEMORY_FOR_A_CELL))


def _own_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _own_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 2 * MEMORY_FOR_A_CELL
