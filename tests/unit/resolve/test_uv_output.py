"""Reading uv: what its words prove, and what it says to an index that behaves as indexes do.

Each file in uv_output/ is what uv said once, below a line that names the uv and the way it was
recorded. The index in it is called index.example, and the index of a variant wheels.example.

    RECORD_UV_OUTPUT=1 pytest tests/unit/resolve/test_uv_output.py

writes all of them again with the installed uv. Look at the differences before you keep them.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from envmatrix.model.locks import Problem
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve import uv
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.uv import UV_RELEASES, run_uv
from envmatrix.resolve.uv_output import classify, last_cause, split_log, tells_of_no_connection

OUTPUTS = Path(__file__).parent / "uv_output"
NAMES = sorted(path.stem for path in OUTPUTS.glob("*.txt"))
RECORD = "RECORD_UV_OUTPUT" in os.environ


def recorded(name: str) -> str:
    """Return what uv said, without the line of whoever recorded it."""
    header, _, said = (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    assert header.startswith("# uv ")
    return said


def judged(name: str, index: str | None = None) -> Judgement:
    """Judge one of the recorded outputs."""
    return classify(recorded(name), index)


# --- what its words prove --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "kind", "cause"),
    [
        ("abi-tag", "no-wheel-for-python", "tensorflow-cpu 2.21.0 has wheels for cp310, cp311,"),
        ("implementation-tag", "no-wheel-for-python", "torch 2.14.1 has wheels for cp310, cp311,"),
        ("glibc", "glibc-too-old", "torch 2.14.1 has wheels for manylinux_2_28_x86_64 only"),
        ("glibc-arm64", "glibc-too-old", "torch 2.14.1 has wheels for manylinux_2_28_aarch64 only"),
        (
            "platform-arm64",
            "no-wheel-for-platform",
            "tensorflow-cpu 2.21.0 has wheels for manylinux_2_27_x86_64 only",
        ),
        ("platform", "no-wheel-for-platform", "windows-only 1.0 has wheels for win_amd64"),
        ("requires-python", "no-wheel-for-python", "demo 1.0 needs Python >=3.13"),
        ("no-such-version", "no-such-version", "torch has no release 9.9"),
        ("no-such-local-version", "no-such-version", "torch has no release 2.13.0+cpu"),
        ("no-such-package", "no-such-package", "envmatrix-no-such-thing is not in the package"),
        ("conflict", "conflict", "Because tensorflow-cpu==2.16.2 depends on numpy>=1.26.0,<2.0.0"),
        ("source-only", "no-wheel", "pyaudio 0.2.11 comes as source only"),
        ("source-only-range", "no-wheel", "sympy <=0.7.6.1 comes as source only"),
    ],
)
def test_a_proof_of_uv_makes_a_cell_impossible(output: str, kind: str, cause: str) -> None:
    """The class and the cause are read from uv's words."""
    judgement = judged(output)
    assert (Verdict.IMPOSSIBLE, "lock", kind) == (
        judgement.verdict,
        judgement.stage,
        judgement.kind,
    )
    assert judgement.cause.startswith(cause)


@pytest.mark.parametrize(
    "output",
    [
        "dns",
        "refused",
        "tls",
        "http-503",
        "http-401",
        "http-403",
        "no-index",
        "offline",
    ],
)
def test_an_index_that_cannot_be_reached_proves_nothing(output: str) -> None:
    """This holds for every reason, and also where uv says "No solution found" afterwards."""
    judgement = judged(output)
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")
    assert judgement.remedy


def test_a_proxy_that_wants_a_password_is_told() -> None:
    """The class says that credentials are missing, and the remedy where they are written."""
    judgement = judged("http-407")
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "credentials")
    assert "~/.netrc" in judgement.remedy


PROOF = (
    "error: No solution found when resolving dependencies\n  cause: Because {} and you require x"
)


@pytest.mark.parametrize(
    ("said", "kind", "cause"),
    [
        ("all versions of flash-attn have no usable wheels", "no-wheel", "flash-attn comes as"),
        (
            "all versions of tensorflow-addons have no wheels with a matching Python ABI tag",
            "no-wheel",
            "no version of tensorflow-addons has a wheel with a matching Python ABI tag",
        ),
        (
            "demo<=2.0 have no wheels with a matching platform tag (e.g., `x`)",
            "no-wheel",
            "no version of demo <=2.0 has a wheel with a matching platform tag",
        ),
        (
            "demo==1.0 requires Python >=3.13 and only demo==1.0 is available",
            "no-wheel-for-python",
            "demo 1.0 needs Python >=3.13",
        ),
    ],
)
def test_a_missing_wheel_is_no_conflict(said: str, kind: str, cause: str) -> None:
    """A name without any wheel, and a Python that only the metadata names, have their class."""
    judgement = classify(PROOF.format(said), None)
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, kind)
    assert judgement.cause.startswith(cause)


@pytest.mark.parametrize(
    "said",
    [
        "demo==1.0 has invalid metadata",
        "demo==1.0 has an invalid package format",
        "x\n\nhint: The structure of `demo` (v1.0) was invalid:\n  Failed to read from zip file",
        "x\n\nhint: Metadata for `demo` (v1.0) could not be parsed:\n  field Name not found",
    ],
)
def test_a_damaged_file_proves_nothing(said: str) -> None:
    """A proxy's page in place of a file, or half of a file, is no contradiction of pins."""
    judgement = classify(PROOF.format(said), None)
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")


def test_a_dependency_by_address_is_not_an_index_that_cannot_be_reached() -> None:
    """Such a package settles its own question only."""
    said = "error: Failed to resolve `a==1`\n  cause: Package `b` was included as a URL dependency"
    assert classify(said, None).cause == (
        "uv found no answer: Package `b` was included as a URL dependency"
    )


def test_an_index_without_upload_times_proves_nothing() -> None:
    """The date filters all files then, so the release may well exist."""
    judgement = judged("filtered-by-date")
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "filtered-by-date")
    assert "as_of" in judgement.remedy


@pytest.mark.parametrize("text", ["", "killed", "error: timed out after 300 s", "thread panicked"])
def test_words_that_are_no_proof_prove_nothing(text: str) -> None:
    """Only "No solution found" is a proof."""
    assert classify(text, None).verdict == Verdict.UNKNOWN


def test_an_error_without_words_has_a_cause_too() -> None:
    """The cause says that uv said nothing."""
    assert last_cause(" \n") == "uv said nothing"


@pytest.mark.parametrize("output", NAMES)
def test_no_cause_holds_a_whole_address(output: str) -> None:
    """Causes are committed and published, and a user, a password or a token may be in a path.

    What is told of an address is its scheme and its host.
    """
    text = recorded(output)
    assert text
    hidden = re.sub(r"https://([a-z.]+)/", r"https://user:secret@\1/secret/", text)
    cause = classify(hidden, None).cause
    assert "secret" not in cause
    assert "://" not in re.sub(r"https://(index|wheels)\.example/…", "", cause)


def test_the_index_of_a_variant_is_named_where_it_cannot_be_reached() -> None:
    """Its address stands in the matrix, so it is no secret, and says what to mirror."""
    index = "https://wheels.example/whl/cpu"
    assert index in judged("variant-index-dns", index).cause
    assert index not in judged("dns", index).cause


@pytest.mark.parametrize("output", NAMES)
def test_no_connection_is_told_from_an_index_that_refuses(output: str) -> None:
    """Without a connection, no other index of the host can answer either."""
    expected = output in ("dns", "refused", "tls", "variant-index-dns")
    assert expected == tells_of_no_connection(recorded(output))


@pytest.mark.parametrize("output", NAMES)
def test_the_log_of_uv_is_no_part_of_what_it_says(output: str) -> None:
    """Lines of the log name indexes that answered and wheels that were not to blame."""
    said = recorded(output)
    log = (
        "DEBUG Searching for a compatible version of numpy (*)\n"
        "DEBUG Selecting: numpy==2.5.0 [compatible] (numpy-2.5.0-py3-none-any.whl)\n"
        " WARN https://index.example did something odd\n"
    )
    tried = frozenset({"numpy-2.5.0-py3-none-any.whl"})
    assert split_log(log + said + log) == (said, tried)


# --- what it says today ----------------------------------------------------------------------

UPLOADED = "2026-10-28T15:16:25Z"
CPYTHONS = ("cp310", "cp311", "cp312", "cp313", "cp314")
FILES = {
    "demo": ["demo-1.0-py3-none-any.whl"],
    "numpy": ["numpy-1.26.4-py3-none-any.whl", "numpy-2.5.0-py3-none-any.whl"],
    "pyaudio": ["PyAudio-0.2.11.tar.gz"],
    "sympy": ["sympy-0.7.1.tar.gz", "sympy-0.7.6.1.tar.gz", "sympy-1.0-py3-none-any.whl"],
    "tensorflow-cpu": [
        *(f"tensorflow_cpu-{version}-py3-none-any.whl" for version in ("2.15.1", "2.16.2")),
        *(f"tensorflow_cpu-2.21.0-{tag}-{tag}-manylinux_2_27_x86_64.whl" for tag in CPYTHONS[:4]),
    ],
    "torch": [
        "torch-2.13.0-py3-none-any.whl",
        *(
            f"torch-{version}-{tag}-{tag}-{platform}.whl"
            for version in ("2.14.1", "2.15.0")
            for tag in CPYTHONS
            for platform in (
                "manylinux_2_28_aarch64",
                "manylinux_2_28_x86_64",
                "macosx_14_0_arm64",
                "win_amd64",
            )
        ),
    ],
    "windows-only": ["windows_only-1.0-py3-none-win_amd64.whl"],
}
PYTHONS = {"demo": ">=3.13"}
NEEDS = {"tensorflow_cpu-2.16.2-py3-none-any.whl": "Requires-Dist: numpy<2.0.0,>=1.26.0\n"}


class _Index(http.server.BaseHTTPRequestHandler):
    """A JSON index (PEP 691) of FILES. Below /status/N/ it answers with the status N."""

    def do_GET(self) -> None:
        if status := re.match(r"/status/(\d+)/", self.path):
            self._send(int(status[1]), "text/plain", b"")
        elif page := re.fullmatch(r"/simple/([a-z-]+)/", self.path):
            self._send_page(page[1])
        elif self.path.endswith(".whl.metadata"):
            filename = self.path.rpartition("/")[2].removesuffix(".metadata")
            name, version, *_ = filename.split("-")
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            self._send(200, "text/plain", (head + NEEDS.get(filename, "")).encode())
        else:
            self._send(404, "text/plain", b"")

    def _send_page(self, name: str) -> None:
        if name not in FILES:
            self._send(404, "text/plain", b"")
            return
        files = [
            {
                "filename": filename,
                "url": f"/files/{filename}",
                # uv takes two files with the same hash for one.
                "hashes": {"sha256": hashlib.sha256(filename.encode()).hexdigest()},
                "core-metadata": filename.endswith(".whl"),
                "upload-time": UPLOADED,
                "requires-python": PYTHONS.get(name),
            }
            for filename in FILES[name]
        ]
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
        self._send(200, "application/vnd.pypi.simple.v1+json", json.dumps(page).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The host and port of the index."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass(frozen=True)
class Case:
    """What uv is asked. HERE in an index is the host and port of the index."""

    requires: tuple[str, ...] = ("torch==2.14.1",)
    python: str = "3.12"
    glibc: str = "2.36"
    arch: str = "amd64"
    as_of: str = "2026-11-20"
    index: str = "http://HERE/simple"
    variant: str = ""
    strategy: str = "unsafe-best-match"
    offline: bool = False
    no_index: bool = False


# With the strategy that looks at all indexes, uv does not tell a refusal from an absent package.
CASES = {
    "abi-tag": Case(("tensorflow-cpu==2.21.0",), python="3.14"),
    "conflict": Case(("tensorflow-cpu==2.16.2", "numpy>=2")),
    "dns": Case(index="https://index.example/simple"),
    "filtered-by-date": Case(("torch==2.15.0",), as_of="2020-01-01"),
    "glibc": Case(glibc="2.17"),
    "glibc-arm64": Case(glibc="2.17", arch="arm64"),
    "http-401": Case(index="http://HERE/status/401/simple", strategy="first-index"),
    "http-403": Case(index="http://HERE/status/403/simple", strategy="first-index"),
    "http-407": Case(index="http://HERE/status/407/simple", strategy="first-index"),
    "http-503": Case(index="http://HERE/status/503/simple"),
    "implementation-tag": Case(python="3.9"),
    "no-index": Case(no_index=True),
    "no-such-local-version": Case(("torch==2.13.0+cpu",)),
    "no-such-package": Case(("envmatrix-no-such-thing==1.0",)),
    "no-such-version": Case(("torch==9.9",)),
    "offline": Case(offline=True),
    "platform": Case(("windows-only==1.0",)),
    "platform-arm64": Case(("tensorflow-cpu==2.21.0",), arch="arm64"),
    "refused": Case(index="http://127.0.0.1:1/simple"),
    "requires-python": Case(("demo==1.0",)),
    "source-only": Case(("pyaudio==0.2.11",)),
    "source-only-range": Case(("sympy<1",)),
    "tls": Case(index="https://HERE/simple"),
    "variant-index-dns": Case(variant="https://wheels.example/whl/cpu"),
}
# What a machine says of a name that no name server knows depends on its network.
OF_THE_NETWORK = {"dns", "variant-index-dns"}


def say(case: Case, address: str, folder: Path) -> str:
    """Return what the installed uv says, with the names that the recorded outputs have."""
    problem = Problem(case.requires, (), None, case.python, case.glibc, case.arch, case.as_of)
    index = case.index.replace("HERE", address)
    settings = PipSettings(index_url=index, no_index=case.no_index, retries=0)
    result = run_uv(
        problem,
        index=case.variant or None,
        strategy=case.strategy,
        settings=settings,
        output=folder / "pylock.toml",
    )
    assert result.returncode
    return split_log(result.stderr)[0].replace(index, "https://index.example/simple")


def causes(said: str) -> str:
    """Return what uv said, without what it says of its retries."""
    return re.sub(r"(?m)^error: (Request failed after .*\n  cause: )?", "", said)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_installed_uv_says_what_was_recorded(
    name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that says something else is noticed before its words are misread."""
    for variable in [variable for variable in os.environ if variable.startswith("UV_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    if CASES[name].offline:
        monkeypatch.setitem(uv._ENVIRONMENT, "UV_OFFLINE", "1")
    if RECORD:
        text = f"# {uv_version()}, {how(name)}\n{say(CASES[name], address, tmp_path)}"
        (OUTPUTS / f"{name}.txt").write_text(text, encoding="utf-8")
        return
    if name in OF_THE_NETWORK:
        pytest.skip("its words depend on the network of the machine")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert causes(recorded(name)) == causes(say(CASES[name], address, tmp_path))


def uv_version() -> str:
    """Return the name and the version of the installed uv."""
    command = [find_uv_bin(), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def how(name: str) -> str:
    """Say how an output is recorded."""
    if name in OF_THE_NETWORK:
        return "with a host name that no name server knows"
    return "from an index on loopback by test_uv_output.py"


def test_every_recorded_output_says_that_a_known_uv_wrote_it() -> None:
    """Words of other releases would hide what the pinned releases say."""
    assert sorted(CASES) == NAMES
    for name in NAMES:
        header = (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()[0]
        assert re.match(rf"# uv {re.escape(UV_RELEASES)}\.\d+, \w+", header)
