"""Causes: what real error output means, and what a user can do about it.

Data first: one entry a class, tried in order, with patterns taken from real output. A pattern may
name groups; the cause and the remedy are filled from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """The class of a failure, the cause in a sentence, and what to do."""

    kind: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Known:
    kind: str
    pattern: re.Pattern[str]
    cause: str
    remedy: str


def _known(kind: str, pattern: str, cause: str, remedy: str) -> _Known:
    return _Known(kind, re.compile(pattern), cause, remedy)


# Failures of the surroundings: they say nothing about the cell.
SURROUNDINGS = (
    _known(
        "disk-full",
        r"[Nn]o space left on device|ENOSPC|os error 28",
        "the disk is full",
        "free some disk, or run with fewer cells",
    ),
    _known(
        "blocked",
        r"dns error|Temporary failure resolving|Could not resolve|"
        r"failed to lookup address|Name or service not known|"
        r"Connection refused|Network is unreachable|Could not connect to|"
        r"NewConnectionError|Failed to establish a new connection|"
        r"invalid peer certificate|CERTIFICATE_VERIFY_FAILED|"
        r"error sending request for url|no such host",
        "something that had to be downloaded cannot be reached from here",
        "run from where it can be reached, or point the tools at a mirror",
    ),
    _known(
        "engine",
        r"(?m)^runc: (?P<said>.+)$",
        "the engine's own runc cannot run: {said}",
        "install the runc that belongs to the engine and to this OS",
    ),
)

FAILURES = (
    _known(
        "glibc-too-old",
        r"version `(?P<need>GLIBC_[\d.]+)' not found",
        "a library needs {need}, newer than the C library of this OS",
        "take a newer OS, or an older release of the framework",
    ),
    _known(
        "undefined-symbol",
        r"(?P<library>[\w.+-]+\.so[\w.]*): undefined symbol: (?P<symbol>\w+)",
        "{library} needs the symbol {symbol}, which the installed libraries do not have",
        "install the release of it that was built for this framework version",
    ),
    _known(
        "missing-library",
        r"(?:ImportError|OSError): (?P<library>lib[\w.+-]+\.so[\w.]*): cannot "
        r"open shared object file",
        "the shared library {library} is missing",
        "install the package that holds {library}, or the build of the framework without it",
    ),
    _known(
        "operator-missing",
        r"operator (?P<operator>[\w:]+) does not exist",
        "the operator {operator} is not registered: a companion library was built for another "
        "build of the framework",
        "install the companion library from the same index as the framework, for the same "
        "accelerator",
    ),
    _known(
        "companion-build",
        # At the start of a line: torchao warns in similar words where all is well.
        r"(?m)^OSError: Could not load this library: .*?(?P<library>[\w.-]+\.so)",
        "{library} cannot be loaded: it was built for another build of the framework",
        "install the companion library from the same index as the framework, for the same "
        "accelerator",
    ),
    _known(
        "protobuf-mismatch",
        r"Protobuf Gencode/Runtime versions.*gencode (?P<gencode>[\d.]+\d) "
        r"runtime (?P<runtime>[\d.]+\d)",
        "a module made for protobuf {gencode} meets protobuf {runtime}",
        "pin the release of it that was made for the protobuf of the framework",
    ),
    _known(
        "numpy-abi",
        r"A module that was compiled using NumPy 1\.x cannot be run in|"
        r"numpy\.dtype size changed|numpy\.core\.multiarray failed to import|"
        r"_ARRAY_API not found|RuntimeError: Numpy is not available",
        "NumPy is missing, or its binary interface is another than the one compiled against",
        "pin NumPy to the major version the framework was built for",
    ),
    _known(
        "module-removed",
        r"No module named '(?P<module>pkg_resources)'",
        "{module} is gone: setuptools 82 removed it",
        'pin "setuptools<82"',
    ),
    _known(
        "module-removed",
        r"module '(?P<package>[\w.]+)' has no attribute '(?P<module>\w+)'",
        "{package} no longer has {module}",
        "pin {package} to a release that still has it, or take a newer release of its user",
    ),
    _known(
        "module-removed",
        r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'",
        "{module} no longer has {name}",
        "pin {module} to a release that still has it, or take a newer release of its user",
    ),
    _known(
        "module-missing",
        r"No module named '(?P<module>[\w.]+)'",
        "the module {module} is not installed",
        "add the distribution that holds {module}",
    ),
    _known(
        "no-kernel-image",
        r"no kernel image is available for execution",
        "the build holds no code for this GPU's architecture",
        "take a build whose architectures include this GPU's",
    ),
    _known(
        "driver-too-old",
        r"(?:NVIDIA driver on your system is too old|"
        r"CUDA driver version is insufficient)",
        "the NVIDIA driver is older than the CUDA of this build needs",
        "update the driver, or take a build for an older CUDA",
    ),
    _known(
        "cuda-mismatch",
        r"(?:CUDA (?:version )?mismatch|cuDNN version incompatibility|"
        r"CUDNN_STATUS_(?:VERSION_MISMATCH|NOT_INITIALIZED))",
        "the CUDA libraries that were loaded are not those the build was made for",
        "remove other CUDA libraries from the path, and install the pinned ones",
    ),
    _known(
        "out-of-memory",
        r"MemoryError|out of memory|DefaultCPUAllocator: can't allocate|"
        r"OOM when allocating|std::bad_alloc",
        "the memory did not suffice",
        "give it more memory, or less to do",
    ),
    _known(
        "assertion",
        r"(?m)^AssertionError: (?P<what>.+)$",
        "{what}",
        "read the probe: what it asserts is stated in its header",
    ),
    _known(
        "exception",
        r"(?m)^(?P<what>(?:[\w.]+\.)?\w*(?:Error|Exception|Warning)(?:: .+)?)$",
        "{what}",
        "read the log",
    ),
)


def classify(output: str, known: Iterable[_Known] = FAILURES) -> Cause | None:
    """Return the first known cause that the output shows, or None."""
    for entry in known:
        if match := entry.pattern.search(output):
            named = {name: value or "" for name, value in match.groupdict().items()}
            return Cause(
                entry.kind, entry.cause.format(**named)[:300], entry.remedy.format(**named)
            )
    return None
