"""The containers of the fake engine: what they were asked to run, and how they end."""

from __future__ import annotations

import json
import queue
import re
import socket
import struct
import threading
import time
import traceback
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fake_engine_faults import (
    NO_SPACE,
    AttachDropped,
    DiskFull,
    Faults,
    Killed,
    StartRefused,
    VanishesMidRun,
)
from fake_engine_images import FakeImage, ImageStore
from fake_http import Answer, Refused, Request, is_gone, json_answer

POLL_SECONDS = 0.02
FRAME_BYTES = 32 * 1024
SIGKILLED = 137
VERSION_LABEL = "org.opencontainers.image.version"
CELL_LABEL = "io.envmatrix.cell"
_CELL_ID = re.compile(
    r".+-py(?P<python>[0-9.]+)-(?P<os>[a-z]+[0-9.]+)-(?P<accelerator>[a-z0-9.]+?)(?:-(?P<arch>arm64))?"
)
_RELEASES = {
    "debian11": ("debian", "bullseye", "2.31"),
    "debian12": ("debian", "bookworm", "2.36"),
    "debian13": ("debian", "trixie", "2.41"),
}
_STDOUT, _STDERR = 1, 2
_TIME = "2026-01-02T03:04:05.000000000Z"
_NEVER = "0001-01-01T00:00:00Z"
_SERVICE_SECONDS = 3600.0
"""Longer than any test. A service runs until it is removed."""
_HEADER_NAME = re.compile(r'^# name = "([^"]*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ends. The container writes its output at once, and ends after some seconds."""

    code: int = 0
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    oom: bool = False
    ends_the_runner: bool = False
    """Of a probe that shares a container: neither it nor any later one has a line."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a container was asked to run. `spec` is the body of the request that created it."""

    container: str
    image: FakeImage
    image_names: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    host_config: Mapping[str, Any]
    spec: Mapping[str, Any]
    beside: bool = False
    """Whether this is one of the probes that share a container."""

    @property
    def parts(self) -> tuple[RunRequest, ...]:
        """The probes that share this container, each as a request of its own."""
        if self.beside or "ENVMATRIX_PLAN" not in self.environment:
            return ()
        probes = json.loads(self.environment["ENVMATRIX_PLAN"])["probes"]
        return tuple(
            replace(
                self,
                command=("python", source),
                environment={"ENVMATRIX_NONCE": probe["nonce"], "TIMEOUT": str(probe["timeout"])},
                beside=True,
            )
            for probe, source in zip(probes, self.command[-len(probes) :], strict=True)
        )

    @property
    def source(self) -> str:
        """The source of the probe: the last argument of the command."""
        return self.command[-1] if self.command else ""

    @property
    def probe(self) -> str:
        """The name in the header of the probe; empty where the command runs no probe."""
        found = _HEADER_NAME.search(self.source)
        return found[1] if found else ""

    @property
    def is_service(self) -> bool:
        """Whether the command serves files to builds: nothing else gets a standard input."""
        return bool(self.spec.get("OpenStdin"))

    @property
    def nonce(self) -> str:
        """The nonce that the report has to repeat."""
        return self.environment.get("ENVMATRIX_NONCE", "")

    @property
    def wants_gpu(self) -> bool:
        """Whether the container was created with a GPU."""
        return bool(self.host_config.get("DeviceRequests"))

    def report(self, observed: Mapping[str, Any]) -> str:
        """Return the report of a probe that passed and observed this."""
        report = {"probe": self.probe, "nonce": self.nonce, "observed": dict(observed)}
        return json.dumps(report) + "\n"


Observed = Mapping[str, Any] | Callable[[RunRequest], Mapping[str, Any]]
"""What a probe observes: always the same, or what a function gives for a run."""


class _Attachment:
    """The output of a container on its way to one client. It ends with None."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def put(self, data: bytes | None) -> None:
        """Send some bytes, or end the stream."""
        self._waiting.put(data)

    def pump(self, connection: socket.socket) -> None:
        """Write to the client until the stream ends or the client leaves."""
        while True:
            try:
                data = self._waiting.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if is_gone(connection):
                    return
                continue
            if data is None:
                return
            connection.sendall(data)


@dataclass
class FakeContainer:
    """A container. `status` is Docker's word for its state."""

    id: str
    name: str
    image_id: str
    request: RunRequest
    status: Literal["created", "running", "exited"] = "created"
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    killed: threading.Event = field(default_factory=threading.Event)
    attached: list[_Attachment] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        return self.status == "running"

    def attach(self) -> _Attachment:
        """Return a new stream of what the container writes from now on."""
        attachment = _Attachment()
        with self.lock:
            if self.status == "exited":
                attachment.put(None)
            else:
                self.attached.append(attachment)
        return attachment

    def write(self, stdout: str, stderr: str, most: int | None) -> None:
        """Write output to all clients. The streams close after `most` bytes, if it is set."""
        data = b"".join(_frames(_STDOUT, stdout) + _frames(_STDERR, stderr))
        for attachment in self.attached:
            attachment.put(data[:most])
            if most is not None:
                attachment.put(None)

    def finish(self, code: int, *, oom: bool = False) -> None:
        """End the container, unless it has ended."""
        with self.lock:
            if self.status == "exited":
                return
            self.exit_code, self.oom_killed, self.status = code, oom, "exited"
        for attachment in self.attached:
            attachment.put(None)

    def state(self) -> dict[str, Any]:
        """Return the state as Docker shows it."""
        return {
            "Status": self.status,
            "Running": self.running,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": self.oom_killed,
            "Dead": False,
            "Pid": 4242 if self.running else 0,
            "ExitCode": self.exit_code,
            "Error": self.error,
            "StartedAt": _NEVER if self.status == "created" else _TIME,
            "FinishedAt": _TIME if self.status == "exited" else _NEVER,
        }


def _frames(stream: int, text: str) -> list[bytes]:
    data = text.encode()
    parts = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
    return [struct.pack(">BxxxL", stream, len(part)) + part for part in parts]


class ContainerHost:
    """The containers of an engine, and what its endpoints do with them."""

    def __init__(
        self,
        images: ImageStore,
        faults: Faults,
        vanish: Callable[[], None],
        errors: list[Exception],
    ) -> None:
        self.images = images
        self.faults = faults
        self.errors = errors
        self.by_id: dict[str, FakeContainer] = {}
        self.requests: list[RunRequest] = []
        self.observed: dict[str, Observed] = {}
        self.on_run: Callable[[RunRequest], Exit] = self.pass_probe
        self.on_service: Callable[[RunRequest], Exit] = serve
        self.has_gpu: Callable[[], bool] = lambda: False
        self.runs: Callable[[str], bool] = lambda _: True
        """Says whether the engine runs programs of an architecture."""
        self.told: dict[str, Any] = {}
        """What every container tells of its state instead of the truth."""
        self._vanish = vanish
        self._threads: list[threading.Thread] = []
        images.used_by = self._users

    def pass_probe(self, request: RunRequest) -> Exit:
        """Act as a probe that passes, and as any other command that ends well.

        Without an entry in `observed` a probe that imports a framework observes what the labels of
        its image tell: the version, and every axis that the id of the cell names.
        """
        if not request.probe:
            return Exit()
        observed = self.observed.get(request.probe)
        if observed is None:
            is_import = request.probe.endswith("-import")
            observed = axes_of(request.image.labels) if is_import else {}
        found = observed(request) if callable(observed) else observed
        return Exit(stdout=request.report(found))

    def _users(self, image_id: str) -> Sequence[tuple[str, bool]]:
        return [
            (one.id, one.running) for one in list(self.by_id.values()) if one.image_id == image_id
        ]

    def get(self, name: str) -> FakeContainer:
        """Return a container by id, by the beginning of its id or by name, or refuse."""
        for container in list(self.by_id.values()):
            if container.name == name or (len(name) >= 4 and container.id.startswith(name)):
                return container
        raise Refused(404, f"No such container: {name}")

    def add(
        self, image: FakeImage, spec: Mapping[str, Any] | None = None, name: str = ""
    ) -> FakeContainer:
        """Make a container of an image, and do not start it."""
        spec = spec or {}
        container_id = uuid.uuid4().hex * 2
        environment = dict(one.partition("=")[::2] for one in spec.get("Env") or ())
        request = RunRequest(
            container_id,
            image,
            tuple(self.images.names_of(image)),
            tuple(spec.get("Cmd") or image.config.get("Cmd") or ()),
            environment,
            spec.get("Labels") or {},
            spec.get("HostConfig") or {},
            spec,
        )
        container = FakeContainer(
            container_id, name or f"fake_{container_id[:8]}", image.id, request
        )
        self.by_id[container_id] = container
        return container

    # --- what the engine answers

    def create(self, request: Request) -> Answer:
        """Answer `POST /containers/create`."""
        spec = request.json()
        image = self.images.get(spec["Image"])
        if self.faults.take(DiskFull, "create"):
            raise Refused(500, f"mkdir /var/lib/docker/overlay2/new-init: {NO_SPACE}")
        container = self.add(image, spec, request.one("name"))
        return json_answer({"Id": container.id, "Warnings": []}, 201)

    def attach(self, request: Request, name: str) -> Answer:
        """Answer `POST /containers/{id}/attach`: the connection becomes the output stream."""
        container = self.get(name)
        # The client may start the container as soon as it has read the headers.
        attachment = container.attach()
        if "upgrade" in request.headers:
            headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
            return Answer(101, headers=headers, takeover=attachment.pump)
        headers = {"Content-Type": "application/vnd.docker.raw-stream", "Connection": "close"}
        return Answer(200, headers=headers, takeover=attachment.pump)

    def start(self, _: Request, name: str) -> Answer:
        """Answer `POST /containers/{id}/start`."""
        container = self.get(name)
        if container.running:
            return Answer(304)
        if refusal := self._refusal(container.request):
            container.error, container.exit_code = refusal.message, refusal.exit_code
            raise Refused(refusal.status, refusal.message)
        self.requests.append(container.request)
        container.status = "running"
        thread = threading.Thread(target=self._run, args=[container], daemon=True)
        thread.start()
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        return Answer(204)

    def _refusal(self, request: RunRequest) -> StartRefused | None:
        if request.wants_gpu and not self.has_gpu():
            return StartRefused(
                message='could not select device driver "" with capabilities: [[gpu]]'
            )
        return self.faults.take(StartRefused, request.probe)

    def _run(self, container: FakeContainer) -> None:
        exit_ = self._exit(container.request)
        dropped = self.faults.take(AttachDropped, container.request.probe)
        container.write(exit_.stdout, exit_.stderr, dropped.after_bytes if dropped else None)
        if vanishing := self.faults.take(VanishesMidRun, container.request.probe):
            container.killed.wait(vanishing.after)
            self._vanish()
            return
        # Whoever kills the container ends it.
        if not container.killed.wait(exit_.seconds):
            container.finish(exit_.code, oom=exit_.oom)

    def _exit(self, request: RunRequest) -> Exit:
        if request.is_service:
            return self.on_service(request)
        if kill := self.faults.take(Killed, request.probe):
            return Exit(SIGKILLED, kill.output, seconds=kill.after, oom=kill.oom)
        if not self.runs(request.image.architecture):
            return Exit(1, stderr=f"exec {request.command[0]}: exec format error\n")
        try:
            return self._run_parts(request) if request.parts else self.on_run(request)
        except Exception as error:  # noqa: BLE001  (the test's own function is at fault)
            self.errors.append(error)
            return Exit(1, stderr=traceback.format_exc())

    def put_archive(self, request: Request, name: str) -> Answer:
        """Answer `PUT /containers/{id}/archive`: the files of a tar are copied into it."""
        container = self.get(name)
        if self.faults.take(DiskFull, "archive"):
            raise Refused(500, f"write /srv/envmatrix: {NO_SPACE}")
        container.files |= request.files()
        return Answer(200)

    def _run_parts(self, request: RunRequest) -> Exit:
        """Act as the program that runs several probes in one container."""
        lines = ""
        for part in request.parts:
            exit_ = self.on_run(part)
            if exit_.ends_the_runner:
                return Exit(1, lines, "WrongError: something is not as it should be\n")
            line = {
                "nonce": part.nonce,
                "exit_code": exit_.code,
                "seconds": 0.5,
                "timed_out": exit_.seconds > float(part.environment["TIMEOUT"]),
                "flooded": False,
                "out_of_memory": exit_.oom,
                "stdout": b64encode(exit_.stdout.encode()).decode(),
                "stderr": b64encode(exit_.stderr.encode()).decode(),
            }
            lines += json.dumps(line) + "\n"
        return Exit(0, lines)

    def inspect(self, _: Request, name: str) -> Answer:
        """Answer `GET /containers/{id}/json`."""
        container = self.get(name)
        spec = container.request.spec
        return json_answer(
            {
                "Id": container.id,
                "Name": f"/{container.name}",
                "Created": _TIME,
                "Image": container.image_id,
                "State": container.state() | self.told,
                "RestartCount": 0,
                "Config": {
                    "Image": spec.get("Image", container.image_id),
                    "Cmd": list(container.request.command),
                    "Env": spec.get("Env") or [],
                    "User": spec.get("User") or "",
                    "Labels": dict(container.request.labels),
                    "Tty": bool(spec.get("Tty")),
                },
                "HostConfig": dict(container.request.host_config),
            }
        )

    def listed(self, request: Request) -> Answer:
        """Answer `GET /containers/json`."""
        filters = json.loads(request.one("filters", "{}"))
        wanted = [label.partition("=") for label in filters.get("label", ())]
        found = [
            container
            for container in list(self.by_id.values())
            if (container.running or request.flag("all"))
            and all(
                name in container.request.labels
                and (not equals or container.request.labels[name] == value)
                for name, equals, value in wanted
            )
        ]
        return json_answer(
            [
                {
                    "Id": container.id,
                    "Names": [f"/{container.name}"],
                    "Image": container.request.spec.get("Image", container.image_id),
                    "ImageID": container.image_id,
                    "Command": " ".join(container.request.command)[:100],
                    "Created": 0,
                    "State": container.status,
                    "Status": container.status.capitalize(),
                    "Labels": dict(container.request.labels),
                }
                for container in found
            ]
        )

    def kill(self, _: Request, name: str) -> Answer:
        """Answer `POST /containers/{id}/kill`."""
        container = self.get(name)
        if not container.running:
            raise Refused(
                409,
                f"cannot kill container: {name}: container {container.id} is not running",
            )
        self.end(container)
        return Answer(204)

    def end(self, container: FakeContainer) -> None:
        """End a container as SIGKILL does."""
        container.killed.set()
        container.finish(SIGKILLED)

    def end_all(self) -> None:
        """End every container that runs."""
        for container in list(self.by_id.values()):
            if container.running:
                self.end(container)

    def remove(self, request: Request, name: str) -> Answer:
        """Answer `DELETE /containers/{id}`."""
        container = self.get(name)
        if container.running and not request.flag("force"):
            raise Refused(
                409,
                f'cannot remove container "/{container.name}": container is running: '
                "stop the container before removing or force remove",
            )
        self.by_id.pop(container.id, None)
        self.end(container)
        return Answer(204)

    def stop(self, deadline: float) -> None:
        """End all containers, and wait for their threads until a time of the monotonic clock."""
        for container in list(self.by_id.values()):
            self.end(container)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def serve(_: RunRequest) -> Exit:
    """Serve files until the container is removed."""
    return Exit(stdout="ready\n", seconds=_SERVICE_SECONDS)


def axes_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Return what a proper import probe observes in the image of a cell with these labels."""
    found = {"version": labels[VERSION_LABEL]} if VERSION_LABEL in labels else {}
    match = _CELL_ID.fullmatch(labels.get(CELL_LABEL, ""))
    if match is None or match["os"] not in _RELEASES:
        return found
    distribution, codename, glibc = _RELEASES[match["os"]]
    return {
        **found,
        "python": match["python"],
        "distribution": distribution,
        "codename": codename,
        "glibc": glibc,
        "accelerator": match["accelerator"],
        "arch": match["arch"] or "amd64",
    }
