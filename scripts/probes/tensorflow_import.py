# /// probe
# name = "tensorflow-import"
# framework = "tensorflow"
# proves = "TensorFlow imports, and is the build, on the system, that the cell declares."
# required = true
# timeout = 90
# preload = ["tensorflow"]
# ///
"""Import TensorFlow and say what was found; the harness compares that with what the cell declares.

Two things are judged here, because the declaration knows nothing of them: an installed cuDNN must
have the major version that TensorFlow was compiled against, and NumPy must be usable from it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

_started = time.perf_counter()
tf = importlib.import_module("tensorflow")
SECONDS_TO_IMPORT = time.perf_counter() - _started

# TensorFlow brings NumPy, and its import is part of TensorFlow's.
import numpy as np  # noqa: E402

ARCH_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
CUDNN_DISTRIBUTION = "nvidia-cudnn-cu12"
CUDNN_9 = 90_000  # from here on a version like 9.10.2 is 91002; before, 8.9.7 was 8907


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-import", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def os_release() -> dict[str, str]:
    """Read /etc/os-release (the platform module does so only since Python 3.10)."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def accelerator(build: dict) -> str:
    """Say what TensorFlow was compiled for, in the words of the matrix: cpu, cu125, ..."""
    if build["is_cuda_build"]:
        return "cu" + "".join(build["cuda_version"].split(".")[:2])
    return "rocm" if build["is_rocm_build"] else "cpu"


def loaded_cudnn() -> str | None:
    """Ask the installed cuDNN library for its version, null where there is none."""
    try:
        files = metadata.files(CUDNN_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    library = next(file for file in files if file.name.startswith("libcudnn.so."))
    number = ctypes.CDLL(str(library.locate())).cudnnGetVersion()
    major, rest = divmod(number, 10_000 if number >= CUDNN_9 else 1_000)
    return f"{major}.{rest // 100}.{rest % 100}"


def cudnn_versions(build: dict) -> dict[str, str | None]:
    """Compare the major versions of the cuDNN compiled against and of the one installed."""
    versions = {"cudnn_compiled": build.get("cudnn_version"), "cudnn_loaded": loaded_cudnn()}
    if all(versions.values()):
        compiled, loaded = (version.split(".")[0] for version in versions.values())
        assert compiled == loaded, f"compiled against cuDNN {compiled}, but {loaded} is installed"
    return versions


def numpy_version() -> str:
    """Send an array through TensorFlow and return NumPy's version."""
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    returned = tf.constant(sent).numpy()
    assert np.array_equal(sent, returned), f"sent {sent.tolist()}, got back {returned.tolist()}"
    return np.__version__


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
    build = tf.sysconfig.get_build_info()
    report(
        observed={
            "version": tf.__version__.split("+")[0].replace("-", ""),  # 2.22.0-rc0 is 2.22.0rc0
            "build": tf.__version__,
            "python": ".".join(platform.python_version_tuple()[:2]),
            "python_full": platform.python_version(),
            "distribution": system.get("ID"),
            "codename": system.get("VERSION_CODENAME"),
            "arch": ARCH_NAMES.get(machine, machine),
            "glibc": platform.libc_ver()[1],
            "accelerator": accelerator(build),
            "architectures": list(build.get("cuda_compute_capabilities", [])),
            **cudnn_versions(build),
            "numpy": numpy_version(),
            # A release candidate of TensorFlow brings a nightly Keras.
            "keras": installed_version("keras") or installed_version("keras-nightly"),
            "seconds_to_import": round(SECONDS_TO_IMPORT, 3),
        }
    )


if __name__ == "__main__":
    main()
