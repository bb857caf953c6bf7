"""Signals that ask the program to stop: Ctrl-C, SIGTERM, and SIGHUP as a closed terminal sends it.

The first one stops the work: the program cleans up and ends. Later ones change nothing, so that
impatience cannot break the cleaning, whose time is bounded.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OURS_TO_TAKE = (signal.SIG_DFL, signal.default_int_handler)
"""A signal that is ignored stays so: nohup ignores SIGHUP, and a shell SIGINT in background."""
_SIGNALLED = 128
_OUTPUTS = (1, 2)


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code after a signal: 130 (Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP)."""
    return _SIGNALLED + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in this block at the first signal that asks to stop.

    The program ends after it: signals are ignored from then on. Work that hangs, such as a request
    to a frozen engine, does not keep it from ending.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            return
        if number == signal.SIGHUP:
            _let_go_of_the_terminal()
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in _ASKING}
    taken = [number for number in _ASKING if before[number] in _OURS_TO_TAKE]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        if asked and _hangs():
            _end(_SIGNALLED + asked[0])
        for number in taken:
            # Python itself cleans up at its end, and nothing may break that either.
            signal.signal(number, signal.SIG_IGN if asked else before[number])


def _let_go_of_the_terminal() -> None:
    """Send to nowhere what is printed to a terminal that is closed. Printing would fail."""
    for descriptor in _OUTPUTS:
        try:
            os.write(descriptor, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _hangs() -> bool:
    """Return whether work goes on for which Python would wait at its end."""
    return any(
        not thread.daemon and thread is not threading.main_thread()
        for thread in threading.enumerate()
    )


def _end(code: int) -> None:
    """End at once. What was to be kept is on the disk already."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
