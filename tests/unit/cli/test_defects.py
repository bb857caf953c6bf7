"""A defect of envmatrix: another exit code than a broken cell, and a traceback in a file."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import NoReturn

import pytest
from shown import Commands
from small_project import GOOD, Folder

from envmatrix.cli.exits import DEFECT
from envmatrix.stages.report import Reporting

TOKEN = "https://user:s3cret-p4ssw0rd@wheels.example/simple"


@pytest.fixture(autouse=True)
def _broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> NoReturn:
        raise KeyError(f"no such thing: {TOKEN}")

    monkeypatch.setattr(Reporting, "write", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_defect_is_told_as_ours(offline: Folder, command: Commands) -> None:
    """It ends with 70, and names a file that holds the traceback and no credentials."""
    code, out, err = command(offline, "report", GOOD)
    assert (code, out) == (DEFECT, "")
    assert err.startswith("error: this is a defect of envmatrix: KeyError: ")
    found = re.search(r"where: (.+\.log)\n", err)
    assert found
    text = Path(found[1]).read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert "in fail" in text
    assert "s3cret" not in text + err
    assert "open an issue" in err


def test_a_verbose_defect_shows_the_traceback(
    offline: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    """With -v the traceback is on stderr, too."""
    assert offline.main("-v", "report", GOOD) == DEFECT
    assert "in fail" in capfd.readouterr().err


def test_a_traceback_that_cannot_be_kept(
    offline: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a place for the file, the message says how to see the traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    code, _, err = command(offline, "report", GOOD)
    assert code == DEFECT
    assert "`envmatrix -v ...` shows the traceback" in err


@pytest.mark.usefixtures("signals_as_before")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_the_user_stopped_is_no_defect(
    offline: Folder,
    command: Commands,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """A signal ends a command that does not work on the state with its own code, and no word."""

    def stop(*_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(Reporting, "write", stop)
    assert command(offline, "report", GOOD) == (128 + number, "", "")


def test_no_memory_is_no_defect(
    offline: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory is a failure of the surroundings."""

    def fail(*_: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(Reporting, "write", fail)
    assert command(offline, "report", GOOD).is_refusal(3, "no memory left")
