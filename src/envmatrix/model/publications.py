"""Published images: their names in a registry, when tags move, and `reports/published.json`.

The rules of tags:

1.  The immutable tag of an image names its version, its place and its layers, such as
    `2.13.0-py3.11-debian12-cpu-0123456789ab`. It is never given to another image.
2.  The tag of a cell is the same without the layers. It moves to the image of the newest evidence
    of the cell, and never to that of older evidence.
3.  What is only `partial` says so in both, before the layers: `...-cu130-partial-0123456789ab`.
4.  A tag `2.13.0` names the image that `envmatrix recommend` answers for that version, and `latest`
    the one that it answers for the framework, on the usual architecture. Only what works gets them.
    `latest` never moves to an older version.
5.  A tag that names an image this file does not know was moved by somebody else. It stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from packaging.version import InvalidVersion, Version
from pydantic import AwareDatetime, Field, StringConstraints, ValidationError, field_validator

from envmatrix.model.cells import Cell
from envmatrix.model.digests import SHOWN_DIGITS, digest
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.image_names import SHARED_MEMORY
from envmatrix.model.matrix import STACKED
from envmatrix.model.part import LARGEST, Handle, Part, Word
from envmatrix.model.verdicts import Verdict

SCHEMA: Final = 1
LATEST = "latest"
PARTIAL = "partial"

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REGISTRY = re.compile(rf"(?P<host>{_HOST}(?::[0-9]{{1,5}})?)(?P<path>(?:/{_PART})*)")

Host = Annotated[str, StringConstraints(pattern=rf"^{_HOST}(:[0-9]{{1,5}})?$", max_length=255)]
Repository = Annotated[str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$", max_length=255)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


# --- names -----------------------------------------------------------------------------------


def split_registry(given: str) -> tuple[str, str]:
    """Return the host of a registry and the path below it, such as `team/ml`, from what was given.

    Raises:
        InputError: it names no host, or no path that a registry allows.
    """
    found = _REGISTRY.fullmatch(given.rstrip("/"))
    host = found["host"] if found else ""
    if not found or not ("." in host or ":" in host or host == "localhost"):
        raise InputError(
            f"{given!r:.80} names no registry",
            where="--registry",
            next_step="give its host and, if you like, a path of small letters: "
            "`--registry registry.example.org/team`",
        )
    return host, found["path"].removeprefix("/")


def repository_of(framework: str, path: str) -> str:
    """Return the repository of a framework. The plus of a stack is no letter of such a name.

    Raises:
        InputError: no registry allows the name.
    """
    name = "/".join(filter(None, (path, framework.replace(STACKED, "-"))))
    if not re.fullmatch(rf"{_PART}(/{_PART})*", name):
        raise InputError(
            f"no registry allows a repository {name!r:.80}",
            where=f"frameworks.{framework} in the matrix",
            next_step="name the framework with small letters and digits",
        )
    return name


def check_names(frameworks: Sequence[str], path: str) -> None:
    """Check that no two frameworks of a matrix have one repository, such as a-b and a+b.

    Raises:
        InputError: two have, or a registry does not allow the name of one.
    """
    taken: dict[str, str] = {}
    for framework in frameworks:
        name = repository_of(framework, path)
        if taken.setdefault(name, framework) != framework:
            raise InputError(
                f"{taken[name]} and {framework} would be one repository, {name}",
                where="frameworks and stacks in the matrix",
                next_step="rename one of them, or publish them under two paths",
            )


def layers_digest(layers: Sequence[str]) -> str:
    """Return the SHA-256 of the diff ids of an image, as a JSON list without spaces."""
    return digest(*layers)


def cell_tag_of(cell: Cell, verdict: Verdict) -> str:
    """Return the moving tag of a cell."""
    tag = cell.id.removeprefix(f"{cell.framework}-").replace("+", "_")
    return tag if verdict is Verdict.WORKS else f"{tag}-{PARTIAL}"


def immutable_tag_of(cell: Cell, verdict: Verdict, layers: Sequence[str]) -> str:
    """Return the tag that only the image of a cell with these layers ever gets."""
    return f"{cell_tag_of(cell, verdict)}-{layers_digest(layers)[:SHOWN_DIGITS]}"


def version_tag_of(version: str) -> str:
    """Return the moving tag of a version. A tag cannot hold a plus."""
    return version.replace("+", "_")


# --- what is published -----------------------------------------------------------------------


class Publication(Part):
    """An image of a cell in a registry."""

    cell: Annotated[Handle, Field(description="The id of the cell.")]
    version: Annotated[Word, Field(description="The version of its framework.")]
    registry: Annotated[Host, Field(description="The host of the registry, with its port.")]
    repository: Annotated[Repository, Field(description="The repository.")]
    digest: Annotated[Sha256, Field(description="The digest of the manifest: what to pull by.")]
    tag: Annotated[Tag, Field(description="Its immutable tag.")]
    verdict: Annotated[
        Literal["works", "partial"], Field(description="The verdict that was published.")
    ]
    cuda: Annotated[bool, Field(description="Whether it is a CUDA build.")]
    layers: Annotated[
        Hash,
        Field(
            description="The SHA-256 of the diff ids of its evidence, as a JSON list without "
            "spaces: the image must have these layers."
        ),
    ]
    evidence_at: Annotated[
        AwareDatetime, Field(description="When its evidence was recorded, in UTC.")
    ]
    published_at: Annotated[AwareDatetime, Field(description="When it was pushed, in UTC.")]
    pushed: Annotated[
        int, Field(ge=0, le=LARGEST, description="Bytes that were moved to the registry.")
    ]

    @property
    def reference(self) -> str:
        """The name to pull by, which holds the digest."""
        return f"{self.registry}/{self.repository}@{self.digest}"

    def is_of(self, evidence: Evidence) -> bool:
        """Return whether the image has the layers of this evidence of its cell."""
        same_cell = evidence.id == self.cell and bool(evidence.layers)
        return same_cell and layers_digest(evidence.layers) == self.layers


class MovingTag(Part):
    """A tag that moves, and the image that this project last gave it to."""

    registry: Annotated[Host, Field(description="The host of the registry, with its port.")]
    repository: Annotated[Repository, Field(description="The repository.")]
    tag: Annotated[Tag, Field(description="The tag.")]
    cell: Annotated[Handle, Field(description="The cell of the image.")]
    version: Annotated[Word, Field(description="The version of its framework.")]
    digest: Annotated[Sha256, Field(description="The digest of the image.")]
    evidence_at: Annotated[
        AwareDatetime, Field(description="When the evidence of the image was recorded, in UTC.")
    ]

    @property
    def place(self) -> tuple[str, str, str]:
        """The registry, the repository and the tag, of which there is one each."""
        return self.registry, self.repository, self.tag

    @classmethod
    def on(cls, tag: str, image: Publication) -> Self:
        """Return a tag on an image."""
        return cls(
            registry=image.registry,
            repository=image.repository,
            tag=tag,
            cell=image.cell,
            version=image.version,
            digest=image.digest,
            evidence_at=image.evidence_at,
        )

    def hindrance(self, image: Publication) -> str:
        """Return why this tag may not move to an image; empty: it may."""
        if self.cell == image.cell and self.evidence_at > image.evidence_at:
            return f"it names an image of newer evidence, of {self.evidence_at:%Y-%m-%d %H:%M}"
        if self.tag == LATEST and _version(self.version) > _version(image.version):
            return f"it names a newer version, {self.version}"
        return ""


class Publications(Part):
    """All of `published.json`: what was published, and where the moving tags are."""

    version: Annotated[
        Literal[1], Field(alias="schema", description="The version of this form.")
    ] = SCHEMA
    images: Annotated[
        tuple[Publication, ...], Field(description="The last image of each cell and registry.")
    ] = ()
    tags: Annotated[tuple[MovingTag, ...], Field(description="The tags that move.")] = ()

    @field_validator("images")
    @classmethod
    def _one_each(cls, images: tuple[Publication, ...]) -> tuple[Publication, ...]:
        if len({_key(one) for one in images}) != len(images):
            raise ValueError("a cell has two images in one repository")
        return images

    @cached_property
    def _by_cell(self) -> dict[str, list[Publication]]:
        found: dict[str, list[Publication]] = {}
        for one in sorted(self.images, key=lambda one: one.published_at, reverse=True):
            found.setdefault(one.cell, []).append(one)
        return found

    def of(self, evidence: Evidence, registry: str = "") -> Publication | None:
        """Return the last image that has the layers of this evidence; None: there is none.

        With a `registry`, only its images count.
        """
        return next(
            (
                one
                for one in self._by_cell.get(evidence.id, ())
                if one.is_of(evidence) and registry in ("", one.registry)
            ),
            None,
        )

    def has(self, cell_id: str) -> bool:
        """Return whether any image of a cell was published."""
        return cell_id in self._by_cell

    def pull_command(self, evidence: Evidence) -> str:
        """Return the command that starts the published image of this evidence; empty: none is."""
        found = self.of(evidence)
        if found is None:
            return ""
        devices = " --gpus all" if found.cuda else ""
        return f"docker run --rm -it{devices} --shm-size {SHARED_MEMORY} {found.reference}"

    def tag(self, registry: str, repository: str, tag: str) -> MovingTag | None:
        """Return where this project last put a moving tag."""
        place = (registry, repository, tag)
        return next((one for one in self.tags if one.place == place), None)

    def holder(self, registry: str, repository: str, tag: str, image: str) -> MovingTag | None:
        """Return what a tag that names the image with a digest stands for.

        None: this project did not put the tag there. It may have been stopped before it noted a
        move, so each image of its own counts.
        """
        noted = self.tag(registry, repository, tag)
        if noted and noted.digest == image:
            return noted
        ours = (registry, repository, image)
        own = [MovingTag.on(tag, one) for one in self.images]
        own += [one.model_copy(update={"tag": tag}) for one in self.tags]
        return next(
            (one for one in own if (one.registry, one.repository, one.digest) == ours), None
        )

    def with_image(self, image: Publication) -> Self:
        """Return these with an image, in the place of the earlier one of its cell."""
        kept = [one for one in self.images if _key(one) != _key(image)]
        images = tuple(sorted([*kept, image], key=_key))
        return type(self)(images=images, tags=self.tags)

    def with_tag(self, moved: MovingTag) -> Self:
        """Return these with a tag where it is now."""
        kept = [one for one in self.tags if one.place != moved.place]
        tags = tuple(sorted([*kept, moved], key=lambda one: one.place))
        return type(self)(images=self.images, tags=tags)


# Made without validation: the first validation builds a validator, which takes a while.
NOTHING_PUBLISHED = Publications.model_construct()


def read_publications(path: Path) -> Publications:
    """Read and check `published.json`; nothing is published where there is no file.

    Raises:
        InputError: it cannot be read, or is not of this form.
    """
    try:
        return Publications.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return NOTHING_PUBLISHED
    except OSError as error:
        raise InputError(
            f"the list of published images cannot be read: {error.strerror or error}",
            where=str(path),
            next_step=f"check its permissions: `ls -l {path.name}`",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"the list of published images is damaged at {place or 'its beginning'}: "
            f"{first['msg']}",
            where=str(path),
            next_step=f"take the last good one from git: `git checkout -- {path.name}`",
        ) from error


def _key(image: Publication) -> tuple[str, str, str]:
    return image.cell, image.registry, image.repository


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
