"""What a person sees while work goes on: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from envmatrix.cli.printing import Level
from envmatrix.model.text import line

if TYPE_CHECKING:
    from envmatrix.cli.bars import TerminalProgress

QUIET_ABOVE = 20
"""A stage with more pieces of work than this gets a plain line for every hundredth piece only."""
LONG_SECONDS = 3
"""A piece of work that took longer than this always gets a plain line."""


class PlainProgress:
    """A line for each piece of work that ends, on stderr; of many quick pieces, for some.

    With `every`, nothing is left out.
    """

    def __init__(self, console: Console, *, every: bool = False) -> None:
        self._console = console
        self._every = every
        self._totals: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing open."""

    def expect(self, stage: str, count: int) -> None:
        """Remember how much is ahead."""
        self._totals[stage], self._done[stage] = count, 0

    def started(self, stage: str, subject: str) -> None:
        """Remember when a piece of work began."""
        self._since[stage, subject] = time.monotonic()

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Print how a piece of work ended, and how many of them are done."""
        with self._lock:
            self._done[stage] = done = self._done.get(stage, 0) + 1
        total = self._totals.get(stage, 0)
        since = self._since.pop((stage, subject), None)
        seconds = 0.0 if since is None else time.monotonic() - since
        few = total <= QUIET_ABOVE or done % 100 == 0 or done == total
        if not self._every and (reused or not (few or seconds > LONG_SECONDS)):
            return
        took = f" ({seconds:.0f} s)" if since is not None else ""
        told = f"{stage} {done}/{total}  {subject}: {said}{took}"
        self._console.print(Text(line(told)), soft_wrap=True)

    def tell(self, text: str) -> None:
        """Print a text on a line of its own."""
        self._console.print(Text(line(text)), soft_wrap=True)


class SilentProgress:
    """Nothing: the user asked for results and errors only."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing open."""

    def expect(self, stage: str, count: int) -> None:
        """Say nothing."""

    def started(self, stage: str, subject: str) -> None:
        """Say nothing."""

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Say nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""


def make_progress(
    console: Console, level: Level = Level.NORMAL
) -> TerminalProgress | PlainProgress | SilentProgress:
    """Return bars for a terminal, lines for anything else.

    A user may force colours where no terminal is: a log of a CI job has no use for bars.
    """
    if level is Level.QUIET:
        return SilentProgress()
    every = level is Level.VERBOSE
    is_terminal = console.is_terminal and console.file.isatty()
    if is_terminal and not console.is_dumb_terminal:
        from envmatrix.cli.bars import TerminalProgress

        return TerminalProgress(console, every=every)
    return PlainProgress(console, every=every)
