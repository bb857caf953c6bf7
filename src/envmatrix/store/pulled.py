"""Pulled operating systems: by which digest a tag is known here, and whether the tag has moved."""

from __future__ import annotations

from collections.abc import Collection

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest, moved
from envmatrix.model.evidence import Evidence
from envmatrix.model.matrix import DEFAULT_ARCH, Matrix
from envmatrix.model.part import Part
from envmatrix.store.book import Book
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records


class TagRecord(Part):
    """The image that a reference last named: its digest, or its id where no registry knows it."""

    reference: str
    known_as: str


class PulledSystems:
    """What the references of operating systems named, on this machine and where it is published."""

    def __init__(self, matrix: Matrix, layout: Layout, records: Records) -> None:
        self._matrix = matrix
        self._book = Book(layout)
        self._records = records

    def name(self, cell: Cell) -> str:
        """Return under what the image of a cell's system is kept: one tag serves each arch."""
        reference = self._matrix.axes.os[cell.os].image
        return reference if cell.arch == DEFAULT_ARCH else f"{reference} {cell.arch}"

    def last(self, reference: str) -> str:
        """Return what a reference named when it was last used here; nothing if it never was."""
        record = self._records.get("tag", digest(reference), TagRecord)
        return record.known_as if record else ""

    def keep(self, reference: str, known_as: str) -> None:
        """Record what a reference names now."""
        record = TagRecord(reference=reference, known_as=known_as)
        if self.last(reference) != known_as:
            self._records.put("tag", digest(reference), record)

    def drift(self, cell: Cell, digests: Collection[str]) -> str:
        """Say how the image of a cell's system, known by `digests`, differs from the published.

        Where none is published, the one counts that was used here before. Nothing is said where
        the image is the same, or where one of the two is not known.
        """
        reference = self._matrix.axes.os[cell.os].image
        published = self._published(cell)
        found = moved(reference, published or self.last(self.name(cell)), digests)
        before = "was published" if published else "was used here before"
        return f"{cell.os} is not what {before}: {found}" if found else ""

    def drift_of(self, cell: Cell, evidence: Evidence) -> str:
        """Say how the system of this evidence differs from the published; nothing if it does not.

        A published system that was bootstrapped has packages to compare, and no digest.
        """
        found = evidence.base.digest if evidence.base else None
        published = self._published(cell)
        return moved(self._matrix.axes.os[cell.os].image, published, [found] if found else [])

    def _published(self, cell: Cell) -> str:
        evidence = self._book.published(cell.id)
        return (evidence.base.digest if evidence and evidence.base else None) or ""
