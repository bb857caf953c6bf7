"""Rendered folders to images: the OS, the base on it, the cell on that.

Each step is recorded under the hash of what went into it, down to the layers below. A step that
fails is judged: about the cell (`broken`), or about the surroundings (`unknown`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from envmatrix.bootstrap import make_root
from envmatrix.causes import SURROUNDINGS, classify
from envmatrix.cells import Cell
from envmatrix.engine import STEP_LABEL, BuildError, Engine, Image
from envmatrix.errors import EngineError, ToolError
from envmatrix.evidence import Judgement, Verdict, digest
from envmatrix.lock import Lock
from envmatrix.pip_settings import pip_settings
from envmatrix.project import Project
from envmatrix.render import REPOSITORY, Files, base_tag, cell_tag, packages
from envmatrix.wheelhouse import Wheelhouse

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


@dataclass
class Builder:
    """Builds with one engine and one wheelhouse; `served` is the wheelhouse's address."""

    project: Project
    engine: Engine
    wheelhouse: Wheelhouse
    served: str
    origin: Origin = Origin.AUTO
    fresh: bool = False
    _os_locks: dict[str, threading.Lock] = field(default_factory=dict)
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
            "os", origin.value, os.bootstrap, self.project.matrix.resolve.as_of, packages(os.python)
        )

    def _make_os(self, cell: Cell, origin: Origin) -> Built:
        started = time.monotonic()
        image = self._pull(cell) if origin is Origin.PULL else self._bootstrap(cell)
        built = Built(image, round(time.monotonic() - started, 1), origin.value, reused=False)
        self.project.store.put("os", self._os_key(cell, origin), built.to_json())
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

    def _bootstrap(self, cell: Cell) -> Image:
        system = self.project.matrix.axes.os[cell.os]
        suite = system.bootstrap
        if suite is None:
            raise ToolError(f"{cell.os} cannot be bootstrapped: the matrix names no suite for it")
        tar = self.project.store.root / "bootstrap" / f"{suite}.tar"
        try:
            make_root(
                suite,
                tar,
                packages=packages(system.python),
                as_of=self.project.matrix.resolve.as_of,
                log=self.project.store.log_path("os", cell.os),
            )
            return self.engine.import_tar(tar, f"{REPOSITORY}/os", cell.os)
        finally:
            tar.unlink(missing_ok=True)

    # --- base and cell

    def base(self, cell: Cell) -> Built | Judgement:
        """Build the base that a cell stands on."""
        resolution = self.project.base_resolution(cell)
        if resolution is None or resolution.lock is None:
            said = resolution.judgement if resolution else None
            return said or Judgement(Verdict.UNKNOWN, "base", "blocked", "the base has no lock")
        os = self.os(cell)
        if isinstance(os, Judgement):
            return os
        files = self.project.renderer.base(cell, resolution.lock)
        system = self.project.matrix.axes.os[cell.os]
        return self._build(
            "base",
            cell.base_id,
            files,
            os,
            tag=base_tag(cell),
            arguments={
                "OS_IMAGE": os.image.id,
                **self._pip_arguments(resolution.lock, system.python, system.glibc, cell.arch),
            },
        )

    def cell(self, cell: Cell, lock: Lock, base: Built) -> Built | Judgement:
        """Build the image of a cell on its base."""
        files = self.project.cell_files(cell, lock)
        return self._build(
            "build",
            cell.id,
            files,
            base,
            tag=cell_tag(cell),
            arguments={"BASE": base.image.id, **self._uv_arguments(lock)},
        )

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

    def _build(
        self,
        step: str,
        name: str,
        files: Files,
        below: Built,
        *,
        tag: str,
        arguments: Mapping[str, str],
    ) -> Built | Judgement:
        key = _key(files, below)
        if built := self._recorded(step, key):
            return built
        log = self.project.store.log_path(step, name)
        replaced = self.engine.image(tag)
        started = time.monotonic()
        with _logging(log) as write:
            try:
                image = self.engine.build(
                    files,
                    tag=tag,
                    arguments=arguments,
                    log=write,
                    labels={STEP_LABEL: step},
                    fresh=self.fresh,
                )
            except BuildError as error:
                return self._judge_failure(step, str(error), log)
        built = Built(
            image,
            round(time.monotonic() - started, 1),
            below.origin,
            reused=False,
            log=str(log.relative_to(self.project.root)),
        )
        self.project.store.put(step, key, built.to_json())
        if replaced and replaced.id != image.id:
            self.engine.remove_image(replaced.id)
        return built

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

    def _pip_arguments(self, lock: Lock, python: str, glibc: str, arch: str) -> dict[str, str]:
        if self.engine.is_local:
            self.wheelhouse.fetch(lock, python=python, glibc=glibc, arch=arch, index=None)
            return {"PIP_INDEX_URL": f"{self.served}/{self.wheelhouse.view(lock)}"}
        return {"PIP_INDEX_URL": pip_settings().index_url} if pip_settings().index_url else {}

    def _uv_arguments(self, lock: Lock) -> dict[str, str]:
        """Return the build arguments: the wheelhouse, or for a remote engine the index itself."""
        if self.engine.is_local:
            return {
                "UV_DEFAULT_INDEX": f"{self.served}/{self.wheelhouse.view(lock)}",
                "UV_INDEX": "",
            }
        settings = pip_settings()
        return {"UV_DEFAULT_INDEX": settings.index_url} if settings.index_url else {}


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
