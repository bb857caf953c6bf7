"""The operating systems below bases: pulled from a registry, or bootstrapped from packages."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.os_images import ENVIRONMENT, HOOKS, make_root
from envmatrix.engine.refusals import UNREACHABLE, proves_unreachable, registry_of
from envmatrix.model.cells import Cell, system_id
from envmatrix.model.digests import digest, is_digest
from envmatrix.model.errors import EngineError, ToolError
from envmatrix.model.image_names import os_tag, run_tag
from envmatrix.model.matrix import DEFAULT_ARCH, Matrix
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.render.dockerfiles import packages
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.options import Origin
from envmatrix.stages.recipes import Built
from envmatrix.store.files import using
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.pulled import PulledSystems


@dataclass
class Systems:
    """Brings operating system images to one engine; `tell` gets what a user should know.

    Where it is `fresh`, each system is made or pulled anew, once.
    """

    matrix: Matrix
    layout: Layout
    packages: SystemPackages
    engine: Engine
    images: ImageRecords
    origin: Origin
    tell: Callable[[str], None]
    fresh: bool = False
    _made: set[str] = field(default_factory=set)
    _found: dict[tuple[str, Origin], Built | None] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _unreachable: set[str] = field(default_factory=set)

    def get(self, cell: Cell) -> Built | Judgement:
        """Return the image that the base of a cell stands on, pulled or bootstrapped.

        Where there is none, the judgement has the class of the first way that failed, and the
        causes of all.
        """
        if wrong := self.of_another_architecture(cell):
            return wrong
        with self._locks.setdefault(cell.system_id, threading.Lock()):
            for origin in self._origins(cell) if self._may_be_old(cell) else ():
                if built := self._recorded(cell, origin):
                    if origin is Origin.PULL:
                        self._note(cell, built.image)
                    return built
            failures: list[EngineError | ToolError] = []
            for origin in self._origins(cell):
                try:
                    built = self._make(cell, origin)
                except (EngineError, ToolError) as error:
                    failures.append(error)
                else:
                    self._made.add(cell.system_id)
                    self._found.clear()
                    for failure in failures:
                        self.tell(f"{cell.system_id} is bootstrapped: {failure.what[:300]}")
                    return built
            return _no_system(failures)

    def _may_be_old(self, cell: Cell) -> bool:
        return not self.fresh or cell.system_id in self._made

    def of_another_architecture(self, cell: Cell) -> Judgement | None:
        """Return the judgement of a cell that this engine cannot build or run."""
        if not self.engine.is_foreign(cell.arch) or self.engine.emulates(cell.arch):
            return None
        architecture = self.engine.architecture
        return Judgement(
            Verdict.UNKNOWN,
            "base",
            "engine",
            f"this engine is {architecture}, the cell is {cell.arch}, and nothing there emulates "
            f"{cell.arch}",
            f"let the machine of the engine emulate it (scripts/setup-engine --emulate "
            f"{cell.arch}), use an engine on a machine that is {cell.arch} "
            f"(DOCKER_HOST=ssh://USER@HOST), or select cells for {architecture} "
            f"(envmatrix run arch={architecture})",
        )

    def recorded(self, cell: Cell) -> list[Built]:
        """Return the images of earlier runs that the base of a cell may stand on."""
        found = (self._recorded(cell, origin) for origin in self._origins(cell))
        return [built for built in found if built]

    def _recorded(self, cell: Cell, origin: Origin) -> Built | None:
        """Return the image of an earlier run. The engine is asked once, until one is made."""
        asked = cell.system_id, origin
        with suppress(KeyError):  # Another system that is made empties it at any moment.
            return self._found[asked]
        return self._found.setdefault(asked, self._look_up(cell, origin))

    def _look_up(self, cell: Cell, origin: Origin) -> Built | None:
        if origin is not Origin.PULL:
            return self.images.recorded("os", self._key(cell))
        image = self._local(cell)
        # Without the tag, the image that the tag last named serves as long as the engine has it.
        name = self.pulled.name(cell)
        known_as = self._known_as(cell, image) if image else self.pulled.last(name)
        built = self.images.recorded("os", _pulled_key(known_as, cell)) if known_as else None
        return built if image is None or built is None or built.image.id == image.id else None

    def _origins(self, cell: Cell) -> list[Origin]:
        if self.origin is not Origin.AUTO:
            return [self.origin]
        if self.matrix.axes.os[cell.os].bootstrap:
            return [Origin.PULL, Origin.BOOTSTRAP]
        return [Origin.PULL]

    @property
    def pulled(self) -> PulledSystems:
        """What the references of pulled systems name."""
        return PulledSystems(self.matrix, self.layout, self.images.records)

    def _local(self, cell: Cell) -> Image | None:
        """Return the image of a cell's system that the engine has for the arch of the cell."""
        image = self.engine.images.find(self.matrix.axes.os[cell.os].image)
        return image if image and self.engine.images.architecture(image) == cell.arch else None

    def _known_as(self, cell: Cell, image: Image) -> str:
        """Return the digest of a pulled image, or its id where no registry knows it."""
        digests = image.digests_of(self.matrix.axes.os[cell.os].image)
        last = self.pulled.last(self.pulled.name(cell))
        if last in digests:
            return last
        return digests[0] if digests else f"image {image.id}"

    def _note(self, cell: Cell, image: Image) -> None:
        """Record what the reference of a system names now, and tell where it named another."""
        reference, name = self.matrix.axes.os[cell.os].image, self.pulled.name(cell)
        known_as = self._known_as(cell, image)
        if known_as != self.pulled.last(name):
            if drift := self.pulled.drift(cell, image.digests_of(reference)):
                self.tell(drift)
            self.pulled.keep(name, known_as)

    def _key(self, cell: Cell) -> str:
        os = self.matrix.axes.os[cell.os]
        return digest(
            "os",
            Origin.BOOTSTRAP.value,
            os.bootstrap,
            self.matrix.resolve.epoch,
            packages(os.python),
            HOOKS,
            ENVIRONMENT,
            *_arch_of(cell),
        )

    def _make(self, cell: Cell, origin: Origin) -> Built:
        started = time.monotonic()
        image = self._pull(cell) if origin is Origin.PULL else self.bootstrap(cell)
        seconds = round(time.monotonic() - started, 1)
        if origin is Origin.PULL:
            known_as = self._known_as(cell, image)
            registered = known_as if is_digest(known_as) else None
            built = Built(image, seconds, origin.value, reused=False, digest=registered)
            self.images.keep("os", _pulled_key(known_as, cell), built)
            self._note(cell, image)
        else:
            tag = os_tag(cell)
            self.engine.images.tag(image, tag)
            for name in image.names:
                self.engine.images.untag(image, name, tag)
            image = self.engine.images.get(image.id)
            built = Built(image, seconds, origin.value, reused=False)
            self.images.keep("os", self._key(cell), built)
            self.images.replaced(tag, image)
        return built

    def _pull(self, cell: Cell) -> Image:
        if image := self._local(cell):
            return self._pulled_again(cell, image) if self.fresh else image
        return self._pull_now(cell)

    def _pulled_again(self, cell: Cell, image: Image) -> Image:
        """Return what a tag names now, or the image that is here where no registry tells."""
        try:
            return self._pull_now(cell)
        except EngineError as error:
            reference = self.matrix.axes.os[cell.os].image
            self.tell(f"{reference} is taken as it is here: {error.what[:300]}")
            return image

    def _pull_now(self, cell: Cell) -> Image:
        reference = self.matrix.axes.os[cell.os].image
        unreachable = EngineError(
            f"no image registry can be reached to pull {reference}",
            where=f"pull {reference}",
            next_step="reach an image registry, or run where the OS can be bootstrapped",
            kind=UNREACHABLE,
        )
        registry = registry_of(reference)
        if registry in self._unreachable:
            raise unreachable
        try:
            image = self.engine.images.pull(reference, cell.arch)
        except EngineError as error:
            if not proves_unreachable(error):
                raise
            self._unreachable.add(registry)
            raise unreachable from error
        if (found := self.engine.images.architecture(image)) != cell.arch:
            raise EngineError(
                f"the image {reference} is {found}, the cell is {cell.arch}",
                where=f"pull {reference}",
                next_step=f"name an image for {cell.arch} in the matrix",
                kind="registry",
            )
        return image

    def bootstrap(self, cell: Cell) -> Image:
        """Make the operating system of a cell from its packages, and record their list.

        The image has a name of this run only: another checkout may give the usual name to its own
        at any moment.

        Raises:
            Cancelled: the user asked to stop.
            ToolError: it cannot be bootstrapped here.
            EngineError: the engine does not take it.
        """
        system = self.matrix.axes.os[cell.os]
        suite = system.bootstrap
        if suite is None:
            raise ToolError(
                f"{cell.os} cannot be bootstrapped: the matrix names no suite for it",
                where=f"axes.os.{cell.os} in the matrix",
                next_step=f"give {cell.os} a suite (bootstrap: SUITE), or use --base pull",
                kind=UNREACHABLE,
            )
        unique = uuid.uuid4().hex
        name = run_tag("made", self.engine.run_id, unique)
        # A program that makes such a file may outlive a killed run, and write on.
        tar = self.layout.state / "bootstrap" / f"{system_id(suite, cell.arch)}-{unique}.tar"
        try:
            with using(tar, "make"):
                held = make_root(
                    suite,
                    tar,
                    architecture=cell.arch,
                    packages=packages(system.python),
                    epoch=self.matrix.resolve.epoch,
                    log=self.images.log_path("os", cell.system_id),
                    cancelled=self.engine.cancelled,
                )
            if self.engine.is_foreign(cell.arch):
                image = self.engine.images.load_tar(tar, name, cell.arch)
            else:
                image = self.engine.images.import_tar(tar, name)
        finally:
            tar.unlink(missing_ok=True)
        self.packages.keep(image.layers[0], held)
        if drift := self.packages.drift(cell.system_id, held):
            self.tell(f"{cell.system_id} is not what was published: {drift}")
        return image


def _pulled_key(known_as: str, cell: Cell) -> str:
    """Return the key of the record of a pulled system. A tag may name another image tomorrow."""
    return digest("os", Origin.PULL.value, known_as, *_arch_of(cell))


def _arch_of(cell: Cell) -> tuple[str, ...]:
    """Return what a key says of the architecture: nothing of the one that ids leave out, too."""
    return () if cell.arch == DEFAULT_ARCH else (cell.arch,)


def _no_system(failures: Sequence[EngineError | ToolError]) -> Judgement:
    """Return the judgement of a system that could be made in no way."""
    limit = 600 // len(failures)
    return Judgement(
        Verdict.UNKNOWN,
        "base",
        failures[0].kind,
        "; ".join(failure.what[:limit] for failure in failures),
        "; or ".join(dict.fromkeys(failure.next_step for failure in failures if failure.next_step)),
    )
