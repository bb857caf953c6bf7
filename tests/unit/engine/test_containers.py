"""Containers: what is asked of the engine, and every way in which a run can end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from docker.errors import APIError
from fake_engine import (
    AttachDropped,
    ConnectionDropped,
    DiskFull,
    Exit,
    Facts,
    FakeEngine,
    Fault,
    Killed,
    Refuses,
    RunRequest,
    StartRefused,
    Vanishes,
    VanishesMidRun,
)

from envmatrix.engine import containers
from envmatrix.engine.client import Engine
from envmatrix.engine.containers import COULD_NOT_START, RUN_LABEL, isolation
from envmatrix.engine.process import OUTPUT_LIMIT, Cancelled, Limits, Ran
from envmatrix.engine.streams import Output
from envmatrix.model.errors import EngineError

IMAGE = "envmatrix/cell:a"
COMMAND = ("python", "-c", "print()")


@pytest.fixture(autouse=True)
def _image(fake: FakeEngine) -> None:
    """The image that every run here runs."""
    fake.add_image(IMAGE)


def run(engine: Engine, command: Sequence[str] = COMMAND, **given: Any) -> Ran:
    """Run a command; only what differs from a plain run has to be given."""
    plain: dict[str, Any] = {"environment": {}, "limits": Limits()}
    return engine.containers.run(IMAGE, command, **(plain | given))


# --- what is asked of the engine -------------------------------------------------------------


def test_a_container_gets_exactly_the_settings_that_isolate_it(
    fake: FakeEngine, engine: Engine
) -> None:
    """Nothing is left to a default of the engine, and nothing else is asked for."""
    run(engine, limits=Limits(seconds=9, memory=2**30, processes=64, scratch=2**20))

    (asked,) = fake.runs
    assert asked.host_config == {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=1048576"},  # noqa: S108
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": 2**30,
        "MemorySwap": 2**30,
        "PidsLimit": 64,
        "ShmSize": 256 * 2**20,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": {"Type": "none", "Config": {}},
        "Init": True,
    }


def test_a_container_runs_the_command_as_the_user_of_our_images(
    fake: FakeEngine, engine: Engine
) -> None:
    """The command, the environment, the user and the label of this run are those that we ask."""
    run(engine, environment={"ENVMATRIX_NONCE": "abc", "HOME": "/tmp"})  # noqa: S108

    (asked,) = fake.runs
    set_ = {name: value for name, value in asked.spec.items() if value and name != "HostConfig"}
    for streams in ("AttachStdout", "AttachStderr"):
        assert set_.pop(streams) is True
    assert set_ == {
        "Image": IMAGE,
        "Cmd": ["python", "-c", "print()"],
        "Env": ["ENVMATRIX_NONCE=abc", "HOME=/tmp"],
        "User": "65532:65532",
        "Labels": {RUN_LABEL: engine.connection.run_id},
    }


def test_the_settings_of_isolation_do_not_depend_on_the_engine() -> None:
    """The limits are the only thing that a run changes."""
    assert isolation(Limits()).keys() == isolation(Limits(memory=1)).keys()
    assert isolation(Limits(memory=1))["memswap_limit"] == 1


@pytest.mark.parametrize("gpu", [False, True])
def test_a_gpu_is_asked_for_only_where_it_is_wanted(
    fake: FakeEngine, engine: Engine, gpu: bool
) -> None:
    """Everything else stays isolated all the same."""
    fake.facts = Facts(nvidia=True)
    run(engine, gpu=gpu)

    (asked,) = fake.runs
    assert asked.wants_gpu is gpu
    if gpu:
        (request,) = asked.host_config["DeviceRequests"]
        assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])
    assert asked.host_config["NetworkMode"] == "none"


def test_a_container_is_attached_to_before_it_starts_and_removed_after_it_ended(
    fake: FakeEngine, engine: Engine
) -> None:
    """Not one byte of output is missed, and the anonymous volumes of the image go, too."""
    run(engine)
    steps = [request.line.replace(fake.runs[0].container, "ID") for request in fake.requests]
    order = [step for step in steps if not step.startswith("GET")]
    assert order == [
        "POST /containers/create",
        "POST /containers/ID/attach",
        "POST /containers/ID/start",
        "DELETE /containers/ID",
    ]
    assert fake.requests[-1].flag("force")
    assert fake.requests[-1].flag("v")


# --- how a run ends --------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 77, 139])
def test_a_process_that_ends_gives_its_exit_code_and_both_streams(
    fake: FakeEngine, engine: Engine, code: int
) -> None:
    """Nothing else is said of it."""
    fake.on_run = lambda _: Exit(code, "output\n", "ä warning\n")
    ran = run(engine)

    assert ran == Ran(code, "output\n", "ä warning\n", ran.seconds)
    assert ran.seconds >= 0
    assert fake.containers.by_id == {}


def test_much_output_is_kept_up_to_the_limit(fake: FakeEngine, engine: Engine) -> None:
    """Output of exactly the limit is no flood."""
    fake.on_run = lambda _: Exit(0, "x" * OUTPUT_LIMIT)
    ran = run(engine)
    assert (ran.exit_code, len(ran.stdout), ran.flooded) == (0, OUTPUT_LIMIT, False)


@pytest.mark.parametrize(("stdout", "stderr"), [(OUTPUT_LIMIT + 1, 0), (600_000, 600_000)])
def test_a_flood_of_output_is_ended(
    fake: FakeEngine, engine: Engine, stdout: int, stderr: int
) -> None:
    """Both streams count together; the process is killed, and the beginning is kept."""
    fake.on_run = lambda _: Exit(0, "x" * stdout, "y" * stderr, seconds=60)
    ran = run(engine)

    assert (ran.exit_code, ran.flooded, ran.timed_out) == (None, True, False)
    assert ran.stdout == "x" * min(stdout, OUTPUT_LIMIT)
    assert len(fake.asked("POST /containers/*/kill")) == 1
    assert fake.containers.by_id == {}


def test_a_flood_that_ended_by_itself_is_still_a_flood(fake: FakeEngine, engine: Engine) -> None:
    """Its exit code is known, and its output was cut."""
    fake.on_run = lambda _: Exit(0, "x" * (OUTPUT_LIMIT + 1))
    ran = run(engine)
    assert (ran.flooded, len(ran.stdout)) == (True, OUTPUT_LIMIT)


def test_a_process_that_takes_too_long_is_killed(fake: FakeEngine, engine: Engine) -> None:
    """What it printed before is kept; there is no exit code."""
    fake.on_run = lambda _: Exit(0, "begun\n", seconds=60)
    ran = run(engine, limits=Limits(seconds=0.1))

    assert (ran.exit_code, ran.timed_out, ran.flooded) == (None, True, False)
    assert ran.stdout == "begun\n"
    assert len(fake.asked("POST /containers/*/kill")) == 1
    assert fake.containers.by_id == {}


def test_a_process_that_ends_while_it_is_killed_has_timed_out(
    fake: FakeEngine, engine: Engine
) -> None:
    """The engine refuses to kill what is not running; the run is over its time all the same."""
    fake.on_run = lambda _: Exit(0, seconds=0.3)
    fake.fail(Refuses("POST /containers/*/kill", 409, "container is not running"))
    ran = run(engine, limits=Limits(seconds=0))
    assert (ran.exit_code, ran.timed_out) == (None, True)


def test_a_process_that_ran_out_of_its_own_memory_gives_its_exit_code(
    fake: FakeEngine, engine: Engine
) -> None:
    """The engine tells that the limit of the container was reached, which is about the process."""
    fake.fail(Killed(oom=True, output="begun\n"))
    ran = run(engine)
    assert (ran.exit_code, ran.out_of_memory, ran.timed_out) == (137, True, False)
    assert ran.stdout == "begun\n"


def test_a_host_that_ran_out_of_memory_is_not_the_fault_of_the_process(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container cannot reach a limit that is above the memory of the host."""
    fake.facts = Facts(memory=2 * 2**30)
    fake.fail(Killed(oom=True))
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as small, pytest.raises(EngineError, match="host of the engine") as found:
        run(small)
    assert found.value.kind == "out-of-memory"


@pytest.mark.parametrize("code", [137, 143, 130, 129, 131])
def test_a_process_that_something_else_ended_tells_nothing(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is run again twice, the user is told, and a report that was there does not count."""
    fake.on_run = lambda _: Exit(code, "a right report\n")
    told: list[str] = []
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect(told.append) as engine, pytest.raises(EngineError) as caught:
        run(engine)
    assert caught.value.kind == "killed"
    assert len(fake.runs) == 3
    assert [text[-6:] for text in told] == ["1 of 2", "2 of 2"]
    assert fake.containers.by_id == {}


def test_a_container_that_is_killed_from_outside_is_run_again(
    fake: FakeEngine, engine: Engine
) -> None:
    """What befell one container does not befall the next."""
    ends = iter([Exit(seconds=60), Exit(0, "output\n")])
    fake.on_run = lambda _: next(ends)
    threading.Timer(0.05, fake.kill_containers).start()
    ran = run(engine, limits=Limits(seconds=50))
    assert (ran.exit_code, ran.stdout) == (0, "output\n")


@pytest.mark.parametrize(
    "fault", [StartRefused.not_found("python"), StartRefused.not_executable("python")]
)
def test_a_command_that_the_image_does_not_have_could_not_start(
    fake: FakeEngine, engine: Engine, fault: StartRefused
) -> None:
    """The exit code is that of a shell, and the words of the engine are the error output."""
    fake.fail(fault)
    ran = run(engine)

    assert ran == Ran(COULD_NOT_START, "", fault.message, 0.0)
    assert fake.containers.by_id == {}


@pytest.mark.parametrize("program", ["docker-init", "nvidia-container-runtime", "runc"])
def test_a_program_of_the_engine_that_is_missing_is_not_the_fault_of_the_image(
    fake: FakeEngine, engine: Engine, program: str
) -> None:
    """The engine says of its own programs what it says of a command that an image lacks."""
    fake.fail(StartRefused.not_found(program), times=None)
    with pytest.raises(EngineError, match=program):
        run(engine)


CUDA = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update"


@pytest.mark.parametrize(
    ("fault", "kind", "runs"),
    [
        (StartRefused(message=CUDA), "driver-too-old", 1),
        (StartRefused.nvidia(), "driver-missing", 1),
        (
            StartRefused(message='could not select device driver "" with capabilities: [[gpu]]'),
            "gpu-not-served",
            1,
        ),
        (StartRefused(message="Driver/library version mismatch"), "driver-mismatch", 1),
        (StartRefused.no_space(), "disk-full", 1),
        (StartRefused(message="fork/exec /usr/bin/x: cannot allocate memory"), "out-of-memory", 3),
        (StartRefused.containerd(), "engine", 3),
        (StartRefused(message="context deadline exceeded: unknown"), "engine", 3),
        (
            StartRefused(message="runc create failed: unable to start container process: cgroup"),
            "engine",
            3,
        ),
        (StartRefused(message="OCI runtime create failed: permission denied"), "engine", 3),
    ],
)
def test_a_start_that_the_engine_refuses_has_the_class_of_its_reason(
    fake: FakeEngine, engine: Engine, fault: StartRefused, kind: str, runs: int
) -> None:
    """Only what may be gone at the next try is tried again."""
    fake.fail(fault, times=None)
    with pytest.raises(EngineError) as caught:
        run(engine)
    assert caught.value.kind == kind
    assert caught.value.next_step
    assert len(fake.asked("POST /containers/create")) == runs
    assert fake.containers.by_id == {}


@pytest.mark.parametrize("kept", [4, 8 + 4])
def test_output_that_breaks_off_is_no_result(fake: FakeEngine, engine: Engine, kept: int) -> None:
    """The stream ends inside a header, or inside a piece of output. A header has eight bytes."""
    fake.on_run = lambda _: Exit(0, "0123456789")
    fake.fail(AttachDropped(after_bytes=kept), times=None)
    with pytest.raises(EngineError, match="its output broke off") as caught:
        run(engine)
    assert caught.value.kind == "engine"
    assert len(fake.runs) == 3


def test_output_that_ends_before_its_container_is_no_result(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends between two pieces of output, and the container runs on for a while."""
    monkeypatch.setattr(containers, "EARLY_SECONDS", -0.5)
    fake.on_run = lambda _: Exit(0, "0123456789", seconds=0.2)
    fake.fail(AttachDropped(after_bytes=8 + 10), times=None)
    with pytest.raises(EngineError, match="its output broke off before its end"):
        run(engine)


def test_output_that_broke_off_once_is_there_at_the_next_try(
    fake: FakeEngine, engine: Engine
) -> None:
    """A lost connection costs no cell."""
    fake.on_run = lambda _: Exit(0, "0123456789")
    fake.fail(AttachDropped())
    assert run(engine).stdout == "0123456789"


def test_an_end_that_the_engine_lost_is_no_result(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is complete, and the engine says for ever that the container runs."""
    monkeypatch.setattr(containers, "END_SECONDS", 0.1)
    fake.on_run = lambda _: Exit(0, "a right report\n", seconds=60)
    fake.fail(AttachDropped(after_bytes=8 + 15), times=None)
    with pytest.raises(EngineError, match="does not say that it ended") as caught:
        run(engine)
    assert caught.value.kind == "engine"


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"Status": "dead", "Dead": True}, "it is dead"),
        ({"Status": "removing"}, "it is removing"),
        ({"Status": "created"}, "it is created"),
        ({"Error": "shim disconnected"}, "shim disconnected"),
    ],
)
def test_a_container_whose_end_is_not_known_is_no_result(
    fake: FakeEngine, engine: Engine, state: dict[str, Any], what: str
) -> None:
    """An exit code that stands beside such a state is nobody's."""
    fake.containers.told = state
    with pytest.raises(EngineError, match=what):
        run(engine)


def test_a_container_that_was_paused_until_its_time_was_over_is_no_result(
    fake: FakeEngine, engine: Engine
) -> None:
    """Nobody knows how long the process itself would have taken."""
    fake.on_run = lambda _: Exit(seconds=60)
    fake.containers.told = {"Paused": True}
    with pytest.raises(EngineError, match="something outside paused it"):
        run(engine, limits=Limits(seconds=0.05))


@pytest.mark.parametrize("after", ["500", "nothing"])
def test_a_container_that_cannot_be_killed_is_no_result(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """An engine that refuses to kill, or kills and does not notice, knows nothing of the end."""
    monkeypatch.setattr(containers, "END_SECONDS", 0.1)
    fake.on_run = lambda _: Exit(seconds=60)
    status = 500 if after == "500" else 409
    fake.fail(Refuses("POST /containers/*/kill", status, "no such process"), times=None)
    with pytest.raises(EngineError) as caught:
        run(engine, limits=Limits(seconds=0.05))
    assert caught.value.kind == "engine"


def test_output_that_is_not_utf8_is_shown_with_marks() -> None:
    """A process may print any bytes, and a part may end inside a character."""
    parts: Any = iter([(b"\xff", None), (b"\xc3", b"a"), (b"\xa4", None)])
    output = Output(parts)
    output.start()
    assert output.done.wait(10)
    assert output.text("stdout") == "\N{REPLACEMENT CHARACTER}ä"
    assert output.text("stderr") == "a"
    output.close()  # an iterator has no method for it, like a stream that has ended


# --- runs that the user stops ----------------------------------------------------------------


def test_a_cancelled_run_stops_and_leaves_no_container(fake: FakeEngine, engine: Engine) -> None:
    """It does not wait for the end of the process."""

    def cancel(_: RunRequest) -> Exit:
        engine.cancelled.set()
        return Exit(seconds=60)

    fake.on_run = cancel
    with pytest.raises(Cancelled):
        run(engine)
    assert fake.containers.by_id == {}


def test_a_cancelled_run_is_cancelled_also_if_its_container_stays(
    fake: FakeEngine, engine: Engine
) -> None:
    """The container is removed at the end of the whole run."""

    def cancel(_: RunRequest) -> Exit:
        engine.cancelled.set()
        return Exit(seconds=60)

    fake.on_run = cancel
    fake.fail(Refuses("DELETE /containers/*", 500, "device or resource busy"))
    with pytest.raises(Cancelled):
        run(engine)
    engine.containers.remove_of(engine.run_id)
    assert fake.containers.by_id == {}


# --- an engine that fails --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Refuses("POST /containers/create", 500, "no such runtime"), "no such runtime"),
        (DiskFull("create"), "no space left on device"),
        (Refuses("POST /containers/*/attach", 500, "no stream"), "no stream"),
        (ConnectionDropped("POST /containers/*/attach"), "no Docker engine answers"),
        (ConnectionDropped("POST /containers/*/start"), "no Docker engine answers"),
        (Refuses("GET /containers/*/json", 500, "no state"), "no state"),
        (ConnectionDropped("GET /containers/*/json"), "no Docker engine answers"),
    ],
)
def test_an_engine_that_fails_during_a_run_is_told_and_keeps_no_container(
    fake: FakeEngine, engine: Engine, fault: Fault, what: str
) -> None:
    """Whatever request fails, the container of the run is removed."""
    fake.on_run = lambda _: Exit(seconds=60)
    fake.fail(fault, times=None)
    with pytest.raises(EngineError) as caught:
        run(engine)
    assert what in caught.value.what
    assert caught.value.where == f"run python in {IMAGE}"
    assert fake.containers.by_id == {}


def test_an_image_that_is_lost_before_its_run_is_told(fake: FakeEngine, engine: Engine) -> None:
    """The words of the engine name the image."""
    fake.lose_image()
    with pytest.raises(EngineError, match=f"No such image: {IMAGE}"):
        run(engine)


@pytest.mark.parametrize("fault", [Vanishes("POST /containers/*/start"), VanishesMidRun()])
def test_an_engine_that_goes_away_during_a_run_is_told(
    fake: FakeEngine, engine: Engine, fault: Fault
) -> None:
    """The run ends at once, although its container cannot be removed."""
    fake.fail(fault)
    with pytest.raises(EngineError):
        run(engine)
    fake.come_back()
    engine.containers.remove_of(engine.run_id)
    assert fake.containers.by_id == {}


def test_a_result_counts_although_its_container_cannot_be_removed(
    fake: FakeEngine, engine: Engine
) -> None:
    """The end of the whole run tries to remove the container again."""
    fake.on_run = lambda _: Exit(0, "output\n")
    fake.fail(Refuses("DELETE /containers/*", 500, "device or resource busy"))
    assert run(engine).stdout == "output\n"
    assert len(fake.containers.by_id) == 1
    engine.containers.remove_of(engine.run_id)
    assert fake.containers.by_id == {}


def test_a_container_that_somebody_else_removed_does_no_harm(
    fake: FakeEngine, engine: Engine
) -> None:
    """The process has ended, and its result is known."""
    fake.on_run = lambda _: Exit(0, "output\n")
    fake.fail(Refuses("DELETE /containers/*", 404, "No such container"))
    assert run(engine).exit_code == 0


# --- lists -----------------------------------------------------------------------------------


def test_all_containers_and_those_that_run_are_listed(fake: FakeEngine, engine: Engine) -> None:
    """Containers of other people count, too."""
    image = fake.images.get(IMAGE)
    stopped, running = (fake.add_container(image, running=one).id for one in (False, True))
    assert engine.containers.all() == {stopped, running}
    assert engine.containers.running() == {running}


@pytest.mark.parametrize("ask", [lambda found: found.all(), lambda found: found.running()])
def test_a_list_that_cannot_be_had_is_told(
    fake: FakeEngine, engine: Engine, ask: Callable[[Any], object]
) -> None:
    """Nothing is taken for an empty list."""
    fake.fail(Refuses("GET /containers/json", 500, "the store is damaged"))
    with pytest.raises(EngineError, match="the store is damaged") as caught:
        ask(engine.containers)
    assert caught.value.where == "list containers"
    assert isinstance(caught.value.__cause__, APIError)
