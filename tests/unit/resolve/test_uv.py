"""Running uv: its releases, its command, and what happens where it cannot do its work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest
from uv import find_uv_bin

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import UV_GLIBC, Problem
from envmatrix.resolve import uv
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.programs import StoppedError

PROBLEM = Problem(("demo", "other"), ("x<2",), None, "3.12", "2.36", "amd64", "2026-11-20")


def answer(*arguments: str) -> str:
    """Return what the real uv prints."""
    return subprocess.run(
        [find_uv_bin(), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_the_installed_uv_is_of_the_releases_whose_words_are_read() -> None:
    """Another release can say other words, and a proof of it would not be understood."""
    assert re.match(r"uv (\d+\.\d+)\.", answer("--version"))[1] == uv.UV_RELEASES  # type: ignore[index]


def test_uv_has_a_platform_for_each_glibc_that_is_asked_for() -> None:
    """And it has no other: a newer one would serve cells that take an older one now."""
    known = re.findall(r"x86_64-manylinux_2_(\d+)\b", answer("pip", "compile", "--help"))
    assert sorted({int(minor) for minor in known}) == sorted(UV_GLIBC)


def replace_uv(monkeypatch: pytest.MonkeyPatch, program: Path, script: str) -> None:
    """Let a Python script take the place of uv."""
    program.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(program))


def run(folder: Path, index: str | None = None) -> subprocess.CompletedProcess[str]:
    """Ask for the problem, with settings that have an index with a password, and a certificate."""
    settings = PipSettings(index_url="https://u:secret@index.example/simple", cert="/ca.pem")
    return uv.run_uv(
        PROBLEM,
        index=index,
        strategy="first-index",
        settings=settings,
        output=folder / "pylock.toml",
    )


def test_uv_is_asked_for_the_python_and_the_platform_of_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings reach uv by a file that only the user can read, and by variables."""
    script = "import os, sys\nprint(sys.argv, sys.stdin.read().split(), os.environ)"
    replace_uv(monkeypatch, tmp_path / "uv", script)
    monkeypatch.setenv("UV_PRERELEASE", "allow")

    said = run(tmp_path, "https://variant.example").stdout

    config = tmp_path / "uv.toml"
    for part in (
        "'--python-version', '3.12'",
        "'--python-platform', 'x86_64-manylinux_2_36'",
        "'--only-binary', ':all:'",
        "'--exclude-newer', '2026-11-21T00:00:00Z'",
        "'--quiet'",
        f"'--config-file', '{config}'",
        "['demo', 'other']",
        "'SSL_CERT_FILE': '/ca.pem'",
        "'RUST_LOG': 'uv_resolver::resolver=debug'",
    ):
        assert part in said
    assert "secret" not in said
    assert "UV_PRERELEASE" not in said
    assert (tmp_path / "constraints.txt").read_text(encoding="utf-8") == "x<2\n"
    assert "secret" in config.read_text(encoding="utf-8")
    assert config.stat().st_mode & 0o777 == 0o600


def test_uv_ends_at_once_when_the_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uv does not end at Ctrl-C, so it is killed."""
    started = tmp_path / "started"
    script = "import pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script += f"pathlib.Path({str(started)!r}).touch()\ntime.sleep(60)"
    replace_uv(monkeypatch, tmp_path / "uv", script)
    stopped = Event()

    def stop() -> None:
        while not started.exists():
            stopped.wait(0.01)
        stopped.set()

    thread = Thread(target=stop)
    thread.start()
    with pytest.raises(StoppedError):
        uv.run_uv(
            PROBLEM,
            index=None,
            strategy="first-index",
            settings=PipSettings(),
            output=tmp_path / "pylock.toml",
            stopped=stopped,
        )
    thread.join()


def test_uv_that_takes_too_long_is_ended_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result says so in the form of uv's own errors."""
    replace_uv(monkeypatch, tmp_path / "uv", "import time\ntime.sleep(60)")
    monkeypatch.setattr(uv, "RESOLVE_SECONDS", 0.1)

    result = run(tmp_path)

    assert result.returncode == 2
    assert result.stderr == "error: timed out after 0.1 s"


def test_uv_that_cannot_be_started_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says where uv should be, and what to do."""
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(tmp_path / "gone"))

    with pytest.raises(ToolError, match="uv cannot be started") as caught:
        run(tmp_path)
    assert caught.value.where == str(tmp_path / "gone")
    assert "--force-reinstall" in caught.value.next_step
