"""The two streams that commands print to, made safe before anything is printed.

A user's terminal, pipe or cron job may have an encoding without our marks, may close a stream or
leave early, and may be full. None of that may become a traceback, and none of it may change the
exit code of a command that has done its work.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

READABLE = "envmatrix-readable"
"""The way of encoding in which a character that an encoding lacks becomes something readable."""

# Our marks, what other people's texts have for ASCII, and the pieces of bars.
_PLAIN = {"\u2713": "+", "\u2717": "x", "\u2026": "~", "\u2013": "-", "\u2014": "-"}
_PLAIN |= {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2022": "*"}
_PLAIN |= {"\u2501": "-", "\u2578": "-", "\u257a": "-"}
_STREAMS = (("stdout", 1), ("stderr", 2))


def make_safe() -> None:
    """Make stdout and stderr safe to print to. What a test or a caller put there stays as it is."""
    codecs.register_error(READABLE, _readable)
    for name, number in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            _to_nowhere(number)
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        elif stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        raw = _Output(number, "w", closefd=False)
        safe = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=READABLE,
            line_buffering=stream.line_buffering,
        )
        setattr(sys, name, safe)


def can_encode(text: str) -> bool:
    """Return whether stdout can show a text as it is."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def finish() -> None:
    """Write what is left of the output.

    Raises:
        OSError: it cannot be written. A reader that has left is no error.
    """
    sys.stdout.flush()
    sys.stderr.flush()


class _Output(io.FileIO):
    """A stream that is lost once for all: its first error is the last.

    Whoever reads a pipe may have enough of it, as head does. The command goes on: it may be at
    work, and it has the exit code of its work. What cannot be told on stderr is told nowhere.
    """

    lost = False

    def write(self, data: Buffer, /) -> int:
        """Write, and take what cannot be written any more for written.

        Raises:
            OSError: stdout cannot be written, for the first time.
        """
        size = memoryview(data).nbytes
        if self.lost:
            return size
        try:
            return super().write(data)
        except OSError as error:
            self.lost = True
            if isinstance(error, BrokenPipeError) or self.fileno() != 1:
                return size
            raise OSError(error.errno, error.strerror, "stdout") from error


def _to_nowhere(number: int) -> None:
    """Let a stream that was closed end in nothing, so that no file of ours gets its number."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    else:
        os.set_inheritable(nowhere, True)


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_ascii, text)), error.end


def _ascii(character: str) -> str:
    known = _PLAIN.get(character)
    return known or character.encode("ascii", "backslashreplace").decode()
