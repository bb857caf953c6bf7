"""Trying again: a failure of the engine that may be gone at the next try costs no cell."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
