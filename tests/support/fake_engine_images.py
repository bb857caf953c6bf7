"""The images of the fake engine: real small layers, names, and Docker's rules for removing them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from fake_http import Answer, Refused, Request, json_answer

MTIME = 1_700_000_000
"""The time of every file in every layer: the same content gives the same layer."""

_NO_NAME = re.compile(r"[A-Z\s]|^$|//")
_ID_PREFIX = 12
"""An image is found by so many characters of its id, or more."""


def sha256(data: bytes) -> str:
    """Return the digest of some bytes as Docker writes it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_tar(files: Mapping[str, bytes], owner: str = "") -> bytes:
    """Return a tar that is the same for the same files.

    Old engines write the name of the owner, which says nothing about the files.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode, entry.uname = len(data), MTIME, 0o644, owner
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def tagged(name: str) -> str:
    """Return a name with its tag, which is `latest` where it has none."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@dataclass(frozen=True, slots=True)
class FakeImage:
    """An image. `layers` are tars, lowest first; `size` is that of the layers unless it is set."""

    layers: tuple[bytes, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    created: str = "2026-01-01T00:00:00Z"
    parent: str = ""
    history: tuple[str, ...] = ()
    given_size: int | None = None

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the layers, which are Docker's diff ids."""
        return tuple(sha256(layer) for layer in self.layers)

    @property
    def document(self) -> bytes:
        """The JSON document that the id of the image is the digest of."""
        return json.dumps(
            {
                "architecture": self.architecture,
                "config": dict(self.config),
                "created": self.created,
                "history": [{"created_by": step} for step in self.history],
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            },
            sort_keys=True,
        ).encode()

    @property
    def id(self) -> str:
        """The id of the image."""
        return sha256(self.document)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the image."""
        return dict(self.config.get("Labels") or {})

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return sum(map(len, self.layers)) if self.given_size is None else self.given_size


class ImageStore:
    """The images of an engine by id, and their names. `digests` are those of a registry."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.by_id: dict[str, FakeImage] = {}
        self.names: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self._imports = count(1)
        self.used_by: Callable[[str], Sequence[tuple[str, bool]]] = lambda _: ()
        """Gives the containers of an image, and whether each runs."""

    def add(self, image: FakeImage, *names: str) -> FakeImage:
        """Keep an image, and give it names. An image that had a name loses it."""
        with self.lock:
            self.by_id[image.id] = image
            for name in names:
                if _NO_NAME.search(name):
                    raise Refused(400, "invalid reference format")
                self.names[tagged(name)] = image.id
        return image

    def find(self, reference: str) -> FakeImage | None:
        """Return an image by name, by id, by the beginning of an id or by digest."""
        with self.lock:
            if found := self._id_of(reference):
                return self.by_id.get(found)
        return None

    def _id_of(self, reference: str) -> str | None:
        if reference in self.by_id:
            return reference
        name, at, digest = reference.partition("@")
        if at:
            repository = tagged(name).rpartition(":")[0]
            return self.digests.get(f"{repository}@{digest}")
        if tagged(name) in self.names:
            return self.names[tagged(name)]
        start = name.removeprefix("sha256:")
        if len(start) < _ID_PREFIX:
            return None
        return next((one for one in self.by_id if one.startswith(f"sha256:{start}")), None)

    def get(self, reference: str) -> FakeImage:
        """Return an image, or refuse as Docker does."""
        image = self.find(reference)
        if image is None:
            shown = reference if reference.startswith("sha256:") else tagged(reference)
            raise Refused(404, f"No such image: {shown}")
        return image

    def names_of(self, image: FakeImage) -> list[str]:
        """Return the names of an image."""
        with self.lock:
            return sorted(name for name, found in self.names.items() if found == image.id)

    def forget(self, pattern: re.Pattern[str]) -> None:
        """Remove images by their names without any rule; an image without a name is named ``."""
        with self.lock:
            for image in list(self.by_id.values()):
                if any(pattern.fullmatch(name) for name in self.names_of(image) or [""]):
                    self._drop(image)

    def _drop(self, image: FakeImage) -> None:
        self.by_id.pop(image.id, None)
        self.names = {name: found for name, found in self.names.items() if found != image.id}
        self.digests = {name: found for name, found in self.digests.items() if found != image.id}

    def has_chain(self, chain: Sequence[str]) -> bool:
        """Return whether an image begins with these diff ids."""
        with self.lock:
            return any(
                image.diff_ids[: len(chain)] == tuple(chain) for image in self.by_id.values()
            )

    # --- what the engine answers

    def inspect(self, _: Request, name: str) -> Answer:
        """Answer `GET /images/{name}/json`."""
        with self.lock:
            image = self.get(name)
            return json_answer(
                {
                    "Id": image.id,
                    "RepoTags": self.names_of(image),
                    "RepoDigests": [one for one, id_ in self.digests.items() if id_ == image.id],
                    "Parent": image.parent,
                    "Comment": "",
                    "Created": image.created,
                    "Config": dict(image.config),
                    "Architecture": image.architecture,
                    "Os": "linux",
                    "Size": image.size,
                    "GraphDriver": {"Name": "overlay2", "Data": {}},
                    "RootFS": {"Type": "layers", "Layers": image.diff_ids},
                    "Metadata": {"LastTagTime": image.created},
                }
            )

    def told(self, _: Request, name: str) -> Answer:
        """Answer `GET /images/{name}/history`: each step with its bytes, the last one first."""
        image = self.get(name)
        steps = zip(image.history, image.layers, strict=False)
        told = [{"CreatedBy": step, "Size": len(layer)} for step, layer in steps]
        return json_answer(told[::-1])

    def listed(self, request: Request) -> Answer:
        """Answer `GET /images/json`. A `*` in a filter matches no `/`, as with Docker."""
        filters = json.loads(request.one("filters", "{}"))
        patterns = [_as_regex(pattern) for pattern in filters.get("reference", ())]
        with self.lock:
            found = [(image, self.names_of(image)) for image in self.by_id.values()]
        if patterns:
            found = [(image, _matching(names, patterns)) for image, names in found]
            found = [(image, names) for image, names in found if names]
        return json_answer(
            [
                {
                    "Id": image.id,
                    "ParentId": image.parent,
                    "RepoTags": names,
                    "RepoDigests": [],
                    "Created": MTIME,
                    "Size": image.size,
                    "SharedSize": -1,
                    "Labels": image.labels,
                    "Containers": -1,
                }
                for image, names in found
            ]
        )

    def tag(self, request: Request, name: str) -> Answer:
        """Answer `POST /images/{name}/tag`."""
        with self.lock:
            self.add(self.get(name), _with_tag(request.one("repo"), request.one("tag")))
        return Answer(201)

    def imported(self, request: Request) -> Answer:
        """Answer `POST /images/create?fromSrc=-`: an image of one layer from a tar."""
        config = {"Env": None, "Cmd": None, "Labels": None}
        # As with Docker, two imports of one tar are two images.
        created = f"2026-01-01T00:00:00.{next(self._imports):09}Z"
        image = FakeImage((request.body,), config, created=created, history=("import",))
        name = _with_tag(request.one("repo"), request.one("tag"))
        self.add(image, *([name] if name else []))
        return Answer(body=json.dumps({"status": image.id}).encode() + b"\r\n")

    def loaded(self, request: Request) -> Answer:
        """Answer `POST /images/load`: an image from the tar of `docker save`."""
        with tarfile.open(fileobj=io.BytesIO(request.body)) as tar:
            files = {
                member.name: file.read() for member in tar if (file := tar.extractfile(member))
            }
        (manifest,) = json.loads(files["manifest.json"])
        document = json.loads(files[manifest["Config"]])
        layers = tuple(files[name] for name in manifest["Layers"])
        if document["rootfs"]["diff_ids"] != [sha256(layer) for layer in layers]:
            return Answer(body=b'{"error":"invalid diffID for layer 0"}\r\n')
        config = {"Env": None, "Cmd": None, "Labels": None, **document["config"]}
        image = FakeImage(
            layers, config, document["architecture"], document["created"], history=("load",)
        )
        self.add(image, *manifest["RepoTags"])
        return Answer(body=json.dumps({"stream": f"Loaded image: {image.id}"}).encode() + b"\r\n")

    def saved(self, _: Request, name: str) -> Answer:
        """Answer `GET /images/{name}/get`: the tar of `docker save`."""
        image = self.get(name)
        layers = {f"blobs/sha256/{sha256(tar)[7:]}": tar for tar in image.layers}
        config = f"blobs/sha256/{image.id[7:]}"
        manifest = {
            "Config": config,
            "RepoTags": self.names_of(image),
            "Layers": [f"blobs/sha256/{diff_id[7:]}" for diff_id in image.diff_ids],
        }
        files = {**layers, config: image.document, "manifest.json": json.dumps([manifest]).encode()}
        tar = make_tar(files)
        return Answer(
            body=(tar[at : at + 65536] for at in range(0, len(tar), 65536)),
            type="application/x-tar",
        )

    def removed(self, request: Request, name: str) -> Answer:
        """Answer `DELETE /images/{name}` by Docker's rules.

        By name: the image loses the name, and goes with its last one unless something stands on
        it. By id: an image with at most one name goes with it; one with more names is refused.
        """
        force = request.flag("force")
        with self.lock:
            image = self.get(name)
            names = self.names_of(image)
            if name in self.digests and names:
                del self.digests[name]
                return json_answer([{"Untagged": name}])
            by_id = tagged(name) not in self.names
            if not by_id:
                return self._remove_by_name(image, tagged(name), names, force=force)
            if len(names) > 1 and not force:
                raise _conflict(
                    f"unable to delete {_short(image.id)} (must be forced) - image is referenced "
                    "in multiple repositories"
                )
            if why := self._held(image, force=force):
                raise _conflict(f"unable to delete {_short(image.id)} {why}")
            self._drop(image)
            return json_answer([*({"Untagged": one} for one in names), {"Deleted": image.id}])

    def _remove_by_name(
        self, image: FakeImage, name: str, names: Sequence[str], *, force: bool
    ) -> Answer:
        last = len(names) == 1
        users = self.used_by(image.id)
        if last and users and not force:
            raise _conflict(
                f'unable to remove repository reference "{name}" (must force) - container '
                f"{users[0][0][:12]} is using its referenced image {_short(image.id)}"
            )
        del self.names[name]
        if not last or self._held(image, force=force):
            return json_answer([{"Untagged": name}])
        self._drop(image)
        return json_answer([{"Untagged": name}, {"Deleted": image.id}])

    def _held(self, image: FakeImage, *, force: bool) -> str:
        """Return why an image has to stay; empty where nothing holds it."""
        if any(one.parent == image.id for one in self.by_id.values()):
            return "(cannot be forced) - image has dependent child images"
        for container, running in self.used_by(image.id):
            if running:
                return (
                    f"(cannot be forced) - image is being used by running container "
                    f"{container[:12]}"
                )
            if not force:
                return (
                    f"(must be forced) - image is being used by stopped container {container[:12]}"
                )
        return ""


def with_size(image: FakeImage, size: int) -> FakeImage:
    """Return an image that says it has this many bytes."""
    return replace(image, given_size=size)


def _with_tag(repository: str, tag: str) -> str:
    return f"{repository}:{tag}" if repository and tag else repository


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _conflict(message: str) -> Refused:
    return Refused(409, f"conflict: {message}")


def _as_regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern of Go's path.Match."""
    text = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.compile(text.replace(r"\[", "[").replace(r"\]", "]"))


def _matching(names: Iterable[str], patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """Return the names that match a pattern, with or without their tags."""
    return [
        name
        for name in names
        if any(one.fullmatch(name) or one.fullmatch(name.rpartition(":")[0]) for one in patterns)
    ]
