"""The build stage makes images of rendered folders: a base on its system, a cell on its base.

Each step is recorded under the hash of everything that went into it, with the layers below. A step
that fails is judged: either the cell is at fault (`broken`) or the surroundings are (`unknown`).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from envmatrix.engine.builds import STEP_LABEL, BuildError
from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import EngineError, SurroundingsError
from envmatrix.model.image_names import run_tag
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import Matrix
from envmatrix.model.text import inert
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.render.folders import Folders
from envmatrix.render.sharing import Sharing
from envmatrix.resolve.wheel_server import HOST, INDEX, PYTHON_MIRROR
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.build_failures import Room, judge_failure
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.inspection import packages_of, sizes_of
from envmatrix.stages.options import Options
from envmatrix.stages.progress import Progress
from envmatrix.stages.pulling import Pulling
from envmatrix.stages.recipes import Built, Recipe, Step, recipe_key
from envmatrix.stages.run_notes import accounted
from envmatrix.stages.serving import Serving, serving
from envmatrix.stages.systems import Systems
from envmatrix.store.files import make_folder, using
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions


@dataclass(frozen=True, slots=True)
class Building:
    """What every build needs, wherever the engine is.

    `pulling` takes images from registries; without it nothing is published.
    """

    matrix: Matrix
    layout: Layout
    records: Records
    resolutions: Resolutions
    folders: Folders
    sharing: Sharing
    packages: SystemPackages
    pulling: Pulling | None = None

    @contextmanager
    def open(self, options: Options, progress: Progress) -> Iterator[Builder]:
        """Connect to the engine. Builds find the wheelhouse served while it is open.

        Raises:
            EngineError: no engine answers.
        """
        with ExitStack() as stack:
            engine = stack.enter_context(Engine.connect(progress.tell))
            stack.enter_context(accounted(self.records, engine))
            wheelhouse = Wheelhouse(self.layout.wheelhouse, progress.tell, engine.cancelled)
            images = ImageRecords(self.records, engine)
            systems = Systems(
                self.matrix,
                self.layout,
                self.packages,
                engine,
                images,
                options.origin,
                progress.tell,
                options.fresh,
            )
            builder = Builder(
                self, engine, wheelhouse, stack, images, systems, progress.tell, options.fresh
            )
            stack.callback(builder.drop_layers)
            yield builder


@dataclass
class Builder:
    """Builds with one engine and one wheelhouse.

    `open_until` holds what is open until the builder is left. A `fresh` builder takes no base,
    layer or cell of an earlier run. `tell` gets what a user should know.
    """

    building: Building
    engine: Engine
    wheelhouse: Wheelhouse
    open_until: ExitStack
    images: ImageRecords
    systems: Systems
    tell: Callable[[str], None]
    fresh: bool = False
    _held_layers: set[str] = field(default_factory=set)
    _bases: dict[str, Built] = field(default_factory=dict)
    _cells: set[str] = field(default_factory=set)
    _found: dict[str, Built] = field(default_factory=dict)
    _server: Serving | None = None
    _serving: threading.Lock = field(default_factory=threading.Lock)

    # --- base, layer and cell

    def base(self, cell: Cell) -> Built | Judgement:
        """Build the base that a cell stands on.

        A base that fails says nothing about a cell, so the judgement is never `broken`.
        """
        recipe = self._base_recipe(cell)
        if isinstance(recipe, Judgement):
            return recipe
        found = self._build(recipe)
        if isinstance(found, Judgement) and found.verdict is Verdict.BROKEN:
            return self._base_failed(recipe, found)
        return found

    def _base_failed(self, recipe: Recipe, found: Judgement) -> Judgement:
        log = self.building.layout.short(self.images.log_path(recipe.step, recipe.name))
        cause = f"its base {recipe.name} could not be built ({found.kind}): {found.cause}"
        self.tell(f"no cell on {recipe.name} can be judged: {found.cause[:300]}; see {log}")
        return replace(
            found,
            verdict=Verdict.UNKNOWN,
            kind="base-failed",
            cause=cause,
            remedy=f"read the log of the base: {log}",
        )

    def layer(self, cell: Cell, lock: Lock, base: Built, count: int) -> Built | Judgement:
        """Build the first `count` steps of a cell, which other cells begin with too.

        The layer has a name until `drop_layer`, so the engine keeps it even if those cells fail.
        """
        recipe = self._layer_recipe(cell, lock, base, count)
        self._held_layers.add(recipe.tag)
        return self._build(recipe)

    def drop_layer(self, cell: Cell, lock: Lock, base: Built, count: int) -> None:
        """Take the name from a layer. The engine removes the layer if no image stands on it."""
        tag = self._layer_recipe(cell, lock, base, count).tag
        self.engine.images.remove(tag)
        self._held_layers.discard(tag)

    def drop_layers(self) -> None:
        """Take the names from all layers that still have one, as after a run that was stopped."""
        while self._held_layers:
            self.engine.images.remove(self._held_layers.pop())

    def cell(self, cell: Cell, lock: Lock, base: Built) -> Built | Judgement:
        """Build the image of a cell on its base."""
        return self._build(self._cell_recipe(cell, lock, base))

    def rebuild_base(self, cell: Cell) -> tuple[Built, Image] | Judgement:
        """Return a base and its twin: the same base, built again from nothing.

        The twin has a name of this run only; the caller removes it.
        """
        recipe = self._base_recipe(cell)
        return recipe if isinstance(recipe, Judgement) else self._twins(recipe)

    def rebuild_cell(self, cell: Cell, lock: Lock) -> tuple[Built, Image] | Judgement:
        """Return the image of a cell and its twin: the same image, built again from nothing.

        The twin has a name of this run only; the caller removes it.
        """
        base = self.base(cell)
        if isinstance(base, Judgement):
            return base
        return self._twins(self._cell_recipe(cell, lock, base))

    def _twins(self, recipe: Recipe) -> tuple[Built, Image] | Judgement:
        built = self._build(recipe)
        if isinstance(built, Judgement):
            return built
        log = self.images.log_path("verify", recipe.name)
        name = run_tag("made", self.engine.run_id, uuid.uuid4().hex)
        twin = self._image(recipe, log, tag=name, fresh=True)
        return twin if isinstance(twin, Judgement) else (built, twin)

    def _base_recipe(self, cell: Cell) -> Recipe | Judgement:
        if wrong := self.systems.of_another_architecture(cell):
            return wrong
        resolution = self.building.resolutions.of_base(cell)
        files = self.building.folders.base(cell)
        if resolution is None or resolution.lock is None or files is None:
            said = resolution.judgement if resolution else None
            return said or Judgement(Verdict.UNKNOWN, "base", "blocked", "the base has no lock")
        os = self.systems.get(cell)
        if isinstance(os, Judgement):
            return os
        return Recipe(Step.BASE, cell.base_id, cell, files, os, resolution.lock)

    def _layer_recipe(self, cell: Cell, lock: Lock, base: Built, count: int) -> Recipe:
        steps = self.building.sharing.steps(cell, lock)[:count]
        wheels = [wheel.sha256 for step in steps for wheel in step]
        index = cell.index if steps else None  # it is named after the packages
        name = digest(cell.base_id, cell.packages, index, wheels)[:12]
        files = self.building.folders.beginning(cell, lock, count)
        return Recipe(Step.LAYER, name, cell, files, base, lock, self.engine.run_id)

    def _cell_recipe(self, cell: Cell, lock: Lock, base: Built) -> Recipe:
        files = self.building.folders.cell(cell, lock)
        return Recipe(Step.CELL, cell.id, cell, files, base, lock)

    def is_pulled(self, cell: Cell, lock: Lock, *, may_pull: bool) -> bool:
        """Return whether the image of a cell comes from a registry, and needs no base here.

        That is so where it was pulled and not built since, or where one is published that it
        `may_pull`.
        """
        pulling = self.building.pulling
        if pulling is None or self.fresh:
            return False
        # Most cells have neither, and are not looked up on the engine for that.
        is_known = pulling.recorded(self.images, cell, lock) is not None or (
            may_pull and pulling.source(cell) is not None
        )
        return is_known and not self._is_built_here(cell, lock)

    def pulled(self, cell: Cell, lock: Lock) -> Built:
        """Return the image of a cell as its registry serves it, pulled where it is not here.

        Raises:
            EngineError: it cannot be pulled, or is not what its evidence says.
        """
        pulling = self.building.pulling
        assert pulling is not None  # noqa: S101  (for the type checker: is_pulled said so)
        return pulling.recorded(self.images, cell, lock) or pulling.pull(self.images, cell, lock)

    def is_built(self, cell: Cell, lock: Lock) -> bool:
        """Return whether the engine has the image of a cell, built on its base or pulled."""
        return self._is_built_here(cell, lock) or self.is_pulled(cell, lock, may_pull=False)

    def has_base(self, cell: Cell) -> bool:
        """Return whether the engine has the base of a cell as it is now."""
        return self._recorded_base(cell) is not None

    def _recorded_base(self, cell: Cell) -> Built | None:
        if cell.base_id in self._bases:  # Many cells stand on it. It is looked up once.
            return self._bases[cell.base_id]
        files = self.building.folders.base(cell)
        if files is None or self.fresh:
            return None
        for os in self.systems.recorded(cell):
            if built := self._recorded(Step.BASE, recipe_key(files, os)):
                return self._bases.setdefault(cell.base_id, built)
        return None

    def _is_built_here(self, cell: Cell, lock: Lock) -> bool:
        """Return whether the engine has the image of a cell on the base as it is now."""
        if cell.id in self._cells:
            return True
        base = self._recorded_base(cell)
        if base is None:
            return False
        files = self.building.folders.cell(cell, lock)
        if self._recorded(Step.CELL, recipe_key(files, base)) is None:
            return False
        self._cells.add(cell.id)
        return True

    def _recorded(self, step: Step, key: str) -> Built | None:
        """Return the image of an earlier run. A run asks twice, and the engine is asked once.

        What vanishes meanwhile fails by itself.
        """
        if built := self._found.get(key) or self.images.recorded(step, key):
            return self._found.setdefault(key, built)
        return None

    # --- one step

    def _build(self, recipe: Recipe) -> Built | Judgement:
        if not self.fresh and (built := self._recorded(recipe.step, recipe.key)):
            if recipe.tag not in built.image.names:  # another checkout took the name
                self.engine.images.tag(built.image, recipe.tag)
            return replace(built, digest=recipe.below.digest)
        log = self.images.log_path(recipe.step, recipe.name)
        started = time.monotonic()
        image = self._image(recipe, log, tag=recipe.tag, fresh=self.fresh)
        if isinstance(image, Judgement):
            return image
        built = Built(
            image,
            round(time.monotonic() - started, 1),
            recipe.below.origin,
            reused=False,
            log=self.building.layout.short(log),
            digest=recipe.below.digest,
        )
        if recipe.step is Step.CELL:
            built = replace(
                built,
                sizes=tuple(sizes_of(self.engine.images.history(image.id))),
                packages=packages_of(self.engine, image, recipe.cell),
            )
        self.images.keep(recipe.step, recipe.key, built)
        if recipe.step is not Step.LAYER:  # Its name goes away with this run.
            self.images.replaced(recipe.tag, image)
        return built

    def _image(self, recipe: Recipe, log: Path, *, tag: str, fresh: bool) -> Image | Judgement:
        """Build an image, and judge a build that fails."""
        if recipe.step is Step.BASE:
            self._fetch_base(recipe.cell, recipe.lock)
        # A check reads every byte of the wheels, so it waits until a build needs them.
        self.wheelhouse.check(recipe.lock)
        room = Room(self.engine.root)
        try:
            return self._run_build(recipe, log, room, tag=tag, fresh=fresh)
        except BuildError as error:
            room.look()
            emulated = self.engine.emulates(recipe.cell.arch)
            found = judge_failure(recipe.step, error, log, room, emulated=emulated)
        if found.verdict is Verdict.BROKEN and (damaged := self._damaged(recipe)):
            return damaged
        return found

    def _run_build(self, recipe: Recipe, log: Path, room: Room, *, tag: str, fresh: bool) -> Image:
        below, arch = recipe.below.image, recipe.cell.arch
        # BuildKit finds images by name only, and another checkout may take the usual name at any
        # moment. So a build knows the image below it by a name that no other build has.
        self.engine.images.tag(below, recipe.below_tag)
        name = run_tag("below", self.engine.run_id, uuid.uuid4().hex)
        index = _PIP_INDEX if recipe.step is Step.BASE else _UV_INDEX
        if recipe.lock.interpreter:
            index = index | _PYTHON_MIRROR
        self.engine.images.tag(below, name)
        try:
            address = self.server().bring(self.wheelhouse, recipe.lock, below)
            with _logging(log, room.look) as write:
                image = self.engine.builds.build(
                    recipe.files,
                    tag=tag,
                    arguments={recipe.argument: name, **index},
                    hosts={HOST: address},
                    log=write,
                    labels={STEP_LABEL: recipe.step},
                    platform=f"linux/{arch}" if self.engine.is_foreign(arch) else "",
                    fresh=fresh,
                )
        finally:
            self.engine.images.untag(below, name, recipe.below_tag)
        if image.layers[: len(below.layers)] != below.layers:
            raise EngineError(
                f"{recipe.name} was built on another image than its own ({name})",
                where=f"build {recipe.name}",
                next_step="run it again when nothing else builds here",
            )
        return image

    def _damaged(self, recipe: Recipe) -> Judgement | None:
        """Read the wheels of a build that failed again; return the judgement if one is damaged."""
        # What was damaged after its check has to be fetched again for other cells, too.
        self.wheelhouse.doubt()
        try:
            self.wheelhouse.check(recipe.lock)
        except SurroundingsError as error:
            return Judgement(
                Verdict.UNKNOWN,
                recipe.step,
                "wheel-damaged",
                f"a wheel was damaged after it was checked: {error.what}",
                error.next_step,
            )
        return None

    # --- where wheels come from

    def server(self) -> Serving:
        """Return what serves the wheelhouse. It begins when a build first needs it.

        Raises:
            SurroundingsError: its port is in use.
        """
        with self._serving:
            if self._server is None:
                self._server = self.open_until.enter_context(serving(self.engine, self.wheelhouse))
            return self._server

    def fetch(self, cell: Cell, lock: Lock) -> int:
        """Bring the wheels of a cell into the wheelhouse; return the bytes downloaded.

        Raises:
            NetworkError: a wheel cannot be had.
        """
        if self.systems.of_another_architecture(cell) or self.is_built(cell, lock):
            return 0
        if self.building.folders.base(cell) is None:  # The cell cannot be built without it.
            return 0
        return self.wheelhouse.fetch(
            lock,
            python=cell.python,
            glibc=self.building.matrix.axes.os[cell.os].glibc,
            arch=cell.arch,
            index=cell.index,
        )

    def _fetch_base(self, cell: Cell, lock: Lock) -> None:
        os = self.building.matrix.axes.os[cell.os]
        self.wheelhouse.fetch(lock, python=os.python, glibc=os.glibc, arch=cell.arch, index=None)


_PIP_INDEX = {"PIP_INDEX_URL": INDEX, "PIP_TRUSTED_HOST": HOST}
_PYTHON_MIRROR = {"UV_PYTHON_INSTALL_MIRROR": PYTHON_MIRROR}
_UV_INDEX = {"UV_DEFAULT_INDEX": INDEX, "UV_INDEX": ""}
"""The build arguments that say where pip (in a base) and uv (above it) find wheels, and where uv
finds the interpreter of a base.

They stand in the history of images, so they are the same in every run and on every engine."""


@contextmanager
def _logging(path: Path, look: Callable[[], None]) -> Iterator[Callable[[str], None]]:
    """Yield what writes inert text to a log, and has a `look` at the disk each time."""
    with using(path, "write"):
        make_folder(path.parent)
        file = path.open("w", encoding="utf-8")

    def write(text: str) -> None:
        with using(path, "write"):
            file.write(inert(text))
            file.flush()
        look()

    try:
        yield write
    finally:
        with using(path, "write"):  # To close it writes what a full disk did not take before.
            file.close()
