"""What the words of an engine mean, beyond what the tests of containers and systems show."""

from __future__ import annotations

from pathlib import Path

import pytest

from envmatrix.engine.gpus import unseen_gpu
from envmatrix.engine.refusals import (
    is_of_image,
    pull_refused,
    push_refused,
    refused,
    registry_of,
)

CUDA = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update"


def test_a_driver_that_is_too_old_is_named_with_both_versions(tmp_path: Path) -> None:
    """The engine tells what the image asks for, and this machine which driver it has."""
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel  535.104.05  Sat\n")
    found = refused("run", CUDA, driver=tmp_path)
    assert found.kind == "driver-too-old"
    assert "asks for cuda>=12.8, and this machine has driver 535.104.05" in found.what
    assert "version is not known" in refused("run", CUDA, driver=tmp_path / "gone").what


def test_a_file_system_that_is_read_only_is_not_tried_again() -> None:
    """It stays so."""
    found = refused("run", "mkdir /var/lib/docker/x: read-only file system")
    assert (found.kind, found.transient) == ("read-only", False)


@pytest.mark.parametrize(("status", "expected"), [(400, False), (404, False), (500, True)])
def test_a_wrong_request_is_not_tried_again(status: int, expected: bool) -> None:
    """A fault of the engine may be gone at the next try."""
    assert refused("run", "it failed", status).transient is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('exec: "python": executable file not found in $PATH: unknown', True),
        ('exec: "python": permission denied: unknown', True),
        ('exec: \\"python\\": stat /x/python: no such file or directory', True),
        ('exec: "docker-init": executable file not found in $PATH', False),
        ("permission denied", False),
        ('exec: "python": cgroup failed', False),
    ],
)
def test_only_the_command_of_the_container_is_of_the_image(said: str, expected: bool) -> None:
    """The engine executes programs of its own, too."""
    assert is_of_image(said, "python") is expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("debian:12", ""),
        ("library/debian:12", ""),
        ("registry.example/debian", "registry.example"),
        ("host:5000/os/debian", "host:5000"),
        ("localhost/a", "localhost"),
    ],
)
def test_a_reference_names_its_registry(reference: str, expected: str) -> None:
    """The login command names the same registry."""
    assert registry_of(reference) == expected
    said = pull_refused(reference, "unauthorized: authentication required").next_step
    assert f"`docker login{' ' if expected else ''}{expected}`" in said


def test_a_gpu_that_no_container_sees_is_told(tmp_path: Path) -> None:
    """WSL2 shows a GPU of Windows as one device, and has no device of NVIDIA's driver."""
    assert unseen_gpu(tmp_path) == ""
    (tmp_path / "dxg").touch()
    assert "WSL2" in unseen_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert "NVIDIA GPU" in unseen_gpu(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        'failed to do request: Post "https://r/v2/": http: server closed idle connection',
        "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer",
        "unexpected EOF",
        "received unexpected HTTP status: 500 Internal Server Error",
    ],
)
def test_a_connection_that_breaks_off_is_tried_again(said: str) -> None:
    """The two stores of the engine have words of their own for it."""
    assert push_refused("r/x:1", said).transient
