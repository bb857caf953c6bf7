"""Progress: bars in a terminal, and plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from envmatrix.cli import bars, progress
from envmatrix.cli.bars import TerminalProgress
from envmatrix.cli.printing import Level
from envmatrix.cli.progress import (
    QUIET_ABOVE,
    PlainProgress,
    SilentProgress,
    make_progress,
)

MARKUP = "[red]stop[/] [/]"


def console(*, terminal: bool, width: int = 100) -> tuple[Console, StringIO]:
    """Return a console, and what is written to it."""
    file = StringIO()
    made = Console(file=file, width=width, force_terminal=terminal, _environ={})
    return made, file


class Terminal(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the progress."""
    made = Clock()
    monkeypatch.setattr(bars, "time", made)
    monkeypatch.setattr(progress, "time", made)
    return made


def test_bars_are_for_terminals() -> None:
    """A terminal gets bars, and a file or a pipe gets lines."""
    terminal = Console(file=Terminal(), force_terminal=True, _environ={"TERM": "xterm"})
    assert isinstance(make_progress(terminal), TerminalProgress)
    assert isinstance(make_progress(terminal, Level.VERBOSE), TerminalProgress)
    assert isinstance(make_progress(terminal, Level.QUIET), SilentProgress)
    dumb = Console(file=Terminal(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(make_progress(dumb), PlainProgress)
    assert isinstance(make_progress(console(terminal=False)[0]), PlainProgress)
    assert isinstance(make_progress(console(terminal=True)[0]), PlainProgress)  # FORCE_COLOR


def test_verbose_progress_leaves_nothing_out() -> None:
    """Work that an earlier run did, and the many quick pieces of a stage, have lines, too."""
    made, file = console(terminal=False)
    progress = PlainProgress(made, every=True)
    progress.expect("lock", 2 * QUIET_ABOVE)
    for number in range(2 * QUIET_ABOVE):
        progress.finished("lock", f"piece {number}", "known", reused=True)
    assert len(file.getvalue().splitlines()) == 2 * QUIET_ABOVE
    with TerminalProgress(made, every=True) as bars:
        bars.finished("lock", "a lock", "known", reused=True)
    assert "a lock: known" in file.getvalue()


def test_silent_progress_is_silent() -> None:
    """Nothing is shown where a user asked for results and errors only."""
    made, file = console(terminal=False)
    with make_progress(made, Level.QUIET) as progress:
        progress.expect("build", 1)
        progress.started("build", "x")
        progress.finished("build", "x", "1 s", reused=False)
        progress.tell("a note")
    assert not file.getvalue()


# --- lines -----------------------------------------------------------------------------------


@pytest.fixture
def plain(clock: Clock) -> tuple[PlainProgress, Callable[[], list[str]]]:
    """Plain progress, and the lines that it wrote."""
    made, file = console(terminal=False)
    return PlainProgress(made), lambda: file.getvalue().splitlines()


def test_each_of_few_pieces_of_work_has_a_line(
    plain: tuple[PlainProgress, Callable[[], list[str]]], clock: Clock
) -> None:
    """A line tells the stage, how much is done, the subject, the outcome and the time it took."""
    progress, lines = plain
    with progress:
        progress.expect("build", 2)
        progress.started("build", "one")
        clock.now += 1.6
        progress.finished("build", "one", MARKUP, reused=False)
        progress.finished("build", "two", "5 s", reused=False)
    assert lines() == [f"build 1/2  one: {MARKUP} (2 s)", "build 2/2  two: 5 s"]


def test_work_that_was_reused_is_not_told(
    plain: tuple[PlainProgress, Callable[[], list[str]]],
) -> None:
    """Nothing was done for it, and it counts."""
    progress, lines = plain
    progress.expect("build", 2)
    progress.finished("build", "one", "5 s", reused=True)
    progress.finished("build", "two", "5 s", reused=False)
    assert lines() == ["build 2/2  two: 5 s"]


def test_of_many_pieces_of_work_some_are_told(
    plain: tuple[PlainProgress, Callable[[], list[str]]],
) -> None:
    """Of many quick pieces every hundredth and the last are told."""
    progress, lines = plain
    progress.expect("lock", 250)
    for number in range(250):
        progress.finished("lock", str(number), "locked", reused=False)
    assert lines() == [
        "lock 100/250  99: locked",
        "lock 200/250  199: locked",
        "lock 250/250  249: locked",
    ]


def test_of_many_pieces_of_work_the_long_ones_are_told(
    plain: tuple[PlainProgress, Callable[[], list[str]]], clock: Clock
) -> None:
    """A piece that took longer than a few seconds is told however many there are."""
    progress, lines = plain
    progress.expect("build", QUIET_ABOVE + 1)
    progress.started("build", "slow")
    progress.started("build", "quick")
    progress.finished("build", "quick", "0 s", reused=False)
    clock.now += 4
    progress.finished("build", "slow", "4 s", reused=False)
    assert lines() == [f"build 2/{QUIET_ABOVE + 1}  slow: 4 s (4 s)"]


def test_a_text_has_a_line_of_its_own(
    plain: tuple[PlainProgress, Callable[[], list[str]]],
) -> None:
    """What the user should know is written as it is, on one line."""
    progress, lines = plain
    long = MARKUP + " x" * 100
    progress.tell(long)
    assert lines() == [long]


# --- bars ------------------------------------------------------------------------------------


def test_bars_show_what_is_at_work_and_leave_lines_of_what_was_done(clock: Clock) -> None:
    """A piece at work is shown with its stage; when it ends, the bar moves and a line stays."""
    made, file = console(terminal=True)
    with TerminalProgress(made) as progress:
        progress.expect("build", 2)
        progress.expect("probe", 0)
        progress.started("build", "one")
        progress._live.refresh()
        assert "one" in file.getvalue()
        assert "0/2" in file.getvalue()
        assert "probe" not in file.getvalue()
        clock.now += 2
        progress.finished("build", "one", MARKUP, reused=False)
        progress._live.refresh()
        assert "1/2" in file.getvalue()
        assert progress._running == {}
    assert f" build  one: {MARKUP} (2 s)" in file.getvalue()


def test_bars_leave_no_line_of_locks_and_of_what_was_reused() -> None:
    """Locks are many and quick, and nothing was done for what was reused."""
    made, file = console(terminal=True)
    with TerminalProgress(made) as progress:
        progress.expect("lock", 1)
        progress.finished("lock", "a-lock", "locked", reused=False)
        progress.finished("probe", "a-probe", "2 of 2 passed", reused=True)
    assert "a-lock: locked" not in file.getvalue()
    assert "a-probe" not in file.getvalue()


def test_bars_tell_work_that_was_not_announced() -> None:
    """A piece that ends without a start has no time, and a text is written as it is."""
    made, file = console(terminal=True)
    with TerminalProgress(made) as progress:
        progress.finished("probe", "a-probe", "not run", reused=False)
        progress.tell(MARKUP)
    assert " probe  a-probe: not run\n" in file.getvalue().replace("\r", "")
    assert MARKUP in file.getvalue()
