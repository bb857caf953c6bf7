"""Services: containers that serve files to the builds of an engine, over its loopback network."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.types import CancellableStream

from envmatrix.engine.connection import Connection
from envmatrix.engine.containers import RUN_LABEL, isolation
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.process import Limits
from envmatrix.engine.streams import StreamLostError, attached, detach
from envmatrix.model.errors import EngineError
from envmatrix.model.image_names import USER

FOLDER = "/srv/envmatrix"
"""Where a service finds its files. It is a volume of the container, and goes away with it."""
_READY = b"ready\n"
_STARTING = "start a container that serves wheels"
_STREAMS = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
_PART = 1 << 20


@dataclass(frozen=True, slots=True)
class Service:
    """A container that serves the files of `FOLDER`. It ends when this process does."""

    connection: Connection
    container: str

    def put(self, files: Mapping[str, Path]) -> None:
        """Copy files of this machine into the folder; the keys are their paths there.

        Raises:
            EngineError: the engine failed.
        """
        with translated("copy files to the engine"):
            self.connection.client.put_archive(self.container, FOLDER, _tar(files))


@contextmanager
def service(
    connection: Connection, image: str, command: Sequence[str], arguments: Iterable[Sequence[str]]
) -> Iterator[tuple[Service, Sequence[str]]]:
    """Run a command as a service, and yield it with the arguments that it took.

    The command gets one choice of `arguments` after the other until it prints `ready`. It has the
    network of the engine's host, as builds have, and otherwise the isolation of every container.
    Its standard input ends when this process does, however it ends; then it has to end, and the
    engine removes it.

    Raises:
        EngineError: it does not start with any of the arguments.
    """
    said = "no address was left to try"
    with ExitStack() as stack:
        for choice in arguments:
            with translated(_STARTING):
                container = _create(connection, image, [*command, *choice])
                stack.callback(_remove, connection, container)
                socket = connection.client.attach_socket(container, _STREAMS)
                stream, response = attached(socket)
                stack.callback(detach, stream, response)
                connection.client.start(container)
                ready, said = _first_words(stream)
            if ready:
                yield Service(connection, container), choice
                return
    raise EngineError(
        f"no container on the engine could serve wheels: {said}",
        where=_STARTING,
        next_step="end what listens there, or use an engine that reaches the loopback network of "
        "this machine",
    )


def _remove(connection: Connection, container: str) -> None:
    """Remove a container. Where this fails, the end of its input ends it."""
    with suppress(*FAILURES):
        connection.client.remove_container(container, force=True, v=True)


def _create(connection: Connection, image: str, command: Sequence[str]) -> str:
    client = connection.client
    created = client.create_container(
        image,
        list(command),
        user=f"{USER}:{USER}",
        stdin_open=True,
        volumes=[FOLDER],
        labels={RUN_LABEL: connection.run_id},
        host_config=client.create_host_config(
            **isolation(Limits(seconds=0)) | {"network_mode": "host", "auto_remove": True}
        ),
        use_config_proxy=False,
    )
    return str(created["Id"])


def _first_words(
    stream: CancellableStream[tuple[bytes | None, bytes | None]],
) -> tuple[bool, str]:
    """Return whether a service is ready, and what it said if it ended instead."""
    said = b""
    try:
        for out, err in stream:
            said += (out or b"") + (err or b"")
            if said.endswith(_READY):
                return True, ""
    except StreamLostError as error:
        said += str(error).encode()
    return False, said.decode("utf-8", "replace").strip()[:300]


def _tar(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Yield the bytes of a tar of these files. No file is ever whole in memory."""
    folders = {str(Path(name).parent) for name in files} - {"."}
    for name in sorted(folders):
        yield _entry(name, type=tarfile.DIRTYPE, mode=0o755)
    for name, path in sorted(files.items()):
        size = path.stat().st_size
        yield _entry(name, size=size, mode=0o644)
        with path.open("rb") as file:
            while part := file.read(_PART):
                yield part
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _entry(name: str, **values: Any) -> bytes:  # noqa: ANN401  (the fields of an entry of a tar)
    entry = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(entry, key, value)
    return entry.tobuf(tarfile.PAX_FORMAT)
