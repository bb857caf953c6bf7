"""The operating systems below bases: pulled from a registry, or bootstrapped from packages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.os_images import ENVIRONMENT, HOOKS, make_root
from envmatrix.model.causes import SURROUNDINGS, classify
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import EngineError, ToolError
from envmatrix.model.image_names import os_tag
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.render.dockerfiles import packages
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.options import Origin
from envmatrix.stages.recipes import Built
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages


@dataclass
class Systems:
    """Brings operating system images to one engine; `tell` gets what a user should know."""

    matrix: Matrix
    layout: Layout
    packages: SystemPackages
    engine: Engine
    images: ImageRecords
    origin: Origin
    tell: Callable[[str], None]
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _no_registry: bool = False

    def get(self, cell: Cell) -> Built | Judgement:
        """Return the image that the base of a cell stands on, pulled or bootstrapped."""
        with self._locks.setdefault(cell.os, threading.Lock()):
            for origin in self._origins(cell):
                if built := self._recorded(cell, origin):
                    return built
            said = []
            for origin in self._origins(cell):
                try:
                    return self._make(cell, origin)
                except (EngineError, ToolError) as error:
                    said.append(error.what)
            return Judgement(
                Verdict.UNKNOWN,
                "base",
                "blocked",
                "; ".join(said)[:400],
                "reach an image registry, or run where the OS can be bootstrapped",
            )

    def recorded(self, cell: Cell) -> list[Built]:
        """Return the images of earlier runs that the base of a cell may stand on."""
        found = (self._recorded(cell, origin) for origin in self._origins(cell))
        return [built for built in found if built]

    def _recorded(self, cell: Cell, origin: Origin) -> Built | None:
        return self.images.recorded("os", self._key(cell, origin))

    def _origins(self, cell: Cell) -> list[Origin]:
        if self.origin is not Origin.AUTO:
            return [self.origin]
        if self.matrix.axes.os[cell.os].bootstrap:
            return [Origin.PULL, Origin.BOOTSTRAP]
        return [Origin.PULL]

    def _key(self, cell: Cell, origin: Origin) -> str:
        os = self.matrix.axes.os[cell.os]
        if origin is Origin.PULL:
            return digest("os", origin.value, os.image)
        return digest(
            "os",
            origin.value,
            os.bootstrap,
            self.matrix.resolve.epoch,
            packages(os.python),
            HOOKS,
            ENVIRONMENT,
        )

    def _make(self, cell: Cell, origin: Origin) -> Built:
        started = time.monotonic()
        tag = os_tag(cell)
        image = self._pull(cell) if origin is Origin.PULL else self.bootstrap(cell, tag)
        built = Built(image, round(time.monotonic() - started, 1), origin.value, reused=False)
        self.images.keep("os", self._key(cell, origin), built)
        if origin is Origin.BOOTSTRAP:
            self.images.replaced(tag, image)
        return built

    def _pull(self, cell: Cell) -> Image:
        reference = self.matrix.axes.os[cell.os].image
        if image := self.engine.images.find(reference):
            return image
        unreachable = EngineError(f"no image registry can be reached to pull {reference}")
        if self._no_registry:
            raise unreachable
        try:
            return self.engine.images.pull(reference)
        except EngineError as error:
            found = classify(error.what, SURROUNDINGS)
            if found is None or found.kind != "blocked":
                raise
            self._no_registry = True
            raise unreachable from error

    def bootstrap(self, cell: Cell, name: str) -> Image:
        """Make the operating system of a cell from its packages, and record their list.

        Raises:
            ToolError: it cannot be bootstrapped here.
            EngineError: the engine does not take it.
        """
        system = self.matrix.axes.os[cell.os]
        suite = system.bootstrap
        if suite is None:
            raise ToolError(f"{cell.os} cannot be bootstrapped: the matrix names no suite for it")
        tar = self.layout.state / "bootstrap" / f"{suite}.tar"
        try:
            held = make_root(
                suite,
                tar,
                packages=packages(system.python),
                epoch=self.matrix.resolve.epoch,
                log=self.images.log_path("os", cell.os),
            )
            image = self.engine.images.import_tar(tar, name)
        finally:
            tar.unlink(missing_ok=True)
        self.packages.keep(image.layers[0], held)
        if drift := self.packages.drift(cell.os, held):
            self.tell(f"{cell.os} is not what was published: {drift}")
        return image
