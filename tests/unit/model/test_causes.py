"""Causes: real output, its class, and what can be done about it.

`outputs/` holds the outputs, one file a class. A line `=== name | exit: N | cause: words | remedy:
words` begins each: the words have to stand in what is said of it. `from:` names the public report
that it was taken from, in short.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envmatrix.model.causes import (
    CAUSE_LIMIT,
    FAILURES,
    REMEDY_LIMIT,
    SURROUNDINGS,
    classify,
    diagnose_output,
)
from envmatrix.model.failures import PLAIN
from envmatrix.model.output import HEAD_LIMIT, LEAST_LINE, LINE_LIMIT, TAIL_LIMIT, read
from envmatrix.model.text import line

OUTPUTS = Path(__file__).parent / "outputs"
TRACE = 'Traceback (most recent call last):\n  File "/tmp/probe.py", line 12, in <module>\n'
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


@dataclass(frozen=True)
class Case:
    """An output, and what has to be said of it."""

    kind: str
    name: str
    output: str
    exit_code: int | None = None
    cause: str = ""
    remedy: str = ""


def cases(folder: str) -> Iterator[Case]:
    """Yield the cases of a folder of outputs."""
    for path in sorted((OUTPUTS / folder).glob("*.txt")):
        for part in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            heading, _, output = part.partition("\n")
            name, *fields = heading.split(" | ")
            said = dict(field.split(": ", 1) for field in fields)
            code = int(said["exit"]) if "exit" in said else None
            words = said.get("cause", ""), said.get("remedy", "")
            yield Case(path.stem, name, output, code, *words)


CELLS = list(cases("cells"))
WEATHER = list(cases("surroundings"))

PARTLY_WEATHER = {"disk-full", "out-of-memory", "blocked", "driver-too-old", "driver-mismatch"}
"""Classes that a failure of the surroundings may have, where it befalls a cell's own program."""


def named(case: Case) -> str:
    """Return the name of a case for the list of tests."""
    return f"{case.kind}: {case.name}"


@pytest.mark.parametrize("case", CELLS, ids=named)
def test_real_output_is_recognised(case: Case) -> None:
    """The class of real output is found, with the names that stand in it and a whole remedy."""
    found = classify(case.output, exit_code=case.exit_code)
    assert found is not None
    assert case.kind == found.kind
    assert case.cause in found.cause
    assert case.remedy in found.remedy
    assert found.remedy
    assert "{" not in found.cause.replace("{shape}", "").replace("{libcudnn", "").replace("{}", "")
    assert "{" not in found.remedy


@pytest.mark.parametrize("case", [case for case in WEATHER if case.kind != "ordinary"], ids=named)
def test_bad_weather_is_told_apart_from_a_broken_cell(case: Case) -> None:
    """Network, mirror, disk, memory, registry and engine fail, each with class and remedy."""
    found = classify(case.output, SURROUNDINGS)
    assert found is not None
    assert case.kind == found.kind
    assert found.remedy
    assert "{" not in found.cause + found.remedy


@pytest.mark.parametrize("case", [case for case in WEATHER if case.kind == "ordinary"], ids=named)
def test_an_ordinary_failing_build_is_the_cells_own(case: Case) -> None:
    """What a cell's own program says of networks, disks or codes is no failure of these."""
    assert classify(case.output, SURROUNDINGS) is None


@pytest.mark.parametrize(
    "case", [case for case in CELLS if case.kind not in PARTLY_WEATHER], ids=named
)
def test_no_failure_of_a_cell_is_taken_for_bad_weather(case: Case) -> None:
    """No failure of a cell is taken for a failure of the surroundings."""
    assert classify(case.output, SURROUNDINGS) is None


def test_every_known_cause_is_tested() -> None:
    """Each known class has at least one real output."""
    learned = {"python-too-new"}
    known = {entry.kind for entry in (*FAILURES, *PLAIN)} | learned | {"crash"}
    assert known - {case.kind for case in CELLS} == UNTESTED
    around = {entry.kind for entry in SURROUNDINGS} | {"refused"}
    assert around - {case.kind for case in WEATHER} == set()


def test_every_class_is_documented(root: Path) -> None:
    """The document of causes has each class in one of its tables."""
    text = (root / "docs" / "causes.md").read_text(encoding="utf-8")
    rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
    known = {entry.kind for entry in (*FAILURES, *PLAIN, *SURROUNDINGS)}
    known |= {case.kind for case in (*CELLS, *WEATHER)} - {"ordinary"}
    assert [kind for kind in sorted(known) if f"`{kind}`" not in rows] == []


UNTESTED = {"rate-limited", "not-executable", "binary-mismatch"}


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("rate-limited", TRACE + "urllib.error.HTTPError: HTTP Error 429: Too Many Requests\n"),
        (
            "not-executable",
            TRACE + "ImportError: /tmp/x.so: failed to map segment from shared object\n",
        ),
        (
            "binary-mismatch",
            TRACE + "ValueError: cymem.cymem.Pool size changed, may indicate "
            "binary incompatibility. Expected 48 from C header, got 64 from PyObject\n",
        ),
        (
            "no-wheel",
            "ERROR: x-1-cp310-cp310-linux_x86_64.whl is not a supported wheel on this platform.\n",
        ),
    ],
)
def test_rare_output_is_recognised(kind: str, output: str) -> None:
    """The classes that are rare have an output each, too."""
    found = classify(output)
    assert found is not None
    assert kind == found.kind


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libXxf86vm.so.1", "libxxf86vm1"),
        ("libXi.so.6", "libxi6"),
        ("libXext.so.6", "libxext6"),
        ("libxcb-render-util.so.0", "libxcb-render-util0"),
        ("libgfortran.so.5", "libgfortran5"),
        ("libgdal.so.36", "libgdal36"),
        ("libhdf5_serial.so.310", "libhdf5-310"),
    ],
)
def test_the_package_of_a_missing_library_can_be_listed_in_a_matrix(
    library: str, package: str
) -> None:
    """The remedy has the name as a matrix takes it: in small letters, with the number of it."""
    output = f"ImportError: {library}: cannot open shared object file: No such file or directory"
    found = classify(output)
    assert found is not None
    assert f"add the OS package {package}, " in found.remedy
    assert found.remedy.endswith(f"packages: [{package}] of the stack")


def test_quiet_output_has_no_cause() -> None:
    """Output without an error has no cause, also where it warns."""
    assert classify("") is None
    assert classify("", SURROUNDINGS) is None
    assert classify("W0000 This TensorFlow binary is optimized to use AVX2\n") is None
    assert classify("x.py:3: UserWarning: No module named 'triton'\n  warnings.warn(x)\n") is None


# --- The last exception decides


def test_an_earlier_exception_never_decides() -> None:
    """An exception that was handled says nothing of a later one of another kind."""
    output = TRACE + "ImportError: libGL.so.1: cannot open shared object file\n" + DURING + TRACE
    found = classify(output + "ZeroDivisionError: division by zero\n")
    assert found is not None
    assert (found.kind, found.cause) == ("exception", "ZeroDivisionError: division by zero")


def test_a_warning_tells_more_of_the_exception_that_it_belongs_to() -> None:
    """The architecture that a warning names stands in the cause of the later failure."""
    warning = (
        "x.py:235: UserWarning: \nNVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not "
        "compatible with the current PyTorch installation.\n  warnings.warn(\n"
    )
    last = "RuntimeError: CUDA error: no kernel image is available for execution on the device\n"
    found = classify(warning + TRACE + last)
    assert found is not None
    assert "sm_120" in found.cause
    assert found.line is not None
    assert found.line.number == 2


def test_an_exception_of_any_name_is_one() -> None:
    """The end of a traceback is an exception, whatever its class is called."""
    for name in ("odd.Thing", "socket.timeout", "queue.Empty", "Unsupported", "KeyboardInterrupt"):
        found = classify(TRACE + f"{name}: why\n")
        assert found is not None
        assert ("exception", f"{name}: why") == (found.kind, found.cause)


def test_an_unknown_exception_is_told_in_full() -> None:
    """All lines of a message are told, in one line, up to the limit."""
    words = [f"word{number}" for number in range(20)]
    found = classify(TRACE + "x.Odd: " + "\n    ".join(words) + "\n")
    assert found is not None
    assert "x.Odd: " + " ".join(words) == found.cause
    found = classify(TRACE + "x.Odd: " + "word " * 500)
    assert found is not None
    assert CAUSE_LIMIT >= len(found.cause) > CAUSE_LIMIT - 20
    assert found.cause.endswith(" ...")


def test_the_line_that_said_so_is_told() -> None:
    """The number is that of the line in the output, although lines before it were cleaned."""
    output = "\x1b[31mloading\x1b[0m\n10%\r20%\r30%\n" + TRACE
    found = classify(output + "ImportError: libGL.so.1: cannot open shared object file\n")
    assert found is not None
    assert found.line is not None
    assert (
        found.line.number,
        found.line.text,
    ) == (5, "ImportError: libGL.so.1: cannot open shared object file")


def test_a_traceback_that_lost_its_beginning_is_read() -> None:
    """The end of a log may begin in the middle of a traceback."""
    tail = '  File "/tmp/x.py", line 3, in f\n    g()\nodd.Thing: why\n'
    found = classify(tail)
    assert found is not None
    assert (found.kind, found.cause) == ("exception", "odd.Thing: why")


def test_a_crash_after_a_caught_exception_is_a_crash() -> None:
    """An exception that a program logged did not end it, if it crashed later."""
    logged = TRACE.replace("<module>", "step") + "ValueError: skipped\nstep 2\nstep 3\n"
    found = classify(logged + "Segmentation fault (core dumped)\n", exit_code=139)
    assert found is not None
    assert found.kind == "crash"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(132, "cpu-too-old"), (-4, "cpu-too-old"), (135, "shared-memory"), (137, "out-of-memory")],
)
def test_an_exit_code_speaks_where_the_program_did_not(code: int, kind: str) -> None:
    """The signal that ended a program has a meaning, as a shell and as Python write it."""
    found = classify("step 1\nstep 2\n", exit_code=code)
    assert found is not None
    assert kind == found.kind


@pytest.mark.parametrize("code", [0, 1, 2, 77, 127, 255, -1000, 10**9])
def test_an_exit_code_that_is_no_crash_changes_nothing(code: int) -> None:
    """Only the codes of signals are read; -1000 is cut to one that says nothing."""
    found = classify("step 1\n", exit_code=code)
    assert found is None or (found.kind, code) == ("crash", -1000)


# --- Of whatever program it is


def test_a_diagnosis_knows_programs_and_surroundings() -> None:
    """The same call reads the traceback of a program, a failed build, and what nobody knows."""
    traceback = TRACE + "ModuleNotFoundError: No module named 'cv2'\n"
    assert diagnose_output(traceback).kind == "module-missing"
    apt = (
        "E: Failed to fetch http://deb.example/x.deb  407  Proxy Authentication Required [IP: x]\n"
    )
    assert diagnose_output(apt).kind == "credentials"
    assert diagnose_output("all is well\n").kind == "unknown"
    assert "all is well" in diagnose_output("all is well\n").cause
    assert diagnose_output("").kind == "unknown"


def test_a_diagnosis_prefers_what_ended_the_program() -> None:
    """Network words in a log do not hide the exception that ended the program."""
    output = "curl: (7) Failed to connect to x port 443\n" + TRACE + "AssertionError: loss 3\n"
    assert diagnose_output(output).kind == "assertion"


# --- Untrusted output


def test_what_is_shown_is_inert() -> None:
    """Escapes, bidirectional controls, surrogates and passwords do not get through."""
    evil = "\x1b]0;x\x07\x1b[31m\u202e\u2066\ud800\x00\x9b1m\u200f a://user:secret@host"
    found = classify(TRACE + f"ValueError: before{evil}after\n")
    assert found is not None
    assert found.cause == "ValueError: before a://***@hostafter"
    assert found.line is not None
    assert "secret" not in found.line.text


def assert_inert(text: str, limit: int) -> None:
    """Assert that a text is short, and holds nothing that a terminal would act upon."""
    assert len(text) <= limit
    assert not [char for char in text if unicodedata.category(char) in ("Cc", "Cs")]
    assert text == line(text)  # Joiners stay, and marks of format that are seen, such as U+0600.
    text.encode()


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "replace")))
@example("x" * 1000)
@example("\u0600")
@example("AssertionError: {0}{x}{")
@example("Traceback (most recent call last):")
@example('  File "x", line 1\nSyntaxError: \n')
@example("Aborted (core dumped)")
@example("requires a different Python: . not in '<,'")
def test_no_output_breaks_it(text: str) -> None:
    """Any text gives a short and inert cause and remedy, or none, whatever it stands behind."""
    for output in (text, f"AssertionError: x{text}", TRACE + text, f"E: Failed to fetch {text}"):
        for exit_code in (None, 134):
            found = diagnose_output(output, exit_code)
            assert found.kind
            assert_inert(found.cause, CAUSE_LIMIT)
            assert_inert(found.remedy, REMEDY_LIMIT)
            assert found.line is None or len(found.line.text) <= CAUSE_LIMIT


WORDS = [
    *("undefined symbol: ", "libx.so", ".so", ": ", "version `GLIBC_2.38' not found", "Error 804"),
    *("\n", "\r", "  File ", '"x", line 1, in f', "Traceback (most recent call last):", "a.a.a."),
    *("No module named '", "cannot import name 'a' from 'b", "'", "(", "[1/2] ", "E: ", "Err:1 "),
    *("requires a different Python: 3.", "9 not in '>=3.", "(found version 110400)", "cuda>=12.8"),
    *("terminate called ", "Killed", "Aborted", "HTTP status server error (503", "exit code: 137"),
]


@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_no_pieces_of_real_output_break_it(text: str) -> None:
    """Pieces of real output in any order give a class, and no exception."""
    assert diagnose_output(text).kind
    assert diagnose_output(TRACE + "ImportError: " + text, 139).kind


@given(st.text(alphabet="a.\n\r \x1b", max_size=50), st.integers(1, 4000))
def test_patterns_see_a_bounded_text(piece: str, times: int) -> None:
    """A long line loses its middle, and a long text, so that no output is too much work."""
    lines = read(piece * times + TRACE).lines
    assert all(len(line.text) <= LINE_LIMIT for line in lines)
    assert len(lines) <= 20 * (HEAD_LIMIT + TAIL_LIMIT) // LEAST_LINE
    assert sum(len(line.text) for line in lines) <= 2 * (HEAD_LIMIT + TAIL_LIMIT)


def test_the_end_of_a_long_text_is_kept() -> None:
    """What ended the program stands at the end, and a warning of its beginning is kept, too."""
    warning = "W0000 gpu_device.cc:2344] Cannot dlopen some GPU libraries.\n"
    output = warning + "step of the training\n" * 100_000 + TRACE + "AssertionError: no GPU\n"
    found = classify(output)
    assert found is not None
    assert found.kind == "missing-library"
    assert found.line is not None
    assert found.line.number == 1
    assert read(output).lines[-1].number == 100_004 + 1


HARD = ["a.", "a", "1", " ", "'", "lib.so.", "/a", ": ", "undefined symbol: a.so", "=", "(", "a-"]


@pytest.mark.parametrize("piece", HARD)
def test_no_pattern_is_quadratic(piece: str) -> None:
    """Four times the text is much less than sixteen times the work, for all patterns together.

    Work is the time that the process was given, the least of three; no limit in seconds is set.
    """

    def work(length: int) -> float:
        text = (piece * length)[:length]
        spent = []
        for _ in range(3):
            started = time.process_time()
            for entry in (*FAILURES, *PLAIN, *SURROUNDINGS):
                entry.pattern.search(text)
            spent.append(time.process_time() - started)
        return min(spent)

    assert work(8_000) < 10 * max(work(2_000), 0.01)


def test_one_line_of_a_megabyte_is_as_much_work_as_one_of_a_line() -> None:
    """A line is cut before it is read, so its length does not count."""
    for text in ("a.a.a." * 200_000, "x" * 10**6, " " * 10**6):
        assert sum(len(line.text) for line in read(text).lines) <= LINE_LIMIT
        assert classify(text) is None
        assert classify(text, SURROUNDINGS) is None
