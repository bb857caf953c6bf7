"""Problems and locks: what changes the key of a problem, and the lock file both ways."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.locks import Lock, Problem, Resolution, Wheel, parse_lock
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.store.records import Records
from envmatrix.store.resolutions import keep, recall

PROBLEM = Problem(("torch==2.14.1",), (), None, "3.12", "2.36", "amd64", "2026-11-20")
PROVEN = Judgement(
    verdict=Verdict.IMPOSSIBLE, stage="lock", kind="no-such-version", cause="torch has no release 9"
)
BLOCKED = Judgement(
    verdict=Verdict.UNKNOWN, stage="lock", kind="blocked", cause="the index cannot be reached"
)

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
    """Every field is read back."""
    assert lock == parse_lock(lock.text)


@given(locks, st.data())
def test_a_lock_that_was_cut_or_edited_is_not_read(lock: Lock, data: st.DataObject) -> None:
    """A missing line must not give an image without its wheel."""
    lines = lock.text.splitlines(keepends=True)
    del lines[data.draw(st.integers(min_value=0, max_value=len(lines) - 1))]
    assert parse_lock("".join(lines)) is None


@given(st.text())
def test_a_text_that_is_no_lock_gives_none(text: str) -> None:
    """A file that another program wrote is not read as a lock."""
    assert parse_lock(text) is None


def test_the_hash_of_a_lock_is_that_of_its_wheels() -> None:
    """Two problems with the same wheels have the same hash. Another wheel gives another hash."""
    wheel = Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5)
    lock = Lock("key", "target", "2026-11-20", (wheel,))
    assert lock.sha256 == Lock("other", "target", "2027-01-01", (wheel,)).sha256
    changed = Wheel("a", "1", "a-1-py3-none-any.whl", "1" * 64, 5)
    assert lock.sha256 != Lock("key", "target", "2026-11-20", (changed,)).sha256
    assert lock.size == 5


def test_an_answer_is_recalled_for_the_problem_that_it_belongs_to(tmp_path: Path) -> None:
    """Locks and proofs are recalled. A missing or a damaged record gives nothing."""
    records = Records(tmp_path)
    other = Problem(("torch==9.9",), (), None, "3.12", "2.36", "amd64", "2026-11-20")
    wheel = Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5)
    locked = Resolution(Lock(PROBLEM.key, "t", "2026-11-20", (wheel,)), None)
    refuted = Resolution(None, PROVEN)
    assert recall(records, PROBLEM) is None
    keep(records, PROBLEM, locked)
    keep(records, other, refuted)
    assert locked == recall(records, PROBLEM)
    assert refuted == recall(records, other)
    records.path("lock", other.key).write_text("{", encoding="utf-8")
    assert recall(records, other) is None


def test_only_proofs_and_locks_last() -> None:
    """An index that cannot be reached now may be reached later, so it is asked again."""
    assert Resolution(None, PROVEN).lasting
    assert Resolution(Lock("key", "t", "2026-11-20", ()), None).lasting
    assert not Resolution(None, BLOCKED).lasting


def test_each_part_of_a_problem_changes_its_key() -> None:
    """A record answers its own question only."""
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


@pytest.mark.parametrize(
    ("glibc", "platform"), [("2.36", "2_36"), ("2.30", "2_28"), ("2.42", "2_40")]
)
def test_uv_is_asked_for_the_newest_platform_that_the_glibc_has(glibc: str, platform: str) -> None:
    """The wheels of a newer platform would not load."""
    problem = Problem(("torch",), (), None, "3.12", glibc, "amd64", "2026-11-20")
    assert f"x86_64-manylinux_{platform}" == problem.uv_platform
