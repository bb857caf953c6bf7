"""Known vulnerabilities of cells: asked, written beside the attestations, and read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from envmatrix.model.audits import AskedWheel, Audit, read_audit
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.store.files import to_text, write_text
from envmatrix.store.layout import Layout
from envmatrix.store.resolutions import Resolutions

Ask = Callable[[Iterable[tuple[str, str]]], Sequence[AskedWheel]]
"""Tells what is known of wheels, each given by name and version."""


@dataclass(frozen=True, slots=True)
class Auditing:
    """Audits cells."""

    layout: Layout
    resolutions: Resolutions

    def of(self, cell_id: str) -> Audit | None:
        """Return the audit of a cell; None: it was never asked for.

        Raises:
            InputError: the file cannot be read, or is damaged.
        """
        return read_audit(self.layout.audit(cell_id))

    def audit(self, cell: Cell, ask: Ask, service: str) -> Audit | None:
        """Ask about the wheels of a cell and its base, and write the file. None: it has no lock.

        Where nothing could be asked, an earlier answer about the same lock stays in the file.

        Raises:
            SurroundingsError: the file cannot be written, or what asks is missing.
        """
        resolution, base = self.resolutions.of_cell(cell), self.resolutions.of_base(cell)
        if resolution is None or resolution.lock is None:
            return None
        locks = [resolution.lock, *([base.lock] if base and base.lock else [])]
        wheels = sorted({(one.name, one.version) for lock in locks for one in lock.wheels})
        found = Audit(
            cell=cell.id,
            lock=resolution.lock.sha256,
            service=service,
            asked_at=datetime.now(UTC).replace(microsecond=0),
            wheels=tuple(ask(wheels)),
        )
        if not found.asked:
            with suppress(InputError):
                before = self.of(cell.id)
                if before and before.asked and before.lock == found.lock:
                    return found
        write_text(self.layout.audit(cell.id), to_text(found.to_json()), durable=False)
        return found
