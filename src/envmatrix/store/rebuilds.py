"""What came of building images again from nothing. Equal layers share the answer."""

from __future__ import annotations

from collections.abc import Sequence

from envmatrix.model.digests import digest
from envmatrix.model.evidence import Reproducibility, Reproducible
from envmatrix.store.records import Records


class Rebuilds:
    """Records of rebuilt images, by the diff ids of their layers."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def of(self, layers: Sequence[str]) -> Reproducibility:
        """Return what came of rebuilding the image that has these layers."""
        found = (
            self._records.get("verify", digest(list(layers)), Reproducibility) if layers else None
        )
        return found or Reproducibility()

    def keep(self, layers: Sequence[str], found: Reproducibility) -> None:
        """Record what came of rebuilding the image that has these layers.

        That it could not be checked does not replace an answer of an earlier day.
        """
        checked = found.status is not Reproducible.NOT_CHECKED
        if layers and (checked or self.of(layers).status is Reproducible.NOT_CHECKED):
            self._records.put("verify", digest(list(layers)), found)
