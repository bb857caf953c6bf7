"""A fake Docker engine on a unix socket, which docker-py takes for a real one.

It keeps images, a build cache and containers, builds with both builders, and fails on command:

    with FakeEngine() as fake:
        fake.fail(StepFails("pip install", output="no such wheel"), times=1)
        client = docker.APIClient(base_url=fake.url, version="auto")

Nothing is really run. `on_run` says how a container ends; by default it acts as a probe that
passes. Every request is in `requests`.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fake_engine_builds import Builders, BuildRecord, CacheEntry, Step
from fake_engine_containers import ContainerHost, Exit, FakeContainer, Observed, RunRequest
from fake_engine_faults import (
    NO_SPACE,
    AttachDropped,
    BuildWithoutImage,
    ConnectionDropped,
    DiskFull,
    Fault,
    Faults,
    ImageLost,
    Killed,
    PullRefused,
    Refuses,
    Slow,
    StartRefused,
    StepFails,
    StepTakes,
    UnstableLayer,
    Vanishes,
    VanishesMidBuild,
    VanishesMidRun,
)
from fake_engine_images import FakeImage, ImageStore, make_tar, sha256, tagged, with_size
from fake_engine_registries import pulled, push
from fake_http import STOP_SECONDS, Answer, Cut, HttpServer, Refused, Request, json_answer

__all__ = [
    "AttachDropped",
    "BuildRecord",
    "BuildWithoutImage",
    "CacheEntry",
    "ConnectionDropped",
    "DiskFull",
    "Exit",
    "Facts",
    "FakeContainer",
    "FakeEngine",
    "FakeImage",
    "Fault",
    "ImageLost",
    "Killed",
    "PullRefused",
    "Refuses",
    "Request",
    "RunRequest",
    "Slow",
    "StartRefused",
    "Step",
    "StepFails",
    "StepTakes",
    "UnstableLayer",
    "Vanishes",
    "VanishesMidBuild",
    "VanishesMidRun",
]

SOCKET_PATH_BYTES = 107
"""A unix socket's path may have so many bytes."""

_PREFIX = re.compile(r"/v(\d+)\.(\d+)(/.*)")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of itself. `root` is a folder of the fake unless it is set.

    An engine that `needs_session` has a BuildKit that takes no context without one. One that does
    not `reach` our loopback network is on another machine, or in a network of its own. It runs
    images of its own architecture, and of those that it `emulates`.
    """

    version: str = "27.5.1"
    api: str = "1.47"
    min_api: str = "1.24"
    architecture: str = "x86_64"
    operating_system: str = "Debian GNU/Linux 12 (bookworm)"
    nvidia: bool = False
    rootless: bool = False
    needs_session: bool = False
    reaches: bool = True
    emulates: tuple[str, ...] = ()
    memory: int = 8 * 2**30
    root: str | None = None

    @property
    def image_architecture(self) -> str:
        """The architecture of images, in the words of images."""
        names = {"x86_64": "amd64", "aarch64": "arm64"}
        return names.get(self.architecture, self.architecture)


Handler = Callable[..., Answer]


class FakeEngine:
    """A Docker engine that answers on a unix socket inside a `with` block.

    `facts`, `pullable`, `observed` and `on_run` may be set at any time. `pullable` are patterns of
    the references that the registry serves.
    """

    def __init__(self, path: Path | None = None, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()
        self.pullable: list[str] = ["debian:*", "ubuntu:*"]
        self._moves: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.faults = Faults()
        self._server = HttpServer(self._answer)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="fake-"))
        self._path = _short(path, self._folder)
        self.images = ImageStore()
        self.builds = Builders(self.images, self.faults, self.vanish, self._base)
        self.containers = ContainerHost(self.images, self.faults, self.vanish, self.errors)
        self.containers.has_gpu = lambda: self.facts.nvidia
        self.containers.runs = lambda architecture: (
            architecture in (self.facts.image_architecture, *self.facts.emulates)
        )
        self._routes = self._make_routes()

    # --- its life

    @property
    def url(self) -> str:
        """The address, for DOCKER_HOST or docker-py."""
        return f"unix://{self._path}"

    @property
    def errors(self) -> list[Exception]:
        """What went wrong inside the fake or in a function that a test gave it."""
        return self._server.errors

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self.containers.stop(time.monotonic() + STOP_SECONDS)
        self._server.stop()
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def vanish(self) -> None:
        """Go away: close every connection, end every container, and accept nothing more."""
        self._path.unlink(missing_ok=True)
        self._server.close()
        self.containers.end_all()

    def come_back(self) -> None:
        """Answer again after `vanish`, with everything that the engine kept."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                self._path.unlink()
            listening.bind(str(self._path))
        except OSError:
            listening.close()
            raise
        self._server.start(listening)

    # --- what a test may set and ask

    def fail(self, *faults: Fault, times: int | None = 1) -> None:
        """Arm faults for a number of times each; None means for ever."""
        self.faults.arm(faults, times)

    def heal(self) -> None:
        """Disarm every fault."""
        self.faults.clear()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that are still armed: what did not go wrong yet, or goes wrong for ever."""
        return self.faults.pending

    @property
    def on_run(self) -> Callable[[RunRequest], Exit]:
        """The function that says how a container ends."""
        return self.containers.on_run

    @on_run.setter
    def on_run(self, function: Callable[[RunRequest], Exit]) -> None:
        self.containers.on_run = function

    @property
    def observed(self) -> dict[str, Observed]:
        """What passing probes observe, by the name of the probe."""
        return self.containers.observed

    @property
    def on_layer(self) -> Callable[[Step, Mapping[str, bytes]], Mapping[str, bytes]]:
        """The function that gives the files of a layer, from the step and the default files."""
        return self.builds.on_layer

    @on_layer.setter
    def on_layer(
        self, function: Callable[[Step, Mapping[str, bytes]], Mapping[str, bytes]]
    ) -> None:
        self.builds.on_layer = function

    def add_image(
        self,
        *names: str,
        files: Mapping[str, bytes] | None = None,
        config: Mapping[str, Any] | None = None,
        architecture: str | None = None,
        size: int | None = None,
    ) -> FakeImage:
        """Make an image of one layer. Without files the layer follows from the first name."""
        label = (names or ("nameless",))[0]
        layer = make_tar(files or {"etc/os-release": f'NAME="{label}"\n'.encode()})
        image = FakeImage(
            (layer,),
            {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"], "Labels": None, **(config or {})},
            architecture or self.facts.image_architecture,
            history=("ADD rootfs.tar / # buildkit",),
        )
        return self.images.add(image if size is None else with_size(image, size), *names)

    def lose_image(self, pattern: str = "*") -> None:
        """Remove images whose names match, as something else would; `*` means all images."""
        self.images.forget(re.compile(translate(pattern)))

    def add_container(
        self, image: FakeImage, labels: Mapping[str, str] | None = None, *, running: bool = True
    ) -> FakeContainer:
        """Make a container that somebody else made. A running one runs until it is killed."""
        container = self.containers.add(image, {"Labels": dict(labels or {})})
        container.status = "running" if running else "exited"
        return container

    def kill_containers(self) -> int:
        """Kill what runs, as something outside the engine would; return how many there were."""
        running = [one for one in self.containers.by_id.values() if one.running]
        for container in running:
            self.containers.end(container)
        return len(running)

    @property
    def build_records(self) -> list[BuildRecord]:
        """The builds that were begun, oldest first."""
        return self.builds.records

    @property
    def served(self) -> dict[str, bytes]:
        """The files that were copied into containers which are there now."""
        containers = list(self.containers.by_id.values())
        return {name: data for one in containers for name, data in one.files.items()}

    @property
    def runs(self) -> list[RunRequest]:
        """The runs of the containers that were started, oldest first."""
        return self.containers.requests

    @property
    def cache(self) -> list[CacheEntry]:
        """What the build cache of BuildKit holds."""
        return self.builds.entries()

    def asked(self, pattern: str) -> list[Request]:
        """Return the recorded requests that match, such as `POST /build*`."""
        return [request for request in self.requests if request.matches(pattern)]

    # --- how it answers

    def _make_routes(self) -> Sequence[tuple[str, re.Pattern[str], Handler]]:
        images, builds, containers = self.images, self.builds, self.containers
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/_ping", lambda _: Answer(body=b"OK", type="text/plain")),
            ("HEAD", "/_ping", lambda _: Answer(type="text/plain")),
            ("GET", "/version", self._version),
            ("GET", "/info", self._info),
            ("GET", "/system/df", self._usage),
            ("GET", "/images/json", images.listed),
            ("GET", "/images/(.+)/json", images.inspect),
            ("GET", "/images/(.+)/history", images.told),
            ("GET", "/images/(.+)/get", images.saved),
            ("POST", "/images/create", self._create_image),
            ("POST", "/images/load", images.loaded),
            ("POST", "/images/(.+)/tag", images.tag),
            ("POST", "/images/(.+)/push", partial(push, images)),
            ("DELETE", "/images/(.+)", images.removed),
            ("POST", "/build", self._build),
            ("POST", "/build/cancel", builds.cancel),
            ("POST", "/build/prune", builds.prune),
            ("GET", "/containers/json", containers.listed),
            ("POST", "/containers/create", containers.create),
            ("GET", "/containers/([^/]+)/json", containers.inspect),
            ("POST", "/containers/([^/]+)/attach", containers.attach),
            ("POST", "/containers/([^/]+)/start", containers.start),
            ("POST", "/containers/([^/]+)/kill", containers.kill),
            ("PUT", "/containers/([^/]+)/archive", containers.put_archive),
            ("DELETE", "/containers/([^/]+)", containers.remove),
        ]
        return [(method, re.compile(path), handler) for method, path, handler in routes]

    def _answer(self, request: Request) -> Answer:
        try:
            request = self._without_prefix(request)
            with self._lock:
                self.requests.append(request)
            self._go_wrong(request)
            answer = self._handle(request)
        except Refused as refused:
            return json_answer({"message": refused.message}, refused.status)
        if lost := self.faults.take(ImageLost, request.line):
            return self._losing(answer, lost)
        return answer

    def _without_prefix(self, request: Request) -> Request:
        found = _PREFIX.fullmatch(request.path)
        if not found:
            return request
        api = f"{found[1]}.{found[2]}"
        asked, newest, oldest = map(_numbers, (api, self.facts.api, self.facts.min_api))
        if asked > newest:
            raise Refused(
                400,
                f"client version {api} is too new. Maximum supported API version is "
                f"{self.facts.api}",
            )
        if asked < oldest:
            raise Refused(
                400,
                f"client version {api} is too old. Minimum supported API version is "
                f"{self.facts.min_api}, please upgrade your client to a newer version",
            )
        return replace(request, path=found[3], api=api)

    def _go_wrong(self, request: Request) -> None:
        line = request.line
        if slow := self.faults.take(Slow, line):
            self._stopping.wait(slow.seconds)
        if self.faults.take(Vanishes, line):
            self.vanish()
            raise Cut
        if self.faults.take(ConnectionDropped, line):
            raise Cut
        if refusal := self.faults.take(Refuses, line):
            raise Refused(refusal.status, refusal.message)

    def _handle(self, request: Request) -> Answer:
        for method, path, handler in self._routes:
            if method == request.method and (found := path.fullmatch(request.path)):
                return handler(request, *found.groups())
        raise Refused(404, "page not found")

    def _losing(self, answer: Answer, lost: ImageLost) -> Answer:
        """Return an answer that something removes images behind before it ends."""
        body = answer.body
        if isinstance(body, bytes):
            self.lose_image(lost.image)
            return answer

        def parts() -> Iterator[bytes]:
            yield from body
            self.lose_image(lost.image)

        return replace(answer, body=parts())

    def _version(self, _: Request) -> Answer:
        return json_answer(
            {
                "Version": self.facts.version,
                "ApiVersion": self.facts.api,
                "MinAPIVersion": self.facts.min_api,
                "Os": "linux",
                "Arch": self.facts.image_architecture,
            }
        )

    def _info(self, _: Request) -> Answer:
        runtimes = {"runc": {"path": "runc"}}
        if self.facts.nvidia:
            runtimes["nvidia"] = {"path": "nvidia-container-runtime"}
        return json_answer(
            {
                "ID": "fake",
                "Name": "fake",
                "ServerVersion": self.facts.version,
                "OperatingSystem": self.facts.operating_system,
                "OSType": "linux",
                "SecurityOptions": ["name=seccomp,profile=default"]
                + (["name=rootless"] if self.facts.rootless else []),
                "Architecture": self.facts.architecture,
                "DockerRootDir": self.facts.root or str(self._folder),
                "Driver": "overlay2",
                "Runtimes": runtimes,
                "DefaultRuntime": "runc",
                "Images": len(self.images.by_id),
                "Containers": len(self.containers.by_id),
                "NCPU": 4,
                "MemTotal": self.facts.memory,
            }
        )

    def _usage(self, _: Request) -> Answer:
        cache = self.builds.usage()
        layers = {layer for image in self.images.by_id.values() for layer in image.layers}
        return json_answer({"LayersSize": sum(map(len, layers)), "BuildCache": cache})

    def _build(self, request: Request) -> Answer:
        if request.one("remote").startswith("http://"):
            return self._download(request.one("remote"))
        return self.builds.build(request, needs_session=self.facts.needs_session)

    def _download(self, url: str) -> Answer:
        """Fetch the context of a build, as an engine on this machine or elsewhere would."""
        said = "connect: connection refused"
        if self.facts.reaches:
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).close()
            except urllib.error.HTTPError as error:
                error.close()
                said = f"failed to GET {url} with status {error.code}"
        raise Refused(404, f"error downloading remote context {url}: {said}")

    def _create_image(self, request: Request) -> Answer:
        if request.one("fromSrc") == "-":
            if self.faults.take(DiskFull, "import"):
                raise Refused(500, f"write /var/lib/docker/tmp/import: {NO_SPACE}")
            return self.images.imported(request)
        tag = request.one("tag") or "latest"
        joint = "@" if tag.startswith("sha256:") else ":"
        architecture = request.one("platform").removeprefix("linux/")
        auth = request.headers.get("x-registry-auth", "")
        return self._pull(f"{request.one('fromImage')}{joint}{tag}", architecture, auth)

    def _pull(self, reference: str, architecture: str, auth: str = "") -> Answer:
        refusal = self.faults.take(PullRefused, reference)
        if refusal and not refusal.in_stream:
            raise Refused(refusal.status, refusal.text(reference))
        lines: list[Mapping[str, object]] = [{"status": f"Pulling {reference}"}]
        if refusal:
            lines.append(_error_line(refusal.text(reference)))
        elif self.faults.take(DiskFull, "pull"):
            lines.append(_error_line(f"failed to register layer: write /layer: {NO_SPACE}"))
        elif not self._is_pullable(reference) and reference.startswith("127.0.0.1:"):
            found = pulled(self.images, reference, auth)
            if isinstance(found, str):
                lines.append(_error_line(found))
        elif not self._is_pullable(reference):
            raise Refused(404, PullRefused().text(reference))
        else:
            image = self._pulled(reference, architecture)
            lines += [
                {"status": f"Digest: {image.id}"},
                {"status": f"Status: Downloaded newer image for {reference}"},
            ]
        return Answer(body=(json.dumps(line).encode() + b"\r\n" for line in lines))

    def _is_pullable(self, reference: str) -> bool:
        return any(fnmatchcase(reference, pattern) for pattern in self.pullable)

    def _pulled(self, reference: str, architecture: str = "") -> FakeImage:
        name, at, digest = reference.partition("@")
        moves = self._moves[reference]
        image = self.add_image(
            *([] if at else [name]),
            files=_release(name, moves),
            architecture=architecture or None,
        )
        repository = tagged(name).rpartition(":")[0]
        self.images.digests[f"{repository}@{digest or self.digest_of(reference)}"] = image.id
        return image

    def digest_of(self, reference: str) -> str:
        """Return the digest of the image that the registry serves under a tag now."""
        moves = self._moves[reference]
        return sha256(f"{reference} {moves}".encode() if moves else reference.encode())

    def move_tag(self, reference: str) -> None:
        """Let the registry serve another image under a tag from now on."""
        self._moves[reference] += 1

    def _base(self, name: str) -> FakeImage | None:
        """Return the image that a build stands on, pulled where the engine does not have it."""
        if name == "scratch":
            return FakeImage((), {}, self.facts.image_architecture)
        found = self.images.find(name)
        if found or not self._is_pullable(tagged(name)):
            return found
        return self._pulled(tagged(name))


def _release(name: str, moves: int = 0) -> dict[str, bytes]:
    files = {"etc/os-release": f'NAME="{name}"\n'.encode()}
    return files | ({"etc/debian_version": f"12.{moves}\n".encode()} if moves else {})


def _error_line(message: str) -> Mapping[str, object]:
    return {"errorDetail": {"message": message}, "error": message}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _short(path: Path | None, folder: Path) -> Path:
    """Return the path of the socket: the given one if it is short enough."""
    own = folder / "docker.sock"
    chosen = path if path and len(bytes(path)) <= SOCKET_PATH_BYTES else own
    if len(bytes(chosen)) > SOCKET_PATH_BYTES:
        raise ValueError(f"no unix socket can have the path {chosen}: it is too long")
    return chosen
