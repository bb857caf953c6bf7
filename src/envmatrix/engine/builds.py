"""Builds: an image from a Dockerfile, by BuildKit or by the classic builder of the engine."""

from __future__ import annotations

import io
import queue
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TypeVar

from envmatrix.engine import buildkit
from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.image import Image
from envmatrix.engine.images import Images
from envmatrix.engine.process import Cancelled
from envmatrix.engine.proxies import hiding, proxy_arguments, secrets_of, user_environment
from envmatrix.model.errors import EngineError

STEP_LABEL = "io.envmatrix.step"
CONTEXT_MTIME = 1_700_000_000
POLL_SECONDS = 0.2
_T = TypeVar("_T")


BUILD_SECONDS = 3 * 60 * 60.0
"""The time that one build may take. The largest images take minutes."""

_CODE = re.compile(r"(?:exit code|non-zero code): (\d+)\s*\Z")


class BuildError(Exception):
    """A build ended without an image. `code` is the exit code of the step that failed, if any."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        match = _CODE.search(said)
        self.code = int(match[1]) if match else None


class _TooLongError(EngineError):
    """A build took longer than any build may."""


@dataclass
class Builds:
    """The builds of an engine."""

    connection: Connection
    images: Images
    _needs_session: bool = field(default=False, init=False)

    def build(
        self,
        files: Mapping[str, str],
        *,
        tag: str | None,
        arguments: Mapping[str, str],
        hosts: Mapping[str, str],
        labels: Mapping[str, str],
        log: Callable[[str], None],
        platform: str = "",
        fresh: bool = False,
    ) -> Image:
        """Build an image from a folder of text files, and return the image.

        The steps use the network of the host. `hosts` maps the names of hosts to the addresses at
        which the steps find them. The steps use the user's proxies, but not for these hosts. `log`
        gets the output of the build, without the credentials of the proxies. `platform` is that of
        the image below, such as linux/arm64, where it is not the engine's own. A `fresh` build
        takes nothing from the build cache.

        BuildKit builds, except in two cases where the classic builder does. The first case is a
        `fresh` build: if BuildKit makes a layer that an image already has, engines such as 20.10
        lose track of the layer and never free its disk. The second case is an engine whose BuildKit
        needs a session.

        Raises:
            BuildError: a step failed. Its output went to `log`.
            Cancelled: the user asked to stop.
            EngineError: the engine failed, or the build took longer than `BUILD_SECONDS`.
        """
        if self.connection.cancelled.is_set():
            raise Cancelled
        proxies = proxy_arguments(
            self.connection.url,
            direct=[*hosts, *hosts.values()],
            loopback=bool(hosts),
            environment=user_environment(),
        )
        # The image gets its name only after the build: Docker 28 with containerd's image store
        # deletes the image that had the name before, if BuildKit gives the name away.
        build = buildkit.Build(
            tag=None,
            arguments={**proxies, **arguments},
            hosts=hosts,
            labels=labels,
            platform=platform,
        )
        with (
            translated(f"build {tag or 'an image'}"),
            hiding(secrets_of(proxies.values()), log) as write,
        ):
            image_id = self._build(files, build, write, fresh=fresh)
        if not image_id:
            raise EngineError(
                f"the engine ended the build of {tag or 'an image'} without an image",
                where=f"build {tag or 'an image'}",
                next_step="see the engine's own log, then try again",
            )
        image = self.images.get(image_id)
        if tag:
            self.images.tag(image, tag)
            image = self.images.get(image_id)
        return image

    def _build(
        self,
        files: Mapping[str, str],
        build: buildkit.Build,
        log: Callable[[str], None],
        *,
        fresh: bool,
    ) -> str:
        """Build with the builder that fits, and return the id of the image."""
        if not fresh and not self._needs_session:
            try:
                return _follow(self._by_buildkit(context(files), build), log)
            except buildkit.NeedsSession:
                self._needs_session = True
        return _follow(self._by_classic_builder(context(files), build, fresh=fresh), log)

    def _by_buildkit(self, context: IO[bytes], build: buildkit.Build) -> Iterator[buildkit.Event]:
        """Upload the context in one thread and build in another: each request waits for the other.

        The build goes on when its connection closes, so a cancelled build needs its own request.
        """

        def upload() -> Iterator[buildkit.Event]:
            self.connection.post("/build", build.uploading, seconds=None, data=context)
            yield from ()

        def read() -> Iterator[buildkit.Event]:
            answer = self.connection.post("/build", build.building, seconds=None, stream=True)
            yield from buildkit.read(answer.iter_lines())

        try:
            yield from self._until_cancelled(read, upload)
        except (Cancelled, _TooLongError):
            with suppress(*FAILURES):
                self.connection.post("/build/cancel", {"id": build.id})
            raise

    def _by_classic_builder(
        self, context: IO[bytes], build: buildkit.Build, *, fresh: bool
    ) -> Iterator[buildkit.Event]:
        """Build with the classic builder.

        The engine stops a cancelled build when this process ends and so closes the connection.
        """

        def read() -> Iterator[buildkit.Event]:
            for event in self.connection.client.build(
                fileobj=context,
                custom_context=True,
                tag=build.tag,
                buildargs=dict(build.arguments),
                extra_hosts=dict(build.hosts),
                labels=dict(build.labels),
                platform=build.platform or None,
                rm=True,
                forcerm=True,
                nocache=fresh,
                network_mode="host",
                decode=True,
                use_config_proxy=False,
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
        """Yield the events of `read` to the end; raise `Cancelled` when the user asks to stop.

        A build that takes longer than `BUILD_SECONDS` is an error.

        `read` and the work `beside` it run in threads, because a request that waits for the engine
        cannot look at `cancelled`.
        """
        arrived: queue.SimpleQueue[_T | Exception | None] = queue.SimpleQueue()

        def follow(work: Callable[[], Iterator[_T]]) -> None:
            try:
                for event in work():
                    arrived.put(event)
                if work is read:
                    arrived.put(None)
            except Exception as error:  # noqa: BLE001  (the thread that reads the queue raises it)
                arrived.put(error)

        for work in (*beside, read):
            threading.Thread(target=follow, args=[work], daemon=True).start()
        deadline = time.monotonic() + BUILD_SECONDS
        while not self.connection.cancelled.is_set():
            _check_time(deadline)
            try:
                event = arrived.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
        raise Cancelled


def _check_time(deadline: float) -> None:
    """End a build that takes longer than any may.

    Raises:
        _TooLongError: the deadline is over.
    """
    if time.monotonic() > deadline:
        raise _TooLongError(
            f"the build did not end within {BUILD_SECONDS / 60:.0f} minutes",
            where="build an image",
            next_step="see in its log which step hangs: most often a mirror or an index answers "
            "too slowly; then run it again",
            kind="timeout",
        )


def _follow(events: Iterable[buildkit.Event], log: Callable[[str], None]) -> str:
    """Log a build to its end. Return the id of the image, or nothing if the engine named none."""
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
    """Return a build context, a tar. The same files give the same bytes, unlike docker-py's own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in sorted(files.items()):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), CONTEXT_MTIME, 0o644
            tar.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer
