"""What can go wrong with the fake engine on command.

A fault says what goes wrong and for which requests, steps or probes. `FakeEngine.fail` arms one
for a number of times, or for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

NO_SPACE = "no space left on device"

_OCI = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
)
_INIT = "runc create failed: unable to start container process: error during container init: "


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong."""

    def applies(self, subject: str) -> bool:
        """Return whether the fault is about this request, step, image or probe."""
        raise NotImplementedError


# --- faults of requests ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnRequest(Fault):
    """A fault of requests that match a pattern such as `POST /containers/*/start`."""

    match: str

    def applies(self, subject: str) -> bool:
        """Return whether the pattern matches the method and the path of a request."""
        return fnmatchcase(subject, self.match)


@dataclass(frozen=True, slots=True)
class Refuses(OnRequest):
    """The engine answers with an error status and a message."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Slow(OnRequest):
    """The engine waits before it handles the request."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionDropped(OnRequest):
    """The engine closes this one connection without an answer."""


@dataclass(frozen=True, slots=True)
class Vanishes(OnRequest):
    """The engine goes away when the request arrives, and stays away until `come_back`."""


@dataclass(frozen=True, slots=True)
class ImageLost(OnRequest):
    """Something removes images by the time that the answer to the request ends.

    `image` is a pattern of names; `*` also means images without a name.
    """

    match: str = "POST /build"
    image: str = "*"


@dataclass(frozen=True, slots=True)
class DiskFull(Fault):
    """The engine has no space left when it builds, creates a container, imports or pulls."""

    on: Literal["archive", "build", "create", "import", "pull"]

    def applies(self, subject: str) -> bool:
        """Return whether the engine does what the disk is full for."""
        return subject == self.on


# --- faults of pulls -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PullRefused(Fault):
    """The registry refuses an image. `in_stream` tells so after the answer has begun.

    Without a message the text is what Docker says for the status.
    """

    status: int = 404
    message: str = ""
    reference: str = "*"
    in_stream: bool = False

    def applies(self, subject: str) -> bool:
        """Return whether the pattern matches the reference of the image."""
        return fnmatchcase(subject, self.reference)

    def text(self, reference: str) -> str:
        """Return the message, for the image that is pulled."""
        address = f"https://registry.example/v2/{reference.partition(':')[0]}/manifests"
        said = {
            401: f'Head "{address}": unauthorized: incorrect username or password',
            403: f'Head "{address}": denied: requested access to the resource is denied',
            429: "toomanyrequests: You have reached your unauthenticated pull rate limit",
            500: f'Head "{address}": received unexpected HTTP status: 500 Internal Server Error',
        }
        return self.message or said.get(
            self.status, f"manifest for {reference} not found: manifest unknown: manifest unknown"
        )


# --- faults of builds ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnStep(Fault):
    """A fault of the steps of a build whose instruction contains a text."""

    step: str = ""

    def applies(self, subject: str) -> bool:
        """Return whether the instruction contains the text."""
        return self.step in subject


@dataclass(frozen=True, slots=True)
class StepFails(OnStep):
    """A step prints its output and fails. `error` replaces the words for the exit code."""

    output: str = ""
    code: int = 1
    error: str = ""


@dataclass(frozen=True, slots=True)
class StepTakes(OnStep):
    """A step takes a while. A build that is cancelled meanwhile ends at once."""

    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class UnstableLayer(OnStep):
    """A step gives another layer each time that it is built."""


@dataclass(frozen=True, slots=True)
class VanishesMidBuild(OnStep):
    """The engine goes away when the build comes to the step."""


@dataclass(frozen=True, slots=True)
class BuildWithoutImage(Fault):
    """The answer to a build ends without the id of an image, and without an error."""

    step: str = "*"

    def applies(self, subject: str) -> bool:
        """Return whether the pattern matches the step that the labels of the build tell."""
        return fnmatchcase(subject, self.step)


# --- faults of containers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnRun(Fault):
    """A fault of containers that run a probe whose name matches; `*` means every container."""

    probe: str = "*"

    def applies(self, subject: str) -> bool:
        """Return whether the pattern matches the name of the probe."""
        return fnmatchcase(subject, self.probe)


@dataclass(frozen=True, slots=True)
class StartRefused(OnRun):
    """The engine creates the container, and refuses to start it."""

    message: str = "failed to start the container"
    status: int = 500
    exit_code: int = 128

    @classmethod
    def not_found(cls, command: str = "python", probe: str = "*") -> StartRefused:
        """Return the refusal of a command that the image does not have."""
        said = f'exec: "{command}": executable file not found in $PATH: unknown'
        return cls(probe, _OCI + _INIT + said, 400, 127)

    @classmethod
    def not_executable(cls, command: str = "python", probe: str = "*") -> StartRefused:
        """Return the refusal of a command that nobody may execute."""
        said = f'exec: "{command}": permission denied: unknown'
        return cls(probe, _OCI + _INIT + said, 400, 126)

    @classmethod
    def containerd(cls, probe: str = "*") -> StartRefused:
        """Return the refusal of an engine whose containerd does not answer."""
        said = (
            "connection error: desc = "
            '"transport: Error while dialing: dial unix:///run/containerd/containerd.sock: timeout"'
        )
        return cls(probe, f"{said}: unavailable")

    @classmethod
    def nvidia(cls, probe: str = "*") -> StartRefused:
        """Return the refusal of the NVIDIA runtime, which finds no driver."""
        said = (
            "error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode "
            "as 'legacy'\nnvidia-container-cli: initialization error: load library failed: "
            "libnvidia-ml.so.1: cannot open shared object file: no such file or directory: unknown"
        )
        return cls(probe, _OCI + "runc create failed: unable to start container process: " + said)

    @classmethod
    def no_space(cls, probe: str = "*") -> StartRefused:
        """Return the refusal of an engine whose disk is full."""
        return cls(probe, f"mkdir /var/lib/docker/overlay2/merged: {NO_SPACE}")


@dataclass(frozen=True, slots=True)
class Killed(OnRun):
    """Something outside the engine kills the container: its exit code is 137.

    `on_run` is not called. The container writes `output` first, and runs for `after` seconds.
    """

    after: float = 0.0
    oom: bool = False
    output: str = ""


@dataclass(frozen=True, slots=True)
class AttachDropped(OnRun):
    """The output stream of the container closes after some bytes, its frame headers included."""

    after_bytes: int = 4


@dataclass(frozen=True, slots=True)
class VanishesMidRun(OnRun):
    """The engine goes away some seconds after the container wrote its output."""

    after: float = 0.0


# --- which faults are armed ------------------------------------------------------------------

F = TypeVar("F", bound=Fault)


class Faults:
    """The faults that are armed, each with the number of times that are left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[tuple[Fault, float]] = []

    def arm(self, faults: Iterable[Fault], times: int | None) -> None:
        """Arm faults for a number of times each, or for ever."""
        with self._lock:
            self._armed += [(fault, float("inf") if times is None else times) for fault in faults]

    def clear(self) -> None:
        """Disarm every fault."""
        with self._lock:
            self._armed = []

    def take(self, kind: type[F], subject: str) -> F | None:
        """Return the first armed fault of a kind that applies, and count it."""
        with self._lock:
            for place, (fault, left) in enumerate(self._armed):
                if isinstance(fault, kind) and fault.applies(subject):
                    if left > 1:
                        self._armed[place] = (fault, left - 1)
                    else:
                        del self._armed[place]
                    return fault
        return None

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that are still armed."""
        with self._lock:
            return tuple(fault for fault, _ in self._armed)
