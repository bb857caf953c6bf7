"""diagnose: what the output of any failed program means."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from shown import Shown

from envmatrix.cli import diagnosing
from envmatrix.cli.app import main

TRACE = (
    "loading\n"
    "Traceback (most recent call last):\n"
    '  File "/app/x.py", line 1, in <module>\n'
    "    import cv2\n"
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory\n"
)

Diagnose = Callable[..., Shown]


@pytest.fixture
def diagnose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Diagnose:
    """Runs the command in an empty folder, with a text as its standard input."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> Shown:
        class Stdin(NamedTuple):
            buffer: io.BytesIO

        monkeypatch.setattr(sys, "stdin", Stdin(io.BytesIO(stdin)))
        codes: list[int] = []
        try:
            main(["diagnose", *arguments], codes.append)
        except SystemExit as end:
            codes.append(int(end.code or 0))
        return Shown(codes[0] if codes else 0, *capsys.readouterr())

    return run


def test_a_file_is_diagnosed_without_a_matrix(diagnose: Diagnose, tmp_path: Path) -> None:
    """Class, cause, remedy and the line that said so are printed, and the exit code is 0."""
    (tmp_path / "a.log").write_text(TRACE)
    assert diagnose("a.log") == (
        0,
        (
            "class:  missing-library\n"
            "cause:  the shared library libGL.so.1 is missing\n"
            "remedy: add the OS package libgl1, which holds libGL.so.1; in a matrix, packages: "
            "[libgl1] of the stack\n"
            "said by line 5: ImportError: libGL.so.1: cannot open shared object file: No such file "
            "or directory\n"
        ),
        "",
    )


def test_standard_input_is_diagnosed(diagnose: Diagnose) -> None:
    """A dash stands for standard input, and --json gives one document."""
    assert diagnose("-", "--json", stdin=TRACE.encode()).document() == {
        "schema": 1,
        "class": "missing-library",
        "cause": "the shared library libGL.so.1 is missing",
        "remedy": "add the OS package libgl1, which holds libGL.so.1; in a matrix, packages: "
        "[libgl1] of the stack",
        "line": {
            "number": 5,
            "text": "ImportError: libGL.so.1: cannot open shared object file: No such file or "
            "directory",
        },
    }


def test_a_number_between_colons_stays_a_number(diagnose: Diagnose) -> None:
    """`file:100:16` is printed as it is, and is no emoji."""
    assert "x.py:100:16 broke" in diagnose("-", stdin=b"ValueError: x.py:100:16 broke\n").out


@pytest.mark.parametrize(
    ("output", "kind"),
    [(b"all is well\n", "unknown"), (b"", "unknown"), (b"x.Odd: y\nValueError: z", "exception")],
)
def test_what_is_not_known_is_no_error(diagnose: Diagnose, output: bytes, kind: str) -> None:
    """What nobody knows has a class of its own and a remedy, and the exit code is 0."""
    document = diagnose("-", "--json", stdin=output).document()
    assert kind == document["class"]
    assert document["cause"]
    assert document["remedy"]


def test_an_exit_code_tells_of_a_crash(diagnose: Diagnose) -> None:
    """A crash that printed nothing is known by its exit code; no line said so."""
    document = diagnose("-", "--exit-code", "132", "--json").document()
    assert (document["class"], document["line"]) == ("cpu-too-old", None)
    assert diagnose("-", "--exit-code=-11", "--json").document()["class"] == "crash"
    assert diagnose("-", "--exit-code", "1000").code == 2


def test_a_file_that_cannot_be_read_is_refused(diagnose: Diagnose, tmp_path: Path) -> None:
    """A missing file, a folder and an impossible name are wrong input."""
    assert diagnose("no.log").is_refusal(2, "no.log cannot be read: No such file")
    assert diagnose(str(tmp_path)).is_refusal(2, "Is a directory")
    assert diagnose("a\x00b").is_refusal(2)
    assert "\x1b" not in diagnose("a\x1b[31mb").err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(diagnose: Diagnose, tmp_path: Path) -> None:
    """A file that may not be read is wrong input, too."""
    (tmp_path / "a.log").touch(mode=0)
    assert diagnose("a.log").is_refusal(2, "Permission denied")


def test_the_end_of_a_huge_file_is_read(
    diagnose: Diagnose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many bytes are read, the last ones; the line then has no number."""
    monkeypatch.setattr(diagnosing, "READ_LIMIT", 1000)
    with (tmp_path / "huge.log").open("wb") as file:
        file.truncate(10**9)  # takes no disk: it is a hole
        file.seek(10**9)
        file.write(b"\n" + TRACE.encode())
    document = diagnose("huge.log", "--json").document()
    assert (document["class"], document["line"]["number"]) == ("missing-library", None)
    assert "said by a line near the end: ImportError" in diagnose("huge.log").out
    document = diagnose("-", "--json", stdin=b"x" * 2**21 + b"\n" + TRACE.encode()).document()
    assert (document["class"], document["line"]["number"]) == ("missing-library", None)


def test_a_stream_without_end_is_left(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that never ends is read up to a limit."""
    monkeypatch.setattr(diagnosing, "STREAM_LIMIT", 4 * 2**20)
    monkeypatch.setattr(diagnosing, "READ_LIMIT", 2**20)
    assert diagnose("/dev/zero").code == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_usual_encodings_are_read(diagnose: Diagnose, tmp_path: Path, encoding: str) -> None:
    """A file that PowerShell wrote is UTF-16, and one of an editor may begin with a mark."""
    (tmp_path / "a.log").write_text(TRACE, encoding=encoding)
    assert diagnose("a.log", "--json").document()["class"] == "missing-library"


def test_hostile_output_stays_inert(diagnose: Diagnose) -> None:
    """Escapes, bidirectional controls and broken text do not reach the terminal."""
    evil = b"ValueError: a\x1b[2J\x1b]0;x\x07\xe2\x80\xaeb\xff\x00 [red]c[/red] :100:\n"
    for arguments in ([], ["--json"]):
        shown = diagnose("-", *arguments, stdin=evil)
        assert shown.code == 0
        assert not set("\x1b\x07\x00\u202e") & set(shown.out)
        assert "[red]c[/red] :100:" in shown.out
