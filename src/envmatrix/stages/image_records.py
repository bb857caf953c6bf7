"""Records of the images that this project made, checked against what the engine still has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.model.digests import digest
from envmatrix.model.part import Part
from envmatrix.stages.recipes import Built, BuiltRecord
from envmatrix.store.records import Records


class NameRecord(Part):
    """The image that this checkout last gave a name to."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class ImageRecords:
    """Finds and keeps the records of images."""

    records: Records
    engine: Engine

    def recorded(self, step: str, key: str) -> Built | None:
        """Return the image of an earlier run, if the engine still has it with the same layers."""
        record = self.records.get(step, key, BuiltRecord)
        image = self.engine.images.find(record.id) if record else None
        if record is None or image is None or image.layers != record.layers:
            return None
        return Built(
            image,
            record.seconds,
            record.origin,
            reused=True,
            log=record.log,
            digest=record.digest,
            sizes=record.sizes,
            packages=record.packages,
        )

    def keep(self, step: str, key: str, built: Built) -> None:
        """Record an image under the hash of its inputs."""
        self.records.put(step, key, built.record)

    def replaced(self, tag: str, image: Image) -> None:
        """Remove the image that this checkout gave a name to before, and never another's."""
        before = self.records.get("name", digest(tag), NameRecord)
        self.records.put("name", digest(tag), NameRecord(name=tag, id=image.id))
        if before and before.id != image.id:
            self.engine.images.remove(before.id)

    def log_path(self, step: str, name: str) -> Path:
        """Return where the log of a step lies."""
        return self.records.log_path(step, name)
