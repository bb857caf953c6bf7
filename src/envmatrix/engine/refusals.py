"""What an engine or a registry means when it refuses: its words as an error with a class.

A refusal says nothing about a cell, whatever its words are. One exception stands in `is_of_image`:
an image that does not have the command, or does not let it be executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envmatrix.engine.gpus import DRIVER
from envmatrix.model.errors import EngineError
from envmatrix.model.known import Pattern

if TYPE_CHECKING:
    from envmatrix.model.causes import Cause

SAID_LIMIT = 600
"""The number of characters that an error message repeats of the engine's own words."""

SERVER_ERROR = 500
"""An HTTP status from here on tells of a fault of the engine, and not of a wrong request."""

FAILED = "the Docker engine failed: "

_TOOLKIT = (
    "install the NVIDIA Container Toolkit, then run `nvidia-ctk runtime configure "
    "--runtime=docker` and `systemctl restart docker`"
)
_NO_CELL = "see the engine's own log (`journalctl --unit docker`), then try again"
_VERSION = re.compile(r"\s(\d{3,}\.\d+(?:\.\d+)*)\s")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Words of an engine, the class that they mean, and what to do. `{need}` comes from them."""

    kind: str
    pattern: Pattern
    what: str
    next_step: str
    transient: bool = False


def _refusal(
    kind: str, pattern: str, what: str, next_step: str, *, transient: bool = False
) -> _Refusal:
    return _Refusal(kind, Pattern(f"(?i){pattern}"), what, next_step, transient)


_REFUSALS = (
    _refusal(
        "disk-full",
        r"no space left on device|disk quota exceeded|ENOSPC",
        "the disk of the engine is full",
        "free some disk (`docker system df` shows what takes it), then try again",
    ),
    _refusal(
        "driver-too-old",
        r"requirement error: (?:unsatisfied condition: )?(?P<need>[^,:\n]+)",
        "the NVIDIA driver is too old: the image asks for {need}, and {driver}",
        "update the driver of the host (`nvidia-smi` shows its version), or choose an accelerator "
        "for an older driver",
    ),
    _refusal(
        "driver-mismatch",
        r"driver/library version mismatch",
        "the kernel module and the libraries of the NVIDIA driver are of different releases",
        "restart the host, so that the updated driver runs",
    ),
    _refusal(
        "driver-missing",
        r"libnvidia-ml\.so|libcuda\.so|nvml error|load library failed|driver not loaded|"
        r"no adapters were found|failed to initialize NVML",
        "the engine's NVIDIA runtime finds no driver",
        "install the NVIDIA driver on the host (on WSL2: on Windows), then run "
        "`systemctl restart docker`",
    ),
    _refusal(
        "gpu-not-served",
        r"could not select device driver|unresolvable CDI devices|failed to discover GPU vendor|"
        r"unknown or invalid runtime name: nvidia|nvidia-container-(?:cli|runtime)|"
        r"no such device: /dev/nvidia|/dev/nvidia\S*: no such (?:file|device)",
        "the engine cannot give a GPU to a container",
        _TOOLKIT,
    ),
    _refusal(
        "out-of-memory",
        r"cannot allocate memory|out of memory|resource temporarily unavailable",
        "the host of the engine has no memory or no processes left",
        "run fewer cells side by side (--jobs 1), or free memory on the host",
        transient=True,
    ),
)

_UNREACHED = (
    r"(?i)no such host|server misbehaving|temporary failure in name resolution|connection refused|"
    r"network is unreachable|no route to host|i/o timeout|connection timed out|"
    r"TLS handshake timeout|deadline exceeded|client\.timeout|request canceled"
)
_UNREACHABLE = Pattern(_UNREACHED)
_PASSING = Pattern(
    _UNREACHED + r"|\bEOF\b|connection reset|broken pipe|use of closed network|made no progress|"
    r"server closed idle connection|"
    r"toomanyrequests|too many requests|\b429\b|(?:status|code)[^0-9]{0,12}5\d\d|"
    r"\b50[0234]\b|internal server error|bad gateway|service unavailable|gateway time-?out"
)
"""What may be gone at the next try."""
_PULLS = (
    _refusal(
        "rate-limited",
        r"toomanyrequests|too many requests|pull rate limit|\b429\b",
        "its registry allows no more of that for now",
        "log in (`docker login{registry}`), or wait and try again",
    ),
    _refusal(
        "credentials",
        r"proxy authentication required|\b407\b",
        "the proxy of the engine asks for credentials",
        "give the engine the address of the proxy with its credentials, then run "
        "`systemctl restart docker`",
    ),
    _refusal(
        "credentials",
        r"unauthorized|\b401\b|no basic auth credentials|pull access denied|"
        r"denied: requested access|insufficient_scope|authentication required|"
        r"denied:|\b403\b|forbidden",
        "its registry refuses it to this user",
        "log in (`docker login{registry}`), or correct the name of the image in the matrix",
    ),
)


def is_of_image(said: str, command: str) -> bool:
    """Return whether the engine refused to start a container because of the image itself.

    The program that could not be executed must be the command. The engine says the same of its own
    programs, such as docker-init or the NVIDIA runtime.
    """
    name = re.escape(command)
    return bool(
        re.search(
            rf'exec: \\?"{name}\\?": (?:executable file not found|permission denied|'
            r"is a directory|(?:stat [^\n:]+: )?no such file or directory)",
            said,
        )
    )


def refused(
    doing: str, said: str, status: int = SERVER_ERROR, driver: Path = DRIVER
) -> EngineError:
    """Return the error for what an engine said when it refused a request.

    `driver` is the folder in which the NVIDIA driver of this machine tells its version.
    """
    for refusal in _REFUSALS:
        if match := refusal.pattern.search(said):
            need = match.groupdict().get("need", "").strip()
            what = refusal.what.format(need=need, driver=_driver(driver))
            return EngineError(
                f"{what}: {said[:SAID_LIMIT]}",
                where=doing,
                next_step=refusal.next_step,
                kind=refusal.kind,
                transient=refusal.transient,
            )
    found = _of_surroundings(said)
    kind = found.kind if found and found.kind == "read-only" else ""
    return EngineError(
        FAILED + said[:SAID_LIMIT],
        where=doing,
        next_step=found.remedy if found and kind else _NO_CELL,
        kind=kind,
        transient=status >= SERVER_ERROR and not kind,
    )


def pull_refused(reference: str, said: str) -> EngineError:
    """Return the error for an image that cannot be pulled, with the class of the reason."""
    return _by_registry("pull", reference, said)


def push_refused(reference: str, said: str) -> EngineError:
    """Return the error for an image that cannot be pushed, with the class of the reason."""
    return _by_registry("push", reference, said)


def _by_registry(doing: str, reference: str, said: str) -> EngineError:
    found = _classed(doing, reference, said)
    lasting = found.kind in ("credentials", "disk-full")
    found.transient = bool(_PASSING.search(said)) and not lasting
    return found


def _classed(doing: str, reference: str, said: str) -> EngineError:
    where = f"{doing} {reference}"
    what = f"{reference} cannot be {doing}ed: "
    registry = registry_of(reference)
    for refusal in _PULLS:
        if refusal.pattern.search(said):
            return EngineError(
                f"{what}{refusal.what}: {said[:SAID_LIMIT]}",
                where=where,
                next_step=refusal.next_step.format(registry=f" {registry}" if registry else ""),
                kind=refusal.kind,
            )
    if _UNREACHABLE.search(said):
        return EngineError(
            what + said[:SAID_LIMIT],
            where=where,
            next_step="check the network, the name server and the proxy of the engine",
            kind=UNREACHABLE,
        )
    found = refused(where, said)
    if found.kind == EngineError.kind:
        known = _of_surroundings(said)
        found.kind = known.kind if known else "registry"
    return EngineError(
        what + said[:SAID_LIMIT],
        where=where,
        next_step=found.next_step
        if found.kind == "disk-full"
        else "check the name of the image, the way to its registry, and the login (docker login)",
        kind=found.kind,
    )


UNREACHABLE = "blocked"
"""The class of a pull that reached no registry."""


def proves_unreachable(error: EngineError) -> bool:
    """Return whether a failed pull proves that its registry cannot be reached."""
    return error.kind == UNREACHABLE and bool(_UNREACHABLE.search(error.what))


def registry_of(reference: str) -> str:
    """Return the registry that a reference names; empty for the engine's default registry."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else ""


def _of_surroundings(said: str) -> Cause | None:
    # Most commands meet no refusal, and to load the known failures takes a while.
    from envmatrix.model.causes import SURROUNDINGS, classify  # noqa: PLC0415

    return classify(said, SURROUNDINGS)


def _driver(folder: Path) -> str:
    try:
        text = (folder / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = _VERSION.search(text)
    return f"this machine has driver {match[1]}" if match else "the driver's version is not known"
