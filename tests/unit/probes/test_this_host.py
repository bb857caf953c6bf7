"""What this machine is: GPUs and driver from NVML or nvidia-smi, the system from its own file."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from envmatrix.model.gpus import Gpu
from envmatrix.probes import this_host as module
from envmatrix.probes.this_host import Graphics, this_host

H100 = ("NVIDIA H100 80GB HBM3", 9, 0)


def no_library(name: str) -> Any:
    """Open no library."""
    raise OSError(name)


class FakeNvml:
    """NVML as ctypes opens it: functions that write into what they are given."""

    def __init__(
        self, *gpus: tuple[str, int, int], driver: str = "570.86.10", fails: Sequence[str] = ()
    ) -> None:
        self.gpus, self.driver, self.fails = gpus, driver, fails
        self.is_open = False

    def __call__(self, name: str) -> FakeNvml:
        """Open the library."""
        assert name == "libnvidia-ml.so.1"
        return self

    def _end(self, name: str) -> int:
        return 999 if name in self.fails else 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        """Begin."""
        self.is_open = not self._end("init")
        return self._end("init")

    def nvmlShutdown(self) -> int:  # noqa: N802
        """End."""
        self.is_open = False
        return 0

    def nvmlSystemGetDriverVersion(self, buffer: Any, size: int) -> int:  # noqa: N802
        """Write the version of the driver."""
        buffer.value = self.driver.encode()[: size - 1]
        return self._end("driver")

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        """Write how many GPUs there are."""
        count._obj.value = len(self.gpus)
        return self._end("count")

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        """Write a handle, which is the number of the GPU from 1."""
        handle._obj.value = index + 1
        return self._end("handle")

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, buffer: Any, size: int) -> int:  # noqa: N802
        """Write the name of a GPU."""
        buffer.value = self.gpus[(handle.value or 0) - 1][0].encode()[: size - 1]
        return self._end("name")

    def nvmlDeviceGetCudaComputeCapability(  # noqa: N802
        self, handle: ctypes.c_void_p, major: Any, minor: Any
    ) -> int:
        """Write the compute capability of a GPU."""
        _, major._obj.value, minor._obj.value = self.gpus[(handle.value or 0) - 1]
        return self._end("capability")


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a program nvidia-smi, which is the first on PATH, and is not there yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "nvidia-smi"


def install(smi: Path, script: str) -> None:
    """Make nvidia-smi this shell script."""
    smi.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    smi.chmod(0o755)


def test_nvml_tells_the_gpus_and_the_driver(smi: Path) -> None:
    """Each kind of GPU is told once, with the capability that NVML gives, and nothing stays open.

    nvidia-smi is not asked then.
    """
    install(smi, "exit 1")
    library = FakeNvml(H100, H100, ("NVIDIA Z900", 13, 0))
    found = this_host(load=library)
    assert found.graphics == Graphics(
        "570.86.10",
        (Gpu("NVIDIA H100 80GB HBM3", "9.0", "Hopper"), Gpu("NVIDIA Z900", "13.0", "")),
        "NVML",
    )
    assert not library.is_open


@pytest.mark.parametrize(
    "fails", ["init", "driver", "count", "handle", "name", "capability", "gpus", "version"]
)
def test_where_nvml_does_not_answer_nvidia_smi_is_asked(smi: Path, fails: str) -> None:
    """It names the GPUs, and the names give the capabilities."""
    install(
        smi,
        'test "$1 $2" = "--query-gpu=name,driver_version --format=csv,noheader" || exit 2\n'
        "echo 'Tesla T4, 535.183.01'\necho 'Tesla T4, 535.183.01'",
    )
    gpus = () if fails == "gpus" else (H100,)
    driver = "[unknown]" if fails == "version" else "570.1"
    library = FakeNvml(*gpus, driver=driver, fails=[fails])
    assert this_host(load=library).graphics == Graphics(
        "535.183.01", (Gpu("Tesla T4", "7.5", "Turing"),), "nvidia-smi"
    )
    assert not library.is_open


def test_a_library_without_the_functions_is_none(smi: Path) -> None:
    """An old NVML lacks functions, which is no error."""
    assert this_host(load=lambda _: object()).graphics is None


def test_a_gpu_that_nobody_knows_is_told_by_its_name(smi: Path) -> None:
    """nvidia-smi gives no capability, so a GPU without a known name stays unknown."""
    install(smi, "echo 'NVIDIA Z900, Max, 570.86.10'")
    assert this_host(load=no_library).graphics == Graphics(
        "570.86.10", (), "nvidia-smi", ("NVIDIA Z900, Max",)
    )


@pytest.mark.parametrize(
    "script",
    [
        "exit 9",
        "echo 'No devices were found'",
        "echo 'NVIDIA L4, [N/A]'",
        "printf '\\377\\376, \\033[31m'",
        "exec sleep 30",
        "",
    ],
)
def test_without_an_answer_there_are_no_gpus(
    smi: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A program that fails, hangs, or says something else is no error."""
    monkeypatch.setattr(module, "SECONDS", 0.5)
    install(smi, script)
    assert this_host(load=no_library).graphics is None


def test_without_the_program_there_are_no_gpus(smi: Path) -> None:
    """A machine without a driver has no graphics."""
    assert this_host(load=no_library).graphics is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            'NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "Debian GNU/Linux 12 (bookworm)",
        ),
        ("PRETTY_NAME=Arch\n", "Arch"),
        ("PRETTY_NAME='a\x1b[31mb'\n", "ab"),
        ("NAME=x\n", platform.system()),
    ],
)
def test_the_system_tells_its_name(tmp_path: Path, text: str, name: str) -> None:
    """The name is inert text, and a system without one is of its kind."""
    place = tmp_path / "os-release"
    place.write_text(text, encoding="utf-8")
    found = this_host(place, load=FakeNvml(H100))
    assert found.system == name
    assert (found.machine, found.python) == (
        platform.machine(),
        ".".join(platform.python_version_tuple()[:2]),
    )


def test_a_system_without_the_file_is_of_its_kind(tmp_path: Path) -> None:
    """A file that is not there is no error."""
    assert this_host(tmp_path / "none", load=FakeNvml(H100)).system == platform.system()
