"""Looks at a machine: what a run needs that is missing, and what may harm it.

This module says what a finding is, and makes the checks side by side within a time. What is checked
is in `machine_checks`, `state_checks`, `engine_checks` and `index_checks`. A check creates nothing,
and pulls nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from envmatrix.model.errors import EnvmatrixError
from envmatrix.model.matrix import Matrix
from envmatrix.model.text import line
from envmatrix.render.sharing import Sharing
from envmatrix.stages.lock import Locked

SECONDS = 15.0
"""How long all checks may take together."""
_SAID_LIMIT = 600


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `remedy` is what to do about it: a command where there is one."""

    topic: str
    state: State
    said: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON data, with inert text."""
        return {
            "topic": self.topic,
            "state": self.state.value,
            "said": line(self.said, _SAID_LIMIT),
            "remedy": line(self.remedy, _SAID_LIMIT),
        }


def fine(topic: str, said: str) -> Finding:
    """Return that all is well."""
    return Finding(topic, State.OK, said)


def warning(topic: str, said: str, remedy: str) -> Finding:
    """Return what may go wrong later, and what to do."""
    return Finding(topic, State.WARNING, said, remedy)


def missing(topic: str, said: str, remedy: str) -> Finding:
    """Return that something needed is missing, and what to do."""
    return Finding(topic, State.MISSING, said, remedy)


def unknown(topic: str, said: str, remedy: str = "") -> Finding:
    """Return that a check could not be made, and why."""
    return Finding(topic, State.UNKNOWN, said, remedy)


@dataclass(frozen=True, slots=True)
class Work:
    """The cells that a user chose, as far as they can be built: `locked`. `unlocked` have no lock.

    `title` names them in sentences.
    """

    title: str
    matrix: Matrix
    sharing: Sharing
    locked: Sequence[Locked]
    unlocked: int = 0


@dataclass(slots=True)
class Check:
    """A check, which yields findings. What is `needed` is missing where no answer comes in time."""

    topic: str
    look: Callable[[], Iterable[Finding]]
    needed: bool = False
    remedy: str = ""
    found: list[Finding] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in a thread that the end of the program does not wait for."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for finding in self.look():
                self.found.append(finding)
        except EnvmatrixError as error:
            self.found.append(unknown(self.topic, f"not checked: {error.what}", error.next_step))
        except Exception as error:  # noqa: BLE001  (a doctor that ends by an error helps nobody)
            self.found.append(
                unknown(self.topic, f"not checked: {type(error).__name__}: {error}", self.remedy)
            )

    def ended(self, until: float, seconds: float) -> Iterator[Finding]:
        """Yield what was found until a moment of the monotonic clock, and whether that is all."""
        assert self._thread is not None  # noqa: S101  (for the type checker: `start` made it)
        self._thread.join(max(0.0, until - time.monotonic()))
        unfinished = self._thread.is_alive()
        found = tuple(self.found)
        yield from found
        if unfinished:
            absent = self.needed and not found
            said = f"no answer within {seconds:g} s"
            state = State.MISSING if absent else State.UNKNOWN
            yield Finding(self.topic, state, said, self.remedy)


def examine(checks: Iterable[Check], seconds: float = SECONDS) -> list[Finding]:
    """Make all checks side by side; return the findings in the order of the checks.

    A check that fails, or that does not end within `seconds`, is a finding, too.
    """
    started = list(checks)
    until = time.monotonic() + seconds
    for check in started:
        check.start()
    return [finding for check in started for finding in check.ended(until, seconds)]


def nothing_missing(findings: Iterable[Finding]) -> bool:
    """Return whether all that is needed is there."""
    return all(finding.state is not State.MISSING for finding in findings)
