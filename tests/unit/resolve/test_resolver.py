"""The resolver: which answers are carried on, and what the real uv says of an index on loopback."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from envmatrix.model.locks import Lock, Problem, Resolution, Wheel
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve.indexes import Place, Trouble
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.resolver import Resolver, _Answer, _carried, _in_order, _reach, _scouts
from envmatrix.resolve.uv_output import blocked
from envmatrix.store.records import Records


def wheel_bytes(version: str, tag: str, name: str = "demo", needs: str = "") -> bytes:
    """Return a wheel that holds nothing, and depends on `needs`."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else "")
        )
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return data.getvalue()


SIGNED = "demo-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"


class _Index(http.server.BaseHTTPRequestHandler):
    """Refuses everything below /refused/, signs its links below /signed/, and has pip elsewhere."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/signed/demo/":
            url = f"/file/{SIGNED.replace('+', '%2B')}?expires=1&signature=a%2Fb"
            hashes = {"sha256": hashlib.sha256(self._signed()).hexdigest()}
            uploaded = "2026-11-01T00:00:00Z"
            file = {"filename": SIGNED, "url": url, "hashes": hashes, "upload-time": uploaded}
            page = {"meta": {"api-version": "1.1"}, "name": "demo", "files": [file]}
            self._send(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")
        elif path in ("/simple/pip/", "/empty/pip/"):
            file = {"filename": "pip-1.0-py3-none-any.whl", "url": "/x.whl", "hashes": {}}
            page = {"meta": {"api-version": "1.1"}, "name": "pip", "files": [file]}
            self._send(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")
        elif path.startswith("/file/"):
            self._send(self._signed(), "application/octet-stream")
        else:
            self.send_error(403 if path.startswith("/refused/") else 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    @staticmethod
    def _signed() -> bytes:
        return wheel_bytes("1.0+cpu", "cp311-cp311-manylinux_2_28_x86_64")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

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
    wheel = folder / f"{name}-{version}-{tag}.whl"
    wheel.write_bytes(wheel_bytes(version, tag, name, needs))


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
    settings = PipSettings(index_url=f"{address}/simple", find_links=(str(wheels),), retries=0)
    resolver = Resolver(Records(tmp_path / "state"), settings)
    return resolver.resolve_all([problem], 1, lambda *_: None)[problem.key]


def test_an_index_that_answers_and_has_no_wheel_is_a_proof(
    tmp_path: Path, wheels: Path, address: str
) -> None:
    """The only wheel is for another Python."""
    judgement = resolve(tmp_path, wheels, address, index="/empty", python="3.12").judgement

    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, "no-wheel-for-python")
    assert "cp311" in judgement.cause


def test_an_index_that_refuses_is_no_proof(tmp_path: Path, wheels: Path, address: str) -> None:
    """Uv silently passes over such an index where find-links has the name."""
    judgement = resolve(tmp_path, wheels, address, index="/refused", python="3.12").judgement

    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "credentials")
    assert f"{address}/refused" in judgement.cause
    assert "~/.netrc" in judgement.remedy


def test_a_wheel_of_find_links_needs_no_index(tmp_path: Path, wheels: Path, address: str) -> None:
    """A lock that is found without the variant's index is as good as any."""
    lock = resolve(tmp_path, wheels, address, index="/refused", python="3.11").lock

    assert lock is not None
    assert [wheel.version for wheel in lock.wheels] == ["1.0+cpu"]


def test_a_c_library_that_is_too_old_is_told_from_a_missing_python(
    tmp_path: Path, wheels: Path, address: str
) -> None:
    """The class comes from the platform tag, whatever the Python is."""
    judgement = resolve(
        tmp_path, wheels, address, index="/empty", python="3.11", glibc="2.17"
    ).judgement

    assert judgement is not None
    assert judgement.kind == "glibc-too-old"


def test_a_signed_address_is_no_part_of_the_lock(tmp_path: Path, address: str) -> None:
    """The query of the address is not taken for a part of the file name."""
    empty = tmp_path / "empty"
    empty.mkdir()

    lock = resolve(tmp_path, empty, address, index="/signed", python="3.11").lock

    assert lock is not None
    assert [wheel.filename for wheel in lock.wheels] == [SIGNED]
    assert "signature" not in lock.text


# --- many problems at once -------------------------------------------------------------------


@dataclass
class Watched(Resolver):
    """Notes the index and the glibc of each question to uv."""

    asked: list[tuple[str | None, str]] = field(default_factory=list)

    def _ask(self, problem: Problem, index: str | None, *, refresh: bool = False) -> _Answer:
        self.asked.append((index, problem.glibc))
        return super()._ask(problem, index, refresh=refresh)


def problem(
    requires: str, glibc: str = "2.36", index: str | None = None, python: str = "3.11"
) -> Problem:
    """Return a problem, of Python 3.11 unless another is given."""
    return Problem((requires,), (), index, python, glibc, "amd64", "2026-11-20")


GLIBCS = ("2.31", "2.35", "2.36", "2.39")


@pytest.fixture
def resolver(tmp_path: Path, address: str) -> Watched:
    """A resolver with an empty index and the find-links folder `links`."""
    links = tmp_path / "links"
    links.mkdir()
    return Watched(
        Records(tmp_path / "state"),
        PipSettings(f"{address}/simple", find_links=(str(links),), retries=0),
    )


def test_an_answer_serves_every_glibc_that_its_wheels_fit(
    tmp_path: Path, resolver: Watched
) -> None:
    """Uv is asked for the newest glibc. It would give the same locks for the others."""
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39")]
    for one in problems:
        assert found[one.key] == resolver.resolve_all([one], 1, lambda *_: None)[one.key]


def test_an_answer_serves_no_other_architecture(tmp_path: Path, resolver: Watched) -> None:
    """Each architecture is asked for, and gets its own wheel or its own proof."""
    for machine in ("x86_64", "aarch64"):
        write_wheel(tmp_path / "links", "1.0", f"cp311-cp311-manylinux_2_28_{machine}")
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64", name="intel")
    asked = [
        replace(problem(name), arch=arch)
        for name in ("demo", "intel==1.0")
        for arch in ("amd64", "arm64")
    ]

    found = resolver.resolve_all(asked, 1, lambda *_: None)

    *locked, proven = [found[one.key] for one in asked]
    wheels = [one.lock.wheels[0].filename for one in locked if one.lock]
    assert [name.rpartition("_28_")[2] for name in wheels] == [
        "x86_64.whl",
        "aarch64.whl",
        "x86_64.whl",
    ]
    assert proven.judgement
    assert (proven.judgement.verdict, proven.judgement.kind) == (
        "impossible",
        "no-wheel-for-platform",
    )


def test_a_glibc_that_some_wheel_does_not_fit_is_asked_for(
    tmp_path: Path, resolver: Watched
) -> None:
    """The older glibc gets the release before."""
    write_wheel(tmp_path / "links", "2.0", "cp311-cp311-manylinux_2_35_x86_64")
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39"), (None, "2.31")]
    locks = [found[one.key].lock for one in problems]
    assert [lock and lock.wheels[0].version for lock in locks] == ["1.0", "2.0", "2.0", "2.0"]


def test_a_wheel_that_was_tried_and_dropped_counts_too(tmp_path: Path, resolver: Watched) -> None:
    """Uv may search another way without this wheel, so it is asked for the older glibc."""
    links = tmp_path / "links"
    write_wheel(links, "2.0", "cp311-cp311-manylinux_2_35_x86_64", needs="lib<1")
    write_wheel(links, "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    write_wheel(links, "1.0", "py3-none-any", name="lib")
    problems = [problem("demo", glibc) for glibc in GLIBCS]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert resolver.asked == [(None, "2.39"), (None, "2.31")]
    locks = [found[one.key].lock for one in problems]
    assert {lock and lock.wheels[0].version for lock in locks} == {"1.0"}


def test_a_host_that_cannot_be_reached_is_tried_once(
    resolver: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other indexes are not tried. Each cause names the index that its problem needs."""
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


def test_a_lock_is_found_without_the_index_of_a_variant_where_the_settings_suffice(
    tmp_path: Path, resolver: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own settings are asked alone where the index of the variant cannot be reached."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    index = "http://127.0.0.1:1/cpu"
    one = problem("demo", index=index)

    lock = resolver.resolve_all([one], 1, lambda *_: None)[one.key].lock

    assert lock is not None
    assert [wheel.version for wheel in lock.wheels] == ["1.0"]
    assert [asked for asked, _ in resolver.asked] == [index, None]


def test_what_the_settings_lack_for_one_python_they_may_have_for_another(
    tmp_path: Path, resolver: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python without a wheel in find-links keeps no other one from its wheel there."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    write_wheel(tmp_path / "links", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    index = "http://127.0.0.1:1/cpu"
    older, newer = (
        problem("demo==1.0", index=index, python=python, glibc=glibc)
        for python, glibc in (("3.9", "2.41"), ("3.11", "2.36"))
    )

    found = resolver.resolve_all([older, newer], 1, lambda *_: None)

    assert found[older.key].lock is None
    assert found[newer.key].lock is not None


def test_an_index_that_refuses_says_nothing_of_others_on_its_host(
    resolver: Watched, address: str
) -> None:
    """Another index answers, and its answer is a proof."""
    refused, empty = (problem("demo==1", index=address + path) for path in ("/refused", "/empty"))

    found = resolver.resolve_all([refused, empty], 1, lambda *_: None)

    kinds = [
        judgement and judgement.kind
        for judgement in (found[refused.key].judgement, found[empty.key].judgement)
    ]
    assert kinds == ["credentials", "no-such-package"]


def test_nothing_more_is_asked_once_the_users_own_index_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cause does not name its address, which can hold a password."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    settings = PipSettings("http://user:secret@127.0.0.1:1/simple", retries=0)
    resolver = Watched(Records(tmp_path / "state"), settings)
    problems = [problem("demo"), problem("other", "2.28")]

    found = resolver.resolve_all(problems, 1, lambda *_: None)

    assert (None, "2.28") not in resolver.asked
    for one in problems:
        judgement = found[one.key].judgement
        assert judgement is not None
        assert judgement.kind == "blocked"
        assert judgement.cause.startswith("http://127.0.0.1:1/… cannot be reached: Connection ref")
        assert "secret" not in judgement.cause


# --- how far an answer holds -----------------------------------------------------------------

PROBLEM = Problem(("torch==2.14.1",), (), None, "3.12", "2.36", "amd64", "2026-11-20")


HERE = Place("https://a.example/simple/", "https://a.example/…")


def proof(kind: str, cause: str) -> _Answer:
    """Return an answer that proves that a cell is impossible."""
    judgement = Judgement(verdict=Verdict.IMPOSSIBLE, stage="lock", kind=kind, cause=cause)
    return _Answer(Resolution(None, judgement), proof=judgement)


def trouble(*names: str) -> _Answer:
    """Return the answer that an index was in trouble with some names."""
    found = Trouble(HERE, "it answered 503")
    return _Answer(Resolution(None, blocked(found.cause)), names=frozenset(names), trouble=found)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (proof("no-such-version", "torch has no release 2.14.1"), "every Python"),
        (proof("no-such-version", "numpy has no release 9.9"), None),
        (proof("no-wheel-for-python", "torch 2.14.1 has wheels for cp313 only"), "3.12"),
        (proof("no-wheel-for-python", "numpy 2.5.0 has wheels for cp313 only"), None),
        (proof("glibc-too-old", "torch 2.14.1 has wheels for manylinux_2_39 only"), None),
        (proof("conflict", "torch depends on numpy<2"), None),
        (proof("conflict", ""), None),
        (trouble("torch"), "every Python"),
        (trouble("torch", "numpy"), None),
        (_Answer(Resolution(None, blocked("uv found no answer: x"))), None),
        (_Answer(Resolution(None, None)), None),
    ],
)
def test_a_proof_is_used_for_other_problems_only_where_it_holds(
    answer: _Answer, expected: str | None
) -> None:
    """A missing release is missing for every Python, and a wheel for a Python for every glibc.

    A proof about a dependency settles nothing: another Python may not need the dependency. So it
    is with an index that is in trouble with the page of a dependency.
    """
    assert expected == _reach(answer, PROBLEM)


PURE = "a-1-py3-none-any.whl"
LOCKED = Resolution(Lock("key", "t", "2026-11-20", (Wheel("a", "1", PURE, "0" * 64, 5),)), None)


def test_a_carried_answer_is_a_lock_of_its_own_problem() -> None:
    """The lock says which problem it answers, and for which glibc."""
    carried = _carried(_Answer(LOCKED, tried=frozenset({PURE})), PROBLEM)
    assert carried is not None
    assert carried.lock is not None
    assert carried.lock.problem_key == PROBLEM.key
    assert carried.lock.target == PROBLEM.target


@pytest.mark.parametrize(
    "tried",
    [
        set(),
        {PURE, "b-1-cp312-cp312-manylinux_2_39_x86_64.whl"},
        {PURE, "b-1.tar.gz"},
        {PURE, "unknown filename"},
    ],
)
def test_an_answer_is_not_carried_where_the_log_leaves_a_doubt(tried: set[str]) -> None:
    """The log lacks a wheel of the lock, or names a wheel for a newer glibc, or no wheel."""
    assert _carried(_Answer(LOCKED, tried=frozenset(tried)), PROBLEM) is None


def test_one_problem_of_each_host_goes_first_and_its_others_last() -> None:
    """Problems that need no such host are resolved while the first ones wait for theirs."""

    def group(index: str | None) -> list[Problem]:
        return [Problem(("torch",), (), index, "3.12", "2.36", "amd64", "2026-11-20")]

    here, there, elsewhere = (
        group(f"https://{place}") for place in ("a.example/cpu", "a.example/cu126", "b.example/cpu")
    )
    none = group(None)
    groups = [none, here, there, elsewhere]
    assert _in_order(groups, _scouts(groups)) == [here, elsewhere, none, there]
