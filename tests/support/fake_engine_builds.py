"""The two builders of the fake engine: a Dockerfile in, deterministic layers out.

The same instruction with the same files gives the same layer, whichever builder makes it. What a
build does is a stream of events; each builder writes them in its own format.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePosixPath
from typing import Any, Literal

from fake_engine_faults import (
    NO_SPACE,
    BuildWithoutImage,
    DiskFull,
    Faults,
    StepFails,
    StepTakes,
    UnstableLayer,
    VanishesMidBuild,
)
from fake_engine_images import FakeImage, ImageStore, make_tar, sha256
from fake_http import Answer, Cut, Refused, Request, json_answer

STEP_LABEL = "io.envmatrix.step"
UPLOAD_SECONDS = 5.0
"""How long a context and its build wait for each other, as in moby."""

POLL_SECONDS = 0.02
NOT_TAKEN = (
    "failed to read downloaded context: failed to load cache key: no active session for {id}: "
    "context deadline exceeded"
)

_LAYERED = ("RUN", "COPY", "ADD")
_PARSED = ("FROM", "ARG", "ENV", "LABEL", "USER", "WORKDIR", "CMD", "ENTRYPOINT")
_IGNORED = ("EXPOSE", "HEALTHCHECK", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "VOLUME")
_KEYWORDS = frozenset((*_LAYERED, *_PARSED, *_IGNORED))
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile, its continued lines joined. `number` counts from 1."""

    number: int
    total: int
    keyword: str
    text: str

    @property
    def instruction(self) -> str:
        """The instruction on one line."""
        return f"{self.keyword} {self.text}"


@dataclass(slots=True)
class BuildRecord:
    """What one build was asked, and how it ended. `steps` are the instructions it came to.

    A build that the client or the engine left in the middle counts as cancelled. `ended` is empty
    while the build goes on.
    """

    builder: Literal["buildkit", "classic"]
    tag: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    hosts: tuple[str, ...]
    network: str
    no_cache: bool
    files: Mapping[str, bytes]
    platform: str = ""
    steps: list[str] = field(default_factory=list)
    ended: Literal["", "made", "failed", "cancelled"] = ""
    image: str = ""

    @property
    def dockerfile(self) -> str:
        """The text of the Dockerfile."""
        return self.files.get("Dockerfile", b"").decode()


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A layer in a build cache. `chain` are the diff ids up to it."""

    id: str
    builder: str
    description: str
    layer: bytes
    chain: tuple[str, ...]
    created: str


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that a build did; `text` is output, an error or the id of an image."""

    kind: Literal["began", "cached", "done", "printed", "waiting", "failed", "made"]
    step: Step | None = None
    text: str = ""
    code: int = 0


class _StepFailed(Exception):  # noqa: N818  (an event of the build, not an error of the fake)
    """A step failed with an exit code, or for the reason in `error`."""

    def __init__(self, code: int, error: str = "") -> None:
        super().__init__(error)
        self.code = code
        self.error = error


def parse_dockerfile(text: str) -> list[Step]:
    """Return the instructions of a Dockerfile. Heredocs are not understood.

    Raises:
        Refused: an instruction is not one of Docker's, or there is no FROM.
    """
    found = []
    for number, line in _logical_lines(text):
        keyword, _, rest = line.strip().partition(" ")
        if keyword.upper() not in _KEYWORDS:
            raise Refused(
                400, f"dockerfile parse error on line {number}: unknown instruction: {keyword}"
            )
        found.append((keyword.upper(), rest.strip()))
    if all(keyword != "FROM" for keyword, _ in found):
        raise Refused(400, "no build stage in current context")
    return [Step(place, len(found), *one) for place, one in enumerate(found, 1)]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first = first or number
        if line.rstrip().endswith("\\"):
            begun += line.rstrip()[:-1]
            continue
        yield first, begun + line
        begun, first = "", 0
    if begun:
        yield first, begun


@dataclass
class Build:
    """One build: the state that its instructions change, and what it leaves in the cache."""

    record: BuildRecord
    builders: Builders
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.steps = parse_dockerfile(self.record.dockerfile)
        self._layers: tuple[bytes, ...] = ()
        self._chain: tuple[str, ...] = ()
        self._history: list[str] = []
        self._config: dict[str, Any] = {}
        self._arguments: dict[str, str] = {}
        self._base = ""
        self._created = ""
        self._architecture = ""

    def events(self) -> Iterator[_Event]:
        """Build, and yield what happens. A reader that leaves cancels the build."""
        try:
            yield from self._events()
        finally:
            self.record.ended = self.record.ended or "cancelled"

    def _events(self) -> Iterator[_Event]:
        for step in self.steps:
            self.record.steps.append(step.instruction)
            try:
                yield from self._work(step)
            except _StepFailed as failure:
                self.record.ended = "failed"
                yield _Event("failed", step, failure.error, failure.code)
                return
            if self.cancelled.is_set():
                yield _Event("failed", None, "context canceled")
                return
        self.record.ended = "made"
        if not self.builders.faults.take(BuildWithoutImage, self.record.labels.get(STEP_LABEL, "")):
            yield _Event("made", None, self._make())

    def _work(self, step: Step) -> Iterator[_Event]:
        if step.keyword not in _LAYERED:
            yield _Event("began", step)
            yield from self._go_wrong(step, running=False)
            self._configure(step)
            yield _Event("done", step)
            return
        key = self._key(step)
        if cached := self._cached(key):
            yield _Event("cached", step)
            yield from self._go_wrong(step, running=False)
            self._stack(step, cached.layer, cached.created)
            return
        yield _Event("began", step)
        yield from self._go_wrong(step, running=True)
        yield _Event("printed", step, self.builders.printed(step))
        self._stack(step, self._make_layer(step), self.builders.now())
        self._keep(key, step)
        yield _Event("done", step)

    def _go_wrong(self, step: Step, *, running: bool) -> Iterator[_Event]:
        faults, subject = self.builders.faults, step.instruction
        if faults.take(VanishesMidBuild, subject):
            self.builders.vanish()
            raise Cut
        if not running:
            return
        if slow := faults.take(StepTakes, subject):
            end = time.monotonic() + slow.seconds
            while time.monotonic() < end and not self.cancelled.wait(POLL_SECONDS):
                yield _Event("waiting", step)
        if failure := faults.take(StepFails, subject):
            if failure.output:
                yield _Event("printed", step, failure.output)
            raise _StepFailed(failure.code, failure.error)
        if faults.take(DiskFull, "build"):
            yield _Event("printed", step, f"cannot write: {NO_SPACE.capitalize()}\n")
            raise _StepFailed(1, f"failed to register layer: write /layer: {NO_SPACE}")

    # --- layers

    def _stack(self, step: Step, layer: bytes, created: str) -> None:
        self._layers += (layer,)
        self._chain += (sha256(layer),)
        self._history.append(step.instruction)
        self._created = created

    def _key(self, step: Step) -> tuple[object, ...]:
        files = self._sources(step) if step.keyword != "RUN" else {}
        declared = tuple(sorted(self._arguments.items())) if step.keyword == "RUN" else ()
        return (
            self.record.builder,
            self._chain,
            step.instruction,
            declared,
            sha256(make_tar(files)),
        )

    def _cached(self, key: tuple[object, ...]) -> CacheEntry | None:
        found = None if self.record.no_cache else self.builders.cache.get(key)
        if found and found.builder == "classic":
            # The cache of the classic builder is the images that it made.
            return found if self.builders.images.has_chain(found.chain) else None
        return found

    def _keep(self, key: tuple[object, ...], step: Step) -> None:
        description = f"[{step.number}/{step.total}] {step.instruction}"
        if step.keyword == "RUN":
            description = f"mount / from exec /bin/sh -c {step.text}"
        self.builders.cache[key] = CacheEntry(
            uuid.uuid4().hex[:25],
            self.record.builder,
            description,
            self._layers[-1],
            self._chain,
            self._created,
        )

    def _make_layer(self, step: Step) -> bytes:
        if step.keyword == "RUN":
            name = sha256(step.instruction.encode())[7:19]
            files = {f"layer/{name}": step.instruction.encode()}
        else:
            files = self._sources(step)
        files = dict(self.builders.on_layer(step, files))
        if self.builders.faults.take(UnstableLayer, step.instruction):
            files["unstable"] = uuid.uuid4().bytes
        return make_tar(files, self.builders.owner)

    def _sources(self, step: Step) -> dict[str, bytes]:
        """Return the files that a COPY or an ADD puts into its layer."""
        words = [word for word in shlex.split(self._expand(step.text)) if not word.startswith("--")]
        *sources, target = words
        found: dict[str, bytes] = {}
        for source in sources:
            path = source.removeprefix("./").strip("/")
            taken = {
                name: data
                for name, data in self.record.files.items()
                if path in (".", "") or name == path or name.startswith(f"{path}/")
            }
            if not taken:
                raise _StepFailed(1, f'failed to calculate checksum of "/{path}": not found')
            for name, data in taken.items():
                inside = name if path in (".", "") else name.removeprefix(f"{path}/")
                place = PurePosixPath(target.strip("/"))
                is_folder = target.endswith(("/", ".")) or len(taken) > 1 or len(sources) > 1
                found[str(place / PurePosixPath(inside) if is_folder else place)] = data
        return found

    # --- instructions that set the configuration

    def _configure(self, step: Step) -> None:
        match step.keyword:
            case "FROM":
                self._begin_on(step)
            case "ARG":
                self._declare(step.text)
            case "ENV" | "LABEL":
                self._set_pairs(step)
            case "USER" | "WORKDIR":
                name = {"USER": "User", "WORKDIR": "WorkingDir"}[step.keyword]
                self._config[name] = self._expand(step.text)
            case "CMD" | "ENTRYPOINT":
                self._config[step.keyword.capitalize()] = _command(step.text)
            case _:
                self._history.append(step.instruction)

    def _begin_on(self, step: Step) -> None:
        words = self._expand(step.text).split()
        name = next((word for word in words if not word.startswith("--")), "")
        image = self.builders.base(name)
        if image is None:
            raise _StepFailed(
                0,
                f"pull access denied for {name}, repository does not exist or may require "
                "'docker login': denied: requested access to the resource is denied",
            )
        self._layers, self._chain = image.layers, image.diff_ids
        self._history = [*image.history]
        self._config = json.loads(json.dumps(dict(image.config)))
        self._base, self._created = image.id, image.created
        self._architecture = image.architecture
        # What was declared before FROM counts for FROM alone.
        self._arguments = {}

    def _declare(self, text: str) -> None:
        name, _, default = text.partition("=")
        value = self.record.arguments.get(name, _unquoted(self._expand(default)))
        self._arguments[name] = value

    def _set_pairs(self, step: Step) -> None:
        pairs = dict(word.partition("=")[::2] for word in shlex.split(self._expand(step.text)))
        if step.keyword == "LABEL":
            self._config["Labels"] = (self._config.get("Labels") or {}) | pairs
            return
        kept = [one for one in self._config.get("Env") or () if one.partition("=")[0] not in pairs]
        self._config["Env"] = kept + [f"{name}={value}" for name, value in pairs.items()]

    def _expand(self, text: str) -> str:
        environment = dict(one.partition("=")[::2] for one in self._config.get("Env") or ())
        known = self._arguments | environment

        def value(found: re.Match[str]) -> str:
            return known.get(found[1] or found[2]) or found[3] or ""

        return _VARIABLE.sub(value, text)

    def _make(self) -> str:
        labels = (self._config.get("Labels") or {}) | dict(self.record.labels)
        classic = self.record.builder == "classic"
        image = FakeImage(
            self._layers,
            self._config | {"Labels": labels or None},
            self._architecture,
            self._created,
            self._base if classic else "",
            tuple(self._history),
        )
        self.builders.images.add(image, *([self.record.tag] if self.record.tag else []))
        self.record.image = image.id
        return image.id


def _command(text: str) -> list[str]:
    try:
        words = json.loads(text)
    except ValueError:
        return ["/bin/sh", "-c", text]
    return [str(word) for word in words]


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ("'", '"') and text[-1:] == text[:1] else text


class Builders:
    """Both builders of an engine, and what they share."""

    def __init__(
        self,
        images: ImageStore,
        faults: Faults,
        vanish: Callable[[], None],
        base: Callable[[str], FakeImage | None],
    ) -> None:
        self.images = images
        self.faults = faults
        self.vanish = vanish
        self.base = base
        self.cache: dict[tuple[object, ...], CacheEntry] = {}
        self.records: list[BuildRecord] = []
        self.cancelled: list[str] = []
        self.owner = ""
        """The name of an owner in the headers of layers, which another engine does not write."""
        self.on_layer: Callable[[Step, Mapping[str, bytes]], Mapping[str, bytes]] = (
            lambda _, files: files
        )
        self.printed: Callable[[Step], str] = lambda step: f"did {step.keyword}\n"
        self._seconds = count()
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def now(self) -> str:
        """Return a time that no build had before."""
        seconds = next(self._seconds)
        hours, rest = divmod(seconds, 3600)
        return f"2026-01-02T{hours % 24:02}:{rest // 60:02}:{rest % 60:02}Z"

    # --- what the engine answers

    def build(self, request: Request, *, needs_session: bool) -> Answer:
        """Answer `POST /build` of either builder."""
        if request.one("version") != "2":
            record = _record(request, "classic", request.files())
            return _stream(_classic_lines(self._begun(record)))
        job_id = request.one("buildid")
        if job_id.startswith("upload-request:"):
            return self._hand_in(job_id.removeprefix("upload-request:"), request.body)
        job = self._job(job_id or uuid.uuid4().hex)
        if request.one("remote") == "upload-request":
            request = job.wait_for_context(request)
        elif not request.body:
            raise Refused(400, "no active sessions")
        if needs_session:
            return _stream(iter([_error(NOT_TAKEN.format(id=job_id))]))
        build = self._begun(_record(request, "buildkit", request.files()), job.cancelled)
        return _stream(_buildkit_lines(build))

    def _hand_in(self, job_id: str, body: bytes) -> Answer:
        if not self._job(job_id).hand_in(body):
            raise Refused(500, "context deadline exceeded")
        return Answer()

    def _begun(self, record: BuildRecord, cancelled: threading.Event | None = None) -> Build:
        self.records.append(record)
        build = Build(record, self)
        if cancelled:
            build.cancelled = cancelled
        return build

    def _job(self, job_id: str) -> _Job:
        with self._lock:
            return self._jobs.setdefault(job_id, _Job())

    def cancel(self, request: Request) -> Answer:
        """Answer `POST /build/cancel`."""
        job_id = request.one("id")
        self.cancelled.append(job_id)
        self._job(job_id).cancelled.set()
        return Answer(204)

    def entries(self) -> list[CacheEntry]:
        """Return what the cache of BuildKit holds."""
        return [entry for entry in self.cache.values() if entry.builder == "buildkit"]

    def usage(self) -> list[dict[str, Any]]:
        """Return the build cache as `GET /system/df` shows it."""
        return [
            {
                "ID": entry.id,
                "Type": "regular",
                "Description": entry.description,
                "InUse": False,
                "Shared": self.images.has_chain(entry.chain),
                "Size": len(entry.layer),
                "CreatedAt": entry.created,
                "LastUsedAt": entry.created,
                "UsageCount": 1,
            }
            for entry in self.entries()
        ]

    def prune(self, request: Request) -> Answer:
        """Answer `POST /build/prune`: what an image or another entry stands on stays."""
        wanted = [re.compile(one) for one in json.loads(request.one("filters", "{}")).get("id", ())]
        removed: list[CacheEntry] = []
        while loose := [one for one in self.entries() if self._is_loose(one, wanted)]:
            removed += loose
            self.cache = {key: one for key, one in self.cache.items() if one not in loose}
        return json_answer(
            {
                "CachesDeleted": [one.id for one in removed],
                "SpaceReclaimed": sum(len(one.layer) for one in removed),
            }
        )

    def _is_loose(self, entry: CacheEntry, wanted: Sequence[re.Pattern[str]]) -> bool:
        if wanted and not any(pattern.search(entry.id) for pattern in wanted):
            return False
        above = any(
            len(other.chain) > len(entry.chain) and other.chain[: len(entry.chain)] == entry.chain
            for other in self.entries()
        )
        return not above and not self.images.has_chain(entry.chain)


class _Job:
    """Where a context and the build that wants it meet."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._arrived = threading.Event()
        self._taken = threading.Event()
        self._body = b""

    def hand_in(self, body: bytes) -> bool:
        """Hand a context in; return whether a build took it in time."""
        self._body = body
        self._arrived.set()
        return self._taken.wait(UPLOAD_SECONDS)

    def wait_for_context(self, request: Request) -> Request:
        """Return the request of a build with the context that was handed in."""
        if not self._arrived.wait(UPLOAD_SECONDS):
            raise Refused(500, "context deadline exceeded")
        self._taken.set()
        return Request(
            request.method, request.path, request.query, request.headers, self._body, request.api
        )


def _record(
    request: Request, builder: Literal["buildkit", "classic"], files: Mapping[str, bytes]
) -> BuildRecord:
    dockerfile = request.one("dockerfile") or "Dockerfile"
    if dockerfile not in files:
        raise Refused(500, f"Cannot locate specified Dockerfile: {dockerfile}")
    return BuildRecord(
        builder,
        request.one("t"),
        json.loads(request.one("buildargs") or "{}"),
        json.loads(request.one("labels") or "{}"),
        request.query.get("extrahosts", ()),
        request.one("networkmode"),
        request.flag("nocache"),
        {**files, "Dockerfile": files[dockerfile]},
        request.one("platform"),
    )


def _stream(lines: Iterator[bytes]) -> Answer:
    return Answer(body=lines)


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\r\n"


def _error(message: str, code: int = 0) -> bytes:
    detail = {"message": message} | ({"code": code} if code else {})
    return _line({"errorDetail": detail, "error": message})


# --- the format of the classic builder -------------------------------------------------------


def _classic_lines(build: Build) -> Iterator[bytes]:
    for event in build.events():
        yield b"".join(_classic(event, build))


def _classic(event: _Event, build: Build) -> Iterator[bytes]:
    step = event.step
    match event.kind:
        case "began" | "cached" if step:
            yield _said(f"Step {step.number}/{step.total} : {step.instruction}\n")
            if event.kind == "cached":
                yield _said(" ---> Using cache\n")
        case "printed":
            yield _said(event.text)
        case "failed":
            command = step.text if step else ""
            said = f"The command '/bin/sh -c {command}' returned a non-zero code: {event.code}"
            yield _error(event.text or said, event.code)
        case "made":
            short = event.text.removeprefix("sha256:")[:12]
            yield _line({"aux": {"ID": event.text}})
            yield _said(f"Successfully built {short}\n")
            if build.record.tag:
                yield _said(f"Successfully tagged {build.record.tag}\n")


def _said(text: str) -> bytes:
    return _line({"stream": text})


# --- the format of BuildKit ------------------------------------------------------------------

_VERTEXES, _LOGS = 1, 3
_TIME = b"\x08\x80\xe2\xcf\xaa\x06"  # a google.protobuf.Timestamp


def _buildkit_lines(build: Build) -> Iterator[bytes]:
    shown = [step for step in build.steps if step.keyword in ("FROM", *_LAYERED)]
    numbers = {step.number: place for place, step in enumerate(shown, 1)}
    for event in build.events():
        if event.kind == "failed":
            command = event.step.text if event.step else ""
            yield _error(
                event.text
                or f'process "/bin/sh -c {command}" did not complete successfully: '
                f"exit code: {event.code}"
            )
        elif event.kind == "made":
            yield _line({"id": "moby.image.id", "aux": {"ID": event.text}})
        elif event.step and event.step.number in numbers:
            name = f"[{numbers[event.step.number]}/{len(shown)}] {event.step.instruction}"
            yield _trace(event, name)
        else:
            yield b""


def _trace(event: _Event, name: str) -> bytes:
    """Return a line with a StatusResponse of BuildKit's control.proto."""
    digest = sha256(name.encode()).encode()
    vertex = _bytes_field(1, digest) + _bytes_field(3, name.encode())
    began, done = _bytes_field(5, _TIME), _bytes_field(6, _TIME)
    match event.kind:
        case "began":
            message = _bytes_field(_VERTEXES, vertex + began)
        case "cached":
            message = _bytes_field(_VERTEXES, vertex + b"\x20\x01" + began + done)
        case "done":
            message = _bytes_field(_VERTEXES, vertex + began + done)
        case "printed":
            log = _bytes_field(1, digest) + _bytes_field(2, _TIME) + b"\x18\x01"
            message = _bytes_field(_LOGS, log + _bytes_field(4, event.text.encode()))
        case _:
            return b""
    aux = base64.b64encode(message).decode()
    return _line({"id": "moby.buildkit.trace", "aux": aux})


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
