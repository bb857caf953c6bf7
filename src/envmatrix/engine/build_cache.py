"""The build cache of an engine: what BuildKit keeps of the steps of our Dockerfiles."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError

from envmatrix.engine import buildkit
from envmatrix.engine.connection import API_SECONDS, Connection

BUILD_MARK = "/dev/shm/envmatrix"  # noqa: S108  (a path inside images, not on this machine)
"""A text that every RUN of our Dockerfiles holds. By this text we know our steps in the cache."""

POLL_SECONDS = 0.05
_BUSY = "already running"


@dataclass(frozen=True, slots=True)
class BuildCache:
    """The entries of the build cache that come from our Dockerfiles."""

    connection: Connection

    def ids(self) -> frozenset[str]:
        """Return the ids of our entries."""
        return buildkit.cached(self.usage(), BUILD_MARK)

    def prune(self) -> None:
        """Remove our entries, except those that an image or a running build uses."""
        if ids := self.ids():
            self.connection.post("/build/prune", buildkit.pruning(ids))

    def usage(self) -> dict[str, Any]:
        """Return what the engine tells of its build cache, with all entries."""
        deadline = time.monotonic() + API_SECONDS
        while True:
            try:
                answer = self.connection.get("/system/df", {"type": "build-cache"})
            except APIError as error:
                # Engines before 23 refuse a request while they answer another (moby/moby#42715).
                if _BUSY not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                usage: dict[str, Any] = answer.json()
                return usage
