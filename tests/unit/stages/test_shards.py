"""Shards: which cells stand together, and that every machine cuts alike."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.cli.workspace import Workspace
from envmatrix.model.errors import InputError
from envmatrix.model.verdicts import Verdict
from envmatrix.stages.shards import ShardOf, Work, cut, read_shard, shard_of
from envmatrix.store.layout import SHARD

WORKS = st.lists(
    st.builds(
        lambda base, wheels, own: (base, wheels, own),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 500),
    ),
    max_size=25,
).map(
    lambda rows: [
        Work(
            f"c{index}", {f"base {base}": 60, f"layer {base} {wheels}": 200, f"probe {index}": own}
        )
        for index, (base, wheels, own) in enumerate(rows)
    ]
)


def ids(pieces: list[list[Work]]) -> list[list[str]]:
    """Return the ids of the cells of each piece."""
    return [[one.id for one in piece] for piece in pieces]


@given(WORKS, st.integers(1, 30), st.randoms())
def test_every_cell_is_in_one_shard(works: list[Work], count: int, random: object) -> None:
    """None is lost or twice, none is empty, and the order in which cells come decides nothing."""
    pieces = cut(works, count)
    assert sorted(chain.from_iterable(ids(pieces))) == sorted(one.id for one in works)
    assert len(pieces) == min(count, len(works))
    assert all(pieces)
    shuffled = list(works)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ids(cut(shuffled, count)) == ids(pieces)


def test_what_shares_layers_stands_together() -> None:
    """Two bases and two shards: each base is built once."""
    works = [
        Work(f"{index}{base}", {f"base {base}": 60, f"own {base}{index}": 10})
        for index in range(4)
        for base in "ab"
    ]
    assert ids(cut(works, 2)) == [["0a", "1a", "2a", "3a"], ["0b", "1b", "2b", "3b"]]


def test_shards_are_balanced_by_what_they_cost() -> None:
    """One long cell is alone, and the short ones share the other shard."""
    works = [Work("long", {"a": 900})] + [
        Work(f"s{index}", {f"b{index}": 100}) for index in "12345"
    ]
    assert ids(cut(works, 2)) == [["long"], ["s1", "s2", "s3", "s4", "s5"]]


def test_what_nobody_needs_to_run_is_in_no_shard(root: Path) -> None:
    """Of the real matrix: neither what a rule excludes nor what is proven to be impossible."""
    workspace = Workspace(root / "matrix.yaml")
    chosen = workspace.choose(["framework=tensorflow", "version=2.16.2"], None)
    shards = workspace.cutter.cut(chosen, 8)
    inside = {cell.id for shard in shards for cell in shard.cells}
    told = {cell.id: workspace.resolutions.committed_verdict(cell) for cell in chosen}
    impossible = {name for name, one in told.items() if one and one.verdict is Verdict.IMPOSSIBLE}
    excluded = {cell.id for cell in chosen if cell.excluded}
    assert impossible
    assert inside == told.keys() - impossible - excluded


def test_the_shards_of_the_published_profile(root: Path) -> None:
    """None is empty, and the longest takes no twice as long as the shortest."""
    workspace = Workspace(root / "matrix.yaml")
    shards = workspace.cutter.cut(workspace.published, 8)
    assert all(shard.cells for shard in shards)
    assert max(shard.seconds for shard in shards) < 2 * min(shard.seconds for shard in shards)


def test_a_shard_as_it_is_written() -> None:
    """The number comes first and counts from 1."""
    assert shard_of("2/8") == ShardOf(2, 8)
    assert str(shard_of("256/256")) == "256/256"


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/257", "1/3/4", "-1/3", "01/3", "1/٣"])
def test_what_is_no_shard(text: str) -> None:
    """It is refused with an example."""
    with pytest.raises(InputError) as caught:
        shard_of(text)
    assert "such as 2/8" in caught.value.next_step


GOOD = {"schema": 1, "shard": 1, "of": 2, "selection": "0" * 64, "cells": ["a"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shard": 3}, "shard 3 of 2"),
        ({"cells": ["../a"]}, "cells.0"),
        ({"of": 1000}, "of"),
        ({"selection": "x"}, "selection"),
        ({"more": 1}, "more"),
    ],
)
def test_a_file_of_a_shard_is_checked(tmp_path: Path, change: dict[str, object], told: str) -> None:
    """An id is no path, and numbers are those of shards."""
    path = tmp_path / SHARD
    path.write_text(json.dumps(GOOD))
    assert read_shard(path).cells == ("a",)
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError) as caught:
        read_shard(path)
    assert told in caught.value.what
    path.write_bytes(b"\xff{")
    with pytest.raises(InputError):
        read_shard(path)
