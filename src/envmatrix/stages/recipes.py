"""Recipes: from which files an image is built, on what, and with which wheels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from envmatrix.engine.image import Image
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.evidence import InstalledPackage, LayerSize
from envmatrix.model.image_names import base_tag, cell_tag, layer_tag, os_tag
from envmatrix.model.locks import Lock
from envmatrix.model.part import Part
from envmatrix.render.dockerfiles import Files

BYTES_A_SECOND: Final = 25_000_000
"""A build takes about a second for so many bytes of wheels (measured: TensorFlow, 2 cores)."""


class Step(StrEnum):
    """What a recipe makes. Records, logs and labels carry these names."""

    BASE = "base"
    LAYER = "layer"
    CELL = "build"


class BuiltRecord(Part):
    """The record of a built image."""

    id: str
    layers: tuple[str, ...]
    size: int
    seconds: float
    origin: str
    log: str = ""
    digest: str | None = None
    sizes: tuple[LayerSize, ...] = ()
    packages: tuple[InstalledPackage, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """The image that a step made. `reused` says that an earlier run made it.

    `digest` is that of the system below in its registry; None: bootstrapped, or unknown. `sizes`
    and `packages` are known of the image of a cell. One that is `pulled` came from a registry, with
    the layers of its evidence: no base was built for it here.
    """

    image: Image
    seconds: float
    origin: str
    reused: bool
    log: str = ""
    digest: str | None = None
    sizes: tuple[LayerSize, ...] = ()
    packages: tuple[str, ...] = ()
    pulled: bool = False

    @property
    def said(self) -> str:
        """How long it took, in words."""
        return f"{self.seconds:.0f} s" + (", pulled" if self.pulled else "")

    @property
    def record(self) -> BuiltRecord:
        """The record of this image."""
        return BuiltRecord(
            id=self.image.id,
            layers=self.image.layers,
            size=self.image.size,
            seconds=self.seconds,
            origin=self.origin,
            log=self.log,
            digest=self.digest,
            sizes=self.sizes,
            packages=self.packages,
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made. No other image of this step has the same `name`.

    The name of a layer is of one `run`, which drops it.
    """

    step: Step
    name: str
    cell: Cell
    files: Files
    below: Built
    lock: Lock
    run: str = ""

    @property
    def key(self) -> str:
        """The hash of everything that goes into the image."""
        return recipe_key(self.files, self.below)

    @property
    def tag(self) -> str:
        """The name that the image gets."""
        match self.step:
            case Step.BASE:
                return base_tag(self.cell)
            case Step.LAYER:
                return layer_tag(self.run, self.name)
            case Step.CELL:
                return cell_tag(self.cell)

    @property
    def below_tag(self) -> str:
        """The name of the image that this one stands on."""
        return os_tag(self.cell) if self.step is Step.BASE else base_tag(self.cell)

    @property
    def argument(self) -> str:
        """The build argument that names the image below."""
        return "OS_IMAGE" if self.step is Step.BASE else "BASE"


def recipe_key(files: Files, below: Built) -> str:
    """Return the hash of the files of a folder and of the layers that it is built on."""
    return digest(dict(files), list(below.image.layers))
