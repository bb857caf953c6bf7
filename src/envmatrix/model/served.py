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
    Code,
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


TOOLKIT_DRIVERS = {
    "11.8": 520,
    "12.0": 525,
    "12.1": 530,
    "12.2": 535,
    "12.3": 545,
    "12.4": 550,
    "12.5": 555,
    "12.6": 560,
    "12.8": 570,
    "12.9": 575,
    "13.0": 580,
    "13.1": 590,
    "13.2": 595,
}
"""The branch of the driver that came with each CUDA toolkit. It compiles the PTX of that toolkit.

Source: NVIDIA, CUDA Toolkit Release Notes, "CUDA Toolkit and Corresponding Driver Versions".
"""
FIRST_TOOLKITS = {"10.0": "12.8", "12.0": "12.8", "10.3": "12.9", "12.1": "12.9", "11.0": "13.0"}
"""The first CUDA toolkit that knows a compute capability, where that is younger than the lines.

No driver before that of the toolkit knows such a GPU. Source: the same release notes, "New
Features".
"""


def driver_for(cuda: str | None, floor: str | None, gpus: Iterable[tuple[str, Code]] = ()) -> int:
    """Return the branch of the lowest driver for a build of a CUDA line; 0: it needs none.

    `floor` is that of the line. `gpus` are the compute capabilities it shall run on, each with what
    it runs as there. What holds PTX alone for a GPU needs a driver that compiles it.
    """
    needed = [floor_branch(floor) or 0]
    for capability, code in gpus:
        needed.append(TOOLKIT_DRIVERS[FIRST_TOOLKITS.get(capability, "11.8")])
        if code is Code.PTX:
            needed.append(TOOLKIT_DRIVERS.get(cuda or "", 0))
    return max(needed)


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
