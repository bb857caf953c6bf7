"""Trying again: a failure of the engine that may be gone at the next try costs no cell.

A registry is asked with longer and longer pauses, or as long as it asks, and not for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from envmatrix.engine.process import Cancelled
from envmatrix.model.errors import EngineError

TRIES = 3
"""How often something is tried, the first time included."""

PAUSE_SECONDS = 1.0
"""The pause before something is tried again."""

_T = TypeVar("_T")


def retried(work: Callable[[], _T], tell: Callable[[str], None], cancelled: threading.Event) -> _T:
    """Do some work, and do it again after a transient failure of the engine. `tell` gets why.

    Raises:
        EngineError: the failure is not transient, or the last try failed, too.
        Cancelled: the user asked to stop.
    """
    for again in range(1, TRIES):
        try:
            return work()
        except EngineError as error:
            if not error.transient:
                raise
            tell(f"{error.what[:300]} ({error.where}); trying again, {again} of {TRIES - 1}")
        if cancelled.wait(PAUSE_SECONDS):
            raise Cancelled
    return work()


# --- registries ------------------------------------------------------------------------------


REGISTRY_TRIES = 5
"""How often a registry is asked, the first time included."""
FIRST_PAUSE = 1.0
"""Seconds before the second try. Each further pause is twice as long."""
LONGEST_PAUSE = 60.0
"""A registry that asks for a longer pause is not waited for."""


class _PausedError(EngineError):
    """A failure after which the registry asks for a pause, in seconds."""

    pause: float | None = None


def told_pause(error: EngineError, asked: str) -> EngineError:
    """Return a failure with the pause that a registry asks for in `Retry-After`, if it asks."""
    pause = _seconds(asked)
    if not error.transient or pause is None:
        return error
    found = _PausedError(
        error.what,
        where=error.where,
        next_step=error.next_step,
        kind=error.kind,
        transient=pause <= LONGEST_PAUSE,
    )
    found.pause = pause
    if pause > LONGEST_PAUSE:
        found.next_step = f"wait {pause:.0f} s as the registry asks, then run it again: it goes on"
    return found


def _seconds(asked: str) -> float | None:
    if asked.isdecimal():
        return float(asked[:9])
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def patiently(
    work: Callable[[], _T], tell: Callable[[str], None], cancelled: threading.Event
) -> _T:
    """Do some work with a registry, and do it again after a transient failure. `tell` gets why.

    Raises:
        EngineError: the failure is not transient, or the last try failed, too.
        Cancelled: the user asked to stop.
    """
    pause = FIRST_PAUSE
    for again in range(1, REGISTRY_TRIES):
        try:
            return work()
        except EngineError as error:
            if not error.transient:
                raise
            asked = error.pause if isinstance(error, _PausedError) else None
            wait = pause if asked is None else asked
            tell(
                f"{error.what[:200]} ({error.where}); trying again in {wait:.0f} s, {again} of "
                f"{REGISTRY_TRIES - 1}"
            )
        if cancelled.wait(wait):
            raise Cancelled
        pause *= 2
    return work()
