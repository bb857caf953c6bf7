"""The engine as the stages see it: its images, builds and containers, and facts about it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from envmatrix.engine.build_cache import BuildCache
from envmatrix.engine.builds import Builds
from envmatrix.engine.connection import Connection
from envmatrix.engine.containers import Containers
from envmatrix.engine.images import Images


@dataclass
class Engine:
    """A Docker engine that answers. Several threads may use one engine."""

    connection: Connection

    def __post_init__(self) -> None:
        self.build_cache = BuildCache(self.connection)
        self.images = Images(self.connection, self.build_cache)
        self.builds = Builds(self.connection, self.images)
        self.containers = Containers(self.connection)

    @classmethod
    @contextmanager
    def connect(cls) -> Iterator[Engine]:
        """Connect to the engine of DOCKER_HOST, of the Docker context, or of the default socket.

        On the way out the containers that are left of this run are removed.

        Raises:
            EngineError: no engine answers, or the Docker context cannot be used.
        """
        engine = cls(Connection.open())
        try:
            yield engine
        finally:
            engine.containers.remove_left()

    @property
    def cancelled(self) -> threading.Event:
        """The event that stops builds and containers of this run."""
        return self.connection.cancelled

    @property
    def version(self) -> str:
        """The version of the engine, such as 20.10.24."""
        return str(self.connection.info.get("ServerVersion", ""))

    @property
    def is_local(self) -> bool:
        """Whether the engine shares the loopback network of this machine."""
        system = str(self.connection.info.get("OperatingSystem", ""))
        return (
            urlsplit(self.connection.url).scheme in ("unix", "") and "desktop" not in system.lower()
        )

    @property
    def root(self) -> Path | None:
        """The folder of this machine where the engine keeps its images; None if it is elsewhere."""
        root = Path(self.connection.info.get("DockerRootDir") or "/nowhere")
        return root if self.is_local and root.exists() else None

    @property
    def has_gpu(self) -> bool:
        """Whether the engine can give an NVIDIA GPU to a container."""
        info = self.connection.info
        return "nvidia" in f"{info.get('DiscoveredDevices', '')}{info.get('Runtimes', '')}"
