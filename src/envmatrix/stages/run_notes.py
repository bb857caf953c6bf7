"""What killed runs left on an engine: the next run of the same checkout removes it.

A run notes itself before it begins, and forgets the note once it has cleaned up. It holds the state
of its checkout alone. So a note that is still there is of a run that was killed, or that lost its
engine. A copy of a checkout has the notes, too, and must not act upon them: the original may be at
work. So a note says where it was written.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

from pydantic import Field

from envmatrix.engine.client import Engine
from envmatrix.model.digests import digest
from envmatrix.model.errors import SurroundingsError
from envmatrix.model.part import Part
from envmatrix.store.records import Records

_KIND = "run"


class RunRecord(Part):
    """The note of a run: its id, and a hash of the place of its state and of its engine."""

    run: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
    place: str


@contextmanager
def accounted(records: Records, engine: Engine) -> Iterator[None]:
    """Remove what killed runs of this checkout left on the engine, and note this one.

    Whoever calls it holds the state alone.

    Raises:
        SurroundingsError: the note cannot be written.
    """
    place = digest(platform.node(), str(records.root.resolve()), engine.id)
    for run in records.keys(_KIND):
        note = records.get(_KIND, run, RunRecord)
        if note and (note.run, note.place) == (run, place):
            _clean(records, engine, run)
    run = engine.run_id
    records.put(_KIND, run, RunRecord(run=run, place=place))
    try:
        yield
    finally:
        _clean(records, engine, run)


def _clean(records: Records, engine: Engine, run: str) -> None:
    """Remove what a run left, and then its note. What cannot be removed now is removed later."""
    if engine.sweep(run):
        with suppress(SurroundingsError):
            records.forget(_KIND, run)
