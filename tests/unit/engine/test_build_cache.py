"""The build cache of an engine: our entries, and their removal."""

from __future__ import annotations

import json

import pytest
from docker.errors import APIError
from fake_engine import FakeEngine, Refuses

from envmatrix.engine import build_cache
from envmatrix.engine.build_cache import BUILD_MARK
from envmatrix.engine.client import Engine

BUSY = "a disk usage operation is already running"


def build(engine: Engine, tag: str, *steps: str) -> None:
    """Build an image of some RUN steps with BuildKit."""
    lines = ["FROM debian:12-slim", *(f"RUN {step}" for step in steps)]
    engine.builds.build(
        {"Dockerfile": "\n".join(lines)},
        tag=tag,
        arguments={},
        hosts={},
        labels={},
        log=lambda _: None,
    )


def ours(step: str) -> str:
    """Return a step that has our mark."""
    return f"test -e {BUILD_MARK} || {step}"


def test_only_steps_with_our_mark_are_ours(fake: FakeEngine, engine: Engine) -> None:
    """What other people built is not, and an engine without any cache has none."""
    assert engine.build_cache.ids() == frozenset()
    build(engine, "envmatrix/cell:a", ours("make"), "make install")
    entries = {entry.id: entry.description for entry in fake.cache}

    assert len(entries) == 2
    assert [entries[found] for found in engine.build_cache.ids()] == [
        f"mount / from exec /bin/sh -c {ours('make')}"
    ]


def test_our_entries_are_removed_and_no_others(fake: FakeEngine, engine: Engine) -> None:
    """The engine is asked for exactly our ids, once."""
    build(engine, "envmatrix/cell:a", ours("make"))
    build(engine, "theirs:1", "make")
    ids = engine.build_cache.ids()
    fake.lose_image()
    engine.build_cache.prune()

    (asked,) = fake.asked("POST /build/prune")
    assert json.loads(asked.one("filters")) == {"id": [f"^({'|'.join(ids)})$"]}
    assert [entry.description for entry in fake.cache] == ["mount / from exec /bin/sh -c make"]


def test_an_entry_that_an_image_uses_stays(fake: FakeEngine, engine: Engine) -> None:
    """The engine spares it."""
    build(engine, "envmatrix/cell:a", ours("make"))
    engine.build_cache.prune()

    assert len(engine.build_cache.ids()) == 1


def test_nothing_is_removed_where_nothing_is_ours(fake: FakeEngine, engine: Engine) -> None:
    """A request without ids would remove the whole cache of the user."""
    build(engine, "theirs:1", "make")
    engine.build_cache.prune()

    assert not fake.asked("POST /build/prune")


def test_a_removed_image_takes_its_cache_along(fake: FakeEngine, engine: Engine) -> None:
    """The entries that another image still uses stay."""
    build(engine, "envmatrix/cell:a", ours("both"), ours("one"))
    build(engine, "envmatrix/cell:b", ours("both"), ours("other"))
    engine.images.remove("envmatrix/cell:a")

    commands = {entry.description.rpartition(" ")[2] for entry in fake.cache}
    assert commands == {"both", "other"}


def test_an_engine_that_is_busy_is_asked_again(fake: FakeEngine, engine: Engine) -> None:
    """Engines before 23 answer one such request at a time."""
    build(engine, "envmatrix/cell:a", ours("make"))
    fake.fail(Refuses("GET /system/df", 500, BUSY), times=2)

    assert len(engine.build_cache.ids()) == 1
    assert len(fake.asked("GET /system/df")) == 3


def test_an_engine_that_stays_busy_is_not_asked_for_ever(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are the error when its time is over."""
    monkeypatch.setattr(build_cache, "API_SECONDS", -1)
    fake.fail(Refuses("GET /system/df", 500, BUSY), times=None)
    with pytest.raises(APIError, match=BUSY):
        engine.build_cache.ids()


def test_another_refusal_is_not_tried_again(fake: FakeEngine, engine: Engine) -> None:
    """Only the busy engine is worth another request."""
    fake.fail(Refuses("GET /system/df", 500, "the disk cannot be read"))
    with pytest.raises(APIError, match="the disk cannot be read"):
        engine.build_cache.ids()
    assert len(fake.asked("GET /system/df")) == 1
