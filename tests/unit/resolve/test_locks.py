"""Problems and locks: what changes the key of a problem, and the lock file both ways."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_interpreter

from envmatrix.model.errors import InputError
from envmatrix.model.interpreters import Wanted
from envmatrix.model.locks import Lock, Problem, Resolution, Wheel, glibc_floor, parse_lock
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

words = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,2}", fullmatch=True)
versions = st.from_regex(r"[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,3}(\+cpu)?", fullmatch=True)


def the_named(name: str, version: str, sha256: str, size: int) -> Wheel:
    """Return a wheel whose file name tells its name and its version."""
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Wheel(name, version, filename, sha256, size)


wheels = st.builds(
    the_named,
    name=words,
    version=versions,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(min_value=0, max_value=10**11),
)
locks = st.builds(
    Lock,
    problem_key=st.text("0123456789abcdef", min_size=64, max_size=64),
    target=st.sampled_from(["Python 3.12, glibc 2.36, amd64"]),
    as_of=st.dates().map(str),
    wheels=st.lists(wheels, min_size=1, max_size=4, unique_by=lambda wheel: wheel.name).map(
        lambda found: tuple(sorted(found, key=lambda wheel: wheel.name))
    ),
)


@given(locks)
def test_a_lock_survives_its_text(lock: Lock) -> None:
    """Every field is read back."""
    assert lock == parse_lock(lock.text, "x")


@given(locks, st.data())
def test_a_lock_that_was_cut_or_edited_is_not_read(lock: Lock, data: st.DataObject) -> None:
    """A missing line must not give an image without its wheel. The error names a line."""
    lines = lock.text.splitlines(keepends=True)
    del lines[data.draw(st.integers(min_value=0, max_value=len(lines) - 1))]
    with pytest.raises(InputError) as caught:
        parse_lock("".join(lines), "images/x/requirements.lock")
    assert re.fullmatch(r"images/x/requirements\.lock, line \d+", caught.value.where)


@given(st.text())
def test_a_text_that_is_no_lock_is_refused(text: str) -> None:
    """A file that another program wrote is not read as a lock."""
    with pytest.raises(InputError, match="damaged or changed by hand"):
        parse_lock(text, "x")


A = Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5)
GOOD_LOCK = Lock("0" * 64, "Python 3.12, glibc 2.36, amd64", "2026-11-20", (A,))


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ("a==1 ", "--no-binary=x,:all:,y==1 ", 5, "is not the name of a distribution"),
        ("a==1 ", "-ra==1 ", 5, "is not the name of a distribution"),
        ("a==1 ", "A==1 ", 5, "is not the name of a distribution"),
        ("a==1 ", "é==1 ", 5, "is not the name of a distribution"),
        ("a==1 ", "a==1;python_version>'3' ", 5, "is not a version"),
        ("a==1 ", "a==1,--pre ", 5, "is not a version"),
        ("a==1 ", "a==01 ", 5, "is not a version"),
        ("a==1 ", "a==2 ", 5, "is not a wheel of a 2"),
        ("a==1 ", "b==1 ", 5, "is not a wheel of b 1"),
        ("a==1 ", "a @ https://x.example/a==1 ", 5, "is needed"),
        ("a==1 \\\n", "a==1\n", 5, "is needed"),
        ("a-1-py3-none-any.whl", "../a-1-py3-none-any.whl", 5, "is not a wheel of a 1"),
        ("a-1-py3-none-any.whl", "a/../a-1-py3-none-any.whl", 5, "is not a wheel of a 1"),
        ("a-1-py3-none-any.whl", "a-1-py3-none-any.whl\x1b[2J", 5, "is not a wheel of a 1"),
        ("a-1-py3-none-any.whl", "a-1.tar.gz", 5, "is not a wheel of a 1"),
        ("a-1-py3-none-any.whl 5", "a-1-py3-none-any.whl 9999999999999", 5, "is not the size"),
        ("a-1-py3-none-any.whl 5", "a-1-py3-none-any.whl -5", 4, "is needed"),
        ("sha256:" + "0" * 64, "sha256:" + "0" * 63, 6, "is needed"),
        ("sha256:" + "0" * 64, "md5:" + "0" * 64, 6, "is needed"),
        ("sha256:" + "0" * 64, "sha256:" + "0" * 64 + " --pre", 6, "is needed"),
        ("Python 3.12", "Python 4", 2, "is needed"),
        ("amd64", "sparc", 2, "is needed"),
        ("2026-11-20", "2026-11-31", 2, "is not a day"),
        ("problem: 0", "problem: ../0", 3, "is needed"),
        ("# GENERATED", "# MADE", 1, "not the first line"),
    ],
)
def test_a_hostile_lock_is_refused_by_file_and_line(
    old: str, new: str, line: int, why: str
) -> None:
    """No field of a committed lock can be an option, a path or another wheel."""
    text = GOOD_LOCK.text
    assert parse_lock(text, "x") == GOOD_LOCK
    with pytest.raises(InputError) as caught:
        parse_lock(text.replace(old, new, 1), "images/x/requirements.lock")
    assert caught.value.where == f"images/x/requirements.lock, line {line}"
    assert why in caught.value.what
    assert "`git checkout -- images/x/requirements.lock`" in caught.value.next_step


def test_a_lock_has_one_wheel_of_a_distribution() -> None:
    """A second entry of a name is refused, and so is an order that uv would not write."""
    twice = Lock(GOOD_LOCK.problem_key, GOOD_LOCK.target, GOOD_LOCK.as_of, (A, A))
    with pytest.raises(InputError, match="a stands twice"):
        parse_lock(twice.text, "x")


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
    locked = Resolution(Lock(PROBLEM.key, PROBLEM.target, "2026-11-20", (wheel,)), None)
    refuted = Resolution(None, PROVEN, "settings")
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


def test_the_day_ends_in_utc() -> None:
    """Files that were published up to the end of the day in UTC count, wherever the machine is."""
    assert PROBLEM.cutoff == "2026-11-21T00:00:00Z"


def test_the_line_of_uv_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another uv may answer otherwise, so its answers are kept apart."""
    before = PROBLEM.key
    monkeypatch.setattr("envmatrix.model.locks.UV_RELEASES", "9.9")
    assert before != PROBLEM.key


def test_the_lock_of_a_base_reads_back_with_its_interpreter() -> None:
    """One line pins it, and locks without one are as they were."""
    lock = replace(GOOD_LOCK, interpreter=the_interpreter())
    assert parse_lock(lock.text, "the lock") == lock
    assert parse_lock(GOOD_LOCK.text, "the lock").interpreter is None
    assert lock.text.replace(f"{the_interpreter().line}\n", "") == GOOD_LOCK.text
    assert lock.size == GOOD_LOCK.size + the_interpreter().size


@pytest.mark.parametrize("name", ["--option", "../../x", "cpython-3.12.16.tar.gz", "a'b"])
def test_an_interpreter_that_is_none_is_refused_with_its_line(name: str) -> None:
    """A lock is untrusted: the name is a part of a path and of a command."""
    lock = replace(GOOD_LOCK, interpreter=the_interpreter())
    text = lock.text.replace(the_interpreter().filename, name)
    with pytest.raises(InputError, match="standalone CPython") as caught:
        parse_lock(text, "the lock")
    assert caught.value.where == "the lock, line 4"
    with pytest.raises(ValueError, match="SHA-256"):
        replace(the_interpreter(), sha256="0")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"python": "3.1"}, False),
        ({"machine": "aarch64"}, False),
        ({"as_of": "2026-11-09"}, False),
        ({"as_of": "2026-11-10"}, True),
    ],
)
def test_an_interpreter_meets_a_want_of_its_python_machine_and_day(
    change: dict[str, str], expected: bool
) -> None:
    """A build after the day of the matrix is too new."""
    wanted = replace(Wanted("3.12", "amd64", "x86_64", "2026-11-20"), **change)
    assert wanted.is_met_by(the_interpreter().filename) is expected
    assert not wanted.is_met_by("cpython-3.12.16.tar.gz")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("cp311-cp311-manylinux_2_28_x86_64", "2.28"),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "2.17"),
        ("cp311-cp311-manylinux2014_aarch64", "2.17"),
        ("cp311-none-manylinux1_x86_64", "2.5"),
        ("cp311-cp311-linux_x86_64", None),
        ("py3-none-any", None),
    ],
)
def test_the_lowest_glibc_is_that_of_the_tags(tags: str, expected: str | None) -> None:
    """The wheel of the requirement tells it, by the newer or the older name of its platform."""
    wheel = Wheel("tensorflow-cpu", "2.1", f"tensorflow_cpu-2.1-{tags}.whl", "0" * 64, 1)
    other = Wheel("numpy", "1", "numpy-1-cp311-cp311-manylinux_2_34_x86_64.whl", "0" * 64, 1)
    lock = Lock("key", "target", "2026-11-20", (other, wheel))
    assert expected == glibc_floor(lock, "tensorflow-cpu==2.1")
    assert glibc_floor(lock, "Tensorflow_CPU[extra]==2.1") == expected
    assert glibc_floor(lock, "absent==1") is None
