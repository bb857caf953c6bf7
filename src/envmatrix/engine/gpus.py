"""The GPUs and the driver of this machine, as the NVIDIA driver tells them in /proc."""

from __future__ import annotations

from pathlib import Path

DRIVER = Path("/proc/driver/nvidia")


def gpu_identity(driver: Path = DRIVER) -> str | None:
    """Return a text that says which GPUs and which driver there are; None where it is not told.

    Two machines with the same text have the same models and the same driver. The text names no
    single card: serial numbers and UUIDs are left out.
    """
    try:
        version = (driver / "version").read_text(encoding="utf-8", errors="replace")
        models = sorted(
            line.partition(":")[2].strip()
            for path in driver.glob("gpus/*/information")
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("Model")
        )
    except OSError:
        return None
    return "\n".join([version.splitlines()[0], *models]) if version and models else None


def unseen_gpu(devices: Path = Path("/dev")) -> str:
    """Return which GPU of this machine no container sees; empty where there is none."""
    if any(devices.glob("nvidia[0-9]*")):
        return "this machine has an NVIDIA GPU, and the engine has no NVIDIA runtime for containers"
    if (devices / "dxg").exists():
        return (
            "this is WSL2 with a GPU of Windows (/dev/dxg), and the engine has no NVIDIA runtime "
            "for containers"
        )
    return ""
