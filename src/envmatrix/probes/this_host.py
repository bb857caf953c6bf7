"""What this machine is: its architecture, its NVIDIA GPUs and driver, its system and Python.

The GPUs and the driver come from NVML, the library of the NVIDIA driver (NVML API Reference), or
else from nvidia-smi, which the driver brings, too. Nothing here needs Docker.
"""

from __future__ import annotations

import ctypes
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmatrix.model.gpus import Gpu, find_gpu
from envmatrix.model.text import line

OS_RELEASE = Path("/etc/os-release")
NVML = "libnvidia-ml.so.1"
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
SECONDS = 10.0
"""How long nvidia-smi may take. A GPU that is lost can block it."""

_BUFFER = 96
"""The bytes of the longest name that NVML gives (NVML_DEVICE_NAME_V2_BUFFER_SIZE)."""
_GPUS = 64
"""How many GPUs are looked at."""
_NAME_LIMIT = 100
_DRIVER = re.compile(r"[0-9]{3,4}(\.[0-9]{1,4}){1,3}")
_PRETTY = re.compile(r'^PRETTY_NAME=(["\']?)(?P<name>.*)\1$', re.MULTILINE)
_READ = 10_000
_DONE = 0
"""NVML_SUCCESS."""


@dataclass(frozen=True, slots=True)
class Graphics:
    """The NVIDIA GPUs and the driver of a machine, and who told of them.

    `unknown` are the names of GPUs whose compute capability nobody told.
    """

    driver: str
    gpus: tuple[Gpu, ...]
    told_by: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThisHost:
    """What a machine is. `graphics` is None where no NVIDIA driver answers."""

    machine: str
    system: str
    python: str
    graphics: Graphics | None


def this_host(os_release: Path = OS_RELEASE, load: Callable[[str], Any] = ctypes.CDLL) -> ThisHost:
    """Return what this machine is. `load` opens a shared library."""
    return ThisHost(
        machine=platform.machine(),
        system=_system(os_release),
        python=".".join(platform.python_version_tuple()[:2]),
        graphics=_of_nvml(load) or _of_nvidia_smi(),
    )


def _system(os_release: Path) -> str:
    """Return the name of the operating system as its own file tells it, or else its kind."""
    try:
        with os_release.open(encoding="utf-8", errors="replace") as file:
            found = _PRETTY.search(file.read(_READ))
    except OSError:
        found = None
    return line(found["name"], _NAME_LIMIT) if found else platform.system()


def _of_nvml(load: Callable[[str], Any]) -> Graphics | None:
    """Ask the library of the driver. It tells the compute capability of GPUs without a name."""
    try:
        library = load(NVML)
        if library.nvmlInit_v2() != _DONE:
            return None
        try:
            return _graphics_of(library)
        finally:
            library.nvmlShutdown()
    except (OSError, AttributeError):  # There is none, or it lacks a function.
        return None


def _graphics_of(library: Any) -> Graphics | None:  # noqa: ANN401  (what ctypes gives)
    driver, count = ctypes.create_string_buffer(_BUFFER), ctypes.c_uint()
    if library.nvmlSystemGetDriverVersion(driver, _BUFFER) != _DONE:
        return None
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _DONE:
        return None
    gpus = []
    for index in range(min(count.value, _GPUS)):
        device, name = ctypes.c_void_p(), ctypes.create_string_buffer(_BUFFER)
        major, minor = ctypes.c_int(), ctypes.c_int()
        answers = (
            library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)),
            library.nvmlDeviceGetName(device, name, _BUFFER),
            library.nvmlDeviceGetCudaComputeCapability(
                device, ctypes.byref(major), ctypes.byref(minor)
            ),
        )
        if any(answer != _DONE for answer in answers):
            return None
        gpus.append((_text(name), f"{major.value}.{minor.value}"))
    return _graphics(_text(driver), gpus, "NVML")


def _text(buffer: ctypes.Array[ctypes.c_char]) -> str:
    return buffer.value.decode("utf-8", "replace")


def _of_nvidia_smi() -> Graphics | None:
    try:
        done = subprocess.run(
            NVIDIA_SMI,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = done.stdout[:_READ].decode("utf-8", "replace").splitlines()
    pairs = [row.rpartition(",") for row in rows if "," in row]
    driver = pairs[0][2].strip() if pairs else ""
    return _graphics(driver, [(name, "") for name, _, _ in pairs[:_GPUS]], "nvidia-smi")


def _graphics(driver: str, gpus: list[tuple[str, str]], told_by: str) -> Graphics | None:
    """Return what was told, if it is what a driver tells: a version, and at least one GPU."""
    if not _DRIVER.fullmatch(driver) or not gpus:
        return None
    known: dict[str, Gpu] = {}
    unknown: dict[str, None] = {}
    for told, capability in gpus:
        name = line(told.strip(), _NAME_LIMIT)
        found = find_gpu(name)
        if capability:
            generation = found.generation if found else ""
            known.setdefault(capability, Gpu(name, capability, generation))
        elif found:
            known.setdefault(found.capability, Gpu(name, found.capability, found.generation))
        else:
            unknown[name] = None
    return Graphics(driver, tuple(known.values()), told_by, tuple(unknown))
