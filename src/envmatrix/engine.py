"""The Docker engine: the only place that talks to docker-py.

Builds go through its BuildKit (`buildkit`). Errors of docker-py, requests and urllib3 become
`EngineError` here. What is created carries labels, and only what carries them is removed.
"""

from __future__ import annotations

import io
import json
import os
import queue
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import docker
from docker.errors import (
    APIError,
    DockerException,
    ImageNotFound,
    NotFound,
    create_api_error_from_http_exception,
)
from docker.types import CancellableStream, DeviceRequest, Ulimit
from docker.utils import kwargs_from_env
from requests import HTTPError, RequestException, Response
from urllib3.exceptions import HTTPError as TransportError

from envmatrix import buildkit
from envmatrix.errors import EngineError
from envmatrix.render import USER

API_SECONDS = 120
RUN_LABEL = "io.envmatrix.run"
STEP_LABEL = "io.envmatrix.step"
BUILD_MARK = "/dev/shm/envmatrix"  # noqa: S108  (in every RUN of our Dockerfiles, see templates)
POLL_SECONDS = 0.05
OUTPUT_LIMIT = 1_000_000
"""Bytes of output kept of one container; one that writes more is ended."""

CONTEXT_MTIME = 1_700_000_000
_T = TypeVar("_T")
_FAILURES = (DockerException, RequestException, TransportError, OSError)


class BuildError(Exception):
    """A step of a Dockerfile failed: about the image, not about the engine."""


class Cancelled(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user asked to stop."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the engine holds it. `layers` are diff ids, the contract; the id is not."""

    id: str
    layers: tuple[str, ...]
    size: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use."""

    seconds: float = 60
    memory: int = 4 * 2**30
    processes: int = 512
    scratch: int = 2**30


@dataclass(frozen=True, slots=True)
class Ran:
    """How a container ended. `exit_code` is None where it was ended by us."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    out_of_memory: bool = False
    timed_out: bool = False
    flooded: bool = False


@dataclass
class Engine:
    """A Docker engine that answers. Safe to use from several threads."""

    url: str | None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._local = threading.local()
        self._info: dict[str, Any] = {}
        self._needs_session = False

    @classmethod
    @contextmanager
    def connect(cls) -> Iterator[Engine]:
        """Connect to DOCKER_HOST, the current Docker context or the default socket.

        On the way out every container of this run that is left is removed.

        Raises:
            EngineError: no engine answers there.
        """
        engine = cls(_host())
        with _translated("connect to the Docker engine"):
            engine._info = engine._api.info()
        try:
            yield engine
        finally:
            engine.remove_containers()

    @property
    def _api(self) -> docker.APIClient:
        """A client of this thread's own: docker-py's are not safe to share."""
        if not hasattr(self._local, "api"):
            kwargs = kwargs_from_env()
            if self.url:
                kwargs["base_url"] = self.url
            self._local.api = docker.APIClient(version="auto", timeout=API_SECONDS, **kwargs)
        api: docker.APIClient = self._local.api
        return api

    # --- what the engine is

    @property
    def version(self) -> str:
        """The engine's version, such as 20.10.24."""
        return str(self._info.get("ServerVersion", ""))

    @property
    def is_local(self) -> bool:
        """Whether the engine shares this machine's loopback."""
        scheme = urlsplit(self.url or os.environ.get("DOCKER_HOST") or "unix://").scheme
        return (
            scheme in ("unix", "")
            and "desktop" not in str(self._info.get("OperatingSystem", "")).lower()
        )

    @property
    def root(self) -> Path | None:
        """Where a local engine keeps its images, to see how much disk is left."""
        root = Path(self._info.get("DockerRootDir") or "/nowhere")
        return root if self.is_local and root.exists() else None

    @property
    def has_gpu(self) -> bool:
        """Whether the engine can hand an NVIDIA GPU to a container."""
        devices = str(self._info.get("DiscoveredDevices", "")) + str(self._info.get("Runtimes", ""))
        return "nvidia" in devices

    # --- images

    def image(self, reference: str) -> Image | None:
        """Return an image by id or name, or None where the engine has none."""
        with _translated(f"look up the image {reference}"):
            try:
                found = self._api.inspect_image(reference)  # type: ignore[no-untyped-call]
            except ImageNotFound:
                return None
        return Image(
            found["Id"],
            tuple(found["RootFS"].get("Layers") or ()),
            found["Size"],
            tuple(found["RepoTags"] or ()),
        )

    def pull(self, reference: str) -> Image:
        """Pull an image.

        Raises:
            EngineError: no registry serves it.
        """
        with _translated(f"pull {reference}"):
            name, _, tag = reference.partition("@")[0].rpartition(":")
            for event in self._api.pull(
                name or tag, tag=tag if name else "latest", stream=True, decode=True
            ):
                if "error" in event:
                    raise EngineError(f"{reference} cannot be pulled: {event['error']}")
        return self._existing(reference)

    def import_tar(self, path: Path, name: str) -> Image:
        """Make an image of one layer from a tar of a root filesystem."""
        with _translated(f"import {path.name}"):
            repository, _, tag = name.rpartition(":")
            self._api.import_image(src=str(path), repository=repository, tag=tag)
        return self._existing(name)

    def build(
        self,
        files: Mapping[str, str],
        *,
        tag: str | None,
        arguments: Mapping[str, str],
        hosts: Mapping[str, str],
        labels: Mapping[str, str],
        log: Callable[[str], None],
        fresh: bool = False,
    ) -> Image:
        """Build a folder of text files, with the host's network, and return the image.

        `hosts` are names, and the addresses that steps find them at. A `fresh` build takes nothing
        from the cache. It goes through the classic builder: where BuildKit makes a layer again
        that an image has, engines such as 20.10 lose track of it and never free its disk. So does
        every build on an engine whose BuildKit cannot be spoken to without a session.

        Raises:
            BuildError: a step failed; its output went to `log`.
            EngineError: the engine failed.
        """
        build = buildkit.Build(tag=tag, arguments=arguments, hosts=hosts, labels=labels)
        with _translated(f"build {tag or 'an image'}"):
            image_id = self._build(files, build, log, fresh=fresh)
        if not image_id:
            raise EngineError(
                f"the build of {tag or 'an image'} ended without one",
                next_step="see the engine's own log, then try again",
            )
        return self._existing(image_id)

    def _build(
        self,
        files: Mapping[str, str],
        build: buildkit.Build,
        log: Callable[[str], None],
        *,
        fresh: bool,
    ) -> str:
        if not fresh and not self._needs_session:
            try:
                return _follow(self._build_with_buildkit(context(files), build), log)
            except buildkit.NeedsSession:
                self._needs_session = True
        return _follow(self._build_classic(context(files), build, fresh=fresh), log)

    def _cached(self) -> frozenset[str]:
        url, query = self._url("/system/df"), {"type": "build-cache"}
        deadline = time.monotonic() + API_SECONDS
        while True:
            answer = self._api.get(url, params=query, timeout=API_SECONDS)
            # Engines before 23 do not look twice at once (moby/moby#42715).
            if "already running" not in answer.text or answer.ok or time.monotonic() > deadline:
                return buildkit.cached(_checked(answer).json(), BUILD_MARK)
            time.sleep(POLL_SECONDS)

    def _post(
        self,
        path: str,
        query: Mapping[str, Any],
        *,
        seconds: float | None = API_SECONDS,
        data: IO[bytes] | None = None,
        stream: bool = False,
    ) -> Response:
        """Ask the engine what docker-py has no method for; it may be silent for `seconds`."""
        return _checked(
            self._api.post(self._url(path), params=query, timeout=seconds, data=data, stream=stream)
        )

    def _url(self, path: str) -> str:
        return f"{self._api.base_url}/v{self._api.api_version}{path}"

    def _build_with_buildkit(
        self, context: IO[bytes], build: buildkit.Build
    ) -> Iterator[buildkit.Event]:
        """One thread hands the context in and another reads: each waits for the other's request."""

        def hand_in() -> Iterator[buildkit.Event]:
            self._post("/build", build.uploading, seconds=None, data=context)
            yield from ()

        def read() -> Iterator[buildkit.Event]:
            answer = self._post("/build", build.building, seconds=None, stream=True)
            yield from buildkit.read(answer.iter_lines())

        try:
            yield from self._until_cancelled(read, hand_in)
        except Cancelled:
            with suppress(*_FAILURES):
                self._post("/build/cancel", {"id": build.id})
            raise

    def _build_classic(
        self, context: IO[bytes], build: buildkit.Build, *, fresh: bool
    ) -> Iterator[buildkit.Event]:
        """When the process ends, its connection closes, and the engine ends the build."""

        def read() -> Iterator[buildkit.Event]:
            for event in self._api.build(
                fileobj=context,
                custom_context=True,
                tag=build.tag,
                buildargs=dict(build.arguments),
                extra_hosts=dict(build.hosts),
                labels=dict(build.labels),
                rm=True,
                forcerm=True,
                nocache=fresh,
                network_mode="host",
                decode=True,
            ):
                if "error" in event:
                    yield "error", event["error"]
                elif image := event.get("aux", {}).get("ID"):
                    yield "image", image
                else:
                    yield "log", event.get("stream") or event.get("status") or ""

        yield from self._until_cancelled(read)

    def _until_cancelled(
        self, read: Callable[[], Iterator[_T]], *beside: Callable[[], Iterator[_T]]
    ) -> Iterator[_T]:
        """Yield what `read` does, in a thread, until it ends; look at `cancelled` meanwhile."""
        arrived: queue.SimpleQueue[_T | Exception | None] = queue.SimpleQueue()

        def follow(work: Callable[[], Iterator[_T]]) -> None:
            try:
                for event in work():
                    arrived.put(event)
                if work is read:
                    arrived.put(None)
            except Exception as error:  # noqa: BLE001  (raised again where it is read)
                arrived.put(error)

        for work in (*beside, read):
            threading.Thread(target=follow, args=[work], daemon=True).start()
        while not self.cancelled.is_set():
            try:
                event = arrived.get(timeout=POLL_SECONDS * 4)
            except queue.Empty:
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
        raise Cancelled

    def config(self, image: str) -> dict[str, Any]:
        """Return what an image says of itself beside its layers and its history.

        Left out are the ids of the images below and the engine's notes on the container that built
        it, which say when and where, not what.
        """
        with _translated(f"look up the image {image}"):
            found = self._api.inspect_image(image)  # type: ignore[no-untyped-call]
        config = {
            name: value
            for name, value in found["Config"].items()
            if name not in ("Image", "Hostname", "Domainname", "ArgsEscaped") and value is not None
        }
        return {"architecture": found["Architecture"], "os": found["Os"], "config": config}

    @contextmanager
    def layers(self, image: str, folder: Path) -> Iterator[list[IO[bytes]]]:
        """Yield the layers of an image as tar files, lowest first; `folder` has room for them."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            with _translated(f"save the image {image}"):
                for chunk in self._api.get_image(image):
                    file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                (manifest,) = _read(tar, ["manifest.json"])
                yield _read(tar, json.load(manifest)[0]["Layers"])

    def names(self, pattern: str) -> frozenset[str]:
        """Return the names of images that match a pattern, such as `envmatrix/cell:torch-*`."""
        with _translated("list images"):
            found = self._api.images(filters={"reference": pattern})
        return frozenset(name for image in found for name in image["RepoTags"] or ())

    def name(self, image: Image, name: str) -> None:
        """Give a name to an image; if another has it, that one loses it."""
        with _translated(f"name {name}"):
            self._api.tag(image.id, name)

    def remove_image(self, image: str) -> None:
        """Remove an image by name, or by id: one that has a name stays then.

        With it goes what the build cache held of it, unless another image has it too.
        """
        with suppress(*_FAILURES):
            self._api.remove_image(image)
            if cached := self._cached():
                self._post("/build/prune", buildkit.pruning(cached))

    def _existing(self, reference: str) -> Image:
        image = self.image(reference)
        if image is None:
            raise EngineError(
                f"the engine lost the image {reference}",
                next_step="is something else removing images? try again",
            )
        return image

    # --- containers

    def run(
        self,
        image: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limits: Limits,
        gpu: bool = False,
    ) -> Ran:
        """Run a command in a container that can harm nothing, and remove it.

        Raises:
            EngineError: the engine failed.
            Cancelled: the user asked to stop.
        """
        with _translated(f"run {command[0]} in {image}"):
            container = self._create(image, command, environment, limits, gpu=gpu)
            output = _Output(self._api.attach(container, stream=True, demux=True))
            try:
                return self._watch(container, limits, output)
            finally:
                output.close()
                with suppress(NotFound):
                    self._api.remove_container(container, force=True, v=True)

    def _create(
        self,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        *,
        gpu: bool,
    ) -> str:
        host_config = self._api.create_host_config(
            **isolation(limits),
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else None,
        )
        created = self._api.create_container(
            image,
            list(command),
            user=f"{USER}:{USER}",
            environment=dict(environment),
            network_disabled=True,
            labels={RUN_LABEL: self.run_id},
            host_config=host_config,
        )
        return str(created["Id"])

    def _watch(self, container: str, limits: Limits, output: _Output) -> Ran:
        started = time.monotonic()
        try:
            self._api.start(container)
        except APIError as error:
            # The command cannot be executed: docker run reports this as 126 or 127.
            return Ran(127, "", str(error.explanation or error), 0.0)
        output.start()
        ended_by_us = ""
        while self._api.inspect_container(container)["State"]["Running"]:
            if self.cancelled.is_set():
                raise Cancelled
            if output.flooded or time.monotonic() - started > limits.seconds:
                ended_by_us = "flooded" if output.flooded else "timed_out"
                with suppress(APIError):
                    self._api.kill(container)
                break
            output.done.wait(POLL_SECONDS * 4)
        seconds = time.monotonic() - started
        output.done.wait(5)
        state = self._api.inspect_container(container)["State"]
        return Ran(
            exit_code=None if ended_by_us else int(state["ExitCode"]),
            stdout=output.text("stdout"),
            stderr=output.text("stderr"),
            seconds=round(seconds, 3),
            out_of_memory=bool(state.get("OOMKilled")),
            timed_out=ended_by_us == "timed_out",
            flooded=ended_by_us == "flooded" or output.flooded,
        )

    def containers(self) -> frozenset[str]:
        """Return the ids of all containers of the engine, whoever made them."""
        return self._container_ids(all_of_them=True)

    def running(self) -> frozenset[str]:
        """Return the ids of the containers that run, whoever made them."""
        return self._container_ids(all_of_them=False)

    def _container_ids(self, *, all_of_them: bool) -> frozenset[str]:
        with _translated("list containers"):
            found = self._api.containers(all=all_of_them, quiet=True)
        return frozenset(container["Id"] for container in found)

    def remove_containers(self) -> None:
        """Remove the containers of this run that are left."""
        with suppress(*_FAILURES):
            for container in self._api.containers(
                all=True, filters={"label": f"{RUN_LABEL}={self.run_id}"}
            ):
                with suppress(*_FAILURES):
                    self._api.remove_container(container["Id"], force=True, v=True)


class _Output:
    """Collects what a container writes, up to a limit, in a thread of its own."""

    def __init__(self, stream: CancellableStream[tuple[bytes | None, bytes | None]]) -> None:
        self._stream = stream
        self._parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.flooded = False
        self.done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        """Read to the end, also past the limit: an engine that cannot write cannot end it."""
        total = 0
        with suppress(*_FAILURES, ValueError):
            for out, err in self._stream:
                if self.flooded:
                    continue
                self._parts["stdout"].append(out or b"")
                self._parts["stderr"].append(err or b"")
                total += len(out or b"") + len(err or b"")
                self.flooded = total > OUTPUT_LIMIT
        self.done.set()

    def close(self) -> None:
        with suppress(*_FAILURES, AttributeError):
            self._stream.close()

    def text(self, name: str) -> str:
        return b"".join(self._parts[name])[:OUTPUT_LIMIT].decode("utf-8", "replace")


def isolation(limits: Limits) -> dict[str, Any]:
    """Return the host settings of every container that runs a probe: all flags, in one place."""
    return {
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={limits.scratch}"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "pids_limit": limits.processes,
        "shm_size": 256 * 2**20,
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # Output is read as it comes; a log file on the engine's disk could fill it.
        "log_config": {"type": "none"},
        "init": True,
    }


def _follow(events: Iterable[buildkit.Event], log: Callable[[str], None]) -> str:
    """Log a build to its end; return the id of the image, empty where the engine told none."""
    image_id = ""
    for kind, text in events:
        if kind == "image":
            image_id = text
            continue
        log(text)
        if kind == "error":
            log("\n")
            raise BuildError(text)
    return image_id


def context(files: Mapping[str, str]) -> io.BytesIO:
    """Return a build context that is the same for the same files: docker-py's own is not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in sorted(files.items()):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), CONTEXT_MTIME, 0o644
            tar.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def _read(tar: tarfile.TarFile, paths: Iterable[str]) -> list[IO[bytes]]:
    return [file for path in paths if (file := tar.extractfile(path))]


def _checked(response: Response) -> Response:
    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)  # raises it, with what the engine said
    return response


def _host() -> str | None:
    """Return the address of the current Docker context; DOCKER_HOST, where set, wins over it."""
    if os.environ.get("DOCKER_HOST"):
        return None
    with suppress(DockerException, OSError, ValueError, KeyError):
        host = docker.context.ContextAPI.get_current_context().Host
        return str(host) if host else None
    return None


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except (EngineError, BuildError, Cancelled):
        raise
    except _FAILURES as error:
        _explain(doing, error)


def _explain(doing: str, error: Exception) -> NoReturn:
    said = str(getattr(error, "explanation", None) or error)
    if "Permission denied" in said or "PermissionError" in said:
        raise EngineError(
            "this user may not talk to the Docker engine",
            where=doing,
            next_step="add the user to the docker group and log in again, or use root",
        ) from error
    if any(
        word in said
        for word in (
            "Connection refused",
            "FileNotFoundError",
            "No such file",
            "Connection aborted",
            "Max retries",
            "Name or service",
        )
    ):
        raise EngineError(
            "no Docker engine answers",
            where=doing,
            next_step="start Docker, set DOCKER_HOST, or run scripts/setup-engine as root "
            "on Debian",
        ) from error
    raise EngineError(
        f"the Docker engine failed: {said[:600]}",
        where=doing,
        next_step="see the engine's own log, then try again",
    ) from error
