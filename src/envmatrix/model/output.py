"""What a program printed, read as Python wrote it: lines, exceptions and crashes in their order.

The text is untrusted. A long text loses its middle, and a long line loses its middle, before any
pattern sees them: so the work is bounded. What is kept holds no control characters, no escape
sequences, no characters that turn the direction of writing, and no passwords of addresses.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from envmatrix.model.text import line as one_line

LINE_LIMIT = 1_000
"""The characters of a line that are read. The middle of a longer line is left out."""
HEAD_LIMIT, TAIL_LIMIT = 40_000, 160_000
"""The characters that are read from the beginning and from the end of a long text."""
LEAST_LINE = 20
"""The characters that the shortest line counts for, so that the number of lines is bounded, too."""
MESSAGE_LINES, MESSAGE_LIMIT = 60, 12_000
"""The lines and the characters that belong to the message of one exception, at most."""
TOLD_LINES = 400
"""The lines that are read where no exception and no crash is told of."""
BEFORE_A_CRASH = 40
"""The lines before a crash that may say why it happened."""

_CUT = " ... "
_SEGMENTS = 20
"""The last parts that are read of a line which overwrites itself, as progress bars do."""

# What programs put before each line of another program: ranks, workers, containers, timestamps.
_PREFIX = re.compile(
    r"(?:"
    r"\[(?:rank|default)\d+\]: ?"
    r"|\([\w.:-]{1,60} (?:pid=|rank=)\d+(?:, ip=[\d.]+)?\) ?"
    r"|#\d{1,4} (?:\d+\.\d+ )?"
    r"|\d+\.\d{1,3} "
    r"|(?:ERROR|WARNING|INFO|CRITICAL|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d "
    r"(?:\[[^\]]{1,80}:\d+\] ?|[\w./]{1,80}:\d+\] ?)"
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?:? "
    r"(?:[\w.]{1,80}: \[[A-Z]+\] ?|- [\w.]{1,80} - [A-Z]+ - )?"
    r"|[VWIE]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ [\w./<>-]{1,120}\.py:\d+\] (?:\[[\d/]+\] ?)*"
    r"|[A-Za-z0-9][\w.-]{0,60} {0,20}\| "
    r"|E {3,}"
    r"|> "
    r"| {2,20}\| "
    r")"
)
_PREFIXES = 4
"""The prefixes that are taken from one line, at most."""

_HEADER = re.compile(r"Traceback \(most recent call last\)")
_NOTEBOOK = re.compile(r"(?P<name>[A-Za-z_][\w.]*) {2,}Traceback \(most recent call last\)")
_FRAME = re.compile(r' *+File "[^"]*", line \d+(?:, in (?P<where>.+))?$')
_BOX = ("│", "╭", "╰", "╮", "❱")
_RAISED = re.compile(
    r" *+(?P<name>[A-Za-z_][\w.]*(?:<[\w.]+>[\w.]*)*(?:\([\w.]+\))?)(?:: ?(?P<said>.*)|)$"
)
_LEVELS = frozenset(
    [
        "DEBUG",
        "INFO",
        "NOTE",
        "NOTICE",
        "WARN",
        "WARNING",
        "ERROR",
        "FATAL",
        "CRITICAL",
        "Note",
        "Warning",
        "Hint",
        "hint",
        "note",
        "warning",
        "info",
        "debug",
        "error",
        "fatal",
        "TIP",
        "Tip",
        "http",
        "https",
    ]
)
_BARE = re.compile(
    r" {0,12}(?=[\w.]{3,200}(?::|$))(?P<name>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*"
    r"(?:Error|Exception|Interrupt|Exhausted|Expired|Unsupported|Missing|Timeout|Exit|Failure|"
    r"Compiler|CompilerFailed|NotFound|Conflict|gaierror))(?:: ?(?P<said>.*)|)$"
)
_CHAINS = {
    "The above exception was the direct cause of the following exception": "cause",
    "During handling of the above exception, another exception occurred": "context",
}
_ASIDE = re.compile(
    r"Exception ignored (?:in|on|while)\b|Error in atexit\._run_exitfuncs|--- Logging error ---|"
    r"(?:Task|Future) exception was never retrieved|Exception in thread |"
    r"A module that was compiled using NumPy 1\.x cannot be run"
)
_ASIDE_LINES = 14
"""The lines between such a notice and the traceback that belongs to it, at most."""
_BETWEEN = 4
"""The lines of other programs that may stand within one traceback."""
_PRINTED_ONLY = re.compile(r"_(?:ARRAY|UFUNC)_API not found")
"""An exception that NumPy's C code prints by itself, and that does not end the program."""
_LOGGED = re.compile(
    r"[VDIWEF]\d{4} \d\d:|[VDIWE] [\w.]+/[\w./]+:\d+\]|\[[VDIWE]\d{3,4} |"
    r"(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\b[: ]"
)
_WARNED = re.compile(
    r"(?:.{0,300}: )?\w*Warning: |.{0,300}:\d+: \w*Warning:|"
    r"(?:DEBUG|INFO|WARNING|WARN)\b|[VDIW]\d{4} |[VDIW] [\w.]+/|\[[VDIW]\d{3,4} "
)
_SIGNALLED = re.compile(
    r"(?:^|: line \d{1,6}: +\d{1,9} |^\[\d+\] +\d+ |signal: |^command terminated: )"
    r"(?P<signal>Segmentation fault|Illegal instruction|Bus error|[Aa]borted|IOT instruction|"
    r"Killed|"
    r"Floating point exception|Trace/breakpoint trap)(?: +\(core dumped\)| {2,}|$)"
)
_CRASHED = re.compile(
    r"Fatal Python error: |terminate called |libc\+\+abi: terminating|Fatal glibc error: |"
    r"\*\*\* SIG[A-Z]+ received|\*\*\* (?:stack smashing|buffer overflow) detected|"
    r"(?:free|malloc|realloc|munmap_chunk)\(\): |double free or corruption|corrupted |"
    r"LLVM ERROR: |F\d{4} \d\d:|F [\w.]+/[\w./]+:\d+\]|OMP: Error #|"
    r"[\w.+-]{1,60}: [^ ]{1,300}:\d+: .{1,300}: Assertion `"
)
_SIGNALS = {
    "Segmentation fault": 11,
    "Illegal instruction": 4,
    "Bus error": 7,
    "Aborted": 6,
    "aborted": 6,
    "IOT instruction": 6,
    "Killed": 9,
    "Floating point exception": 8,
    "Trace/breakpoint trap": 5,
}


class How(StrEnum):
    """How a program told of its end."""

    RAISED = "raised"
    """An exception at the end of a traceback."""
    NAMED = "named"
    """A line that begins like an exception, without a traceback."""
    CRASHED = "crashed"
    """A crash that was put into words."""
    SIGNALLED = "signalled"
    """The name of the signal that ended the program, and no more."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cleaned line, with its number in the text, from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """An exception or a crash: `lines[start:end]` of the output.

    `link` says how an exception is chained to the one before it: "cause", "context" or "". An event
    that is `aside` did not end the program: a thread, a destructor, a logger told of it. `uncaught`
    says that its traceback begins at the top of a program.
    """

    how: How
    name: str
    start: int
    end: int
    link: str = ""
    aside: bool = False
    uncaught: bool = False
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed: its lines, and what it told of its end."""

    lines: tuple[Line, ...]
    events: tuple[Event, ...]

    def of(self, event: Event) -> tuple[Line, ...]:
        """Return the lines of an event. A crash has the lines before it, which may say why."""
        start = event.start
        if event.how in (How.CRASHED, How.SIGNALLED):
            ends = [one.end for one in self.events if _is_exception(one) and one.end <= start]
            start = max([start - BEFORE_A_CRASH, 0, *ends[-1:]])
        return self.lines[start : event.end]

    def told(self) -> tuple[Line, ...]:
        """Return the last lines that are no warnings and tell no progress."""
        lines = [line for line in self.lines if line.text and not _WARNED.match(line.text)]
        return tuple(lines[-TOLD_LINES:])

    def deciding(self) -> Event | None:
        """Return the event that ended the program, as far as the text tells."""
        main = [event for event in self.events if not event.aside]
        strong = [event for event in main if event.how is not How.NAMED]
        if not strong:
            told = main or self.events
            return told[-1] if told else None
        last = strong[-1]
        # A program that catches its exceptions tells of the last one in a line of its own.
        later = [event for event in main if event.start >= last.end]
        return later[-1] if later and last.how is How.RAISED and not last.uncaught else last

    def before(self, event: Event) -> Event | None:
        """Return the exception or the crash before an event."""
        earlier = [one for one in self.events if one.start < event.start and not one.aside]
        return earlier[-1] if earlier else None


def read(text: str) -> Output:
    """Read what a program printed."""
    lines = tuple(_without_prefixes(line) for line in clean_lines(text))
    return Output(lines, tuple(_Reader(lines).events()))


def clean_lines(text: str) -> Iterator[Line]:
    """Yield the lines of a text, cut and cleaned: of a long one the beginning and the end."""
    lines = text.split("\n")
    head = _that_fit(lines, HEAD_LIMIT + TAIL_LIMIT)
    kept: Iterable[int] = range(len(lines))
    if head < len(lines):
        head = _that_fit(lines, HEAD_LIMIT)
        tail = _that_fit(reversed(lines), TAIL_LIMIT)
        kept = [*range(head), *range(max(head, len(lines) - tail), len(lines))]
    for index in kept:
        line = _cut(lines[index])
        parts = line.rstrip("\r").split("\r") if "\r" in line else [line]
        for part in parts[-_SEGMENTS:]:
            yield Line(index + 1, clean(part))


def clean(text: str) -> str:
    """Return one line of text without what a terminal would act upon, and without passwords."""
    return one_line(text).rstrip()


def _cut(line: str) -> str:
    if len(line) <= LINE_LIMIT:
        return line
    tail = LINE_LIMIT // 3
    return line[: LINE_LIMIT - tail - len(_CUT)] + _CUT + line[-tail:]


def _that_fit(lines: Iterable[str], limit: int) -> int:
    """Return how many of the first lines have no more characters than the limit."""
    for count, line in enumerate(lines):
        limit -= min(max(len(line) + 1, LEAST_LINE), LINE_LIMIT)
        if limit < 0:
            return count
    return sys.maxsize


def _without_prefixes(line: Line) -> Line:
    start = 0
    for _ in range(_PREFIXES):
        found = _PREFIX.match(line.text, start)
        if not found:
            break
        start = found.end()
    return replace(line, text=line.text[start:]) if start else line


def _is_exception(event: Event) -> bool:
    return event.how in (How.RAISED, How.NAMED)


class _Reader:
    """Finds the events among lines."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._link = ""
        self._aside_until = -1

    def events(self) -> Iterator[Event]:
        """Yield what the lines tell of the end of the program, in their order."""
        at = 0
        while at < len(self._lines):
            began = at
            event, at = self._next(at)
            if event:
                aside = event.aside or began <= self._aside_until
                yield replace(event, link=self._link, aside=aside)
                self._link, self._aside_until = "", -1

    def _next(self, at: int) -> tuple[Event | None, int]:
        """Return the event that begins at a line, if any, and the line to go on with."""
        text = self._lines[at].text
        if _HEADER.search(text):
            return self._traceback(at)
        if _FRAME.match(text):
            return self._raised(at, _indent(text) - 2, whole=False)
        event = None
        if link := next((link for words, link in _CHAINS.items() if words in text), ""):
            self._link = link
        elif _ASIDE.search(text):
            self._aside_until = at + _ASIDE_LINES
        elif found := _SIGNALLED.search(text):
            signal = _SIGNALS[found["signal"]]
            event = Event(How.SIGNALLED, found["signal"], at, at + 1, signal=signal)
        elif _CRASHED.match(text):
            event = Event(How.CRASHED, text, at, self._end_of_message(at))
        elif (found := _BARE.match(text)) and found["name"].rpartition(".")[2] not in _LEVELS:
            event = Event(How.NAMED, found["name"], at, self._end_of_message(at))
        return event, event.end if event else at + 1

    def _traceback(self, at: int) -> tuple[Event | None, int]:
        text = self._lines[at].text
        if found := _NOTEBOOK.match(text):
            return self._in_a_notebook(at, found["name"])
        return self._raised(at + 1, _indent(text), whole=True)

    def _in_a_notebook(self, at: int, name: str) -> tuple[Event | None, int]:
        """Read a traceback as notebooks print it: its first line names the exception."""
        for index in range(at + 1, len(self._lines)):
            text = self._lines[index].text
            if _HEADER.search(text):
                return None, index
            if text.startswith(name) and text[len(name) : len(name) + 1] in ("", ":"):
                end = self._end_of_message(index)
                return Event(How.RAISED, name, index, end, uncaught=True), end
        return None, len(self._lines)

    def _raised(self, at: int, indent: int, *, whole: bool) -> tuple[Event | None, int]:
        """Read the frames of a traceback, and the exception at its end.

        A traceback that is not `whole` has lost its first line; it ends at an empty line.
        """
        others = 0
        for index in range(at, len(self._lines)):
            text = self._lines[index].text
            if _HEADER.search(text):
                return None, index
            if not text and not whole:
                return None, index + 1
            if not text or _indent(text) > indent or text.lstrip().startswith(_BOX):
                continue
            found = _RAISED.match(text)
            if found and found["name"] not in _LEVELS:
                end = self._end_of_message(index)
                printed = bool(_PRINTED_ONLY.search(text))
                uncaught = self._begins_at_the_top(at)
                how = How.RAISED
                return Event(how, found["name"], index, end, "", printed, uncaught), end
            others += 1
            if others > _BETWEEN:
                return None, index + 1
        return None, len(self._lines)

    def _begins_at_the_top(self, at: int) -> bool:
        """Return whether the first frame of a traceback is that of a program."""
        frame = _FRAME.match(self._lines[at].text)
        return frame is not None and (frame["where"] or "").startswith("<module>")

    def _end_of_message(self, start: int) -> int:
        """Return the end of the message that begins at a line: an exception may write many."""
        end = start + 1
        room = MESSAGE_LIMIT
        for index in range(start + 1, min(start + MESSAGE_LINES, len(self._lines))):
            text = self._lines[index].text
            room -= len(text)
            if (
                room < 0
                or _HEADER.search(text)
                or _ASIDE.search(text)
                or _LOGGED.match(text)
                or _CRASHED.match(text)
                or _SIGNALLED.search(text)
                or any(words in text for words in _CHAINS)
            ):
                break
            if text:
                end = index + 1
        return end


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))
