"""Builds by both builders of an engine, and each way in which a build can end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from fake_engine import (
    BuildWithoutImage,
    ConnectionDropped,
    DiskFull,
    Facts,
    FakeEngine,
    Fault,
    ImageLost,
    Refuses,
    StepFails,
    StepTakes,
    VanishesMidBuild,
)

from envmatrix.engine import builds
from envmatrix.engine.builds import CONTEXT_MTIME, BuildError, context
from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.process import Cancelled
from envmatrix.model.errors import EngineError

DOCKERFILE = """\
ARG BASE=debian:12-slim
FROM ${BASE}
ARG WHEELS
RUN pip install ${WHEELS}
COPY etc /etc/
RUN check it
"""
FILES = {"Dockerfile": DOCKERFILE, "etc/a": "one", "etc/b": "two"}
TAG = "envmatrix/cell:a"

BOTH = pytest.mark.parametrize("fresh", [False, True], ids=["buildkit", "classic"])
"""A fresh build takes the classic builder, and any other build takes BuildKit."""


def build(engine: Engine, log: Callable[[str], None] = lambda _: None, **given: Any) -> Image:
    """Build an image; only what differs from a plain build has to be given."""
    plain: dict[str, Any] = {"tag": TAG, "arguments": {}, "hosts": {}, "labels": {}, "log": log}
    return engine.builds.build(given.pop("files", FILES), **(plain | given))


def versions(fake: FakeEngine) -> list[str]:
    """Return the builder that each request asked for, in words."""
    words = {"2": "buildkit", "1": "classic", "": "classic"}
    return [words[request.one("version")] for request in fake.asked("POST /build")]


# --- what is asked of the engine -------------------------------------------------------------


@BOTH
def test_everything_that_is_given_reaches_the_builder(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """Both builders get the same, and the steps use the network of the host."""
    fake.add_image("envmatrix/base:x")
    image = build(
        engine,
        arguments={"BASE": "envmatrix/base:x", "WHEELS": "jinja2"},
        hosts={"wheels.internal": "127.0.0.1", "mirror.internal": "127.0.0.2"},
        labels={"io.envmatrix.step": "build"},
        fresh=fresh,
    )
    (record,) = fake.build_records
    assert record.builder == ("classic" if fresh else "buildkit")
    # The builder gives no name: Docker 28 with containerd's store deletes the image that had it.
    assert record.tag == ""
    assert record.arguments == {"BASE": "envmatrix/base:x", "WHEELS": "jinja2"}
    assert set(record.hosts) == {"wheels.internal:127.0.0.1", "mirror.internal:127.0.0.2"}
    assert record.labels == {"io.envmatrix.step": "build"}
    assert record.network == "host"
    assert record.no_cache is fresh
    assert record.files == {name: text.encode() for name, text in FILES.items()}
    assert image == engine.images.get(TAG)
    assert image.id == record.image
    assert engine.images.get(TAG).config["config"]["Labels"] == {"io.envmatrix.step": "build"}


@BOTH
def test_an_image_may_have_no_name(fake: FakeEngine, engine: Engine, fresh: bool) -> None:
    """The image is found by the id that the builder tells."""
    image = build(engine, tag=None, fresh=fresh)
    assert image.names == ()
    assert set(fake.images.by_id) == {image.id, fake.images.get("debian:12-slim").id}


def test_both_builders_make_the_same_layers(engine: Engine) -> None:
    """So an image that is rebuilt from nothing can be compared with the first one."""
    assert build(engine).layers == build(engine, tag="envmatrix/cell:b", fresh=True).layers


def test_a_fresh_build_takes_nothing_from_the_cache(fake: FakeEngine, engine: Engine) -> None:
    """Each of its steps runs again, and BuildKit is not asked."""
    build(engine)
    said: list[str] = []
    build(engine, said.append, fresh=True)

    assert versions(fake) == ["buildkit", "buildkit", "classic"]
    assert "did RUN" in "".join(said)
    assert "Using cache" not in "".join(said)


@BOTH
def test_the_log_holds_the_steps_and_their_output(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """A step is named before its output comes."""
    said: list[str] = []
    fake.builds.printed = lambda step: f"output of {step.text}\n"
    build(engine, said.append, fresh=fresh)

    text = "".join(said)
    assert text.index("RUN check it") < text.index("output of check it")
    assert text.index("output of pip install") < text.index("RUN check it")


@BOTH
def test_a_build_that_is_silent_for_a_while_goes_on(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    """We look more often whether the user asked to stop than a step prints something."""
    monkeypatch.setattr(builds, "POLL_SECONDS", 0.01)
    fake.fail(StepTakes("pip install", 0.1))
    assert build(engine, fresh=fresh) == engine.images.get(TAG)


def test_a_context_is_the_same_for_the_same_files() -> None:
    """Order, time and user of this machine do not change one byte."""
    files = {"Dockerfile": "FROM x\n", "etc/a": "ä"}
    first, second = context(files), context(dict(reversed(files.items())))
    assert first.getvalue() == second.getvalue()
    with tarfile.open(fileobj=first) as tar:
        members = tar.getmembers()
        text = tar.extractfile("etc/a")
        assert text
        assert text.read() == "ä".encode()
    assert [member.name for member in members] == ["Dockerfile", "etc/a"]
    assert {(one.mtime, one.mode, one.uid, one.uname) for one in members} == {
        (CONTEXT_MTIME, 0o644, 0, "")
    }
    assert isinstance(first, io.BytesIO)


# --- BuildKit that needs a session -----------------------------------------------------------


def test_the_classic_builder_builds_where_buildkit_needs_a_session(
    fake: FakeEngine, engine: Engine
) -> None:
    """The build succeeds all the same, and the next one does not try BuildKit again."""
    fake.facts = Facts(needs_session=True)
    first = build(engine)
    second = build(engine, tag="envmatrix/cell:b")

    assert versions(fake) == ["buildkit", "buildkit", "classic", "classic"]
    assert [record.builder for record in fake.build_records] == ["classic", "classic"]
    assert [record.no_cache for record in fake.build_records] == [False, False]
    assert first.layers == second.layers


# --- builds that fail ------------------------------------------------------------------------


@BOTH
def test_a_step_that_fails_is_the_fault_of_the_image(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """The log ends with the output of the step and the reason, and there is no image."""
    said: list[str] = []
    fake.fail(StepFails("pip install", output="no such wheel\n", code=3))
    with pytest.raises(BuildError, match=r"(exit code|non-zero code): 3$") as caught:
        build(engine, said.append, fresh=fresh)

    text = "".join(said)
    assert text.endswith(f"no such wheel\n{caught.value}\n")
    assert "check it" not in text
    assert engine.images.find(TAG) is None


def test_buildkit_does_not_repeat_the_command_that_failed(fake: FakeEngine, engine: Engine) -> None:
    """The log has the command already, and the command may be very long."""
    fake.fail(StepFails("pip install", code=3))
    with pytest.raises(BuildError, match=r"^the step failed: exit code: 3$"):
        build(engine)


@BOTH
@pytest.mark.parametrize("length", [1, 233, 489])
def test_a_failure_of_any_length_is_read(
    fake: FakeEngine, engine: Engine, fresh: bool, length: int
) -> None:
    """The answer is read in parts of 512 bytes: 233 and 489 let one end inside the line's end."""
    fake.fail(StepFails("pip install", error="x" * length))
    with pytest.raises(BuildError) as caught:
        build(engine, fresh=fresh)
    assert str(caught.value) == "x" * length


@BOTH
def test_a_base_that_nobody_serves_fails_the_build(engine: Engine, fresh: bool) -> None:
    """The words of the registry are the reason."""
    with pytest.raises(BuildError, match="pull access denied for envmatrix/base:none"):
        build(engine, arguments={"BASE": "envmatrix/base:none"}, fresh=fresh)


@BOTH
def test_a_full_disk_fails_the_build_in_the_words_of_the_engine(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """Whoever judges the build reads the words in the log."""
    said: list[str] = []
    fake.fail(DiskFull("build"))
    with pytest.raises(BuildError):
        build(engine, said.append, fresh=fresh)
    assert "no space left on device" in "".join(said)


@BOTH
def test_a_dockerfile_that_the_engine_cannot_read_is_told(engine: Engine, fresh: bool) -> None:
    """No step ran, so the engine's refusal is the error."""
    with pytest.raises(EngineError, match="unknown instruction: FRO") as caught:
        build(engine, files={"Dockerfile": "FRO x\n"}, fresh=fresh)
    assert caught.value.where == f"build {TAG}"


@BOTH
@pytest.mark.parametrize("tag", [TAG, None])
def test_a_build_without_an_image_is_the_engines_fault(
    fake: FakeEngine, engine: Engine, fresh: bool, tag: str | None
) -> None:
    """The answer ends well, and holds neither an image nor a reason."""
    fake.fail(BuildWithoutImage())
    with pytest.raises(EngineError) as caught:
        build(engine, tag=tag, fresh=fresh)
    name = tag or "an image"
    assert caught.value.what == f"the engine ended the build of {name} without an image"
    assert caught.value.where == f"build {name}"
    assert caught.value.next_step


@BOTH
def test_an_image_that_is_lost_after_its_build_is_told(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """Something else may remove an image between two of our requests."""
    fake.fail(ImageLost("POST /build"), times=2)
    with pytest.raises(EngineError, match="the engine lost the image sha256:"):
        build(engine, fresh=fresh)


@BOTH
@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Refuses("POST /build", 500, "the builder is not ready"), "the builder is not ready"),
        (ConnectionDropped("POST /build"), "no Docker engine answers"),
        # BuildKit has two requests, and either of them may notice first.
        (VanishesMidBuild("pip install"), "did not finish its answer|no Docker engine answers"),
    ],
    ids=["refuses", "drops", "vanishes"],
)
def test_an_engine_that_fails_during_a_build_is_told(
    fake: FakeEngine, engine: Engine, fresh: bool, fault: Fault, what: str
) -> None:
    """No failure of the engine looks like a failed step, and no build waits for ever."""
    fake.fail(fault, times=None)
    with pytest.raises(EngineError, match=what) as caught:
        build(engine, fresh=fresh)
    assert caught.value.where == f"build {TAG}"


# --- builds that the user stops --------------------------------------------------------------


@BOTH
def test_a_cancelled_build_stops_at_once(fake: FakeEngine, engine: Engine, fresh: bool) -> None:
    """BuildKit has to be told; the classic builder stops when the connection closes."""
    fake.fail(StepTakes("pip install", 60))

    def log(said: str) -> None:
        if "pip install" in said:
            engine.cancelled.set()

    with pytest.raises(Cancelled):
        build(engine, log, fresh=fresh)

    told = [request.one("id") for request in fake.asked("POST /build/cancel")]
    uploads = [request.one("buildid") for request in fake.asked("POST /build")]
    assert told == ([] if fresh else [one for one in uploads if ":" not in one])
    assert engine.images.find(TAG) is None


def test_a_cancelled_build_ends_as_cancelled_if_the_engine_is_gone(
    fake: FakeEngine, engine: Engine
) -> None:
    """The user asked to stop, so a refused cancellation is of no interest."""
    fake.fail(StepTakes("pip install", 60), Refuses("POST /build/cancel", 500, "no"))

    def log(said: str) -> None:
        if "pip install" in said:
            engine.cancelled.set()

    with pytest.raises(Cancelled):
        build(engine, log)


@BOTH
def test_no_build_begins_after_the_user_asked_to_stop(
    fake: FakeEngine, engine: Engine, fresh: bool
) -> None:
    """The engine is asked for nothing."""
    engine.cancelled.set()
    with pytest.raises(Cancelled):
        build(engine, fresh=fresh)
    assert fake.requests == []


# --- builds that take too long ---------------------------------------------------------------


@BOTH
def test_a_build_that_never_ends_is_ended(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    """The message names the limit, and BuildKit is told to stop."""
    monkeypatch.setattr(builds, "BUILD_SECONDS", 0.2)
    fake.fail(StepTakes("pip install", 60))
    with pytest.raises(EngineError, match="did not end within") as caught:
        build(engine, fresh=fresh)
    assert caught.value.kind == "timeout"
    assert len(fake.asked("POST /build/cancel")) == (0 if fresh else 1)
