"""What this project has on an engine, and its removal: images, containers, and the build cache.

Whose an image is, the caller knows: names are shared by all checkouts on an engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound

from envmatrix.engine import buildkit
from envmatrix.engine.build_cache import BUILD_MARK
from envmatrix.engine.client import Engine
from envmatrix.engine.containers import RUN_LABEL
from envmatrix.engine.failures import translated
from envmatrix.model.image_names import REPOSITORY

_OURS = f"{REPOSITORY}/"
_LABELS = "io.envmatrix."


@dataclass(frozen=True, slots=True)
class Held:
    """An image that an engine has. `steps` are its instructions with the bytes that each added.

    Two images that begin with the same steps share what these added.
    """

    id: str
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()

    @property
    def said(self) -> str:
        """How a sentence names it."""
        return self.names[0] if self.names else self.id.removeprefix("sha256:")[:12]

    @property
    def is_marked(self) -> bool:
        """Whether it has a name or a label of this project, of whichever checkout."""
        return any(name.startswith(_OURS) for name in self.names) or any(
            label.startswith(_LABELS) for label in self.labels
        )

    @property
    def foreign_names(self) -> tuple[str, ...]:
        """The names that somebody else gave it."""
        return tuple(name for name in self.names if not name.startswith(_OURS))


@dataclass(frozen=True, slots=True)
class LeftContainer:
    """A container that a run of this project made. `created` is in seconds since 1970."""

    id: str
    image: str
    running: bool
    created: float


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Lists and removes what is on one engine."""

    engine: Engine

    def images(self) -> list[Held]:
        """Return every image of the engine, whoever made it."""
        client = self.engine.connection.client
        with translated("list images"):
            found = client.images()
        held = []
        for image in found:
            names = tuple(name for name in image.get("RepoTags") or () if name != "<none>:<none>")
            labels = tuple(image.get("Labels") or ())
            held.append(Held(image["Id"], names, labels, self._steps(image["Id"])))
        return held

    def _steps(self, image: str) -> tuple[tuple[str, int], ...]:
        client = self.engine.connection.client
        with translated(f"look up the image {image}"):
            try:
                found = client.history(image)  # type: ignore[no-untyped-call]
                told = client.inspect_image(image)  # type: ignore[no-untyped-call]
            except ImageNotFound:  # removed meanwhile
                return ()
        # Two systems that were imported in one second tell the same step.
        lowest = (told["RootFS"].get("Layers") or [""])[0]
        return tuple(
            (f"{lowest} {step.get('Created')} {step.get('CreatedBy')}", int(step.get("Size") or 0))
            for step in reversed(found)
        )

    def containers(self) -> list[LeftContainer]:
        """Return the containers that runs of this project made and did not remove."""
        client = self.engine.connection.client
        with translated("list containers"):
            found: list[Mapping[str, Any]] = client.containers(
                all=True, filters={"label": RUN_LABEL}
            )
        return [
            LeftContainer(
                one["Id"],
                str(one.get("ImageID") or ""),
                one.get("State") in ("running", "paused", "restarting"),
                float(one.get("Created") or 0),
            )
            for one in found
        ]

    def cache(self) -> int:
        """Return the bytes of our steps in the build cache that no image and no build uses."""
        with translated("look at the build cache"):
            usage = self.engine.build_cache.usage()
        ids = buildkit.cached(usage, BUILD_MARK)
        return sum(
            int(entry.get("Size") or 0)
            for entry in usage.get("BuildCache") or ()
            if entry["ID"] in ids and not entry.get("InUse")
        )

    def prune_cache(self) -> None:
        """Remove our steps from the build cache, except those that an image or a build uses."""
        with translated("prune the build cache"):
            self.engine.build_cache.prune()

    def used(self) -> int:
        """Return the bytes that the layers of all images and the build cache have."""
        with translated("look at the disk of the engine"):
            usage = self.engine.connection.get("/system/df", {}).json()
        return int(usage.get("LayersSize") or 0) + sum(
            int(entry.get("Size") or 0)
            for entry in usage.get("BuildCache") or ()
            # What is shared with an image is counted with the layers.
            if not entry.get("Shared")
        )

    def remove_image(self, image: Held) -> str:
        """Remove an image by its names of ours, or by its id; return why it stays, if it does."""
        for reference in image.names or (image.id,):
            if why := self._remove(reference, image.id):
                return why
        return ""

    def _remove(self, reference: str, image: str) -> str:
        client = self.engine.connection.client
        with translated(f"remove the image {reference}"):
            try:
                # The name may have gone to another image since it was looked up.
                if client.inspect_image(reference)["Id"] != image:  # type: ignore[no-untyped-call]
                    return ""
                client.remove_image(reference)
            except ImageNotFound:
                return ""
            except APIError as error:
                return str(error.explanation or error)
        return ""

    def remove_container(self, container: LeftContainer) -> str:
        """Remove a container that does not run; return why it stays, if it does."""
        with translated(f"remove the container {container.id[:12]}"):
            try:
                self.engine.connection.client.remove_container(container.id, v=True)
            except NotFound:
                return ""
            except APIError as error:
                return str(error.explanation or error)
        return ""


def exclusive_bytes(images: Iterable[Held], going: Collection[str]) -> int:
    """Return the bytes that go with images, given as ids: what no other image shares."""
    sizes: dict[int, int] = {}
    kept: set[int] = set()
    for image in images:
        beginning = 0
        for step in image.steps:
            beginning = hash((beginning, step))
            if image.id in going:
                sizes[beginning] = step[1]
            else:
                kept.add(beginning)
    return sum(size for beginning, size in sizes.items() if beginning not in kept)


def stands_on(image: Held, other: Held) -> bool:
    """Return whether an image begins with all steps of another one, and has more."""
    count = len(other.steps)
    return 0 < count < len(image.steps) and image.steps[:count] == other.steps
