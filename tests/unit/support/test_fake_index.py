"""The fake index, proved against the real uv and the real pip."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_index import (
    Corrupted,
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
from uv import find_uv_bin

AS_OF = "2026-06-01"
LATER = "2026-09-01T00:00:00Z"


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index of two distributions; a newer release came after `AS_OF`."""
    with FakeIndex() as served:
        served.add("Jinja2", "3.1.6", requires=["markupsafe>=2"])
        served.add("jinja2", "3.2.0", requires=["markupsafe>=2"], upload_time=LATER)
        served.add(
            "markupsafe",
            "3.0.1+cpu",
            tags=["cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64"],
            requires_python=">=3.9",
        )
        yield served
    assert served.errors == []


def environment() -> dict[str, str]:
    """Return an environment in which no setting of the user counts."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_")) and "proxy" not in name.lower()
    }
    return kept | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INPUT": "1",
        "PIP_RETRIES": "0",
        "UV_HTTP_RETRIES": "0",
        "UV_NO_CACHE": "1",
        "UV_NO_CONFIG": "1",
    }


def lock(url: str, requirement: str = "jinja2") -> subprocess.CompletedProcess[str]:
    """Resolve a requirement with uv, for Python 3.11 and as of a day."""
    return subprocess.run(
        [
            find_uv_bin(),
            *("pip", "compile", "-", "--default-index", url, "--only-binary", ":all:"),
            *("--exclude-newer", AS_OF, "--generate-hashes", "--no-header", "--no-annotate"),
            *("--python", sys.executable, "--python-version", "3.11"),
            *("--python-platform", "x86_64-manylinux_2_36"),
        ],
        input=requirement,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=60,
    )


def download(url: str, requirements: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Download locked wheels with pip, for Python 3.11."""
    wanted = folder / "requirements.txt"
    wanted.write_text(requirements, encoding="utf-8")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--index-url", url, "--require-hashes"),
            *("--no-deps", "--only-binary", ":all:", "--requirement", str(wanted)),
            *("--dest", str(folder), "--python-version", "3.11", "--implementation", "cp"),
            *("--abi", "cp311", "--abi", "none", "--platform", "manylinux_2_17_x86_64"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def pinned(index: FakeIndex) -> str:
    """Return the locked requirement of a release, as it was before anything went wrong."""
    (wheel,) = index.add("pinned", "1.0")
    return f"pinned==1.0 --hash=sha256:{wheel.sha256}\n"


def test_uv_locks_and_pip_downloads(index: FakeIndex, tmp_path: Path) -> None:
    """The lock holds hashes, pip checks them, and what came later is not taken."""
    locked = lock(index.url)
    assert locked.stdout.count("--hash=sha256:") == 3, locked.stderr
    assert "jinja2==3.1.6" in locked.stdout
    assert "markupsafe==3.0.1+cpu" in locked.stdout

    done = download(index.url, locked.stdout, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.whl")} == {
        "jinja2-3.1.6-py3-none-any.whl",
        "markupsafe-3.0.1+cpu-cp311-cp311-manylinux_2_17_x86_64.whl",
    }
    assert index.asked("GET /simple/jinja2/")


def test_a_page_without_json_has_no_upload_times(index: FakeIndex, tmp_path: Path) -> None:
    """Then uv takes nothing, as it cannot tell what was published when; pip does not ask."""
    index.json = False

    assert "exclude-newer" in lock(index.url).stderr
    assert download(index.url, pinned(index), tmp_path).returncode == 0


def test_a_wheel_is_real(index: FakeIndex, tmp_path: Path) -> None:
    """It holds the files it was given, its metadata and a record, the same each time."""
    (first,) = index.add("a.name", "1", files={"a_name/x.py": "1\n"}, requires=["jinja2"])
    (second,) = index.add("a.name", "1", files={"a_name/x.py": "1\n"}, requires=["jinja2"])
    (tmp_path / first.filename).write_bytes(first.data)

    with zipfile.ZipFile(tmp_path / first.filename) as wheel:
        assert wheel.read("a_name/x.py") == b"1\n"
        assert b"Requires-Dist: jinja2" in wheel.read("a_name-1.dist-info/METADATA")
        assert b"a_name/x.py,sha256=" in wheel.read("a_name-1.dist-info/RECORD")
    assert first.data == second.data


def test_a_source_archive_is_no_wheel(index: FakeIndex) -> None:
    """A release that comes as source only cannot be locked."""
    index.add_source("onlysource", "1.0")

    assert "no usable wheels" in lock(index.url, "onlysource==1.0").stderr


def test_a_release_can_go_away(index: FakeIndex) -> None:
    """What is removed was never there."""
    index.remove("markupsafe")

    assert "markupsafe was not found" in lock(index.url).stderr


@pytest.mark.parametrize("code", [401, 403, 404, 407, 429, 500, 503])
def test_a_status_stops_uv(index: FakeIndex, code: int) -> None:
    """For one name or for all; other names are served."""
    index.fail(Status(code), name="markupsafe")
    failed = lock(index.url)

    assert failed.returncode != 0
    assert str(code) in failed.stderr or code == 404
    assert index.asked("GET /simple/jinja2/")


@pytest.mark.parametrize(
    "fault", [Portal(), Empty(), RedirectLoop(), Reset(), Hang(0.1), Truncated(on="pages")], ids=str
)
def test_a_bad_answer_stops_uv(index: FakeIndex, fault: Fault) -> None:
    """A portal, nothing, a redirect without end, a reset, a hang or half a page gives no lock."""
    index.fail(fault, name="jinja2")

    assert lock(index.url).returncode != 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Truncated(honest=True), "DO NOT MATCH THE HASHES"),
        (Truncated(), ""),
        (Corrupted(), "DO NOT MATCH THE HASHES"),
        (Portal(on="wheels"), "DO NOT MATCH THE HASHES"),
        (Status(403, on="wheels"), "403"),
        (Reset(on="wheels"), ""),
    ],
    ids=str,
)
def test_a_bad_wheel_stops_pip(index: FakeIndex, tmp_path: Path, fault: Fault, said: str) -> None:
    """A wheel cut short, changed, refused or replaced by a page of a proxy is not taken."""
    requirements = pinned(index)
    index.fail(fault)
    failed = download(index.url, requirements, tmp_path)

    assert failed.returncode != 0
    assert said in failed.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_a_page_can_announce_wrong_hashes(index: FakeIndex) -> None:
    """What is locked from it has hashes that no wheel has."""
    requirement = pinned(index)
    index.fail(WrongHash(), name="pinned")
    locked = lock(index.url, "pinned").stdout

    assert "pinned==1.0" in locked
    assert requirement.rpartition(":")[2].strip() not in locked


def test_a_fault_can_pass(index: FakeIndex) -> None:
    """Armed for one request, it leaves the next alone."""
    index.fail(Status(500), name="jinja2", times=1)

    assert lock(index.url).returncode != 0
    assert lock(index.url).returncode == 0
    index.fail(Status(500))
    index.heal()
    assert lock(index.url).returncode == 0


def test_credentials_are_needed_where_they_are_set(index: FakeIndex, tmp_path: Path) -> None:
    """Both uv and pip get nothing without them, and everything with them."""
    requirement = pinned(index)
    index.credentials = ("user", "s@cret")

    assert "401" in lock(index.url).stderr
    assert lock(index.url_with_credentials).returncode == 0
    assert download(index.url, requirement, tmp_path).returncode != 0
    assert download(index.url_with_credentials, requirement, tmp_path).returncode == 0


def test_an_index_ends_on_time(tmp_path: Path) -> None:
    """A client that waits for an answer does not keep it."""
    with FakeIndex() as index:
        index.add("jinja2", "3.1.6")
        index.fail(Hang(600))
        waiting = subprocess.Popen(
            [find_uv_bin(), "pip", "compile", "-", "--default-index", index.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        assert waiting.stdin
        waiting.stdin.write(b"jinja2\n")
        waiting.stdin.close()
        deadline = time.monotonic() + 20
        while not index.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()

    assert time.monotonic() - began < 1
    assert waiting.wait(20) != 0
