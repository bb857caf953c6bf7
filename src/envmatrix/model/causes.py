"""Causes: what real error output means, and what a user can do about it.

The last exception decides, as Python names the real error last. Earlier exceptions and warnings
only support it: they tell more of it where it is of their kind. Crashes are read, too. The known
failures are data: `failures` has those of cells, `surroundings` those of everything around them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from envmatrix.model.failures import FAILURES, PLAIN, SIGNALS
from envmatrix.model.known import Known
from envmatrix.model.output import Event, How, Line, Output, read
from envmatrix.model.surroundings import SURROUNDINGS

__all__ = [
    "CAUSE_LIMIT",
    "FAILURES",
    "REMEDY_LIMIT",
    "SURROUNDINGS",
    "Cause",
    "Line",
    "classify",
    "diagnose_output",
]

CAUSE_LIMIT = 600
"""The characters of a cause. An exception that is not known is told in full, up to these."""
REMEDY_LIMIT = 500
"""The characters of a remedy."""

_NAME_LIMIT = 200
_SIGNALLED = 128
_LAST_SIGNAL = 64
_CUT = " ..."
_DEPTH = 3
"""The exceptions that are followed from one that only tells of another."""

# Exceptions that tell of the end of another process, whose own output stands above.
_TELLS_OF_ANOTHER = re.compile(
    r"ChildFailedError|CalledProcessError|returned non-zero exit status|died with <Signals|"
    r"[Ss]ee root cause above|exited unexpectedly|terminated abruptly|BrokenProcessPool|"
    r"ProcessExitedException|^(?:[\w.]+\.)?SystemExit\b|WorkerCrashedError|"
    r"[Ee]ngine (?:core |process )?(?:initialization |process )?failed|see (?:the )?(?:stack|"
    r"error|log)"
    r"[\w ]* above|Look at the errors above"
)
# Exceptions that say only that something could not be loaded, raised from the one that says why.
_LOADS = re.compile(
    r"(?i)^(?:[\w.]+\.)?\w*Import\w*Error\b|load|import|initiali[sz]|native|extension|backend"
)
# Exceptions that a failing network, disk or memory raises in a program that downloads.
_OF_SURROUNDINGS = re.compile(
    r"(?:^|\.)(?:OSError|IOError|MemoryError|BadZip[Ff]ile|gaierror|URLError|ProxyError|SSLError|"
    r"SSL\w+Error|(?:Read|Connect|Pool)?Timeout(?:Error)?|ConnectError|MaxRetryError|"
    r"NewConnectionError|ConnectionResetError|BrokenPipeError|ProtocolError|IncompleteRead|"
    r"IncompleteReadError|ChunkedEncodingError|RemoteDisconnected|NetworkConnectionError|"
    r"\w*DownloadError|HashMismatch\w*|HTTPError|TooManyRedirects|CalledProcessError)$|"
    r"^(?:pip\._vendor|requests|urllib3|httpx|httpcore|http\.client|aiohttp)\.[\w.]+$"
)
_STEP = re.compile(r"(?P<label>\[(?:\S+ )?\d+/\d+\]) |(?P<classic>Step \d+/\d+) : ")
_ERROR = re.compile(r"(?im)^(?:e: |error\b|fatal\b|failed\b|traceback \()|\berror: ")


@dataclass(frozen=True, slots=True)
class Cause:
    """The class of a failure, the cause in a sentence, what to do, and which line said so."""

    kind: str
    cause: str
    remedy: str
    line: Line | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class _Text:
    """Lines as one text, in which a match can be led back to its line."""

    lines: Sequence[Line]
    text: str
    starts: Sequence[int]

    @classmethod
    def of(cls, lines: Sequence[Line], between: str = "\n") -> _Text:
        """Return the lines as one text: as they are, or in one line with `between` a space."""
        texts = [line.text if between == "\n" else line.text.strip() for line in lines]
        starts = accumulate((len(text) + 1 for text in texts), initial=0)
        return cls(lines, between.join(texts), list(starts))

    def line_of(self, match: re.Match[str]) -> Line | None:
        """Return the line of the first letter of a match."""
        gap = len(match[0]) - len(match[0].lstrip())
        index = bisect_right(self.starts, match.start() + gap) - 1
        return self.lines[index] if index < len(self.lines) else None


class _Names(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def classify(
    output: str, known: Iterable[Known] = FAILURES, *, exit_code: int | None = None
) -> Cause | None:
    """Return what the output of a program means, or None where it tells of no failure.

    With `SURROUNDINGS` the output is that of a build or of a tool, and only failures of the
    surroundings count: None then says that the failure is the cell's own.
    """
    found = _of_surroundings(output) if known is SURROUNDINGS else _of_program(output, exit_code)
    if found is None or found.line is None:
        return found
    return replace(found, line=replace(found.line, text=_shown(found.line.text, CAUSE_LIMIT)))


def diagnose_output(output: str, exit_code: int | None = None) -> Cause:
    """Return what an output means, of whatever program it is.

    What is not known has the class "unknown", with its last line; an exception that is not known
    has the class "exception".
    """
    of_program = classify(output, exit_code=exit_code)
    around = classify(output, SURROUNDINGS)
    if around and (of_program is None or of_program.kind in _VAGUE or not _ends_itself(output)):
        return around
    if of_program:
        return of_program
    last = next((line for line in reversed(read(output).lines) if line.text.strip()), None)
    cause = "nothing in the output is known to envmatrix"
    if last:
        last = replace(last, text=_shown(last.text, CAUSE_LIMIT // 2))
        cause += f"; its last line is: {last.text}"
    return Cause(
        "unknown",
        cause if last else "the output is empty",
        "read the output around that line; if it tells of a failure, send it to envmatrix as an "
        "issue"
        if last
        else "give the output of the program that failed, stderr too: `PROGRAM >log 2>&1`",
        last,
    )


def _ends_itself(output: str) -> bool:
    """Return whether an exception or a crash ended the program, and it is no installer."""
    event = read(output).deciding()
    return event is not None and event.how is not How.NAMED and "pip._vendor" not in event.name


# --- The output of a cell's program


def _of_program(output: str, exit_code: int | None) -> Cause | None:
    heard = read(output)
    whole = _Text.of(heard.lines)
    event = heard.deciding()
    signal = _signal(exit_code)
    crashed = event is not None and event.how in (How.CRASHED, How.SIGNALLED)
    if signal and not crashed:
        tail = heard.lines[event.end :] if event else heard.lines
        if found := _specific(FAILURES, _Text.of(tail), whole):
            return found
        if event is None or not event.uncaught:
            return _signalled(signal, tail)
    if event is None:
        return _specific(FAILURES, _Text.of(heard.told()), whole)
    return _of_event(heard, whole, event, _DEPTH)


def _of_event(heard: Output, whole: _Text, event: Event, depth: int) -> Cause:
    lines = heard.of(event)
    text = _Text.of(lines)
    before = heard.before(event) if depth else None
    if event.how in (How.CRASHED, How.SIGNALLED):
        return (
            _specific(FAILURES, text, whole)
            or _ended_by(heard, whole, event, before, depth)
            or _crashed(event, lines)
        )
    # The first line of a message says most. Some messages are broken into lines at a width.
    for part in (_Text.of(lines[:1]), text, _Text.of(lines, " ")):
        if found := _specific(FAILURES, part, whole, message=text):
            return found
    if before and (
        _TELLS_OF_ANOTHER.search(text.text)
        or (event.link == "cause" and _LOADS.search(text.text) and before.how is How.RAISED)
    ):
        earlier = _of_event(heard, whole, before, depth - 1)
        if earlier.kind not in _PLAIN_KINDS or _TELLS_OF_ANOTHER.search(text.text):
            return earlier
    return _find(PLAIN, text) or Cause("exception", _shown(text.text, CAUSE_LIMIT), "read the log")


_PLAIN_KINDS = frozenset(entry.kind for entry in PLAIN)
_VAGUE = _PLAIN_KINDS | {"crash"}


def _ended_by(
    heard: Output, whole: _Text, event: Event, before: Event | None, depth: int
) -> Cause | None:
    """Return what an event before a crash says, where the program crashed while that ended it."""
    if before is None or event.signal in SIGNALS:
        return None
    if before.how is How.CRASHED or before.uncaught:
        return _of_event(heard, whole, before, depth - 1)
    return None


def _specific(
    known: Iterable[Known], text: _Text, whole: _Text, *, message: _Text | None = None
) -> Cause | None:
    """Return the first known failure in what decides, or in the lines that support it."""
    for entry in known:
        if entry.supports is None:
            where = text
        elif entry.supports.search((message or text).text):
            where = whole
        else:
            continue
        if found := _fill(entry, where):
            return found
    return None


def _find(known: Iterable[Known], text: _Text) -> Cause | None:
    return next((found for entry in known if (found := _fill(entry, text))), None)


def _fill(entry: Known, text: _Text) -> Cause | None:
    match = entry.pattern.search(text.text)
    if not match:
        return None
    names = _Names({name: value or "" for name, value in match.groupdict().items()})
    if entry.learn:
        learned = entry.learn(names)
        if learned is None:
            return None
        names.update(learned)
    limit = _NAME_LIMIT if entry not in PLAIN else CAUSE_LIMIT
    shown: Any = _Names({name: _shown(value, limit) for name, value in names.items()})
    return Cause(
        names.get("kind", entry.kind),
        _shown(entry.cause.format_map(shown), CAUSE_LIMIT).rstrip(" :,("),
        _shown(entry.remedy.format_map(shown), REMEDY_LIMIT).rstrip(" :,("),
        text.line_of(match),
    )


def _signal(exit_code: int | None) -> int:
    """Return the signal of an exit code, or 0. Python gives -9 where a shell gives 137."""
    if exit_code is None:
        return 0
    if exit_code < 0:
        return min(-exit_code, _LAST_SIGNAL)
    return exit_code - _SIGNALLED if _SIGNALLED < exit_code <= _SIGNALLED + _LAST_SIGNAL else 0


def _signalled(signal: int, lines: Sequence[Line]) -> Cause:
    last = next((line for line in reversed(lines) if line.text), None)
    if ending := SIGNALS.get(signal):
        return Cause(ending.kind, ending.cause, ending.remedy, last)
    return Cause("crash", f"the program was ended by signal {signal}", "read the log", last)


def _crashed(event: Event, lines: Sequence[Line]) -> Cause:
    if event.signal:
        found = _signalled(event.signal, lines[-1:])
        return (
            found
            if event.signal in SIGNALS
            else replace(
                found, cause=f"the program crashed: {_shown(lines[-1].text, CAUSE_LIMIT // 2)}"
            )
        )
    words = [line for line in lines if line.number >= _number_of(event, lines)]
    said = " ".join(line.text.strip() for line in words)
    return Cause(
        "crash", _shown(f"the program crashed: {said}", CAUSE_LIMIT), "read the log", words[0]
    )


def _number_of(event: Event, lines: Sequence[Line]) -> int:
    return lines[-(event.end - event.start)].number


# --- The output of a build or a tool


def _of_surroundings(output: str) -> Cause | None:
    heard = read(output)
    start = _last_step(heard.lines)
    section = heard.lines[start:]
    event = heard.deciding()
    told = section
    if event and event.start >= start and event.how in (How.RAISED, How.NAMED):
        own = not _OF_SURROUNDINGS.search(event.name)
        told = heard.lines[event.end if own else event.start :]
        if own and event.how is How.RAISED:
            section = told
    text = _Text.of(told)
    everything = _Text.of(section)
    quiet = not _ERROR.search(everything.text)
    for entry in SURROUNDINGS:
        if entry.supports is None:
            found = _fill(entry, text)
        elif quiet or entry.supports.search(text.text):
            found = _fill(entry, everything)
        else:
            continue
        if found:
            return found
    return None


def _last_step(lines: Sequence[Line]) -> int:
    """Return where the output of the last step of a build begins."""
    labels = [
        (found["label"] or found["classic"], index)
        for index, line in enumerate(lines)
        if (found := _STEP.match(line.text))
    ]
    if not labels:
        return 0
    last = labels[-1][0]
    return next(index for label, index in labels if label == last)


def _shown(text: str, limit: int) -> str:
    """Return text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - len(_CUT)].rstrip() + _CUT
