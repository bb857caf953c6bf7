"""The report stage: the evidence of cells as it is now, and the files that publish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence
from envmatrix.report.document import Report, document
from envmatrix.report.table import page
from envmatrix.stages.evidence import EvidenceMaker, machine
from envmatrix.store.files import to_text, write_text
from envmatrix.store.knowledge import Knowledge
from envmatrix.store.packages import SystemPackages


@dataclass(frozen=True, slots=True)
class Reporting:
    """Gathers evidence and writes reports."""

    maker: EvidenceMaker
    knowledge: Knowledge
    packages: SystemPackages

    def evidence(self, cell: Cell) -> Evidence:
        """Return the evidence of a cell if it is current, or else what is known without it."""
        return self.knowledge.current(cell) or self.maker.of(cell, self.knowledge.judgement(cell))

    def write(
        self, cells: Sequence[Evidence], where: Path, on_hosts: Sequence[Evidence] = ()
    ) -> None:
        """Write report.json, table.md, and a file for each cell, each host and each system.

        Raises:
            SurroundingsError: a file cannot be written.
        """
        write_text(where / "report.json", to_text(report_of(cells, on_hosts).to_json()))
        write_text(where / "table.md", page(cells, on_hosts))
        for folder, evidence in (("cells", cells), ("host", on_hosts)):
            for found in evidence:
                write_text(where / folder / f"{found.id}.json", to_text(found.to_json()))
        for found in cells:
            if held := self.packages.held(found.layers):
                lines = "".join(f"{line}\n" for line in held)
                write_text(where / "packages" / f"{found.axes.os}.txt", lines)


def report_of(cells: Sequence[Evidence], on_hosts: Sequence[Evidence] = ()) -> Report:
    """Return the document of some cells, with the machine of the first as its host."""
    return document(cells, cells[0].host if cells else machine(), on_hosts)
