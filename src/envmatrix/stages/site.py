"""The site of a report: what its pages need is gathered here, and written into one folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

from envmatrix import __version__
from envmatrix.model.audits import read_audit
from envmatrix.model.cells import Cell
from envmatrix.model.matrix import STACKED, Matrix
from envmatrix.model.publications import NOTHING_PUBLISHED, Publications
from envmatrix.report import answers
from envmatrix.report.claims import contradicted
from envmatrix.report.entries import Entry
from envmatrix.report.machines import FOLDERS, for_machines, is_ours
from envmatrix.report.site import pages
from envmatrix.report.site_data import Facts, Site
from envmatrix.stages.report import Reporting, entries_in, files_in
from envmatrix.store.files import remove, sweep, using, write_text
from envmatrix.store.layout import LOCK_NAME, Layout

FOLDER = "site"
EVIDENCE = "../cells"
"""Where the evidence files lie, as seen from the root of the site."""
INSTALLS = {
    "lock": "Without Docker, the proven wheels by their hashes: in a checkout of this project",
    "uv": "Without Docker, the same request: its dependencies may be newer than the proven ones",
}
"""The commands that install without Docker, of those of an answer, with what the page says."""
_MADE = "<!-- made by envmatrix -->"


@dataclass(frozen=True, slots=True)
class SiteWriter:
    """Writes the site of a matrix beside its evidence. `proves` says what each probe proves."""

    matrix: Matrix
    layout: Layout
    cells: Sequence[Cell]
    proves: Mapping[str, str]
    publications: Publications = NOTHING_PUBLISHED

    def write(
        self,
        entries: Sequence[Entry],
        reporting: Reporting,
        report: Path,
        base_url: str = "",
    ) -> Path:
        """Write the site into the folder of a report; return its first page.

        `entries` are those of every cell, and `reporting` knows what else is told. `base_url` is
        the address at which the site is served, and ends with a slash. Pages and documents of cells
        and releases that are gone are removed.

        Raises:
            InputError: the API has no room for a framework, or the history is damaged.
            SurroundingsError: a file cannot be written or removed.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        executed = [entry.evidence for entry in entries if entry.evidence]
        site = Site(
            entries,
            self._facts(entries),
            f"envmatrix {__version__}",
            now,
            history=reporting.history(report),
            known=reporting.known(executed),
            disagreements=contradicted(reporting.compared(executed)),
            on_hosts=tuple(reporting.book.hosts()),
        )
        texts = pages(site, self.layout.templates(), _MADE)
        texts |= for_machines(entries, site.history, now, EVIDENCE, base_url)
        folder = report / FOLDER
        roots = [folder / "cells", *(folder / name for name in FOLDERS)]
        folders = [*roots, *(one for root in roots for one in entries_in(root) if one.is_dir())]
        outdated = [
            path for path in _ours_in(folders) if path.relative_to(folder).as_posix() not in texts
        ]
        sweep([folder, *folders])
        for name, text in texts.items():
            write_text(folder / name, text, durable=False)  # They can be made again at once.
        for path in outdated:
            remove(path)
        return folder / "index.html"

    def _facts(self, entries: Sequence[Entry]) -> Facts:
        executed = {entry.id for entry in entries if entry.was_run}
        frameworks = {name: one.title or name for name, one in self.matrix.frameworks.items()}
        stacks = {
            cell.framework: self.matrix.stacks[cell.stack].title or cell.stack
            for cell in self.cells
            if STACKED in cell.framework
        }
        axes = self.matrix.axes
        return Facts(
            titles=frameworks | stacks,
            axes={
                "framework": [*frameworks, *stacks],
                "python": axes.python,
                "os": sorted(axes.os, key=lambda name: Version(axes.os[name].glibc)),
                "accelerator": list(axes.accelerator),
                "arch": axes.arch,
            },
            cuda={name: one.cuda for name, one in axes.accelerator.items()},
            drivers={name: one.driver for name, one in axes.accelerator.items()},
            installs=self._installs(entries),
            proves=self.proves,
            files={cell.id: self._files(cell) for cell in self.cells if cell.id in executed},
            pulls={
                entry.id: pull
                for entry in entries
                if entry.evidence and (pull := self.publications.pull_command(entry.evidence))
            },
            audits={one: it for one in executed if (it := read_audit(self.layout.audit(one)))},
        )

    def _installs(self, entries: Sequence[Entry]) -> dict[str, list[tuple[str, str]]]:
        """Return the commands that install the packages of each cell that was run, by its id."""
        facts = answers.Facts(self.matrix, {cell.id: cell for cell in self.cells}, self._lock_of)
        found = {}
        for entry in entries:
            if entry.was_run and entry.evidence:
                commands = {
                    one.what: one.line for one in answers.commands_of(entry.evidence, facts)
                }
                found[entry.id] = [
                    (words, commands[what]) for what, words in INSTALLS.items() if what in commands
                ]
        return found

    def _lock_of(self, cell_id: str) -> str:
        """Return the path of the committed lock of a cell; empty where there is none."""
        path = self.layout.lock(cell_id)
        return path.relative_to(self.layout.root).as_posix() if path.is_file() else ""

    def _files(self, cell: Cell) -> tuple[str, str]:
        """Return the committed Dockerfile and lock of a cell, each empty where there is none."""
        folder = self.layout.images / cell.id
        found = []
        for name in ("Dockerfile", LOCK_NAME):
            path = folder / name
            with using(path, "read"):
                found.append(path.read_text(encoding="utf-8") if path.is_file() else "")
        return found[0], found[1]


def _ours_in(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the pages and documents of these folders that a site made. Others are not ours."""
    for folder in folders:
        for path in (*files_in(folder, ".json"), *files_in(folder, ".html")):
            with suppress(OSError, UnicodeDecodeError):
                text = path.read_text(encoding="utf-8")
                if text.rstrip().endswith(_MADE) or is_ours(text):
                    yield path
