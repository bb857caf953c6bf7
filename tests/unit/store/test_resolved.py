"""The committed file of what the resolver said: a line a cell, which git merges like any text."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.errors import InputError
from envmatrix.model.verdicts import LOCKED, Judgement, Verdict
from envmatrix.store.resolved import Line, Resolved

NO_WHEEL = Judgement(
    Verdict.IMPOSSIBLE, "lock", "no-wheel-for-python", 'no "cp39" wheel, é', "take 3.10"
)
LINES = {
    f"{framework}-{number}": Line(f"key{number}", LOCKED if number % 2 else NO_WHEEL)
    for framework in ("torch", "tensorflow")
    for number in range(4)
}


@pytest.fixture
def resolved(tmp_path: Path) -> Resolved:
    """The file of a project; it is not there yet."""
    return Resolved(tmp_path / "images" / "resolved.json")


def test_what_is_written_is_read(resolved: Resolved) -> None:
    """Every line is read back in its order, and the file is one JSON document."""
    assert resolved.lines == {}
    resolved.write(LINES)
    assert list(resolved.lines.items()) == list(LINES.items())
    assert Resolved(resolved.path).lines == LINES
    assert len(json.loads(resolved.path.read_text(encoding="utf-8"))) == 1 + len(LINES)


def test_a_file_without_a_cell_is_read(resolved: Resolved) -> None:
    """A file of no cells is written and read."""
    resolved.write({})
    assert Resolved(resolved.path).lines == {}


fields = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(
    st.dictionaries(
        fields,
        st.builds(
            Line,
            fields,
            st.just(LOCKED)
            | st.builds(
                Judgement,
                st.just(Verdict.IMPOSSIBLE),
                st.just("lock"),
                fields,
                fields,
                fields,
            ),
        ),
    )
)
def test_any_line_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: dict[str, Line]
) -> None:
    """Whatever letters stand in ids, causes and remedies, the lines are read back."""
    resolved = Resolved(tmp_path_factory.mktemp("any") / "resolved.json")
    lines = {
        name: line if line.judgement != LOCKED else Line(line.key, LOCKED)
        for name, line in lines.items()
    }
    resolved.write(lines)
    assert Resolved(resolved.path).lines == lines
    assert len(resolved.path.read_bytes().split(b"\n")) == len(lines) + 3


@pytest.mark.parametrize(
    ("kind", "cause", "expected"),
    [
        ("blocked", "https://a.example/whl/cpu cannot be reached: no", "https://a.example/whl/cpu"),
        ("blocked", "the default package index cannot be", "the default package index"),
        ("credentials", "https://a.example/… gave no answer", "https://a.example/…"),
        ("blocked", "uv found no answer: x", "an index"),
    ],
)
def test_a_published_outage_reads_as_one_of_the_publisher(
    resolved: Resolved, kind: str, cause: str, expected: str
) -> None:
    """The reader elsewhere gets the place and a command. Written again, the line is the same."""
    blocked = Judgement(Verdict.UNKNOWN, "lock", kind, cause, "lock again")
    resolved.write({"cell-1": Line("key", blocked)})
    told = resolved.lines["cell-1"].judgement
    assert told.cause == (
        f"not resolved when this was published: {expected} could not be reached from there"
    )
    assert told.remedy == "resolve it here: `envmatrix lock cell-1`"
    before = resolved.path.read_text(encoding="utf-8")
    resolved.write(resolved.lines)
    assert before == resolved.path.read_text(encoding="utf-8")


def test_another_published_unknown_tells_its_class(resolved: Resolved) -> None:
    """A class that is no outage is named."""
    dated = Judgement(Verdict.UNKNOWN, "lock", "filtered-by-date", "x", "y")
    resolved.write({"cell-1": Line("key", dated)})
    told = resolved.lines["cell-1"].judgement
    assert told.cause == "not resolved when this was published: filtered-by-date"


def test_a_file_of_the_schema_before_tells_nothing(resolved: Resolved) -> None:
    """Its lines answer problems that are not posed any more."""
    resolved.path.parent.mkdir()
    resolved.path.write_text('[{"schema": 2}, ["id", "key", "lock"]]', encoding="utf-8")
    assert resolved.lines == {}


@pytest.mark.parametrize("place", range(len(LINES) + 1))
def test_a_new_cell_changes_no_other_line(resolved: Resolved, place: int) -> None:
    """A cell that is added anywhere adds one line, and all other lines stay as they were."""
    resolved.write(LINES)
    before = resolved.path.read_text(encoding="utf-8").splitlines()
    items = list(LINES.items())
    items.insert(place, ("new", Line("key", NO_WHEEL)))
    resolved.write(dict(items))
    after = resolved.path.read_text(encoding="utf-8").splitlines()
    (new,) = set(after) - set(before)
    after.remove(new)
    assert before == after


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with no settings but these."""
    settings = ("user.name=x", "user.email=x", "commit.gpgsign=false", "init.defaultBranch=main")
    options = [part for setting in settings for part in ("-c", setting)]
    return subprocess.run(
        ["git", *options, *arguments],
        cwd=folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def added(framework: str, *, after: str) -> dict[str, Line]:
    """Return the lines with those of one more framework after the last line of another."""
    new = {f"{framework}-{number}": Line(f"new{number}", NO_WHEEL) for number in range(3)}
    last = max(place for place, name in enumerate(LINES) if name.startswith(after)) + 1
    items = list(LINES.items())
    return dict(items[:last]) | new | dict(items[last:])


def test_two_branches_that_add_frameworks_are_merged_by_git(tmp_path: Path) -> None:
    """Git merges the lines of two frameworks that two branches add, and all are read right."""
    resolved = Resolved(tmp_path / "images" / "resolved.json")
    resolved.write(LINES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "both")
    branches = {"torch": added("jax", after="torch"), "tensorflow": added("onnx", after="tensor")}
    for name, lines in branches.items():
        git(tmp_path, "checkout", "--quiet", "-b", name, "main")
        resolved.write(lines)
        git(tmp_path, "commit", "--quiet", "--all", "-m", name)
    git(tmp_path, "merge", "--quiet", "-m", "merged", "torch")

    merged = Resolved(resolved.path).lines
    assert merged == branches["torch"] | branches["tensorflow"]
    assert len(merged) == len(LINES) + 6
    assert git(tmp_path, "status", "--porcelain") == ""
    before = resolved.path.read_text(encoding="utf-8")
    Resolved(resolved.path).write(merged)
    assert resolved.path.read_text(encoding="utf-8") == before


def test_branches_that_say_different_things_of_one_cell_are_a_conflict(tmp_path: Path) -> None:
    """Git does not merge two answers on one cell, and the file with its marks is not read."""
    resolved = Resolved(tmp_path / "images" / "resolved.json")
    resolved.write(LINES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "both")
    for name in ("one", "two"):
        git(tmp_path, "checkout", "--quiet", "-b", name, "main")
        resolved.write(LINES | {"torch-1": Line(name, LOCKED)})
        git(tmp_path, "commit", "--quiet", "--all", "-m", name)
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "merge", "--quiet", "-m", "merged", "one")
    with pytest.raises(InputError, match="it is damaged"):
        Resolved(resolved.path).lines  # noqa: B018  (reading them is the test)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema": 1, "cells": {}}', "it is of schema 1, and this envmatrix reads schema 3"),
        ('[{"schema": 4}]', "it is of schema 4, and this envmatrix reads schema 3"),
        ("[]", "it is of schema None"),
        ("[1]", "it is of schema None"),
        ('{"schema": 3}', "it is damaged"),
        ("", "it is damaged"),
        ("[" * 100_000, "it is damaged"),
        ('[{"schema": 3}\n<<<<<<< HEAD\n]', "it is damaged"),
        ('[{"schema": 3}, 1]', "it is damaged"),
        ('[{"schema": 3}, []]', "it is damaged"),
        ('[{"schema": 3}, ["id"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key"]]', "it is damaged"),
        ('[{"schema": 3}, [["id"], "key", "lock"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key", "lock", "more"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key", "great", "a", "b", "c", "d"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key", "impossible", "a", "b", "c"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key", "works", "a", "b", "c", "d"]]', "it is damaged"),
        ('[{"schema": 3}, ["id", "key", "impossible", "a", "b", "c", 3]]', "it is damaged"),
        ('[{"schema": 3}, ["id", 1, "lock"]]', "it is damaged"),
    ],
    ids=lambda text: f"{text:.60}",
)
def test_a_file_that_is_not_right_is_an_error_with_commands(
    resolved: Resolved, text: str, why: str
) -> None:
    """Another schema and damage are told in one sentence, with the commands that mend it."""
    resolved.path.parent.mkdir()
    resolved.path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        resolved.lines  # noqa: B018  (reading them is the test)
    told = caught.value
    assert told.what.startswith("images/resolved.json does not tell what the resolver said: ")
    assert why in told.what
    assert told.where == str(resolved.path)
    assert "`git checkout images/resolved.json`" in told.next_step
    assert "`mv images/resolved.json images/resolved.json.old`" in told.next_step
    assert "`envmatrix lock '*'`" in told.next_step


def test_a_file_that_cannot_be_read_is_an_error(resolved: Resolved) -> None:
    """A file that is not UTF-8 is told as such."""
    resolved.path.parent.mkdir()
    resolved.path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it cannot be read"):
        resolved.lines  # noqa: B018  (reading them is the test)
