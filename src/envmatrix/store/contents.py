"""The digests of what layers contain, by diff id. A layer is read once, whatever images have it."""

from __future__ import annotations

from collections.abc import Sequence

from envmatrix.model.digests import CONTENT_SCHEME, content_scheme
from envmatrix.model.part import Part
from envmatrix.store.records import Records


class ContentRecord(Part):
    """What a layer contains, as a digest, and the instruction that made it; empty: unknown."""

    content: str
    step: str = ""


class Contents:
    """Records of what layers contain. Digests of another form than today's are not known here."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, ContentRecord] = {}

    def get(self, layer: str) -> ContentRecord | None:
        """Return what is known of the layer with this diff id. Many images have the same layers."""
        if known := self._known.get(layer):
            return known
        record = self._records.get("content", layer, ContentRecord)
        if record is None or content_scheme(record.content) != CONTENT_SCHEME:
            return None
        return self._known.setdefault(layer, record)

    def of(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return the digest of each layer of an image; nothing unless all of them are known."""
        found = [record.content for layer in layers if (record := self.get(layer))]
        return tuple(found) if len(found) == len(layers) else ()

    def keep(self, layer: str, content: str, step: str) -> None:
        """Record what the layer with this diff id contains, and the instruction that made it."""
        self._known.pop(layer, None)
        self._records.put("content", layer, ContentRecord(content=content, step=step))
