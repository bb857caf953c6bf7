"""The packages that a bootstrapped operating system was made of, and how they differ over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from envmatrix.model.cells import Cell
from envmatrix.model.part import Part
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records

NAMED_AT_MOST = 5


class PackagesRecord(Part):
    """The packages of a layer, each as `name version architecture sha256`."""

    packages: tuple[str, ...]


class SystemPackages:
    """Lists of packages: recorded by the layer that holds them, and published by system."""

    def __init__(self, layout: Layout, records: Records) -> None:
        self._layout = layout
        self._records = records

    def keep(self, layer: str, held: Sequence[str]) -> None:
        """Record the packages of the layer with this diff id."""
        self._records.put("packages", layer, PackagesRecord(packages=tuple(held)))

    def held(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return the packages of the lowest layer; none where this machine did not make it."""
        record = self._records.get("packages", layers[0], PackagesRecord) if layers else None
        return record.packages if record else ()

    def has(self, held: Sequence[str]) -> bool:
        """Return whether this machine recorded exactly these packages, of any layer."""
        kept = (
            self._records.get("packages", layer, PackagesRecord)
            for layer in self._records.keys("packages")
        )
        return any(record is not None and record.packages == tuple(held) for record in kept)

    def drift(self, os: str, held: Sequence[str]) -> str:
        """Say how packages differ from the published list; say nothing where there is none."""
        published = self._published(os)
        return "" if published is None else between(published, held)

    def published(self, os: str) -> tuple[str, ...]:
        """Return the published list of the packages of a system; none where there is no list."""
        return tuple(self._published(os) or ())

    def _published(self, os: str) -> list[str] | None:
        try:
            return self._layout.packages(os).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None

    def drift_below(self, cell: Cell, layers: Sequence[str]) -> str:
        """Say how the system below an image of this machine differs from the published list."""
        held = self.held(layers)
        return self.drift(cell.system_id, held) if held else ""


def between(before: Iterable[str], now: Iterable[str]) -> str:
    """Say how the packages of one list differ from those of another; nothing if they do not."""
    earlier, later = dict(_named(before)), dict(_named(now))
    differing = [
        f"{name} {earlier.get(name, 'was not there')} -> {later.get(name, 'is gone')}"
        for name in sorted({*earlier, *later})
        if earlier.get(name) != later.get(name)
    ]
    named = ", ".join(differing[:NAMED_AT_MOST])
    counted = f"{len(differing)} package{'s' if len(differing) != 1 else ''}"
    return f"{counted}: {named}" if differing else ""


def _named(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in packages:
        match line.split():
            case [name, version, *_, sha256]:
                yield name, f"{version} ({sha256[:8]})"
