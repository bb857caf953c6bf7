"""Checks of this machine: its programs, memory, cores, GPUs and driver."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.filesize import decimal

from envmatrix.engine.process import Limits
from envmatrix.model.errors import EnvmatrixError
from envmatrix.model.locks import UV_RELEASES
from envmatrix.model.served import floor_branch
from envmatrix.probes.this_host import Graphics, this_host
from envmatrix.resolve.programs import StoppedError, TooSlowError, run_program
from envmatrix.resolve.uv import uv_program
from envmatrix.stages.doctor import Finding, Work, fine, missing, unknown, warning
from envmatrix.stages.options import MEMORY_FOR_A_CELL, default_jobs

PROGRAM_SECONDS = 8.0
"""How long a program has to tell its version."""
OLDEST_PYTHON = (3, 11)
CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where the kernel tells how much memory the group of this process may use: version 2, and 1."""
MEMINFO = Path("/proc/meminfo")


def python() -> Iterator[Finding]:
    """Check the Python that runs envmatrix."""
    said = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield missing(
            "python", f"{said}: it is too old", "uv tool install --python 3.12 --force envmatrix"
        )
    else:
        yield fine("python", said)


def uv() -> Iterator[Finding]:
    """Check that uv is there, and of the line that locks are made with."""
    install = f"{shlex.quote(sys.executable)} -m pip install 'uv~={UV_RELEASES}.0'"
    try:
        program = uv_program()
    except EnvmatrixError as error:
        yield missing("uv", error.what, install)
        return
    said = _version([program, "--version"])
    found = said.split()[1] if len(said.split()) > 1 else ""
    if not found:
        yield missing("uv", f"{program} does not tell its version", install)
    elif not f"{found}.".startswith(f"{UV_RELEASES}."):
        yield warning("uv", f"{found}, and locks are made with {UV_RELEASES}", install)
    else:
        yield fine("uv", found)


def pip() -> Iterator[Finding]:
    """Check that pip is there, which downloads wheels."""
    said = _version([sys.executable, "-m", "pip", "--version"])
    if said.startswith("pip "):
        yield fine("pip", said.split()[1])
    else:
        yield missing(
            "pip",
            f"{sys.executable} has no pip, which downloads wheels",
            f"{shlex.quote(sys.executable)} -m ensurepip",
        )


def mmdebstrap(work: Work | None) -> Iterator[Finding]:
    """Check for mmdebstrap, where a system of the chosen cells can be made with it."""
    systems = sorted({one.cell.os for one in work.locked}) if work else []
    made = [name for name in systems if work and work.matrix.axes.os[name].bootstrap]
    program = shutil.which("mmdebstrap")
    if program and (made or work is None):
        yield fine("mmdebstrap", program)
    elif made:
        yield warning(
            "mmdebstrap",
            f"it is not installed. It makes {', '.join(made)} where no image registry can be "
            "reached",
            "sudo apt-get install --yes mmdebstrap",
        )


def _version(command: Sequence[str]) -> str:
    """Return the first line that a program prints; nothing where it does not end well."""
    try:
        done = run_program(
            command,
            environment=dict(os.environ),
            folder=Path.cwd(),
            seconds=PROGRAM_SECONDS,
            stopped=threading.Event(),
        )
    except (OSError, TooSlowError, StoppedError):
        return ""
    return next(iter(done.stdout.splitlines()), "") if done.returncode == 0 else ""


# --- memory and cores ------------------------------------------------------------------------


def capacity() -> Iterator[Finding]:
    """Check the memory and the cores of this machine."""
    jobs = default_jobs()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield fine("cores", f"{cores}; {jobs} cells at work side by side by default")
    free, total = _memory()
    if total is None:
        yield unknown("memory", f"{MEMINFO} does not tell it")
        return
    said = f"{decimal(total)}, of which {decimal(free or 0)} are available"
    if (free or 0) < MEMORY_FOR_A_CELL:
        yield warning(
            "memory",
            f"{said}; a cell at work may take {decimal(MEMORY_FOR_A_CELL)}",
            "end other programs (`ps aux --sort=-rss | head` shows the largest), or give --jobs 1",
        )
    else:
        yield fine("memory", said)


def _memory() -> tuple[int | None, int | None]:
    """Return the bytes that are available and those that there are, within the group's limit."""
    try:
        rows = [row.split() for row in MEMINFO.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return None, None
    told = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1}
    free, total = told.get("MemAvailable"), told.get("MemTotal")
    for path in CGROUPS:
        try:
            limit = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # There is none, or it is "max".
            continue
        total = min(total or limit, limit)
        free = min(free or limit, limit)
    return free, total


def enough_for_a_probe(topic: str, memory: int) -> Finding:
    """Check the memory of the machine that runs probes against what one may use."""
    limit = Limits().memory
    if not memory:
        return unknown(topic, "the engine does not tell it")
    if memory <= limit:
        return warning(
            topic,
            f"{decimal(memory)}, and a probe may use {decimal(limit)}: large probes end as "
            "unknown: out-of-memory",
            "give the machine of the engine more memory, or use another engine "
            "(DOCKER_HOST=ssh://USER@HOST)",
        )
    return fine(topic, f"{decimal(memory)}; a probe may use {decimal(limit)}")


# --- GPUs ------------------------------------------------------------------------------------


def gpu(work: Work | None) -> Iterator[Finding]:
    """Check the GPUs and the driver of this machine, and which CUDA lines the driver serves."""
    graphics = this_host().graphics
    if graphics is None:
        wanted = work is not None and any(
            _cuda_of(work, one.cell.accelerator) for one in work.locked
        )
        said = "no NVIDIA driver answers on this machine"
        if wanted:
            yield warning(
                "gpu",
                f"{said}: cells of CUDA are built, and end as partial",
                "`nvidia-smi` shows what the driver says; `envmatrix run accelerator=cpu` needs "
                "none",
            )
        else:
            yield fine("gpu", f"{said}; cells of cpu need none")
        return
    names = ", ".join([one.name for one in graphics.gpus] + list(graphics.unknown))
    yield fine("gpu", f"{names}; driver {graphics.driver} (told by {graphics.told_by})")
    if work:
        yield from _lines(work, graphics)


def _cuda_of(work: Work, accelerator: str) -> str | None:
    return work.matrix.axes.accelerator[accelerator].cuda


def _lines(work: Work, graphics: Graphics) -> Iterator[Finding]:
    branch = int(graphics.driver.partition(".")[0])
    lines = {name: one for name, one in work.matrix.axes.accelerator.items() if one.cuda}
    served = [name for name, one in lines.items() if (floor_branch(one.driver) or 0) <= branch]
    not_served = [
        f"{name} (needs {one.driver})" for name, one in lines.items() if name not in served
    ]
    if not_served:
        yield warning(
            "cuda",
            f"the driver serves {', '.join(served) or 'no line of the matrix'}, and not "
            f"{', '.join(not_served)}",
            f"select what it serves (`envmatrix plan driver={branch}`), or install a newer driver",
        )
    elif lines:
        yield fine("cuda", f"the driver serves every line of the matrix: {', '.join(lines)}")
