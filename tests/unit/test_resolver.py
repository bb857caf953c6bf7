"""The resolver with the real uv, and an index on loopback that behaves as indexes do."""

from __future__ import annotations

import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envmatrix.evidence import Store, Verdict
from envmatrix.lock import Problem, Resolution, Resolver
from envmatrix.pip_settings import PipSettings


class _Index(http.server.BaseHTTPRequestHandler):
    """Refuses what lies under /refused/, and has nothing else."""

    def do_GET(self) -> None:
        self.send_error(403 if self.path.startswith("/refused/") else 404)

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    """The address of the index."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A find-links folder with one wheel, for Python 3.11."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "demo-1.0+cpu.dist-info"
    with zipfile.ZipFile(
        folder / "demo-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "w"
    ) as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0+cpu\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def resolve(tmp_path: Path, wheels: Path, address: str, **asked: str) -> Resolution:
    """Ask for demo==1.0+cpu with the index of a variant, and find-links of the user."""
    problem = Problem(
        ("demo==1.0+cpu",),
        (),
        address + asked["index"],
        asked["python"],
        asked.get("glibc", "2.36"),
        "amd64",
        "2026-11-20",
    )
    settings = PipSettings(index_url=f"{address}/simple", find_links=(str(wheels),))
    resolver = Resolver(Store(tmp_path / "state"), settings)
    return resolver.resolve_all([problem], 1, lambda *_: None)[problem.key]


def test_an_index_that_answers_and_has_no_wheel_is_a_proof(
    tmp_path: Path, wheels: Path, address: str
) -> None:
    """The only wheel there is, is for another Python."""
    judgement = resolve(tmp_path, wheels, address, index="/empty", python="3.12").judgement

    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, "no-wheel-for-python")
    assert "cp311" in judgement.cause


def test_an_index_that_refuses_is_no_proof(tmp_path: Path, wheels: Path, address: str) -> None:
    """Where find-links has the name, uv passes over such an index without a word."""
    judgement = resolve(tmp_path, wheels, address, index="/refused", python="3.12").judgement

    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")
    assert f"{address}/refused" in judgement.cause


def test_what_find_links_holds_needs_no_index(tmp_path: Path, wheels: Path, address: str) -> None:
    """A lock found without the variant's index is as good as any."""
    lock = resolve(tmp_path, wheels, address, index="/refused", python="3.11").lock

    assert lock is not None
    assert [wheel.version for wheel in lock.wheels] == ["1.0+cpu"]


def test_a_c_library_that_is_too_old_is_told_from_a_missing_python(
    tmp_path: Path, wheels: Path, address: str
) -> None:
    """The platform tag decides, whatever the Python."""
    judgement = resolve(
        tmp_path, wheels, address, index="/empty", python="3.11", glibc="2.17"
    ).judgement

    assert judgement is not None
    assert judgement.kind == "glibc-too-old"
