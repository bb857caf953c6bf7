"""Signals that ask the program to stop: the first is an exception, and later ones are nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
import typer

from envmatrix.cli import stopping
from envmatrix.cli.app import _read_or_not
from envmatrix.cli.stopping import Stopped, exit_code, stoppable

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Signals are handled as before by other tests."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [*zip(NUMBERS, (130, 143, 129), strict=True)])
def test_a_signal_is_an_exception_that_knows_its_exit_code(
    number: signal.Signals, code: int
) -> None:
    """Afterwards nothing breaks the end of the program."""
    with pytest.raises(Stopped) as caught, stoppable():
        os.kill(os.getpid(), number)
    assert code == exit_code(caught.value)
    for later in NUMBERS:
        os.kill(os.getpid(), later)


def test_without_a_signal_nothing_changes() -> None:
    """Afterwards signals are handled as before."""
    before = [signal.getsignal(number) for number in NUMBERS]
    with stoppable():
        pass
    assert before == [signal.getsignal(number) for number in NUMBERS]


def test_later_signals_do_not_break_the_cleaning() -> None:
    """Whatever their number is, the first one decides the exit code."""
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append("all")

    with pytest.raises(Stopped) as caught, stoppable():
        work()
    assert cleaned == ["all"]
    assert exit_code(caught.value) == 143


def test_a_signal_that_is_ignored_stays_so() -> None:
    """So a program under nohup goes on."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable():
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_thread_takes_no_signals() -> None:
    """Python gives them to the main thread alone."""
    entered = []

    def work() -> None:
        with stoppable():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]


def test_work_that_hangs_does_not_keep_the_program_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python would wait for each thread at its end."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    hangs = threading.Event()
    thread = threading.Thread(target=hangs.wait, args=[60])
    thread.start()
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    hangs.set()
    thread.join()
    assert ended == [143]


def test_a_closed_terminal_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed to it would fail; what is printed elsewhere still arrives."""
    ours, terminal = os.openpty()
    reading, writing = os.pipe()
    os.close(ours)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(terminal, b"lost")
    monkeypatch.setattr(stopping, "_OUTPUTS", (terminal, writing))
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGHUP)
    assert os.write(terminal, b"nowhere") == 7
    os.write(writing, b"there")
    assert os.read(reading, 100) == b"there"
    for descriptor in (terminal, reading, writing):
        os.close(descriptor)


def test_ctrl_c_ends_a_command_that_changes_nothing_with_130() -> None:
    """Typer would end with 1, which stands for a broken cell."""

    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        _read_or_not(command)()
    assert caught.value.exit_code == 130
