"""Downloads that fail: nothing is kept that is not right, nothing is a proof, all ends in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from fake_index import (
    Corrupted,
    Drip,
    Empty,
    FakeIndex,
    Fault,
    Hang,
    Portal,
    RedirectLoop,
    Reset,
    Status,
    Truncated,
    WrongHash,
)
from small_project import GOOD, OLD, Folder, judged, run, run_one

from envmatrix.model.evidence import Evidence

WHEEL = "markupsafe-3.0.1-cp311-cp311-manylinux_2_17_x86_64.whl"

# What goes wrong with a wheel or its page, and the class of the judgement.
OF_WHEELS: dict[str, tuple[Fault, str]] = {
    "ends early": (Truncated(), "blocked"),
    "is cut, and says nothing of it": (Truncated(honest=True), "mirror"),
    "a bit is flipped": (Corrupted(), "mirror"),
    "is empty": (Empty(on="wheels"), "mirror"),
    "is the page of a portal": (Portal(on="wheels"), "mirror"),
    "500": (Status(500, on="wheels"), "mirror"),
    "401": (Status(401, on="wheels"), "credentials"),
    "404": (Status(404, on="wheels"), "mirror"),
    "hangs": (Hang(20, on="wheels"), "blocked"),
    "is reset": (Reset(on="wheels"), "blocked"),
    "redirects without end": (RedirectLoop(on="wheels"), "mirror"),
    "its page: 401": (Status(401, on="pages"), "credentials"),
    "its page: 404": (Status(404, on="pages"), "blocked"),
    "its page hangs": (Hang(20, on="pages"), "blocked"),
}

OF_PAGES: dict[str, tuple[Fault, str]] = {
    "500": (Status(500), "blocked"),
    "401": (Status(401), "credentials"),
    "404": (Status(404), "blocked"),
    "hangs": (Hang(20), "blocked"),
    "portal": (Portal(), "blocked"),
    "empty": (Empty(), "blocked"),
    "redirects": (RedirectLoop(), "blocked"),
}


def impatient(project: Folder) -> Folder:
    """Return the project with settings that wait for no answer longer than a second."""
    return Folder(project.root, {**project.environment, "PIP_TIMEOUT": "1", "UV_HTTP_TIMEOUT": "1"})


def kept(project: Folder, name: str = "*") -> list[str]:
    """Return the names of the wheels in the wheelhouse."""
    wheels = project.root / ".envmatrix" / "wheelhouse" / "wheels"
    return sorted(path.name for path in wheels.glob(f"*/{name}"))


def leftovers(project: Folder) -> list[Path]:
    """Return what downloads that failed left in the wheelhouse."""
    return list((project.root / ".envmatrix" / "wheelhouse").glob("incoming-*"))


def outcome(project: Folder, seconds: float) -> Evidence:
    """Run the good cell in this process, within a time; return its evidence."""
    started = time.monotonic()
    with project.inside():
        found = run_one(project, GOOD)
    assert time.monotonic() - started < seconds
    return found


@pytest.mark.parametrize("name", OF_WHEELS)
def test_a_wheel_that_cannot_be_had(name: str, ahead: Folder, index: FakeIndex) -> None:
    """The cell is unknown, the wheel is named and not kept; the next run takes the right one."""
    fault, kind = OF_WHEELS[name]
    project = impatient(ahead)
    index.fail(fault, name="markupsafe")
    found = outcome(project, 20)
    assert judged(found) == ("unknown", "fetch", kind)
    # pip does not tell for which wheel it was redirected.
    assert WHEEL in found.cause or isinstance(fault, RedirectLoop), found.cause
    assert "cannot be downloaded: " in found.cause
    assert found.remedy
    assert kept(project, "markupsafe*") == []
    assert leftovers(project) == []
    index.heal()
    assert outcome(project, 20).verdict == "works"
    assert kept(project, "markupsafe*") == [WHEEL]


@pytest.mark.parametrize("name", OF_PAGES)
def test_an_index_that_fails_while_locking(name: str, unlocked: Folder, index: FakeIndex) -> None:
    """No cell is impossible for that, nothing is remembered, and the next run gets its lock."""
    fault, kind = OF_PAGES[name]
    project = impatient(unlocked)
    index.fail(fault)
    found = outcome(project, 40)
    assert (found.verdict, found.class_) == ("unknown", kind), found.cause
    assert not list((project.root / ".envmatrix/records/lock").glob("*"))
    index.heal()
    assert outcome(project, 40).verdict == "works"


def test_an_index_that_announces_a_wrong_hash(unlocked: Folder, index: FakeIndex) -> None:
    """The lock has that hash, so no wheel fits it. The remedy is to lock anew, and it helps."""
    index.fail(WrongHash(), name="markupsafe")
    code, cells = unlocked.run_json("run", GOOD)
    cell = cells[GOOD]
    assert (code, cell["verdict"], cell["class"]) == (3, "unknown", "mirror"), cell["cause"]
    assert WHEEL in cell["cause"]
    assert "envmatrix lock --fresh" in cell["remedy"]
    assert kept(unlocked, "markupsafe*") == []
    assert leftovers(unlocked) == []
    index.heal()
    assert unlocked.run("lock", "--fresh", GOOD).returncode == 0
    assert unlocked.run_json("run", GOOD)[0] == 0


def test_a_wrong_hash_that_comes_after_the_lock(ahead: Folder, index: FakeIndex) -> None:
    """What counts is the hash of the lock, and the wheel has that."""
    index.fail(WrongHash(), name="markupsafe")
    assert outcome(ahead, 20).verdict == "works"


@pytest.mark.parametrize("password", ["right-Secret1", "wrong-Secret1"])
def test_credentials_of_a_netrc_file(
    password: str, unlocked: Folder, index: FakeIndex, tmp_path: Path
) -> None:
    """Right ones serve uv, pip and envmatrix alike. Wrong ones are told, and never shown."""
    index.credentials = ("user", "right-Secret1")
    home = tmp_path / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {password}\n", encoding="utf-8")
    netrc.chmod(0o600)
    project = Folder(unlocked.root, {**unlocked.environment, "HOME": str(home)})
    done = project.run("run", GOOD)
    good = password == "right-Secret1"
    assert done.returncode == (0 if good else 3), done.stderr
    assert ("works" if good else "credentials") in done.stdout
    written = [path for path in project.root.rglob("*") if path.is_file()]
    assert len(written) > 3
    shown = [done.stdout, done.stderr, *(path.read_bytes().decode("latin-1") for path in written)]
    assert not any("Secret1" in text for text in shown)


def test_credentials_that_no_longer_count(ahead: Folder, index: FakeIndex) -> None:
    """A locked cell whose index asks for a password now is unknown, and says so."""
    index.credentials = ("user", "secret")
    code, cells = ahead.run_json("run", GOOD)
    cell = cells[GOOD]
    assert (code, cell["verdict"], cell["class"]) == (3, "unknown", "credentials"), cell["cause"]


def test_a_wheel_that_drips(
    ahead: Folder, index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole download has a limit, and its process ends with it."""
    monkeypatch.setattr("envmatrix.resolve.downloading.DOWNLOAD_SECONDS", 2.0)
    index.fail(Drip(0.1, on="wheels"), name="markupsafe")
    started = time.monotonic()
    with ahead.inside():
        found = run(ahead, GOOD, OLD).cells
    assert time.monotonic() - started < 30
    for one in found:
        assert judged(one) == ("unknown", "fetch", "blocked")
        assert "the download timed out after 2" in one.cause
    assert leftovers(ahead) == []
    assert kept(ahead, "markupsafe*") == []


def test_pages_that_drip(
    unlocked: Folder, index: FakeIndex, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To lock has a limit as well, and proves nothing."""
    monkeypatch.setattr("envmatrix.resolve.uv.RESOLVE_SECONDS", 2.0)
    monkeypatch.setattr("envmatrix.resolve.fetching.OVERALL_SECONDS", 1.0)
    index.fail(Drip(0.1, on="pages"))
    started = time.monotonic()
    with unlocked.inside():
        (found,) = run(unlocked, GOOD).cells
    assert time.monotonic() - started < 30
    assert found.verdict == "unknown"
    assert fake.build_records == []


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_wheel_that_was_damaged_on_the_disk(how: str, here: Folder) -> None:
    """It is put aside and named, and the right one is downloaded."""
    (path,) = (here.root / ".envmatrix" / "wheelhouse" / "wheels").glob(f"*/{WHEEL}")
    right = path.read_bytes()
    half = len(right) // 2
    wrong = right[:half] if how == "cut" else right[:half] + b"\xff\x00" + right[half + 2 :]
    path.write_bytes(wrong)
    done = here.run("run", GOOD)
    assert done.returncode == 0, done.stderr
    assert f"{WHEEL} was corrupted" in done.stderr
    assert path.read_bytes() == right
    (aside,) = (here.root / ".envmatrix" / "wheelhouse" / "quarantine").glob(f"*/{WHEEL}")
    assert aside.read_bytes() == wrong
