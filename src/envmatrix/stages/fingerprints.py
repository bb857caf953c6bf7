"""Fingerprints: one hash of all inputs of a cell, which tells what a change of a project touches.

Each commit computes its own, with its own envmatrix: so a change of how cells are rendered shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Inputs
from envmatrix.model.part import Handle, Part


class Fingerprints(Part):
    """The fingerprint of each cell that has a lock, by its id."""

    version: Annotated[
        Literal[1], Field(alias="schema", description="The version of this form.")
    ] = 1
    fingerprints: Mapping[Handle, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]

    def changed(self, cells: Iterable[Cell], now: Fingerprints) -> list[Cell]:
        """Return the cells that have another fingerprint now, or had none.

        A cell without a fingerprint has no lock, and cannot be built.
        """
        before, after = self.fingerprints, now.fingerprints
        return [
            cell for cell in cells if cell.id in after and before.get(cell.id) != after[cell.id]
        ]


def fingerprints(cells: Iterable[Cell], inputs_of: Callable[[Cell], Inputs | None]) -> Fingerprints:
    """Return the fingerprints of cells. What a rule excludes has none."""
    found = {cell.id: inputs_of(cell) for cell in cells if not cell.excluded}
    return Fingerprints(
        fingerprints={name: digest(one.to_json()) for name, one in found.items() if one}
    )


def read_fingerprints(path: Path) -> Fingerprints:
    """Read what `envmatrix plan --format fingerprints` printed.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        return Fingerprints.model_validate_json(path.read_bytes())
    except OSError as error:
        why = error.strerror or str(error)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        why = f"the field {field} is wrong" if field else "it is not such JSON"
    raise InputError(
        f"these are no fingerprints of cells: {why}",
        where=str(path),
        next_step="write them in the other commit: `envmatrix plan --format fingerprints`",
    )
