# /// probe
# name = "torch-import"
# framework = "torch"
# proves = "torch imports, and is the build, on the system, that the cell declares."
# required = true
# timeout = 60
# preload = ["torch"]
# ///
"""Import torch and say what was found; the harness compares that with what the cell declares.

Two things are judged here, because the declaration knows nothing of them: cuDNN as loaded must
serve the cuDNN that torch was compiled against, and an installed NumPy must be usable from torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

_started = time.perf_counter()
torch = importlib.import_module("torch")
SECONDS_TO_IMPORT = time.perf_counter() - _started

INTERNALS = torch._C  # noqa: SLF001  torch tells these facts nowhere else without a GPU
ARCH_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-import", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def os_release() -> dict[str, str]:
    """Read /etc/os-release (the platform module does so only since Python 3.10)."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def accelerator() -> str:
    """Say what torch was compiled for, in the words of the matrix: cpu, cu130, ..."""
    if torch.version.cuda:
        return "cu" + "".join(torch.version.cuda.split(".")[:2])
    return "rocm" if torch.version.hip else "cpu"


def architectures() -> list[str]:
    """List the GPU architectures compiled in, which the wheel knows without a GPU, too."""
    arch_flags = getattr(INTERNALS, "_cuda_getArchFlags", None)  # absent from CPU builds
    return ((arch_flags and arch_flags()) or "").split()


def cudnn_versions() -> dict[str, str | None]:
    """Compare the cuDNN compiled against with the one loaded; both null in a build without it.

    NVIDIA promises that within one major version a newer minor serves what was compiled for an
    older one, so only another major or an older minor is an error.
    """
    cudnn = getattr(INTERNALS, "_cudnn", None)
    if cudnn is None:
        return {"cudnn_compiled": None, "cudnn_loaded": None}
    compiled, loaded = cudnn.getCompileVersion(), cudnn.getRuntimeVersion()
    versions = {
        "cudnn_compiled": ".".join(map(str, compiled)),
        "cudnn_loaded": ".".join(map(str, loaded)),
    }
    served = loaded[0] == compiled[0] and loaded[1] >= compiled[1]
    assert served, f"compiled against cuDNN {compiled}, but {loaded} is loaded"
    return versions


def numpy_version() -> str | None:
    """Send an array through torch and return NumPy's version, null where NumPy is not installed."""
    if importlib.util.find_spec("numpy") is None:
        return None
    numpy = importlib.import_module("numpy")
    sent = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    returned = torch.from_numpy(sent).numpy()
    assert numpy.array_equal(sent, returned), f"sent {sent.tolist()}, got back {returned.tolist()}"
    return numpy.__version__


def installed_version(distribution: str) -> str | None:
    """Read the version in the distribution's metadata, null where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Run the probe."""
    system = os_release()
    machine = platform.machine()
    report(
        observed={
            "version": torch.__version__.split("+")[0],
            "build": str(torch.__version__),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "python_full": platform.python_version(),
            "distribution": system.get("ID"),
            "codename": system.get("VERSION_CODENAME"),
            "arch": ARCH_NAMES.get(machine, machine),
            "glibc": platform.libc_ver()[1],
            "accelerator": accelerator(),
            "architectures": architectures(),
            **cudnn_versions(),
            "numpy": numpy_version(),
            "torchvision": installed_version("torchvision"),
            "torchaudio": installed_version("torchaudio"),
            "seconds_to_import": round(SECONDS_TO_IMPORT, 3),
        }
    )


if __name__ == "__main__":
    main()
