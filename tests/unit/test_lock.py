"""Locks: what uv's own words prove, the lock file both ways, and which wheel is taken.

The outputs in uv_output/ are uv 0.13.9's own, with the host of the index replaced.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import Tag

from envmatrix.evidence import Judgement, Store, Verdict
from envmatrix.lock import (
    Lock,
    Problem,
    Resolution,
    Wheel,
    _Answer,
    _best_wheel,
    _carried,
    _lock_from_pylock,
    _reach,
    _scouts,
    _scouts_first,
    _tag_ranks,
    _without_log,
    classify,
    parse_lock,
    platform_tags,
    recall,
)

OUTPUTS = Path(__file__).parent / "uv_output"
PROBLEM = Problem(("torch==2.14.1",), (), None, "3.12", "2.36", "amd64", "2026-11-20")


def judged(name: str, index: str | None = None) -> Judgement:
    """Judge one of the recorded outputs."""
    return classify((OUTPUTS / f"{name}.txt").read_text(encoding="utf-8"), index)


# --- what uv said ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "kind", "cause"),
    [
        ("abi-tag", "no-wheel-for-python", "tensorflow-cpu 2.21.0 has wheels for cp310, cp311,"),
        ("implementation-tag", "no-wheel-for-python", "torch 2.14.1 has wheels for cp310, cp311,"),
        ("glibc", "glibc-too-old", "torch 2.14.1 has wheels for manylinux_2_28_x86_64 only"),
        ("no-such-version", "no-such-version", "torch has no release 9.9"),
        ("no-such-local-version", "no-such-version", "torch has no release 2.13.0+cpu"),
        ("no-such-package", "no-such-package", "envmatrix-no-such-thing is not in the package"),
        ("conflict", "conflict", "Because tensorflow-cpu==2.16.2 depends on numpy>=1.26.0,<2.0.0"),
        ("source-only", "no-wheel", "pyaudio 0.2.11 comes as source only"),
        ("source-only-range", "no-wheel", "sympy <=0.7.6.1 comes as source only"),
    ],
)
def test_a_proof_of_uv_makes_a_cell_impossible(output: str, kind: str, cause: str) -> None:
    """The class and the cause are read from its words."""
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
        "http-407",
        "http-503",
        "http-401",
        "http-403",
        "no-index",
        "offline",
    ],
)
def test_an_index_out_of_reach_proves_nothing(output: str) -> None:
    """Whatever kept uv from the index, also where it says "No solution found" afterwards."""
    judgement = judged(output)
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")
    assert judgement.remedy


def test_an_index_without_upload_times_proves_nothing() -> None:
    """Then everything is filtered by the date, and the release may well exist."""
    judgement = judged("filtered-by-date")
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "filtered-by-date")
    assert "as_of" in judgement.remedy


@pytest.mark.parametrize("text", ["", "killed", "error: timed out after 300 s", "thread panicked"])
def test_words_that_are_no_proof_prove_nothing(text: str) -> None:
    """Only "No solution found" is a proof."""
    assert classify(text, None).verdict == Verdict.UNKNOWN


@pytest.mark.parametrize("output", sorted(path.stem for path in OUTPUTS.glob("*.txt")))
def test_no_cause_holds_an_address(output: str) -> None:
    """Causes are committed and published; addresses of indexes can hold passwords."""
    text = (OUTPUTS / f"{output}.txt").read_text(encoding="utf-8")
    assert text
    cause = classify(text.replace("https://", "https://user:secret@"), None).cause
    assert "secret" not in cause
    assert "index.example" not in cause
    assert "wheels.example" not in cause
    assert "://" not in cause


def test_the_index_of_a_variant_is_named_where_it_is_the_one_out_of_reach() -> None:
    """It stands in the matrix, so it is no secret, and says what to mirror."""
    index = "https://wheels.example/whl/cpu"
    assert index in judged("variant-index-dns", index).cause
    assert index not in judged("dns", index).cause


def test_a_proof_reaches_only_as_far_as_it_holds() -> None:
    """A release that is missing is so for every Python; a wheel for a Python, for every glibc."""
    assert _reach(judged("no-such-version"), PROBLEM) == "every Python"
    assert _reach(judged("implementation-tag"), PROBLEM) == "3.12"
    assert _reach(judged("glibc"), PROBLEM) is None
    assert _reach(judged("abi-tag"), PROBLEM) is None  # names tensorflow-cpu, a dependency here
    assert _reach(judged("conflict"), PROBLEM) is None
    assert _reach(None, PROBLEM) is None


@pytest.mark.parametrize("output", sorted(path.stem for path in OUTPUTS.glob("*.txt")))
def test_the_log_of_uv_is_no_part_of_what_it_says(output: str) -> None:
    """Lines of the log name indexes that answered and wheels that were not to blame."""
    said = (OUTPUTS / f"{output}.txt").read_text(encoding="utf-8")
    log = (
        "DEBUG Searching for a compatible version of numpy (*)\n"
        "DEBUG Selecting: numpy==2.5.0 [compatible] (numpy-2.5.0-py3-none-any.whl)\n"
        " WARN https://index.example did something odd\n"
    )
    tried = frozenset({"numpy-2.5.0-py3-none-any.whl"})
    assert _without_log(log + said + log) == (said, tried)


@pytest.mark.parametrize(
    "tried",
    [
        set(),
        {"a-1-py3-none-any.whl", "b-1-cp312-cp312-manylinux_2_39_x86_64.whl"},
        {"a-1-py3-none-any.whl", "b-1.tar.gz"},
        {"a-1-py3-none-any.whl", "unknown filename"},
    ],
)
def test_an_answer_is_not_carried_where_the_log_leaves_a_doubt(tried: set[str]) -> None:
    """A log that does not name what was locked, a wheel that is too new, a file of no kind."""
    lock = Lock("key", "t", "2026-11-20", (Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5),))
    answer = Resolution(lock, None)
    sure = _carried(_Answer(answer, tried=frozenset({"a-1-py3-none-any.whl"})), PROBLEM)
    assert sure is not None
    assert sure.lock is not None
    assert sure.lock.problem_key == PROBLEM.key
    assert _carried(_Answer(answer, tried=frozenset(tried)), PROBLEM) is None


def test_one_problem_of_each_host_goes_first_and_its_others_last() -> None:
    """What needs no such host is done while the first one finds out."""

    def group(index: str | None) -> list[Problem]:
        return [Problem(("torch",), (), index, "3.12", "2.36", "amd64", "2026-11-20")]

    here, there, elsewhere = (
        group(f"https://{place}") for place in ("a.example/cpu", "a.example/cu126", "b.example/cpu")
    )
    none = group(None)
    groups = [none, here, there, elsewhere]
    assert _scouts_first(groups, _scouts(groups)) == [here, elsewhere, none, there]


# --- the lock file ---------------------------------------------------------------------------

words = st.from_regex(r"[a-z0-9]+([-._][a-z0-9]+){0,2}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(\+cpu)?", fullmatch=True)
wheels = st.builds(
    Wheel,
    name=words,
    version=versions,
    filename=words.map(lambda name: f"{name}-1-py3-none-any.whl"),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(min_value=0, max_value=10**11),
)
locks = st.builds(
    Lock,
    problem_key=st.text("0123456789abcdef", min_size=64, max_size=64),
    target=st.sampled_from(["Python 3.12, glibc 2.36, amd64"]),
    as_of=st.dates().map(str),
    wheels=st.lists(wheels, min_size=1, max_size=4).map(tuple),
)


@given(locks)
def test_a_lock_survives_its_text(lock: Lock) -> None:
    """Everything in it is read back."""
    assert lock == parse_lock(lock.text)


@given(locks, st.data())
def test_a_lock_that_was_cut_or_edited_is_not_read(lock: Lock, data: st.DataObject) -> None:
    """A line that is missing must not become an image without that wheel."""
    lines = lock.text.splitlines(keepends=True)
    del lines[data.draw(st.integers(min_value=0, max_value=len(lines) - 1))]
    assert parse_lock("".join(lines)) is None


@given(st.text())
def test_what_is_no_lock_is_none(text: str) -> None:
    """A file that somebody else wrote is not taken for ours."""
    assert parse_lock(text) is None


def test_the_hash_of_a_lock_is_that_of_its_wheels() -> None:
    """Asking differently for the same wheels gives the same; another wheel gives another."""
    wheel = Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5)
    lock = Lock("key", "target", "2026-11-20", (wheel,))
    assert lock.sha256 == Lock("other", "target", "2027-01-01", (wheel,)).sha256
    changed = Wheel("a", "1", "a-1-py3-none-any.whl", "1" * 64, 5)
    assert lock.sha256 != Lock("key", "target", "2026-11-20", (changed,)).sha256
    assert lock.size == 5


def test_an_answer_is_recalled_for_the_problem_it_belongs_to(tmp_path: Path) -> None:
    """A lock and a proof both; another problem has none, nor has a damaged record."""
    store = Store(tmp_path)
    other = Problem(("torch==9.9",), (), None, "3.12", "2.36", "amd64", "2026-11-20")
    wheel = Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5)
    locked = Resolution(Lock(PROBLEM.key, "t", "2026-11-20", (wheel,)), None)
    refuted = Resolution(None, judged("no-such-version"))
    assert recall(store, PROBLEM) is None
    store.put("lock", PROBLEM.key, locked.to_json())
    store.put("lock", other.key, refuted.to_json())
    assert locked == recall(store, PROBLEM)
    assert refuted == recall(store, other)
    store.path("lock", other.key).write_text("{", encoding="utf-8")
    assert recall(store, other) is None


def test_only_proofs_and_locks_last() -> None:
    """An index out of reach may come back, so it is asked again."""
    assert Resolution(None, judged("no-such-version")).lasting
    assert Resolution(Lock("key", "t", "2026-11-20", ()), None).lasting
    assert not Resolution(None, judged("dns")).lasting
    assert not Resolution(None, judged("filtered-by-date")).lasting


def test_whatever_changes_the_answer_changes_the_key() -> None:
    """A record must not answer another question."""
    fields = (("torch==2.14.1",), (), None, "3.12", "2.36", "amd64", "2026-11-20")
    others: tuple[tuple[object, ...], ...] = (
        (("torch==2.14.1", "numpy"), *fields[1:]),
        (fields[0], ("numpy<2",), *fields[2:]),
        (*fields[:2], "https://wheels.example", *fields[3:]),
        (*fields[:3], "3.11", *fields[4:]),
        (*fields[:4], "2.28", *fields[5:]),
        (*fields[:6], "2026-11-21"),
    )
    keys = {Problem(*other).key for other in others}  # type: ignore[arg-type]
    assert len(others) == len(keys - {PROBLEM.key})


# --- which wheel -----------------------------------------------------------------------------


def test_platform_tags_go_from_the_newest_glibc_to_the_oldest() -> None:
    """With the older names beside the ones they stand for (PEP 600)."""
    tags = platform_tags("2.18", "amd64")
    assert list(tags[:4]) == [
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    ]
    assert "manylinux1_x86_64" in tags
    assert tags[-1] == "linux_x86_64"
    assert "manylinux_2_19_x86_64" not in tags


@pytest.mark.parametrize(
    ("glibc", "platform"), [("2.36", "2_36"), ("2.30", "2_28"), ("2.42", "2_40")]
)
def test_uv_is_asked_for_the_newest_platform_that_the_glibc_has(glibc: str, platform: str) -> None:
    """Never for a newer one: its wheels would not load."""
    problem = Problem(("torch",), (), None, "3.12", glibc, "amd64", "2026-11-20")
    assert f"x86_64-manylinux_{platform}" == problem.uv_platform


def wheel(filename: str, **extra: object) -> dict[str, object]:
    """Return a wheel as pylock.toml gives it."""
    return {
        "url": f"https://index.example/files/{filename}",
        "hashes": {"sha256": f"{hash(filename) & 0xFFFF:064x}"},
        **extra,
    }


@pytest.mark.parametrize(
    ("glibc", "expected"),
    [
        ("2.36", "x-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("2.27", "x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
    ],
)
def test_the_wheel_is_the_one_an_installer_would_take(glibc: str, expected: str) -> None:
    """Own ABI before abi3 before pure, newest glibc first, whatever the order they come in."""
    filenames = [
        "x-1-py3-none-any.whl",
        "x-1-cp310-abi3-manylinux_2_28_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_39_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1-cp312-cp312-win_amd64.whl",
        "x-1-cp312-cp312-manylinux_2_28_aarch64.whl",
    ]
    ranks = _tag_ranks("3.12", glibc, "amd64")
    for order in (filenames, filenames[::-1]):
        package = {"name": "x", "version": "1", "wheels": [wheel(name) for name in order]}
        assert expected == _best_wheel(package, ranks).filename


def test_the_stable_abi_of_an_older_python_fits_and_that_of_a_newer_does_not() -> None:
    """As PEP 425 says."""
    ranks = _tag_ranks("3.12", "2.36", "amd64")
    assert Tag("cp310", "abi3", "manylinux_2_28_x86_64") in ranks
    assert Tag("cp313", "abi3", "manylinux_2_28_x86_64") not in ranks
    assert Tag("py3", "none", "any") in ranks


def test_a_lock_is_read_from_what_uv_writes(tmp_path: Path) -> None:
    """Wheels by name; %2B is a plus; the size of a local file is looked up, its folder left out."""
    local = tmp_path / "a-1-py3-none-any.whl"
    local.write_bytes(b"12345")
    packages = [
        {
            "name": "torch",
            "version": "2.13.0+cpu",
            "wheels": [wheel("torch-2.13.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl", size=9)],
        },
        {
            "name": "a",
            "version": "1",
            "wheels": [{"path": str(local), "hashes": {"sha256": "1" * 64}}],
        },
    ]
    lock = _lock_from_pylock(PROBLEM, {"packages": packages})
    assert [wheel.name for wheel in lock.wheels] == ["a", "torch"]
    assert lock.wheels[1].filename == "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl"
    assert lock.size == 14
    assert lock.target == "Python 3.12, glibc 2.36, amd64"
    assert str(tmp_path) not in lock.text
    assert "index.example" not in lock.text
