"""Rendered folders to images: the OS, the base on it, the cell on that.

Each step is recorded under the hash of what went into it, down to the layers below. A step that
fails is judged: about the cell (`broken`), or about the surroundings (`unknown`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from envmatrix.bootstrap import ENVIRONMENT, HOOKS, make_root
from envmatrix.causes import SURROUNDINGS, classify
from envmatrix.cells import Cell
from envmatrix.engine import STEP_LABEL, BuildError, Engine, Image
from envmatrix.errors import EngineError, ToolError
from envmatrix.evidence import Judgement, Verdict, digest
from envmatrix.lock import Lock
from envmatrix.pip_settings import pip_settings
from envmatrix.project import Project
from envmatrix.render import REPOSITORY, Files, base_tag, cell_tag, packages
from envmatrix.wheelhouse import HOST, INDEX, Wheelhouse

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Origin(StrEnum):
    """Where the root filesystem of a base comes from."""

    AUTO = "auto"
    PULL = "pull"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class Built:
    """An image that a step gave. `reused` says that nothing had to be done."""

    image: Image
    seconds: float
    origin: str
    reused: bool
    log: str = ""

    @property
    def said(self) -> str:
        """How long it took, in words."""
        return f"{self.seconds:.0f} s"

    def to_json(self) -> dict[str, Any]:
        """Return the record of this step."""
        return {
            "id": self.image.id,
            "layers": list(self.image.layers),
            "size": self.image.size,
            "seconds": self.seconds,
            "origin": self.origin,
            "log": self.log,
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image comes about: from which files, on what, with which wheels."""

    step: str
    name: str
    tag: str
    files: Files
    below: Built
    below_tag: str
    argument: str
    lock: Lock
    fetch: Callable[[], None] = lambda: None

    @property
    def key(self) -> str:
        """The hash of all that goes into it."""
        return _key(self.files, self.below)


@dataclass
class Builder:
    """Builds with one engine and one wheelhouse.

    `served` is the address that a local engine finds the wheelhouse at; `tell` gets what a user
    should know whatever else is not shown.
    """

    project: Project
    engine: Engine
    wheelhouse: Wheelhouse
    served: str | None
    tell: Callable[[str], None]
    origin: Origin = Origin.AUTO
    fresh: bool = False
    _os_locks: dict[str, threading.Lock] = field(default_factory=dict)
    _held_layers: set[str] = field(default_factory=set)
    _no_registry: bool = False

    # --- the operating system

    def os(self, cell: Cell) -> Built | Judgement:
        """Return the image that the base of a cell stands on, pulled or bootstrapped."""
        with self._os_locks.setdefault(cell.os, threading.Lock()):
            for origin in self._origins(cell):
                if built := self._recorded("os", self._os_key(cell, origin)):
                    return built
            said = ""
            for origin in self._origins(cell):
                try:
                    return self._make_os(cell, origin)
                except (EngineError, ToolError) as error:
                    said += f"{error.what}; "
            return Judgement(
                Verdict.UNKNOWN,
                "base",
                "blocked",
                said.rstrip("; ")[:400],
                "reach an image registry, or run where the OS can be bootstrapped",
            )

    def _origins(self, cell: Cell) -> list[Origin]:
        if self.origin is not Origin.AUTO:
            return [self.origin]
        if self.project.matrix.axes.os[cell.os].bootstrap:
            return [Origin.PULL, Origin.BOOTSTRAP]
        return [Origin.PULL]

    def _os_key(self, cell: Cell, origin: Origin) -> str:
        os = self.project.matrix.axes.os[cell.os]
        if origin is Origin.PULL:
            return digest("os", origin.value, os.image)
        return digest(
            "os",
            origin.value,
            os.bootstrap,
            self.project.matrix.resolve.epoch,
            packages(os.python),
            HOOKS,
            ENVIRONMENT,
        )

    def _make_os(self, cell: Cell, origin: Origin) -> Built:
        started = time.monotonic()
        image = self._pull(cell) if origin is Origin.PULL else self.bootstrap(cell, _os_tag(cell))
        built = Built(image, round(time.monotonic() - started, 1), origin.value, reused=False)
        self.project.store.put("os", self._os_key(cell, origin), built.to_json())
        if origin is Origin.BOOTSTRAP:
            self._replaced(_os_tag(cell), image)
        return built

    def _pull(self, cell: Cell) -> Image:
        reference = self.project.matrix.axes.os[cell.os].image
        if image := self.engine.image(reference):
            return image
        unreachable = EngineError(f"no image registry can be reached to pull {reference}")
        if self._no_registry:
            raise unreachable
        try:
            return self.engine.pull(reference)
        except EngineError as error:
            if not classify(error.what, SURROUNDINGS):
                raise
            self._no_registry = True
            raise unreachable from error

    def bootstrap(self, cell: Cell, name: str) -> Image:
        """Make the operating system of a cell from its packages, and keep the list of them."""
        system = self.project.matrix.axes.os[cell.os]
        suite = system.bootstrap
        if suite is None:
            raise ToolError(f"{cell.os} cannot be bootstrapped: the matrix names no suite for it")
        tar = self.project.store.root / "bootstrap" / f"{suite}.tar"
        try:
            held = make_root(
                suite,
                tar,
                packages=packages(system.python),
                epoch=self.project.matrix.resolve.epoch,
                log=self.project.store.log_path("os", cell.os),
            )
            image = self.engine.import_tar(tar, name)
        finally:
            tar.unlink(missing_ok=True)
        self.project.keep_packages(image.layers[0], held)
        if drift := self.project.packages_drift(cell.os, held):
            self.tell(f"{cell.os} is not what was published: {drift}")
        return image

    # --- base and cell

    def base(self, cell: Cell) -> Built | Judgement:
        """Build the base that a cell stands on."""
        recipe = self._base_recipe(cell)
        return recipe if isinstance(recipe, Judgement) else self._build(recipe)

    def layer(self, cell: Cell, lock: Lock, base: Built, count: int) -> Built | Judgement:
        """Build the first `count` steps of a cell, which other cells begin with too.

        It carries a name until `drop_layer`, so that it stays whatever becomes of those cells.
        """
        recipe = self._layer_recipe(cell, lock, base, count)
        self._held_layers.add(recipe.tag)
        return self._build(recipe)

    def drop_layer(self, cell: Cell, lock: Lock, base: Built, count: int) -> None:
        """Take the name from a layer: what no image stands on is removed then."""
        tag = self._layer_recipe(cell, lock, base, count).tag
        self.engine.remove_image(tag)
        self._held_layers.discard(tag)

    def drop_layers(self) -> None:
        """Take the names that a run which was stopped left."""
        while self._held_layers:
            self.engine.remove_image(self._held_layers.pop())

    def cell(self, cell: Cell, lock: Lock, base: Built) -> Built | Judgement:
        """Build the image of a cell on its base."""
        return self._build(self._cell_recipe(cell, lock, base))

    def rebuild_base(self, cell: Cell) -> tuple[Built, Image] | Judgement:
        """Return a base and its twin, built from nothing beside it.

        The twin has no name; it is the caller's to remove.
        """
        recipe = self._base_recipe(cell)
        return recipe if isinstance(recipe, Judgement) else self._twins(recipe)

    def rebuild_cell(self, cell: Cell, lock: Lock) -> tuple[Built, Image] | Judgement:
        """Return the image of a cell and its twin, as `rebuild_base`."""
        base = self.base(cell)
        if isinstance(base, Judgement):
            return base
        return self._twins(self._cell_recipe(cell, lock, base))

    def _twins(self, recipe: Recipe) -> tuple[Built, Image] | Judgement:
        built = self._build(recipe)
        if isinstance(built, Judgement):
            return built
        log = self.project.store.log_path("verify", recipe.name)
        try:
            return built, self._image(recipe, log, tag=None, fresh=True)
        except BuildError as error:
            return self._judge_failure(recipe.step, str(error), log)

    def _base_recipe(self, cell: Cell) -> Recipe | Judgement:
        resolution = self.project.base_resolution(cell)
        if resolution is None or resolution.lock is None:
            said = resolution.judgement if resolution else None
            return said or Judgement(Verdict.UNKNOWN, "base", "blocked", "the base has no lock")
        os = self.os(cell)
        if isinstance(os, Judgement):
            return os
        return Recipe(
            "base",
            cell.base_id,
            base_tag(cell),
            self.project.renderer.base(cell, resolution.lock),
            os,
            _os_tag(cell),
            "OS_IMAGE",
            resolution.lock,
            partial(self._fetch_base, cell, resolution.lock),
        )

    def _layer_recipe(self, cell: Cell, lock: Lock, base: Built, count: int) -> Recipe:
        steps = self.project.steps(cell, lock)[:count]
        files = self.project.renderer.beginning(cell, lock, steps)
        name = digest(cell.base_id, cell.index, [wheel.sha256 for step in steps for wheel in step])[
            :12
        ]
        return Recipe(
            "layer", name, f"{REPOSITORY}/layer:{name}", files, base, base_tag(cell), "BASE", lock
        )

    def _cell_recipe(self, cell: Cell, lock: Lock, base: Built) -> Recipe:
        files = self.project.cell_files(cell, lock)
        return Recipe("build", cell.id, cell_tag(cell), files, base, base_tag(cell), "BASE", lock)

    def fetch(self, cell: Cell, lock: Lock) -> int:
        """Bring the wheels of a cell into the wheelhouse; return the bytes downloaded.

        Raises:
            NetworkError: a wheel cannot be had.
        """
        if not self.engine.is_local or self.is_built(cell, lock):
            return 0
        glibc = self.project.matrix.axes.os[cell.os].glibc
        return self.wheelhouse.fetch(
            lock, python=cell.python, glibc=glibc, arch=cell.arch, index=cell.index
        )

    def is_built(self, cell: Cell, lock: Lock) -> bool:
        """Return whether the image of a cell is there, on the base as it is now."""
        base_files = self.project.base_files(cell)
        if base_files is None or self.fresh:
            return False
        for origin in self._origins(cell):
            os = self._recorded("os", self._os_key(cell, origin))
            base = os and self._recorded("base", _key(base_files, os))
            if base:
                files = self.project.cell_files(cell, lock)
                return self._recorded("build", _key(files, base)) is not None
        return False

    def _build(self, recipe: Recipe) -> Built | Judgement:
        if built := self._recorded(recipe.step, recipe.key):
            if recipe.tag not in built.image.names:  # another checkout took it
                self.engine.name(built.image, recipe.tag)
            return built
        log = self.project.store.log_path(recipe.step, recipe.name)
        started = time.monotonic()
        try:
            image = self._image(recipe, log, tag=recipe.tag, fresh=self.fresh)
        except BuildError as error:
            return self._judge_failure(recipe.step, str(error), log)
        built = Built(
            image,
            round(time.monotonic() - started, 1),
            recipe.below.origin,
            reused=False,
            log=str(log.relative_to(self.project.root)),
        )
        self.project.store.put(recipe.step, recipe.key, built.to_json())
        self._replaced(recipe.tag, image)
        return built

    def _replaced(self, tag: str, image: Image) -> None:
        """Remove the image that this project gave a name to before; never another's."""
        before = self.project.store.get("name", digest(tag))
        self.project.store.put("name", digest(tag), {"name": tag, "id": image.id})
        if before and before["id"] != image.id:
            self.engine.remove_image(before["id"])

    def _image(self, recipe: Recipe, log: Path, *, tag: str | None, fresh: bool) -> Image:
        recipe.fetch()
        if self.engine.is_local:
            # Only now: to check the hashes of wheels takes as long as to read them.
            self.wheelhouse.check(recipe.lock)
        # BuildKit knows images by name alone, and another checkout may have taken it.
        below = recipe.below.image
        self.engine.name(below, recipe.below_tag)
        with _logging(log) as write:
            image = self.engine.build(
                recipe.files,
                tag=tag,
                arguments={recipe.argument: recipe.below_tag, **self._index(recipe)},
                hosts={HOST: self.served} if self.served else {},
                log=write,
                labels={STEP_LABEL: recipe.step},
                fresh=fresh,
            )
        if image.layers[: len(below.layers)] != below.layers:
            raise EngineError(
                f"{recipe.name} was built on another image than its own: something else gave "
                f"{recipe.below_tag} to it meanwhile",
                next_step="run it again when nothing else builds here",
            )
        return image

    def _judge_failure(self, step: str, said: str, log: Path) -> Judgement:
        output = log.read_text(encoding="utf-8", errors="replace")
        if found := classify(output, SURROUNDINGS):
            return Judgement(Verdict.UNKNOWN, step, found.kind, found.cause, found.remedy)
        found = classify(output)
        last = [line for line in output.splitlines() if line.strip()][-4:]
        cause = found.cause if found else " ".join(last)[:400] or said
        return Judgement(
            Verdict.BROKEN,
            step,
            found.kind if found else "build-step",
            cause,
            found.remedy if found else "read the build log",
        )

    def _recorded(self, step: str, key: str) -> Built | None:
        """Return the image of an earlier run, if the engine still has it."""
        record = None if self.fresh and step != "os" else self.project.store.get(step, key)
        if record is None:
            return None
        image = self.engine.image(record["id"])
        if image is None or list(image.layers) != record["layers"]:
            return None
        return Built(
            image, record["seconds"], record["origin"], reused=True, log=record.get("log", "")
        )

    # --- where wheels come from

    def _fetch_base(self, cell: Cell, lock: Lock) -> None:
        if self.engine.is_local:
            os = self.project.matrix.axes.os[cell.os]
            self.wheelhouse.fetch(
                lock, python=os.python, glibc=os.glibc, arch=cell.arch, index=None
            )

    def _index(self, recipe: Recipe) -> dict[str, str]:
        """Where pip or uv find wheels: the wheelhouse, or for a remote engine the index itself.

        The same in every run: what a build is told stands in the history of the image.
        """
        url = INDEX if self.served else pip_settings().index_url
        if not url:
            return {}
        if urlsplit(url).password:
            raise EngineError(
                "the index of your pip settings has a password in its address, which a build on an "
                "engine elsewhere would write into the history of the image",
                next_step="use an engine on this machine, or an index that needs no password",
            )
        if recipe.step == "base":
            return {"PIP_INDEX_URL": url} | ({"PIP_TRUSTED_HOST": HOST} if self.served else {})
        return {"UV_DEFAULT_INDEX": url} | ({"UV_INDEX": ""} if self.served else {})


def _os_tag(cell: Cell) -> str:
    return f"{REPOSITORY}/os:{cell.os}"


def _key(files: Files, below: Built) -> str:
    return digest(dict(files), list(below.image.layers))


@contextmanager
def _logging(path: Path) -> Iterator[Callable[[str], None]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:

        def write(text: str) -> None:
            file.write(_COLOUR.sub("", text))
            file.flush()

        yield write
