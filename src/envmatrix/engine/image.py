"""An image as the engine holds it. This module needs no docker-py, so evidence can name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the engine holds it.

    `layers` are diff ids. They say what is in an image, so compare them and not the `id`, which
    also depends on the time of the build.
    """

    id: str
    layers: tuple[str, ...]
    size: int
    names: tuple[str, ...] = ()
