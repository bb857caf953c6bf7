"""Shards: the cells of a run, cut into parts that several machines do side by side.

Every machine cuts for itself and gets the same shards. So only what is committed decides: the
matrix, the locks, what the resolver said, and the published evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.part import Handle, Part
from envmatrix.model.verdicts import Verdict
from envmatrix.render.sharing import Sharing
from envmatrix.stages.recipes import BYTES_A_SECOND
from envmatrix.store.book import Book
from envmatrix.store.files import to_text, using, write_text
from envmatrix.store.layout import SHARD
from envmatrix.store.resolutions import Resolutions

MOST: Final = 256
"""GitHub starts at most so many jobs of a matrix."""
_BASE_SECONDS: Final = 60.0
_PROBE_SECONDS: Final = 60.0
"""What the probes of a cell are expected to take where no published evidence tells."""
_BYTES_UNKNOWN: Final = 1_000_000_000
"""The bytes of wheels that a cell without a committed lock is expected to have."""

_WRITTEN = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")


@dataclass(frozen=True, slots=True)
class ShardOf:
    """One shard of several, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_of(text: str) -> ShardOf:
    """Read a shard as a user writes it, such as 2/8.

    Raises:
        InputError: it is none.
    """
    found = _WRITTEN.fullmatch(text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count <= MOST:
        raise InputError(
            f"{text!r} is no shard",
            where="--shard",
            next_step=f"give its number and how many there are, such as 2/8; at most {MOST}",
        )
    return ShardOf(number, count)


class ShardFile(Part):
    """What a report says of the shard that it is of."""

    version: Annotated[
        Literal[1], Field(alias="schema", description="The version of this form.")
    ] = 1
    shard: Annotated[int, Field(ge=1, le=MOST, description="Its number, counted from 1.")]
    of: Annotated[int, Field(ge=1, le=MOST, description="How many shards there are.")]
    selection: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9a-f]{64}$"),
        Field(description="A digest of the ids of all cells that were cut into shards."),
    ]
    cells: Annotated[
        tuple[Handle, ...], Field(description="The ids of the cells that it was to run.")
    ]


def write_shard(
    where: Path, shard: ShardOf, selection: Iterable[Cell], ours: Sequence[Cell]
) -> None:
    """Write into a report which shard it is of.

    Raises:
        SurroundingsError: it cannot be written.
    """
    told = ShardFile(
        shard=shard.number,
        of=shard.count,
        selection=digest_of(selection),
        cells=tuple(cell.id for cell in ours),
    )
    write_text(where / SHARD, to_text(told.to_json()), durable=False)


def read_shard(path: Path) -> ShardFile:
    """Read the file that says which shard a report is of.

    Raises:
        InputError: it is no such file.
        SurroundingsError: it cannot be read.
    """
    try:
        with using(path, "read"):
            found = ShardFile.model_validate_json(path.read_bytes())
        if found.shard <= found.of:
            return found
        why = f"shard {found.shard} of {found.of}"
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        why = f"the field {field} is wrong" if field else "it is not such JSON"
    raise InputError(
        f"this file does not say which shard the report is of: {why}",
        where=str(path),
        next_step="run the shard again with this envmatrix: `envmatrix run ... --shard 1/2`",
    )


def digest_of(cells: Iterable[Cell]) -> str:
    """Return the digest of a selection of cells, in whichever order they are."""
    return digest("selection", sorted(cell.id for cell in cells))


@dataclass(frozen=True, slots=True)
class Work:
    """What a cell costs: seconds by what is done. Cells of a shard do what is equal once."""

    id: str
    parts: Mapping[str, int]
    """Milliseconds, in the order in which the parts are done. The numbers are whole, so that
    every machine adds them to the same sum."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The cells of one shard, and the seconds that it is expected to take."""

    cells: tuple[Cell, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts the cells of a selection into shards."""

    resolutions: Resolutions
    sharing: Sharing
    book: Book

    def cut(self, cells: Sequence[Cell], count: int) -> list[Shard]:
        """Return `count` shards, and in each its cells in the order in which they came.

        Cells that a rule excludes, and those that are proven to be impossible, are in no shard:
        there is nothing to run. Shards are empty only where there are fewer cells than shards.
        """
        ahead = {cell.id: cell for cell in cells if not self._is_settled(cell)}
        works = [self._work(cell) for cell in ahead.values()]
        pieces = cut(works, count)
        place = {cell_id: index for index, cell_id in enumerate(ahead)}
        found = [
            Shard(
                tuple(ahead[one.id] for one in sorted(piece, key=lambda one: place[one.id])),
                round(_cost(piece) / 1000),
            )
            for piece in pieces
        ]
        return found + [Shard((), 0)] * (count - len(found))

    def _is_settled(self, cell: Cell) -> bool:
        told = self.resolutions.committed_verdict(cell)
        return bool(cell.excluded) or (told is not None and told.verdict is Verdict.IMPOSSIBLE)

    def _work(self, cell: Cell) -> Work:
        parts = {f"base {cell.base_id}": _BASE_SECONDS}
        if lock := self.resolutions.committed_lock(cell):
            for place, steps in self.sharing.beginnings(cell, lock):
                name = digest(place, [wheel.sha256 for step in steps for wheel in step])
                size = sum(wheel.size for wheel in steps[-1]) if steps else 0
                parts[f"layer {name}"] = size / BYTES_A_SECOND
        else:
            parts[f"wheels {cell.family} {cell.version} {cell.id}"] = (
                _BYTES_UNKNOWN / BYTES_A_SECOND
            )
        before = self.book.published(cell.id)
        probes = before.seconds.probe if before else None
        parts[f"probes {cell.id}"] = _PROBE_SECONDS if probes is None else probes
        return Work(cell.id, {name: round(seconds * 1000) for name, seconds in parts.items()})


def cut(works: Iterable[Work], count: int) -> list[list[Work]]:
    """Cut work into at most `count` pieces, none of them empty, so that the longest is short.

    What has the most parts in common stands side by side, and each piece is a run of neighbours:
    so most of what is shared is done in one piece only.
    """
    line = sorted(works, key=lambda one: (*one.parts, one.id))
    if not line:
        return []
    low, high = max(_cost([one]) for one in line), _cost(line)
    while low < high:
        middle = (low + high) // 2
        if len(_filled(line, middle)) <= count:
            high = middle
        else:
            low = middle + 1
    pieces = _filled(line, low)
    while len(pieces) < min(count, len(line)):
        # A piece more makes nothing longer, and the longest shorter.
        longest = max(
            (index for index, piece in enumerate(pieces) if len(piece) > 1),
            key=lambda index: (_cost(pieces[index]), -index),
        )
        pieces[longest : longest + 1] = _halves(pieces[longest])
    return pieces


def _filled(line: Sequence[Work], limit: int) -> list[list[Work]]:
    """Return pieces that take no longer than `limit`, each as long as it can be."""
    pieces: list[list[Work]] = []
    done: set[str] = set()
    total = 0
    for one in line:
        more = sum(cost for name, cost in one.parts.items() if name not in done)
        if not pieces or total + more > limit:
            pieces.append([])
            done, total = set(), 0
            more = sum(one.parts.values())
        pieces[-1].append(one)
        done.update(one.parts)
        total += more
    return pieces


def _halves(piece: Sequence[Work]) -> tuple[list[Work], list[Work]]:
    at = min(
        range(1, len(piece)), key=lambda place: max(_cost(piece[:place]), _cost(piece[place:]))
    )
    return list(piece[:at]), list(piece[at:])


def _cost(piece: Iterable[Work]) -> int:
    """Return the milliseconds that a piece takes. What its cells share is done once."""
    return sum({name: cost for one in piece for name, cost in one.parts.items()}.values())
