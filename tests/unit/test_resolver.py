"""The resolver with the real uv, and an index on loopback that behaves as indexes do."""

from __future__ import annotations

import http.server
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

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


def write_wheel(folder: Path, version: str, tag: str, name: str = "demo", needs: str = "") -> None:
    """Write a wheel that holds nothing, and depends on `needs`."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else "")
        )
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A find-links folder with one wheel, for Python 3.11."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "1.0+cpu", "cp311-cp311-manylinux_2_28_x86_64")
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


# --- many problems at once -------------------------------------------------------------------


@dataclass
class Watched(Resolver):
    """Notes for which index and glibc uv is asked."""

    asked: list[tuple[str | None, str]] = field(default_factory=list)

    def _run_uv(
        self, problem: Problem, index: str | None, strategy: str, output: Path
    ) -> CompletedProcess[str]:
        self.asked.append((index, problem.glibc))
        return super()._run_uv(problem, index, strategy, output)


def problem(requires: str, glibc: str = "2.36", index: str | None = None) -> Problem:
    """Return a problem of Python 3.11."""
    return Problem((requires,), (), index, "3.11", glibc, "amd64", "2026-11-20")


GLIBCS = ("2.31", "2.35", "2.36", "2.39")


@pytest.fixture
def resolver(tmp_path: Path, address: str) -> Watched:
    """A resolver with an empty index and the find-links folder `links`."""
    links = tmp_path / "links"
    links.mkdir()
    return Watched(
        Store(tmp_path / "state"), PipSettings(f"{address}/simple", find_links=(str(links),))
    )


def test_an_answer_serves_every_glibc_that_its_wheels_fit(
    tmp_path: Path, resolver: Watched
) -> None:
    """The newest is asked for; the locks of the others are what uv would give for each."""
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39")]
    for one in problems:
        assert found[one.key] == resolver.resolve_all([one], 1, lambda *_: None)[one.key]


def test_a_glibc_that_some_wheel_does_not_fit_is_asked_for(
    tmp_path: Path, resolver: Watched
) -> None:
    """It gets the release before."""
    write_wheel(tmp_path / "links", "2.0", "cp311-cp311-manylinux_2_35_x86_64")
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39"), (None, "2.31")]
    locks = [found[one.key].lock for one in problems]
    assert [lock and lock.wheels[0].version for lock in locks] == ["1.0", "2.0", "2.0", "2.0"]


def test_a_wheel_that_was_tried_and_dropped_counts_too(tmp_path: Path, resolver: Watched) -> None:
    """Without it uv may search another way, so the older glibc is asked for."""
    links = tmp_path / "links"
    write_wheel(links, "2.0", "cp311-cp311-manylinux_2_35_x86_64", needs="lib<1")
    write_wheel(links, "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    write_wheel(links, "1.0", "py3-none-any", name="lib")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39"), (None, "2.31")]
    locks = [found[one.key].lock for one in problems]
    assert {lock and lock.wheels[0].version for lock in locks} == {"1.0"}


def test_a_host_out_of_reach_is_found_out_once(
    resolver: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other indexes are not tried, and each is named to those who need it."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    indexes = [f"http://127.0.0.1:1/{name}" for name in ("cpu", "cu126")]
    problems = [problem("demo", index=index) for index in indexes]

    found = resolver.resolve_all(problems, 2, lambda *_: None)

    assert [index for index, _ in resolver.asked] == [indexes[0], None, None]
    for one in problems:
        judgement = found[one.key].judgement
        assert judgement is not None
        assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")
        assert judgement.cause.startswith(f"{one.index} cannot be reached: Connection refused")


def test_an_index_that_refuses_says_nothing_of_others_on_its_host(
    resolver: Watched, address: str
) -> None:
    """Another one answers, and what it says is a proof."""
    refused, empty = (problem("demo==1", index=address + path) for path in ("/refused", "/empty"))

    found = resolver.resolve_all([refused, empty], 1, lambda *_: None)

    kinds = [
        judgement and judgement.kind
        for judgement in (found[refused.key].judgement, found[empty.key].judgement)
    ]
    assert kinds == ["blocked", "no-such-package"]
