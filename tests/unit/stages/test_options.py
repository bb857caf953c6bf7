"""How much work fits on a machine side by side."""

from __future__ import annotations

import os

import pytest

from envmatrix.engine.process import UNKNOWN, Capacity
from envmatrix.stages.options import DOWNLOAD, ENGINE, MEMORY_FOR_A_CELL, Options, default_jobs

PAGE = 4096


def machine(monkeypatch: pytest.MonkeyPatch, cores: int, memory: int) -> None:
    """Let this be a machine of so many cores and bytes of memory."""
    values = {"SC_PAGE_SIZE": PAGE, "SC_PHYS_PAGES": memory // PAGE}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "sysconf", values.__getitem__)


@pytest.mark.parametrize(
    ("cores", "cells_in_memory", "expected"), [(8, 16, 8), (8, 3, 3), (1, 16, 1), (4, 0, 1)]
)
def test_a_machine_does_as_much_as_its_cores_and_its_memory_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, cells_in_memory: int, expected: int
) -> None:
    """There is one cell for each core, as far as memory allows, and always at least one."""
    machine(monkeypatch, cores, cells_in_memory * MEMORY_FOR_A_CELL)
    assert expected == default_jobs()


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_a_machine_that_does_not_tell_its_memory_does_two(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Where the memory is not known it is taken for enough for two cells."""

    def refuse(_: str) -> int:
        raise error

    machine(monkeypatch, 8, MEMORY_FOR_A_CELL)
    monkeypatch.setattr(os, "sysconf", refuse)
    assert default_jobs() == 2


def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process cannot ask for its own cores, all cores of the machine count."""
    machine(monkeypatch, 8, 64 * MEMORY_FOR_A_CELL)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert default_jobs() == 3


def test_the_user_decides_over_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that the user gave are the width of the engine's lane; downloads go one by one."""
    machine(monkeypatch, 2, 64 * MEMORY_FOR_A_CELL)
    assert Options(jobs=7).lanes(UNKNOWN) == {DOWNLOAD: 1, ENGINE: 7}
    assert Options().lanes(UNKNOWN) == {DOWNLOAD: 1, ENGINE: 2}


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (Capacity(16, 64 * MEMORY_FOR_A_CELL), 16),
        (Capacity(16, 3 * MEMORY_FOR_A_CELL), 3),
        (Capacity(1, 0), 1),
        (Capacity(0, 3 * MEMORY_FOR_A_CELL), 2),
    ],
)
def test_the_engine_decides_over_the_machine(
    monkeypatch: pytest.MonkeyPatch, engine: Capacity, expected: int
) -> None:
    """The work is done where the engine is; what it does not tell is taken from this machine."""
    machine(monkeypatch, 2, 64 * MEMORY_FOR_A_CELL)
    assert Options().lanes(engine)[ENGINE] == expected
