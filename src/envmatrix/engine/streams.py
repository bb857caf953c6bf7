"""What an engine streams: the output of containers, and the progress of pushes and pulls.

A stream of output that ends is told from one that breaks off, and progress from a standstill.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from docker.types import CancellableStream
from docker.utils.socket import STDOUT, read
from requests import ReadTimeout
from urllib3.exceptions import ReadTimeoutError

from envmatrix.engine.failures import FAILURES
from envmatrix.engine.process import OUTPUT_LIMIT

_HEADER_BYTES = 8


STANDSTILL_SECONDS = 120.0
"""How long a push or a pull may tell nothing new."""


def progressing(
    begin: Callable[[], Iterable[dict[str, Any]]], clock: Callable[[], float] = time.monotonic
) -> Iterator[dict[str, Any]]:
    """Begin a push or a pull, and yield its events while they tell something new.

    With containerd's store, an engine whose registry failed within a layer repeats one event and
    never ends (seen with Docker 28.5). An engine whose registry does not answer tells nothing at
    all (seen with Docker 20.10).

    Raises:
        TimeoutError: nothing new was told for `STANDSTILL_SECONDS`, or nothing at all for as long
        as the connection waits.
    """
    told: dict[object, object] = {}
    moved_at = clock()
    try:
        for event in begin():
            step = event.get("status"), (event.get("progressDetail") or {}).get("current")
            if told.get(event.get("id")) != step:
                told[event.get("id")] = step
                moved_at = clock()
            elif clock() - moved_at > STANDSTILL_SECONDS:
                raise TimeoutError(f"it made no progress for {STANDSTILL_SECONDS:.0f} s")
            yield event
    except (ReadTimeout, ReadTimeoutError) as error:
        raise TimeoutError(f"it made no progress for {clock() - moved_at:.0f} s") from error


class StreamLostError(Exception):
    """An output stream broke off inside a piece of output.

    It is no OSError: docker-py takes each of those for the end of a stream.
    """


def attached(
    socket: Any,  # noqa: ANN401  (docker-py gives one of several types)
) -> tuple[CancellableStream[tuple[bytes | None, bytes | None]], Any]:
    """Return the output of a container as pairs of both streams, and the response behind them."""
    response: Any = getattr(socket, "_response", None)
    return CancellableStream(_frames(socket), response), response


def detach(
    stream: CancellableStream[Any],
    response: Any,  # noqa: ANN401  (docker-py gives one of several types)
) -> None:
    """Close what `attached` gave, wherever it stands. No failure of that is of interest."""
    with suppress(*FAILURES, AttributeError, ValueError):
        stream.close()
    # The stream closes the socket only. Python 3.13 tells on stderr what fails when it frees the
    # response later (gh-62948), so the response is closed here.
    with suppress(*FAILURES, AttributeError, ValueError):
        response.raw.close()


def _frames(socket: object) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yield what a container writes.

    docker-py's own reader takes a stream that breaks off for one that ends.

    Raises:
        StreamLostError: the stream ends inside a piece of output.
    """
    while header := _exactly(socket, _HEADER_BYTES):
        stream, size = struct.unpack(">BxxxL", header)
        while size:
            part = _read(socket, min(size, 65536))
            if not part:
                raise StreamLostError(f"{size} bytes are missing")
            size -= len(part)
            yield (part, None) if stream == STDOUT else (None, part)


def _exactly(socket: object, size: int) -> bytes:
    """Return so many bytes, or nothing at the end of the stream."""
    data = b""
    while len(data) < size:
        part = _read(socket, size - len(data))
        if not part and data:
            raise StreamLostError("a header is incomplete")
        if not part:
            return b""
        data += part
    return data


def _read(socket: object, size: int) -> bytes:
    try:
        while (part := read(socket, size)) is None:
            pass  # interrupted: docker-py gives nothing then, and may be asked again
    except OSError as error:
        raise StreamLostError(error.strerror or str(error)) from error
    return bytes(part)


class Output:
    """Collects the output of a container in a thread of its own, up to `limit` bytes.

    After `done`, `ended` is when the stream ended, and `error` what broke it off.
    """

    def __init__(
        self,
        stream: CancellableStream[tuple[bytes | None, bytes | None]],
        response: Any = None,  # noqa: ANN401  (docker-py gives one of several types)
        limit: int = OUTPUT_LIMIT,
    ) -> None:
        self._stream = stream
        self._response = response
        self._limit = limit
        self._parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.flooded = False
        self.done = threading.Event()
        self.ended = 0.0
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        """Read to the end, also past the limit: a full stream would keep the container alive."""
        total = 0
        try:
            for out, err in self._stream:
                if self.flooded:
                    continue
                self._parts["stdout"].append(out or b"")
                self._parts["stderr"].append(err or b"")
                total += len(out or b"") + len(err or b"")
                self.flooded = total > self._limit
        except (*FAILURES, StreamLostError, ValueError) as error:
            self.error = error
        self.ended = time.monotonic()
        self.done.set()

    def close(self) -> None:
        """Stop reading."""
        detach(self._stream, self._response)

    def text(self, name: str) -> str:
        """Return what came of stdout or stderr so far."""
        return b"".join(self._parts[name])[: self._limit].decode("utf-8", "replace")
