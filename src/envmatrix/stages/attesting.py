"""Documents for supply chains: what they need is gathered here, and written beside evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence
from envmatrix.model.publications import Publications
from envmatrix.report.attest import MEDIA_TYPES, Materials, documents, statements
from envmatrix.stages.report import files_in
from envmatrix.store.files import remove, to_text, using, write_text
from envmatrix.store.layout import ATTESTATIONS, LOCK_NAME, Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.resolutions import Resolutions

if TYPE_CHECKING:
    from envmatrix.engine.registry import Manifest, Registry

BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class Attesting:
    """Makes the documents of cells. `cells` are those of the matrix, by id."""

    layout: Layout
    resolutions: Resolutions
    packages: SystemPackages
    publications: Publications
    cells: Mapping[str, Cell]

    def documents(self, evidence: Evidence, digest: str = "") -> dict[str, str]:
        """Return the documents of a cell with an image, by the ends of their names.

        `digest` is that of the image in its registry.
        """
        return documents(self._materials(evidence, digest))

    def attach(
        self, registry: Registry, repository: str, image: Manifest, evidence: Evidence
    ) -> None:
        """Attach the documents of a cell to its published image, unsigned.

        Raises:
            EngineError: the registry failed.
        """
        for end, text in self.documents(evidence, image.digest).items():
            title = f"{evidence.id}.{end}"
            registry.attach(repository, image, MEDIA_TYPES[end], title, text.encode())

    def statements(self, evidence: Evidence, digest: str) -> dict[str, bytes]:
        """Return the documents of a published image as statements to sign, by predicate type."""
        return statements(self._materials(evidence, digest))

    def write(self, cells: Iterable[Evidence], report: Path) -> int:
        """Write the documents of the cells that have an image; return of how many.

        Documents of cells that are gone are removed: they can be made again at once.

        Raises:
            SurroundingsError: a file cannot be written or removed.
        """
        folder = report / ATTESTATIONS
        ours = [one for one in cells if one.layers]
        texts: dict[Path, str] = {}
        for one in ours:
            published = self.publications.of(one)
            made = self.documents(one, published.digest if published else "")
            texts |= {folder / f"{one.id}.{end}": text for end, text in made.items()}
        for path in files_in(folder, ".json"):
            if path.name.endswith(tuple(f".{end}" for end in MEDIA_TYPES)) and path not in texts:
                remove(path)
        for path, text in texts.items():
            write_text(path, text, durable=False)
        return len(ours)

    def _materials(self, evidence: Evidence, digest: str) -> Materials:
        cell = self.cells[evidence.id]
        base = self.resolutions.of_base(cell)
        resolution = self.resolutions.of_cell(cell)
        system: tuple[str, ...] = ()
        if evidence.base and evidence.base.origin == BOOTSTRAP:
            held = self.packages.held(evidence.layers)
            system = held or self.packages.published(cell.system_id)
        return Materials(
            evidence,
            lock=resolution.lock if resolution else None,
            base_lock=base.lock if base else None,
            system=system,
            files={
                **self._built_from(cell),
                f"cells/{evidence.id}.json": to_text(evidence.to_json()),
            },
            digest=digest,
        )

    def _built_from(self, cell: Cell) -> dict[str, str]:
        """Return the committed files that the image of a cell and its base are built from."""
        found = {}
        for folder in (f"base/{cell.base_id}", cell.id):
            for name in ("Dockerfile", LOCK_NAME):
                path = self.layout.images / folder / name
                with using(path, "read"):
                    if path.is_file():
                        found[f"images/{folder}/{name}"] = path.read_text(encoding="utf-8")
        return found
