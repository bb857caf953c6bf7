"""Where the builds of an engine find the wheels of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.services import FOLDER, Service
from envmatrix.model.interpreters import Interpreter
from envmatrix.model.locks import Lock, Wheel
from envmatrix.resolve.wheel_server import PORT, PROGRAM, addresses, serve
from envmatrix.resolve.wheelhouse import Wheelhouse

_LOOPBACK = "127.0.0.1"


class Serving(Protocol):
    """Serves wheels to builds."""

    def bring(self, wheelhouse: Wheelhouse, lock: Lock, image: Image) -> str:
        """Serve the files of a lock, and return the address at which builds find them.

        `image` is one that the engine has. It must hold the essential packages of Debian.

        Raises:
            EngineError: the engine does not take them.
        """


@contextmanager
def serving(engine: Engine, wheelhouse: Wheelhouse) -> Iterator[Serving]:
    """Serve from this machine if the engine reaches its loopback network, else from the engine.

    Raises:
        SurroundingsError: the port of the server is in use.
    """
    with ExitStack() as stack:
        if engine.reaches(_LOOPBACK):
            yield _Here(stack.enter_context(serve(wheelhouse.root)))
        else:
            yield _There(engine, stack)


@dataclass(frozen=True, slots=True)
class _Here:
    """This process serves the wheelhouse."""

    address: str

    def bring(self, _wheelhouse: Wheelhouse, _lock: Lock, _image: Image) -> str:
        return self.address


@dataclass
class _There:
    """A container on the engine serves copies of the files. It starts when they are needed."""

    engine: Engine
    stack: ExitStack
    _service: Service | None = None
    _address: str = ""
    _sent: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self, wheelhouse: Wheelhouse, lock: Lock, image: Image) -> str:
        with self._lock:
            if self._service is None:
                choices = [(one, str(PORT), FOLDER) for one in addresses(wheelhouse.root)]
                program = ["perl", "-e", PROGRAM.read_text(encoding="utf-8")]
                self._service, (self._address, *_) = self.stack.enter_context(
                    self.engine.service(image, program, choices)
                )
            new = [file for file in lock.files if file.sha256 not in self._sent]
            if new:
                self._service.put({_place(file): wheelhouse.path(file) for file in new})
                self._sent.update(file.sha256 for file in new)
            return self._address


def _place(file: Wheel | Interpreter) -> str:
    """Return where `wheel_server.pl` finds a file, below its folder."""
    if isinstance(file, Interpreter):
        return f"python/{file.place}"
    return f"{file.sha256}/{file.filename}"
