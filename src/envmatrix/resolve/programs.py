"""Running uv, pip and git: without a keyboard, within a time, and ended at once by Ctrl-C."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOOK_SECONDS = 0.1
"""How often a waiting thread looks whether the run was stopped."""


class StoppedError(Exception):
    """The run was stopped while a program was at work. The program has ended."""


class TooSlowError(Exception):
    """A program took longer than it may. It has ended."""


def run_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    stopped: threading.Event,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program that reads `text`, and nothing after it, and return what it wrote.

    A program that asks for a password gets the end of its input, so it cannot wait for one. uv does
    not end at SIGINT, so the program is killed once `stopped` is set.

    Raises:
        OSError: it cannot be started.
        StoppedError: `stopped` was set.
        TooSlowError: the time is over.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=folder,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            out, err = _wait(process, text, seconds, stopped)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _wait(
    process: subprocess.Popen[str], text: str, seconds: float, stopped: threading.Event
) -> tuple[str, str]:
    end = time.monotonic() + seconds
    given: str | None = text
    while not stopped.is_set():
        left = end - time.monotonic()
        if left <= 0:
            raise TooSlowError(f"timed out after {seconds:g} s")
        try:
            return process.communicate(given, timeout=min(left, _LOOK_SECONDS))
        except subprocess.TimeoutExpired:
            given = None  # The program has the text already.
    raise StoppedError
