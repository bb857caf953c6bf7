"""The build stage makes images of rendered folders: a base on its system, a cell on its base.

Each step is recorded under the hash of everything that went into it, with the layers below. A step
that fails is judged: either the cell is at fault (`broken`) or the surroundings are (`unknown`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from envmatrix.engine.builds import STEP_LABEL, BuildError
from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.model.causes import SURROUNDINGS, classify
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import EngineError
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.render.folders import Folders
from envmatrix.render.sharing import Sharing
from envmatrix.resolve.pip_settings import pip_settings
from envmatrix.resolve.wheel_server import HOST, INDEX, serve
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.options import Options
from envmatrix.stages.progress import Progress
from envmatrix.stages.recipes import Built, Recipe, Step, recipe_key
from envmatrix.stages.systems import Systems
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(r"\[(?:\S+ )?\d+/\d+\] |Step \d+/\d+ : | ---> ")
"""How a line of a build log begins that repeats an instruction, or tells of a classic build."""


@dataclass(frozen=True, slots=True)
class Building:
    """What every build needs, wherever the engine is."""

    matrix: Matrix
    layout: Layout
    records: Records
    resolutions: Resolutions
    folders: Folders
    sharing: Sharing
    packages: SystemPackages

    @contextmanager
    def open(self, options: Options, progress: Progress) -> Iterator[Builder]:
        """Connect to the engine, and serve the wheelhouse to an engine on this machine.

        Raises:
            EngineError: no engine answers.
        """
        wheelhouse = Wheelhouse(self.layout.wheelhouse, progress.tell)
        with ExitStack() as stack:
            engine = stack.enter_context(Engine.connect())
            served = stack.enter_context(serve(wheelhouse.root)) if engine.is_local else None
            images = ImageRecords(self.records, engine)
            systems = Systems(
                self.matrix,
                self.layout,
                self.packages,
                engine,
                images,
                options.origin,
                progress.tell,
            )
            builder = Builder(self, engine, wheelhouse, served, images, systems, options.fresh)
            stack.callback(builder.drop_layers)
            yield builder


@dataclass
class Builder:
    """Builds with one engine and one wheelhouse.

    `served` is the address at which a local engine finds the wheelhouse. A `fresh` builder takes
    no base, layer or cell of an earlier run.
    """

    building: Building
    engine: Engine
    wheelhouse: Wheelhouse
    served: str | None
    images: ImageRecords
    systems: Systems
    fresh: bool = False
    _held_layers: set[str] = field(default_factory=set)

    # --- base, layer and cell

    def base(self, cell: Cell) -> Built | Judgement:
        """Build the base that a cell stands on."""
        recipe = self._base_recipe(cell)
        return recipe if isinstance(recipe, Judgement) else self._build(recipe)

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

        The twin has no name; the caller removes it.
        """
        recipe = self._base_recipe(cell)
        return recipe if isinstance(recipe, Judgement) else self._twins(recipe)

    def rebuild_cell(self, cell: Cell, lock: Lock) -> tuple[Built, Image] | Judgement:
        """Return the image of a cell and its twin: the same image, built again from nothing.

        The twin has no name; the caller removes it.
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
        try:
            return built, self._image(recipe, log, tag=None, fresh=True)
        except BuildError as error:
            return _judge_failure(recipe.step, str(error), log)

    def _base_recipe(self, cell: Cell) -> Recipe | Judgement:
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
        name = digest(cell.base_id, cell.index, wheels)[:12]
        files = self.building.folders.beginning(cell, lock, count)
        return Recipe(Step.LAYER, name, cell, files, base, lock)

    def _cell_recipe(self, cell: Cell, lock: Lock, base: Built) -> Recipe:
        files = self.building.folders.cell(cell, lock)
        return Recipe(Step.CELL, cell.id, cell, files, base, lock)

    def is_built(self, cell: Cell, lock: Lock) -> bool:
        """Return whether the engine has the image of a cell on the base as it is now."""
        base_files = self.building.folders.base(cell)
        if base_files is None or self.fresh:
            return False
        for os in self.systems.recorded(cell):
            if base := self.images.recorded(Step.BASE, recipe_key(base_files, os)):
                files = self.building.folders.cell(cell, lock)
                return self.images.recorded(Step.CELL, recipe_key(files, base)) is not None
        return False

    # --- one step

    def _build(self, recipe: Recipe) -> Built | Judgement:
        if not self.fresh and (built := self.images.recorded(recipe.step, recipe.key)):
            if recipe.tag not in built.image.names:  # another checkout took the name
                self.engine.images.tag(built.image, recipe.tag)
            return built
        log = self.images.log_path(recipe.step, recipe.name)
        started = time.monotonic()
        try:
            image = self._image(recipe, log, tag=recipe.tag, fresh=self.fresh)
        except BuildError as error:
            return _judge_failure(recipe.step, str(error), log)
        built = Built(
            image,
            round(time.monotonic() - started, 1),
            recipe.below.origin,
            reused=False,
            log=self.building.layout.short(log),
        )
        self.images.keep(recipe.step, recipe.key, built)
        self.images.replaced(recipe.tag, image)
        return built

    def _image(self, recipe: Recipe, log: Path, *, tag: str | None, fresh: bool) -> Image:
        if self.engine.is_local:
            if recipe.step is Step.BASE:
                self._fetch_base(recipe.cell, recipe.lock)
            # A check reads every byte of the wheels, so it waits until a build needs them.
            self.wheelhouse.check(recipe.lock)
        # BuildKit finds images by name only, and another checkout may have taken this name.
        below = recipe.below.image
        self.engine.images.tag(below, recipe.below_tag)
        with _logging(log) as write:
            image = self.engine.builds.build(
                recipe.files,
                tag=tag,
                arguments={recipe.argument: recipe.below_tag, **self._index(recipe.step)},
                hosts={HOST: self.served} if self.served else {},
                log=write,
                labels={STEP_LABEL: recipe.step},
                fresh=fresh,
            )
        if image.layers[: len(below.layers)] != below.layers:
            raise EngineError(
                f"{recipe.name} was built on another image than its own: another program gave the "
                f"name {recipe.below_tag} away meanwhile",
                next_step="run it again when nothing else builds here",
            )
        return image

    # --- where wheels come from

    def fetch(self, cell: Cell, lock: Lock) -> int:
        """Bring the wheels of a cell into the wheelhouse; return the bytes downloaded.

        Raises:
            NetworkError: a wheel cannot be had.
        """
        if not self.engine.is_local or self.is_built(cell, lock):
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

    def _index(self, step: Step) -> Mapping[str, str]:
        """Return the build arguments that say where pip or uv find wheels.

        A local engine uses the wheelhouse, a remote engine the user's own index. The arguments are
        the same in every run, since they stand in the history of the image.
        """
        url = INDEX if self.served else pip_settings().index_url
        if not url:
            return {}
        if urlsplit(url).password:
            raise EngineError(
                "the index of your pip settings has a password in its address, and a build on an "
                "engine elsewhere would write it into the history of the image",
                next_step="use an engine on this machine, or an index that needs no password",
            )
        if step is Step.BASE:
            return {"PIP_INDEX_URL": url} | ({"PIP_TRUSTED_HOST": HOST} if self.served else {})
        return {"UV_DEFAULT_INDEX": url} | ({"UV_INDEX": ""} if self.served else {})


def _judge_failure(step: str, said: str, log: Path) -> Judgement:
    """Judge a step that failed by its log: the cell is at fault, or the surroundings are."""
    output = log.read_text(encoding="utf-8", errors="replace")
    if found := classify(output, SURROUNDINGS):
        return Judgement(Verdict.UNKNOWN, step, found.kind, found.cause, found.remedy)
    found = classify(output)
    told = [line for line in output.splitlines() if line.strip() and not _HEADING.match(line)]
    cause = found.cause if found else " ".join(told[-4:])[:400] or said
    return Judgement(
        Verdict.BROKEN,
        step,
        found.kind if found else "build-step",
        cause,
        found.remedy if found else "read the build log",
    )


@contextmanager
def _logging(path: Path) -> Iterator[Callable[[str], None]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:

        def write(text: str) -> None:
            file.write(_COLOUR.sub("", text))
            file.flush()

        yield write
