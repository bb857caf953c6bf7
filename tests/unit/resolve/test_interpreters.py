"""Standalone Pythons, which the real uv downloads from a mirror on loopback."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import environment, inside
from standalone_python import TINY, Mirror, download_list, pack_nothing, serve_mirror

from envmatrix.model.errors import NetworkError, SurroundingsError
from envmatrix.model.interpreters import Interpreter, Wanted
from envmatrix.model.locks import Lock
from envmatrix.resolve import interpreters
from envmatrix.resolve.interpreters import Interpreters
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.wheelhouse import Wheelhouse

WANTED = Wanted("3.12", "amd64", "x86_64", "2026-11-20")
CONTENT = pack_nothing()
PINNED = Interpreter(TINY, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """The mirror that the user has set, with one archive."""
    with serve_mirror(tmp_path / "mirror") as found:
        found.put(TINY, CONTENT)
        with inside(environment("unix:///nowhere") | {"UV_PYTHON_INSTALL_MIRROR": found.url}):
            yield found


@pytest.fixture
def listed(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The list of downloads that the user has set, with the archive of the mirror."""
    path = tmp_path / "python.json"
    path.write_text(download_list(TINY, PINNED.sha256), encoding="utf-8")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(path))
    return path


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Wheelhouse:
    """An empty wheelhouse."""
    return Wheelhouse(tmp_path / "wheelhouse", told.append)


told: list[str] = []


def lock_of(interpreter: Interpreter) -> Lock:
    """Return the lock of a base that has no wheels."""
    return Lock("key", "target", "2026-11-20", (), interpreter)


def fetch(wheelhouse: Wheelhouse) -> int:
    """Fetch what the lock of a base pins."""
    return wheelhouse.fetch(lock_of(PINNED), python="3.11", glibc="2.36", arch="amd64", index=None)


# --- which one -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "start"),
    [
        (WANTED, "cpython-3.12."),
        (replace(WANTED, as_of="2024-04-20"), "cpython-3.12.3+20240415-x86_64-"),
        (Wanted("3.10", "arm64", "aarch64", "2026-11-20"), "cpython-3.10."),
    ],
)
def test_the_newest_build_up_to_the_day_of_the_matrix_is_taken(wanted: Wanted, start: str) -> None:
    """The list that uv has in itself tells it, without any network."""
    with inside(environment("unix:///nowhere")):
        assert Interpreters(PipSettings()).newest(wanted).startswith(start)


def test_the_list_of_the_user_counts(listed: Path) -> None:
    """What it has is taken, and what it lacks is not looked for elsewhere."""
    asked = Interpreters(PipSettings())
    assert asked.newest(WANTED) == TINY
    with pytest.raises(NetworkError, match=r"no standalone Python 3\.11 for amd64") as caught:
        asked.newest(replace(WANTED, python="3.11"))
    assert caught.value.kind == "no-interpreter"
    with pytest.raises(NetworkError, match="built up to 2020-01-01"):
        asked.newest(replace(WANTED, as_of="2020-01-01"))


def test_an_archive_of_another_kind_is_left_out(listed: Path, mirror: Mirror) -> None:
    """Its name has to tell version, day and machine; no name of a list becomes a path."""
    hostile = download_list(TINY, PINNED.sha256).replace("install_only_stripped", "..%2F..%2Fx")
    listed.write_text(hostile, encoding="utf-8")
    with pytest.raises(NetworkError, match="no standalone Python"):
        Interpreters(PipSettings()).newest(WANTED)


@pytest.mark.parametrize("text", ["", "{}x", '{"a": 1}'])
def test_a_list_that_cannot_be_read_is_told(listed: Path, text: str) -> None:
    """The remedy names the setting."""
    listed.write_text(text, encoding="utf-8")
    with pytest.raises(NetworkError, match="list of standalone Pythons cannot be read") as caught:
        Interpreters(PipSettings()).newest(WANTED)
    assert "UV_PYTHON_DOWNLOADS_JSON_URL" in caught.value.next_step
    assert caught.value.kind == "blocked"


def test_a_mirror_that_is_no_address_is_told() -> None:
    """The addresses of the list are composed of it, so the remedy names it, too."""
    variables = environment("unix:///nowhere") | {"UV_PYTHON_INSTALL_MIRROR": "/srv/python"}
    with inside(variables), pytest.raises(NetworkError, match="cannot be read") as caught:
        Interpreters(PipSettings()).newest(WANTED)
    assert "UV_PYTHON_INSTALL_MIRROR" in caught.value.next_step


# --- the download ----------------------------------------------------------------------------


def test_the_archive_of_the_mirror_is_pinned_by_its_hash(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse
) -> None:
    """It is downloaded once, and lies where a mirror has it. What is known is not downloaded."""
    assert wheelhouse.pin(WANTED, None) == PINNED
    assert (wheelhouse.root / "python/20261110" / TINY).read_bytes() == CONTENT
    assert wheelhouse.pin(WANTED, PINNED) is PINNED
    wheelhouse.check(lock_of(PINNED))
    assert fetch(wheelhouse) == 0
    assert [TINY.replace("+", "%2B")] == [path.rpartition("/")[2] for path in mirror.asked]
    assert sorted(path.name for path in wheelhouse.root.iterdir()) == ["python"]


def test_a_pinned_archive_needs_no_list(mirror: Mirror, wheelhouse: Wheelhouse) -> None:
    """Another machine, or another uv, may not list it any more: the mirror still has it."""
    assert fetch(wheelhouse) == len(CONTENT)
    wheelhouse.check(lock_of(PINNED))


def test_a_list_with_addresses_of_its_own_serves_a_pinned_archive(
    mirror: Mirror, listed: Path, wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's list may have any address, and then needs no mirror."""
    monkeypatch.delenv("UV_PYTHON_INSTALL_MIRROR")
    listed.write_text(download_list(TINY, PINNED.sha256, prefix=mirror.url), encoding="utf-8")
    assert fetch(wheelhouse) == len(CONTENT)


def test_a_mirror_that_cannot_be_reached_is_asked_once(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the interpreter and the setting, and no password of the mirror."""
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://me:secret@127.0.0.1:9")
    with pytest.raises(NetworkError, match="Connection refused") as caught:
        wheelhouse.pin(WANTED, None)
    assert TINY in caught.value.what
    assert "secret" not in str(caught.value)
    assert "UV_PYTHON_INSTALL_MIRROR" in caught.value.next_step
    assert caught.value.kind == "blocked"
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", mirror.url)
    with pytest.raises(NetworkError, match="Connection refused"):
        wheelhouse.pin(WANTED, None)
    assert mirror.asked == []


def test_a_mirror_that_lacks_an_archive_is_asked_for_others(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse
) -> None:
    """A 404 says nothing of the next archive."""
    (mirror.folder / "20261110" / TINY).unlink()
    with pytest.raises(NetworkError, match="404"):
        wheelhouse.pin(WANTED, None)
    mirror.put(TINY, CONTENT)
    assert wheelhouse.pin(WANTED, None) == PINNED


@pytest.mark.parametrize("bad", [b"junk", CONTENT + b"junk", pack_nothing("evil = True")])
@pytest.mark.parametrize("pinned", [False, True])
def test_wrong_bytes_of_a_mirror_are_refused(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse, bad: bytes, pinned: bool
) -> None:
    """The error names the file, and nothing of it is kept."""
    mirror.put(TINY, bad)
    with pytest.raises(NetworkError) as caught:
        _ = fetch(wheelhouse) if pinned else wheelhouse.pin(WANTED, None)
    assert TINY in caught.value.what
    assert not list(wheelhouse.root.rglob("*.tar.gz"))


def test_a_list_with_another_hash_than_the_locked_one_is_refused(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse
) -> None:
    """What the lock pins counts, whatever the list of today says."""
    other = pack_nothing("other = True")
    listed.write_text(download_list(TINY, mirror.put(TINY, other)), encoding="utf-8")
    with pytest.raises(NetworkError, match="was served with other bytes"):
        fetch(wheelhouse)
    assert not list(wheelhouse.root.rglob("*.tar.gz"))


def test_a_slow_mirror_ends_in_time(
    listed: Path, wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that drips cannot hold a run."""
    monkeypatch.setattr(interpreters, "DOWNLOAD_SECONDS", 0)
    with pytest.raises(NetworkError, match="timed out"):
        wheelhouse.pin(WANTED, None)


def test_a_damaged_interpreter_is_put_aside_and_fetched_again(
    mirror: Mirror, wheelhouse: Wheelhouse
) -> None:
    """No build gets it, and the user is told."""
    fetch(wheelhouse)
    place = wheelhouse.path(PINNED)
    place.write_bytes(b"damaged")
    again = Wheelhouse(wheelhouse.root, told.append)
    with pytest.raises(SurroundingsError, match="was damaged there"):
        again.check(lock_of(PINNED))
    assert told[-1].startswith(f"{TINY} was corrupted")
    assert fetch(again) == len(CONTENT)
    again.check(lock_of(PINNED))


def test_uv_that_keeps_no_archive_is_told(
    listed: Path, wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv of another line may keep its archives elsewhere."""
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(NetworkError, match="uv kept no archive of this name"):
        Interpreters(PipSettings()).download(TINY, wheelhouse.root.parent)


def test_a_pinned_archive_comes_from_the_mirror_where_the_list_cannot_be_read(
    listed: Path, mirror: Mirror, wheelhouse: Wheelhouse
) -> None:
    """A list that is gone does not matter to what is locked already."""
    listed.unlink()
    assert fetch(wheelhouse) == len(CONTENT)


def test_an_answer_of_uv_in_another_form_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv of another line may list in another form."""
    answer = subprocess.CompletedProcess(["uv"], 0, '[{"key": "cpython"}]', "")
    monkeypatch.setattr(interpreters, "run_program", lambda *_, **__: answer)
    with pytest.raises(NetworkError, match=r"uv's answer cannot be read \(KeyError\)"):
        Interpreters(PipSettings()).newest(WANTED)
