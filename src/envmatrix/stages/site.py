"""Writing the site: what its pages need is gathered here, and the folder is made to match them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from envmatrix import __version__
from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence
from envmatrix.model.matrix import STACKED, Matrix
from envmatrix.report.entries import Entry
from envmatrix.report.site import Facts, Site, pages
from envmatrix.store.files import remove, using, write_text
from envmatrix.store.layout import LOCK_NAME, Layout

FOLDER = "site"


@dataclass(frozen=True, slots=True)
class SiteWriter:
    """Writes the site of a matrix beside its evidence. `proves` says what each probe proves."""

    matrix: Matrix
    layout: Layout
    proves: Mapping[str, str]

    def write(
        self,
        cells: Sequence[Cell],
        entries: Sequence[Entry],
        on_hosts: Sequence[Evidence],
        report: Path,
    ) -> Path:
        """Write the site into the folder of a report; return its first page.

        Raises:
            SurroundingsError: a file cannot be read or written.
        """
        site = Site(
            entries,
            self._facts(cells, entries),
            f"envmatrix {__version__}",
            datetime.now(UTC).replace(microsecond=0),
            on_hosts,
        )
        folder = report / FOLDER
        found = pages(site, self.layout.templates())
        for path, text in found.items():
            write_text(folder / path, text)
        for page in (folder / "cells").glob("*.html"):
            if f"cells/{page.name}" not in found:
                remove(page)
        return folder / "index.html"

    def _facts(self, cells: Sequence[Cell], entries: Sequence[Entry]) -> Facts:
        executed = {entry.id for entry in entries if entry.was_run}
        frameworks = {name: one.title or name for name, one in self.matrix.frameworks.items()}
        stacks = {
            cell.framework: self.matrix.stacks[cell.stack].title or cell.stack
            for cell in cells
            if STACKED in cell.framework
        }
        axes = self.matrix.axes
        return Facts(
            titles=frameworks | stacks,
            axes={
                "framework": [*frameworks, *stacks],
                "python": axes.python,
                "os": list(axes.os),
                "accelerator": list(axes.accelerator),
                "arch": axes.arch,
            },
            cuda={name: one.cuda for name, one in axes.accelerator.items()},
            drivers={name: one.driver for name, one in axes.accelerator.items()},
            installs={cell.id: installs(cell) for cell in cells if cell.id in executed},
            proves=self.proves,
            files={cell.id: self._files(cell) for cell in cells if cell.id in executed},
        )

    def _files(self, cell: Cell) -> tuple[str, str]:
        """Return the committed Dockerfile and lock of a cell, each empty where there is none."""
        folder = self.layout.images / cell.id
        found = []
        for name in ("Dockerfile", LOCK_NAME):
            path = folder / name
            with using(path, "read"):
                found.append(path.read_text(encoding="utf-8") if path.is_file() else "")
        return found[0], found[1]


def installs(cell: Cell) -> str:
    """Return the command that installs what a cell asks for into a virtual environment."""
    index = ["--index", cell.index] if cell.index else []
    wanted = [*cell.requires, *cell.constraints]
    return shlex.join(["uv", "pip", "install", *index, *wanted])
