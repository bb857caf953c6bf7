"""Images: to find, pull, import, name, read and remove them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from envmatrix.engine.build_cache import BuildCache
from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.image import Image
from envmatrix.engine.refusals import pull_refused, push_refused, refused
from envmatrix.engine.streams import progressing
from envmatrix.model.errors import EngineError
from envmatrix.model.image_names import run_tags

# When and where an image was built, not what the image is.
_NOT_COMPARED = ("Image", "Hostname", "Domainname", "ArgsEscaped")


@dataclass(frozen=True, slots=True)
class Saved:
    """What an engine saves of an image. `steps` are the instructions that made the layers.

    An instruction is empty where the image does not tell it.
    """

    layers: list[IO[bytes]]
    steps: list[str]


@dataclass(frozen=True, slots=True)
class Images:
    """The images of an engine. A reference is a name or an id."""

    connection: Connection
    build_cache: BuildCache

    def find(self, reference: str) -> Image | None:
        """Return an image, or None if the engine does not have it."""
        with translated(f"look up the image {reference}"):
            try:
                found = self._inspect(reference)
            except ImageNotFound:
                return None
        return Image(
            found["Id"],
            tuple(found["RootFS"].get("Layers") or ()),
            found["Size"],
            tuple(found["RepoTags"] or ()),
            tuple(found.get("RepoDigests") or ()),
            _config(found),
        )

    def get(self, reference: str) -> Image:
        """Return an image that the engine must have.

        Raises:
            EngineError: the engine does not have the image.
        """
        image = self.find(reference)
        if image is None:
            raise EngineError(
                f"the engine lost the image {reference}",
                where=f"look up the image {reference}",
                next_step="make sure that no other program removes images, then try again",
            )
        return image

    def pull(self, reference: str, architecture: str = "") -> Image:
        """Pull an image from its registry, for an architecture if one is given.

        The reference may hold the port of a registry, and a tag or a digest. Without a tag and
        without a digest the tag is `latest`.

        Raises:
            EngineError: no registry serves the image. Its class tells why.
        """
        platform = f"linux/{architecture}" if architecture else None
        with translated(f"pull {reference}"):
            said = _failure(
                lambda: self.connection.client.pull(
                    reference, stream=True, decode=True, platform=platform
                )
            )
        if said is not None:
            raise pull_refused(reference, said)
        return self.get(reference)

    def push(self, name: str, moved: set[str]) -> None:
        """Push an image by a name of it. `moved` gets the short ids of the layers that had to move.

        The name holds the registry and a tag. The engine names a layer by the beginning of its
        diff id, or of its digest as it is packed.

        Raises:
            EngineError: the registry does not take it. Its class tells why.
        """
        repository, tag = parse_repository_tag(name)

        def hear(event: dict[str, Any]) -> None:
            if event.get("status") == "Pushed":
                moved.add(str(event.get("id") or ""))

        with translated(f"push {name}"):
            said = _failure(
                lambda: self.connection.client.push(repository, tag, stream=True, decode=True), hear
            )
        if said is not None:
            raise push_refused(name, said)

    def import_tar(self, path: Path, name: str) -> Image:
        """Make an image of one layer from a tar of a root filesystem."""
        with translated(f"import {path.name}"):
            repository, tag = parse_repository_tag(name)
            self.connection.client.import_image(src=str(path), repository=repository, tag=tag)
        return self.get(name)

    def load_tar(self, path: Path, name: str, architecture: str) -> Image:
        """Make an image of one layer, for an architecture, from a tar of a root filesystem.

        An import would do for the architecture of the engine, and 20.10 calls every import its own.
        The layer has the same diff id either way.
        """
        with path.open("rb") as layer:
            diff_id = f"sha256:{hashlib.file_digest(layer, 'sha256').hexdigest()}"
        config = {
            # As with an import, two images of one tar have two ids.
            "created": datetime.now(UTC).isoformat(),
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created_by": "load"}],
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        with tempfile.TemporaryFile(dir=path.parent) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for member, data in (("config.json", config), ("manifest.json", manifest)):
                    text = json.dumps(data).encode()
                    entry = tarfile.TarInfo(member)
                    entry.size = len(text)
                    tar.addfile(entry, io.BytesIO(text))
                tar.add(path, "layer.tar")
            file.seek(0)
            with translated(f"load {path.name}"):
                events = self.connection.client.load_image(file)  # type: ignore[no-untyped-call]
                for event in events:
                    if "error" in event:
                        raise refused(f"load {path.name}", event["error"])
        return self.get(name)

    def tag(self, image: Image, name: str) -> None:
        """Give a name to an image. An image that has the name already loses it."""
        with translated(f"tag {name}"):
            self.connection.client.tag(image.id, name)

    def names(self, pattern: str) -> frozenset[str]:
        """Return the names of images that match a pattern, such as `envmatrix/cell:torch-*`."""
        with translated("list images"):
            found = self.connection.client.images(filters={"reference": pattern})
        return frozenset(name for image in found for name in image["RepoTags"] or ())

    def remove(self, reference: str) -> None:
        """Remove an image by name, or by id; an image that has a name survives removal by id.

        The build cache drops what only this image used. A failure is not reported, because an
        image that stays does no harm.
        """
        with suppress(*FAILURES):
            self.connection.client.remove_image(reference)
            self.build_cache.prune()

    def remove_of(self, run_id: str) -> bool:
        """Remove the names that only one run gave. Return whether none is left."""
        with suppress(EngineError):
            names = self.names(run_tags(run_id))
            for name in names:
                self.remove(name)
            return not names or not self.names(run_tags(run_id))
        return False

    def untag(self, image: Image, name: str, other: str) -> None:
        """Take a name from an image. An image that had no further name gets the `other` one.

        An engine removes an image with its last name. A failure is not reported, because a name
        that stays does no harm.
        """
        with suppress(*FAILURES, EngineError):
            found = self.find(image.id)
            if found and set(found.names) == {name}:
                self.tag(image, other)
            self.connection.client.remove_image(name)

    def architecture(self, image: Image) -> str:
        """Return the architecture of an image, such as amd64."""
        return str(image.config["architecture"])

    def history(self, reference: str) -> list[tuple[str, int]]:
        """Return the instructions of an image with the bytes that each added, the first first."""
        with translated(f"look up the image {reference}"):
            found = self.connection.client.history(reference)  # type: ignore[no-untyped-call]
        return [(step.get("CreatedBy") or "", step.get("Size") or 0) for step in reversed(found)]

    @contextmanager
    def layers(self, reference: str, folder: Path) -> Iterator[list[IO[bytes]]]:
        """Yield the layers of an image as open tar files, the lowest layer first.

        A temporary file in `folder` holds the layers.
        """
        with self.saved(reference, folder) as saved:
            yield saved.layers

    @contextmanager
    def saved(self, reference: str, folder: Path) -> Iterator[Saved]:
        """Yield what the engine saves of an image: its layers, and the instructions that made them.

        A temporary file in `folder` holds the layers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            with translated(f"save the image {reference}"):
                for chunk in self.connection.client.get_image(reference):
                    file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                (file_list,) = _open(tar, ["manifest.json"])
                manifest = json.load(file_list)[0]
                layers = _open(tar, manifest["Layers"])
                steps = [
                    step.get("created_by") or ""
                    for step in _history(tar, manifest)
                    if not step.get("empty_layer")
                ]
                yield Saved(layers, steps if len(steps) == len(layers) else [""] * len(layers))

    def _inspect(self, reference: str) -> dict[str, Any]:
        found: dict[str, Any] = self.connection.client.inspect_image(reference)  # type: ignore[no-untyped-call]
        return found


def _config(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration that an engine tells of an image, without what is not compared."""
    config = {
        name: value
        for name, value in (found.get("Config") or {}).items()
        if name not in _NOT_COMPARED and value is not None
    }
    return {"architecture": found.get("Architecture"), "os": found.get("Os"), "config": config}


def _history(tar: tarfile.TarFile, manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the instructions of a saved image; none where it does not tell them."""
    configs = _open(tar, [manifest["Config"]] if "Config" in manifest else [])
    return next((json.load(config).get("history") or () for config in configs), ())


def _open(tar: tarfile.TarFile, paths: Iterable[str]) -> list[IO[bytes]]:
    return [file for path in paths if (file := tar.extractfile(path))]


def _failure(
    begin: Callable[[], Iterable[dict[str, Any]]],
    hear: Callable[[dict[str, Any]], None] = lambda _: None,
) -> str | None:
    """Follow a pull or a push to its end; return why it failed, or None. `hear` gets each event."""
    try:
        for event in progressing(begin):
            if "error" in event:
                return str(event["error"])
            hear(event)
    except APIError as error:
        return str(error.explanation or error)
    except TimeoutError as error:
        return str(error)
    return None
