"""The folders of bases and cells, from their locks, and the hashes of what evidence depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envmatrix.model.cells import Cell, declared
from envmatrix.model.digests import digest
from envmatrix.model.evidence import Inputs
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import Matrix
from envmatrix.render.dockerfiles import Files, Renderer
from envmatrix.render.sharing import Sharing
from envmatrix.store.layout import LOCK_NAME
from envmatrix.store.resolutions import Resolutions

DOCKERFILE = "Dockerfile"
_SETTING = re.compile(
    r"(?m)^(?:CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR)\b"
    r"(?:.*\\\n)*.*\n?"
)


class _Base(NamedTuple):
    """The files of a base, by name, and their hash."""

    files: Files
    sha256: str


class Folders:
    """Renders the folders of a matrix, as `images/` holds them."""

    def __init__(
        self, matrix: Matrix, renderer: Renderer, resolutions: Resolutions, sharing: Sharing
    ) -> None:
        self._matrix = matrix
        self._renderer = renderer
        self._resolutions = resolutions
        self._sharing = sharing
        self._bases: dict[tuple[str, Lock], _Base] = {}
        self._cells: dict[tuple[str, Lock, str], Files] = {}

    def base(self, cell: Cell) -> Files | None:
        """Return the files of the base of a cell; None while its lock is not known."""
        found = self._base(cell)
        return found.files if found else None

    def _base(self, cell: Cell) -> _Base | None:
        resolution = self._resolutions.of_base(cell)
        if resolution is None or resolution.lock is None:
            return None
        key = cell.base_id, resolution.lock
        if key not in self._bases:  # Many cells stand on it.
            files = self._renderer.base(cell, resolution.lock)
            self._bases[key] = _Base(files, digest(dict(files)))
        return self._bases[key]

    def cell(self, cell: Cell, lock: Lock) -> Files:
        """Return the files of the folder of a cell."""
        base = self._base(cell)
        return self._cell(cell, lock, base.sha256 if base else digest({}))

    def _cell(self, cell: Cell, lock: Lock, base: str) -> Files:
        key = cell.id, lock, base
        if key not in self._cells:  # A run looks at it several times.
            steps = self._sharing.steps(cell, lock)
            self._cells[key] = self._renderer.cell(cell, lock, steps, base)
        return self._cells[key]

    def beginning(self, cell: Cell, lock: Lock, count: int) -> Files:
        """Return a Dockerfile that ends after the first `count` steps of a cell."""
        return self._renderer.beginning(cell, lock, self._sharing.steps(cell, lock)[:count])

    def inputs(self, cell: Cell, probes: Mapping[str, str], runner: str) -> Inputs | None:
        """Return the hashes of what the evidence of a cell depends on; None while it has no lock.

        `probes` are the hashes of the probes of the cell, by name; `runner` is that of the program
        that runs them in one container.
        """
        resolution, base = self._resolutions.of_cell(cell), self._base(cell)
        if resolution is None or resolution.lock is None or base is None:
            return None
        # What changed in the base is told once, and not again as a label of the cell.
        files = dict(self._cell(cell, resolution.lock, ""))
        lock, dockerfile = files.pop(LOCK_NAME), files.pop(DOCKERFILE)
        settings, steps = split_settings(dockerfile)
        return Inputs(
            lock=digest(lock),
            dockerfile=digest(steps, files),
            settings=digest(settings),
            base=base.sha256,
            declared=digest(declared(self._matrix, cell).to_json()),
            probes=probes,
            runner=runner,
        )


def split_settings(dockerfile: str) -> tuple[Sequence[str], str]:
    """Return the instructions that only set how an image runs, and the rest of a Dockerfile."""
    return _SETTING.findall(dockerfile), _SETTING.sub("", dockerfile)
