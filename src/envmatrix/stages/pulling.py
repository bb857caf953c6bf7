"""Taking the image of a cell from a registry instead of building it.

An image is pulled by its digest, and counts only where its layers are those of its evidence. Then
it is recorded under the files that it would be built from, so that nothing is built until one of
them changes. Probes are not in an image: it may be pulled where only they have changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from envmatrix.engine.image import Image
from envmatrix.engine.retries import patiently
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import EngineError, InputError
from envmatrix.model.evidence import Evidence, Inputs
from envmatrix.model.evidence_file import UnreadableEvidenceError
from envmatrix.model.image_names import cell_tag
from envmatrix.model.locks import Lock
from envmatrix.model.publications import Publication, Publications
from envmatrix.render.folders import Folders
from envmatrix.stages.image_records import ImageRecords
from envmatrix.stages.recipes import Built
from envmatrix.store.book import Book

_STEP = "pulled"


@dataclass(frozen=True, slots=True)
class Source:
    """A published image, and the evidence of what is in it."""

    publication: Publication
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Pulling:
    """Knows which published image is that of a cell as it is now, and takes it.

    `inputs_of` returns the inputs that a cell has now, or None while it has no lock.
    """

    publications: Publications
    book: Book
    folders: Folders
    inputs_of: Callable[[Cell], Inputs | None]

    def source(self, cell: Cell, registry: str = "") -> Source | None:
        """Return the published image of a cell; None where none is what would be built now."""
        if cell.excluded or not self.publications.has(cell.id):
            return None
        now = self.inputs_of(cell)
        for evidence in self.candidates(cell):
            if now and evidence.inputs and evidence.inputs.same_image(now):
                found = self.publications.of(evidence, registry)
                if found:
                    return Source(found, evidence)
        return None

    def candidates(self, cell: Cell) -> Sequence[Evidence]:
        """Return all evidence of a cell that counts and can be read."""
        try:
            return list(self.book.candidates(cell.id))
        except UnreadableEvidenceError:
            return ()

    def recorded(self, images: ImageRecords, cell: Cell, lock: Lock) -> Built | None:
        """Return the image of a cell that was pulled before, if the engine still has it."""
        if not self.publications.has(cell.id):
            return None
        found = images.recorded(_STEP, self._key(cell, lock))
        if found is None:
            return None
        return Built(
            found.image,
            found.seconds,
            found.origin,
            reused=True,
            digest=found.digest,
            sizes=found.sizes,
            packages=found.packages,
            pulled=True,
        )

    def pull(self, images: ImageRecords, cell: Cell, lock: Lock, registry: str = "") -> Built:
        """Pull the image of a cell, give it its usual local name, and record it.

        Raises:
            InputError: no image of the cell as it is now is published.
            EngineError: it cannot be pulled, or its layers are not those of its evidence. Then it
                is removed again.
        """
        source = self.source(cell, registry)
        if source is None:
            raise self._nothing(cell, registry)
        engine, reference = images.engine, source.publication.reference
        started = time.monotonic()
        had = engine.images.find(reference)
        image = patiently(
            partial(engine.images.pull, reference, cell.arch),
            engine.connection.tell,
            engine.cancelled,
        )
        if image.layers != source.evidence.layers:
            if had is None:
                engine.images.remove(reference)
            raise _another(cell, reference, image)
        engine.images.tag(image, cell_tag(cell))
        # An engine does not remove an image by its id while it is known by a digest, too.
        engine.images.untag(image, reference, cell_tag(cell))
        base, held = source.evidence.base, source.evidence.image
        built = Built(
            image,
            round(time.monotonic() - started, 1),
            (base.origin if base else None) or "",
            reused=False,
            digest=base.digest if base else None,
            sizes=held.sizes if held else (),
            packages=held.packages if held else (),
            pulled=True,
        )
        images.keep(_STEP, self._key(cell, lock), built)
        images.replaced(cell_tag(cell), image)
        return built

    def _key(self, cell: Cell, lock: Lock) -> str:
        """Return the hash of the files that the image of a cell is built from, its base included.

        Which layers a base of this machine would have is not known: none is made.
        """
        return digest(dict(self.folders.cell(cell, lock)), dict(self.folders.base(cell) or {}))

    def _nothing(self, cell: Cell, registry: str) -> InputError:
        where = f" in {registry}" if registry else ""
        why = (
            "what is published is not what would be built now, or its evidence is not here"
            if self.publications.has(cell.id)
            else "it was never published"
        )
        return InputError(
            f"no image of {cell.id} can be pulled{where}: {why}",
            where="reports/published.json",
            next_step=f"take the newest reports from git (`git pull`), or build it: "
            f"`envmatrix run {cell.id}`",
        )


def _another(cell: Cell, reference: str, image: Image) -> EngineError:
    return EngineError(
        f"the image of {cell.id} in the registry is not that of its evidence: it has "
        f"{len(image.layers)} other layers. It was not taken",
        where=reference,
        next_step=f"ask who runs the registry, and build the image: `envmatrix run {cell.id}`",
        kind="registry",
    )
