"""An image as the engine holds it. This module needs no docker-py, so evidence can name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the engine holds it.

    `layers` are diff ids. They say what is in an image, so compare them and not the `id`, which
    also depends on the time of the build. `config` is the configuration of the image, without its
    layers and its history, and without what differs between two builds of the same image: the ids
    of the images below, and the engine's notes about the container that built it.
    """

    id: str
    layers: tuple[str, ...]
    size: int
    names: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def digests_of(self, reference: str) -> tuple[str, ...]:
        """Return the digests that the registry of a reference knows this image by, sorted.

        An image that was pulled several times may have several: a list of platforms that changed
        for another platform is another digest of the same image.
        """
        repository = _repository(reference)
        return tuple(
            sorted(
                digest
                for name, _, digest in (one.partition("@") for one in self.repo_digests)
                if _repository(name) == repository
            )
        )


def _repository(reference: str) -> str:
    """Return the name of a repository as engines shorten it, without tag and digest."""
    name, _, _ = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    name = folder + slash + last.partition(":")[0]
    for prefix in ("index.docker.io/", "docker.io/", "library/"):
        name = name.removeprefix(prefix)
    return name
