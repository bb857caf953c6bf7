"""The engine as the stages see it: its images, builds and containers, and facts about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from envmatrix.engine.build_cache import BuildCache
from envmatrix.engine.builds import Builds
from envmatrix.engine.connection import Connection
from envmatrix.engine.containers import Containers
from envmatrix.engine.emulation import runs
from envmatrix.engine.facts import read_facts
from envmatrix.engine.gpus import gpu_identity, unseen_gpu
from envmatrix.engine.image import Image
from envmatrix.engine.images import Images
from envmatrix.engine.process import Capacity
from envmatrix.engine.services import Service, service

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
}


@dataclass
class Engine:
    """A Docker engine that answers. Several threads may use one engine."""

    connection: Connection

    def __post_init__(self) -> None:
        self.build_cache = BuildCache(self.connection)
        self.images = Images(self.connection, self.build_cache)
        self.builds = Builds(self.connection, self.images)
        self.containers = Containers(self.connection)
        self._trying = threading.Lock()
        self._emulated: dict[str, bool] = {}

    @classmethod
    @contextmanager
    def connect(cls, tell: Callable[[str], None] = lambda _: None) -> Iterator[Engine]:
        """Connect to the engine of DOCKER_HOST, of the Docker context, or of the default socket.

        On the way out the containers that are left of this run are removed. `tell` gets what a user
        should know, such as that something is tried again.

        Raises:
            EngineError: no engine answers, or the Docker context cannot be used.
        """
        engine = cls(Connection.open(tell))
        try:
            yield engine
        finally:
            if engine.connection.has_changed:
                engine.containers.remove_of(engine.run_id)

    @property
    def run_id(self) -> str:
        """What the containers of this run carry, and the names that only this run gives."""
        return self.connection.run_id

    @property
    def id(self) -> str:
        """What the engine calls itself; empty where it does not tell."""
        return str(self.connection.info.get("ID") or "")

    def sweep(self, run_id: str) -> bool:
        """Remove the containers and the names of a run. Return whether none is left."""
        if run_id == self.run_id and not self.connection.has_changed:
            return True
        return self.containers.remove_of(run_id) and self.images.remove_of(run_id)

    @property
    def cancelled(self) -> threading.Event:
        """The event that stops builds and containers of this run."""
        return self.connection.cancelled

    @property
    def version(self) -> str:
        """The version of the engine, such as 20.10.24."""
        return str(self.connection.info.get("ServerVersion", ""))

    @property
    def architecture(self) -> str:
        """The architecture of the engine in the words of images; empty where it is not told."""
        told = str(self.connection.info.get("Architecture") or "")
        return _ARCHITECTURES.get(told, told)

    @property
    def capacity(self) -> Capacity:
        """What the machine of the engine has to work with, as far as the engine tells."""
        info = self.connection.info
        return Capacity(int(info.get("NCPU") or 0), int(info.get("MemTotal") or 0))

    def is_foreign(self, architecture: str) -> bool:
        """Return whether the engine is of another architecture, and could only emulate this one."""
        return self.architecture not in ("", architecture)

    def emulates(self, architecture: str) -> bool:
        """Return whether the engine runs programs of a foreign architecture. It is tried once.

        Raises:
            EngineError: the engine failed, so it is not known.
        """
        if not self.is_foreign(architecture):
            return False
        with self._trying:
            if architecture not in self._emulated:
                self._emulated[architecture] = runs(self.images, self.containers, architecture)
            return self._emulated[architecture]

    def reaches(self, address: str) -> bool:
        """Return whether builds reach an address of this machine's loopback network."""
        from envmatrix.engine.reach import reaches  # noqa: PLC0415  (loads slowly, is asked rarely)

        return reaches(self.connection, address)

    def service(
        self, image: Image, command: Sequence[str], arguments: Iterable[Sequence[str]]
    ) -> AbstractContextManager[tuple[Service, Sequence[str]]]:
        """Run a command on the engine's loopback network; see `envmatrix.engine.services`."""
        return service(self.connection, image.id, command, arguments)

    @property
    def shows_folders(self) -> bool:
        """Whether containers can have folders of this machine, as far as the address tells.

        Docker Desktop runs its engine in a virtual machine, and shows it the folders of the user.
        """
        return urlsplit(self.connection.url).scheme in ("unix", "npipe", "")

    @property
    def is_rootless(self) -> bool:
        """Whether the engine runs as a user. Root of its containers is this user outside."""
        return read_facts(self.connection.info).rootless

    @property
    def is_local(self) -> bool:
        """Whether the engine's files are on this machine, as far as its address tells."""
        system = str(self.connection.info.get("OperatingSystem", ""))
        return (
            urlsplit(self.connection.url).scheme in ("unix", "") and "desktop" not in system.lower()
        )

    @property
    def root(self) -> Path | None:
        """The folder of this machine where the engine keeps its images; None if it is elsewhere."""
        told = str(self.connection.info.get("DockerRootDir") or "")
        root = Path(told)
        return root if told and self.is_local and root.exists() else None

    @property
    def gpu(self) -> str | None:
        """What is known of the GPUs and the driver; None where nothing is, as on other machines."""
        return gpu_identity() if self.is_local else None

    @property
    def has_gpu(self) -> bool:
        """Whether the engine can give an NVIDIA GPU to a container."""
        info = self.connection.info
        return "nvidia" in f"{info.get('DiscoveredDevices', '')}{info.get('Runtimes', '')}"

    @property
    def unseen_gpu(self) -> str:
        """Why a GPU of this machine is not given to containers; empty where none is held back."""
        if self.has_gpu or not self.is_local:
            return ""
        return unseen_gpu()
