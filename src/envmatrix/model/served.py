"""Which machines a build serves, as people ask for it: by a GPU, and by a driver.

A GPU is asked by its name, or by its compute capability. Which GPUs a build serves is known from
evidence alone: the probe that imports the framework reads the architectures of the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Axes, Evidence
from envmatrix.model.gpus import (
    GENERATIONS,
    GPUS,
    Gpu,
    find_gpu,
    read_capability,
    similar_gpus,
)
from envmatrix.model.matrix import STACKED, nearest

Build = tuple[str, str, str, str]
"""A build of a framework: the framework without its stack, its version, accelerator, arch.

Cells that differ in the rest of their axes have wheels of the same architectures.
"""
_DRIVER = re.compile(r"([0-9]{3,4})(\.[0-9]{1,4}){0,3}")


def the_gpu(text: str, where: str) -> Gpu:
    """Return the GPU that a name or a compute capability (8.9) stands for.

    Raises:
        InputError: there is no such GPU, or several have that name.
    """
    known = [f"{major}.{minor}" for major, minor in GENERATIONS]
    if device := read_capability(text):
        if device not in GENERATIONS:
            raise InputError(
                f"no GPU is known that has the compute capability {text}",
                where=where,
                next_step=nearest(text, known),
            )
        return Gpu(text, text, GENERATIONS[device])
    if found := find_gpu(text):
        return found
    close = similar_gpus(text)
    some = ", ".join(gpu.name for gpu in list(GPUS.values())[:3])
    raise InputError(
        f'"{text}" is the name of no GPU that is known, or of several',
        where=where,
        next_step=f"did you mean {' or '.join(close)}?"
        if close
        else f"give a name such as {some}, or the compute capability, which "
        "`nvidia-smi --query-gpu=compute_cap --format=csv` tells",
    )


def driver_branch(text: str, where: str) -> int:
    """Return the branch of an NVIDIA driver: 570 for 570 and for 570.86.10.

    Raises:
        InputError: it is no version of a driver.
    """
    match = _DRIVER.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text!r} is no version of an NVIDIA driver",
            where=where,
            next_step="give its branch, such as 570, or the whole version, which "
            "`nvidia-smi --query-gpu=driver_version --format=csv` tells",
        )
    return int(match[1])


def floor_branch(floor: str | None) -> int | None:
    """Return the branch of the lowest driver of a CUDA line; None for what needs no driver."""
    return int(floor.partition(".")[0]) if floor else None


def build_of(axes: Axes) -> Build:
    """Return which build of its framework a cell has."""
    family = axes.framework.partition(STACKED)[0]
    return (family, axes.version, axes.accelerator, axes.arch)


def architectures_known(found: Iterable[Evidence]) -> Mapping[Build, Sequence[str]]:
    """Return the architectures of each build that evidence tells."""
    return {
        build_of(evidence.axes): evidence.observed.architectures
        for evidence in found
        if evidence.observed.architectures
    }
