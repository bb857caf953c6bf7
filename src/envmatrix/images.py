"""The committed tree under images/: what it should hold, and how it differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from envmatrix.cells import Cell
from envmatrix.evidence import write_text
from envmatrix.project import Project


def rendered(project: Project, cells: Iterable[Cell]) -> tuple[dict[Path, str], list[Cell]]:
    """Return the files that belong to `cells`, and the cells that have no lock to render."""
    files: dict[Path, str] = {}
    unlocked = []
    for cell in cells:
        resolution = project.cell_resolution(cell)
        base = project.base_files(cell)
        if resolution is None or resolution.lock is None or base is None:
            unlocked.append(cell)
            continue
        folders = {f"base/{cell.base_id}": base, cell.id: project.cell_files(cell, resolution.lock)}
        for folder, texts in folders.items():
            for name, text in texts.items():
                files[project.images / folder / name] = text
    return files, unlocked


def difference(project: Project, files: Mapping[Path, str], *, whole_tree: bool) -> list[str]:
    """Return a line for each file that is missing, differs or, in the whole tree, is too many."""
    found = []
    for path, text in files.items():
        if not path.exists():
            found.append(f"missing: {path.relative_to(project.root)}")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"differs: {path.relative_to(project.root)}")
    if whole_tree and project.images.is_dir():
        kept = {*files, project.verdicts_path}
        found += [
            f"too many: {path.relative_to(project.root)}"
            for path in sorted(project.images.rglob("*"))
            if path.is_file() and path not in kept
        ]
    return found


def write(project: Project, files: Mapping[Path, str], drift: Sequence[str]) -> None:
    """Write the files that differ, and remove those that are too many."""
    for line in drift:
        kind, _, name = line.partition(": ")
        path = project.root / name
        if kind == "too many":
            path.unlink()
        else:
            write_text(path, files[path])
