"""What a person sees in a terminal while work goes on: a bar for each stage."""

from __future__ import annotations

import threading
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from envmatrix.model.text import line


class _Count(MofNCompleteColumn):
    """How many pieces are done. It is empty for a single piece, whose length nobody knows."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class TerminalProgress:
    """A bar for each stage, and a line for each piece of work that goes on, on stderr."""

    def __init__(self, console: Console, *, every: bool = False) -> None:
        self._console = console
        self._every = every
        self._live = Progress(
            TextColumn("{task.fields[stage]:>6}", markup=False),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._stages: dict[str, TaskID] = {}
        self._running: dict[tuple[str, str], tuple[TaskID, float]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def expect(self, stage: str, count: int) -> None:
        """Add a bar for a stage."""
        if count:
            self._stages[stage] = self._live.add_task("", total=count, stage=stage)

    def started(self, stage: str, subject: str) -> None:
        """Show a piece of work, with a clock."""
        with self._lock:
            task = self._live.add_task(line(f"  {subject}"), total=None, stage=stage)
            self._running[stage, subject] = (task, time.monotonic())

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Move the bar of the stage, and leave a line if something was done."""
        with self._lock:
            if task := self._running.pop((stage, subject), None):
                self._live.remove_task(task[0])
            if stage in self._stages:
                self._live.advance(self._stages[stage])
        if self._every or (stage != "lock" and not reused):
            took = f" ({time.monotonic() - task[1]:.0f} s)" if task else ""
            self._console.print(Text(line(f"{stage:>6}  {subject}: {said}{took}")))

    def tell(self, text: str) -> None:
        """Print a text on a line of its own."""
        self._console.print(Text(line(text)), soft_wrap=True)
