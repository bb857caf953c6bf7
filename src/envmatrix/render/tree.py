"""The committed tree under images/: what it should hold, and how it differs from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.cells import Cell
from envmatrix.render.folders import Folders
from envmatrix.store.files import remove, write_text
from envmatrix.store.layout import Layout
from envmatrix.store.resolutions import Resolutions

Texts = Mapping[Path, str]


@dataclass(frozen=True, slots=True)
class Drift:
    """How the tree differs from what it should hold, each file by its path."""

    missing: tuple[Path, ...] = ()
    differing: tuple[Path, ...] = ()
    too_many: tuple[Path, ...] = ()

    @property
    def count(self) -> int:
        """How many files differ in any way."""
        return len(self.missing) + len(self.differing) + len(self.too_many)

    def lines(self, layout: Layout) -> list[str]:
        """Return a line for each file."""
        kinds = (
            ("missing", self.missing),
            ("differs", self.differing),
            ("too many", self.too_many),
        )
        return [f"{kind}: {layout.short(path)}" for kind, paths in kinds for path in paths]


class Tree:
    """The folders under images/, as the cells given to each method should have them."""

    def __init__(self, layout: Layout, resolutions: Resolutions, folders: Folders) -> None:
        self._layout = layout
        self._resolutions = resolutions
        self._folders = folders

    def rendered(self, cells: Iterable[Cell]) -> tuple[dict[Path, str], list[Cell]]:
        """Return the files that belong to `cells`, and the cells that have no lock to render."""
        files: dict[Path, str] = {}
        unlocked = []
        for cell in cells:
            resolution = self._resolutions.of_cell(cell)
            base = self._folders.base(cell)
            if resolution is None or resolution.lock is None or base is None:
                unlocked.append(cell)
                continue
            held = {
                f"base/{cell.base_id}": base,
                cell.id: self._folders.cell(cell, resolution.lock),
            }
            for folder, texts in held.items():
                for name, text in texts.items():
                    files[self._layout.images / folder / name] = text
        return files, unlocked

    def drift(self, files: Texts, *, whole_tree: bool) -> Drift:
        """Return how the tree differs from `files`. In the whole tree nothing else may be."""
        missing = tuple(path for path in files if not path.exists())
        differing = tuple(
            path for path, text in files.items() if path not in missing and not _holds(path, text)
        )
        return Drift(missing, differing, tuple(self._others(files)) if whole_tree else ())

    def _others(self, files: Texts) -> Sequence[Path]:
        kept = {*files, self._layout.resolved}
        return [
            path
            for path in sorted(self._layout.images.rglob("*"))
            if path.is_file() and path not in kept
        ]

    def write(self, files: Texts, drift: Drift) -> None:
        """Write the files that are missing or differ, and remove those that are too many.

        Raises:
            SurroundingsError: a file cannot be written or removed.
        """
        for path in (*drift.missing, *drift.differing):
            write_text(path, files[path])
        for path in drift.too_many:
            remove(path)


def _holds(path: Path, text: str) -> bool:
    """Return whether a file holds this text, and can be read at all."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
