"""Causes: real error output, its class, and what can be done about it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envmatrix.model.causes import FAILURES, SURROUNDINGS, classify

TRACE = 'Traceback (most recent call last):\n  File "/tmp/probe.py", line 12, in <module>\n'

SEEN = [
    (
        "glibc-too-old",
        TRACE + "ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found "
        "(required by /opt/venv/lib/python3.9/site-packages/torch/lib/libtorch_cpu.so)\n",
        "a library needs GLIBC_2.34, newer",
    ),
    (
        "undefined-symbol",
        TRACE + "ImportError: /opt/venv/lib/python3.11/site-packages/torch/lib/../../nvidia/"
        "cusparse/lib/libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1, version "
        "libnvJitLink.so.12\n",
        "libcusparse.so.12 needs the symbol __nvJitLinkAddData_12_1",
    ),
    (
        "missing-library",
        TRACE + "ImportError: libcudnn.so.9: cannot open shared object file: No such file or "
        "directory\n",
        "the shared library libcudnn.so.9 is missing",
    ),
    (
        "missing-library",
        TRACE + "OSError: libcurand.so.10: cannot open shared object file: No such file or "
        "directory\n",
        "libcurand.so.10",
    ),
    (
        "operator-missing",
        TRACE + "RuntimeError: operator torchvision::nms does not exist\n",
        "the operator torchvision::nms",
    ),
    (
        "companion-build",
        TRACE + "OSError: Could not load this library: /opt/venv/lib/python3.11/site-packages/"
        "torchaudio/lib/_torchaudio.abi3.so\n",
        "_torchaudio.abi3.so",
    ),
    (
        "protobuf-mismatch",
        TRACE + "google.protobuf.runtime_version.VersionError: Detected incompatible Protobuf "
        "Gencode/Runtime versions when loading data_spec.proto: gencode 6.31.1 runtime 5.29.6. "
        "Runtime version cannot be older than the linked gencode version.\n",
        "6.31.1 meets protobuf 5.29.6",
    ),
    (
        "numpy-abi",
        "\nA module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.4.1 as it may "
        "crash.\n" + TRACE + "AttributeError: _ARRAY_API not found\n",
        "NumPy",
    ),
    (
        "numpy-abi",
        TRACE + "ValueError: numpy.dtype size changed, may indicate binary incompatibility. "
        "Expected 96 from C header, got 88 from PyObject\n",
        "NumPy",
    ),
    (
        "module-removed",
        TRACE + "ModuleNotFoundError: No module named 'pkg_resources'\n",
        "pkg_resources is gone",
    ),
    (
        "module-removed",
        TRACE + "AttributeError: module 'numpy' has no attribute 'bool'\n",
        "numpy no longer has bool",
    ),
    (
        "module-missing",
        TRACE + "ModuleNotFoundError: No module named 'torchvision'\n",
        "the module torchvision is not installed",
    ),
    (
        "no-kernel-image",
        TRACE + "torch.AcceleratorError: CUDA error: no kernel image is available for execution on "
        "the device\nCUDA kernel errors might be asynchronously reported at some other API call\n",
        "this GPU's architecture",
    ),
    (
        "driver-too-old",
        TRACE + "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). "
        "Please update your GPU driver\n",
        "the NVIDIA driver is older",
    ),
    (
        "cuda-mismatch",
        TRACE + "RuntimeError: cuDNN version incompatibility: PyTorch was compiled  against "
        "(9, 1, 0) but found runtime version (8, 9, 2)\n",
        "CUDA libraries",
    ),
    (
        "out-of-memory",
        TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
        "memory",
    ),
    (
        "out-of-memory",
        TRACE + "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. "
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes\n",
        "memory",
    ),
    (
        "assertion",
        TRACE + "AssertionError: the loss stayed at 2.31, bound 1.0\n",
        "the loss stayed at 2.31, bound 1.0",
    ),
    ("exception", TRACE + "jax.errors.TracerError: odd {shape}\n", "jax.errors.TracerError: odd"),
    ("exception", TRACE + "KeyboardInterruptError\n", "KeyboardInterruptError"),
]

WEATHER = [
    ("disk-full", "tar: write error: No space left on device"),
    ("disk-full", "error: failed to write to file: No space left on device (os error 28)"),
    ("blocked", "E: Temporary failure resolving 'deb.example'"),
    ("blocked", "  cause: dns error\n  cause: failed to lookup address information"),
    ("blocked", "tcp connect error\n  cause: Connection refused (os error 111)"),
    ("blocked", "dial tcp: lookup registry.example on 127.0.0.53:53: no such host"),
    (
        "blocked",
        "W: Failed to fetch http://deb.example/InRelease  Could not connect to deb.example",
    ),
    ("blocked", "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
    ("blocked", "invalid peer certificate: UnknownIssuer"),
    ("blocked", "NewConnectionError('<HTTPSConnection>: [Errno 101] Network is unreachable')"),
    (
        "engine",
        "runc: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by runc)",
    ),
]


@pytest.mark.parametrize(("kind", "output", "cause"), SEEN)
def test_real_output_is_recognised(kind: str, output: str, cause: str) -> None:
    """With the names that stand in it, and a remedy without a gap."""
    found = classify(output)
    assert found is not None
    assert kind == found.kind
    assert cause in found.cause
    assert found.remedy
    assert "{" not in found.remedy


@pytest.mark.parametrize(("kind", "output"), WEATHER)
def test_bad_weather_is_told_apart_from_a_broken_cell(kind: str, output: str) -> None:
    """A full disk and a dead network say nothing about the cell."""
    found = classify(output, SURROUNDINGS)
    assert found is not None
    assert kind == found.kind


@pytest.mark.parametrize("output", [output for _, output, _ in SEEN])
def test_no_failure_of_a_cell_is_taken_for_bad_weather(output: str) -> None:
    """Else a broken cell would be unknown."""
    assert classify(output, SURROUNDINGS) is None


def test_every_known_cause_is_tested() -> None:
    """A new entry needs output that was really seen."""
    assert {entry.kind for entry in FAILURES} == {kind for kind, _, _ in SEEN}
    assert {entry.kind for entry in SURROUNDINGS} == {kind for kind, _ in WEATHER}


def test_quiet_output_has_no_cause() -> None:
    """Warnings are none."""
    assert classify("") is None
    assert classify("W0000 This TensorFlow binary is optimized to use AVX2\n") is None


@given(st.text())
@example("x" * 1000)
def test_no_output_breaks_it(text: str) -> None:
    """Braces in an error do not reach the formatting; long ones are cut."""
    found = classify(f"AssertionError: x{text}")
    assert found is None or len(found.cause) <= 300
