"""Containers: to run a command in an image, isolated and limited, and to clean up."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docker.errors import APIError
from docker.types import DeviceRequest, Ulimit

from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.process import Cancelled, Limits, Ran
from envmatrix.engine.refusals import is_of_image, refused
from envmatrix.engine.retries import retried
from envmatrix.engine.streams import Output, attached
from envmatrix.model.errors import EngineError
from envmatrix.model.image_names import USER

RUN_LABEL = "io.envmatrix.run"
POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""How often the engine is asked how a container is whose output goes on."""

COULD_NOT_START = 127
"""The exit code of a command that the engine cannot start, as a shell reports it."""

END_SECONDS = 10.0
"""How long a container may run on after its output ended, or after we killed it. It takes
milliseconds, unless the engine lost the event of its end."""

EARLY_SECONDS = 1.0
"""How much earlier than the container its output may end, by two clocks."""

_SIGNALLED = 128
_FROM_OUTSIDE = {
    _SIGNALLED + number
    for number in (
        signal.SIGKILL,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
    )
}
"""The exit codes of a process that somebody ended: a person, the engine, or the kernel of the host.

No process crashes with one of these signals.
"""
_ENDED = "exited"


@dataclass(frozen=True, slots=True)
class Containers:
    """The containers of an engine. Only containers that carry the label of this run are removed."""

    connection: Connection

    def run(
        self,
        image: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limits: Limits,
        gpu: bool = False,
        first: bool = False,
    ) -> Ran:
        """Run a command in an isolated container, and remove the container.

        A command that is the `first` process of its container has no init above it.

        How the command ended is the result only where the engine told it, and where the output is
        complete. Anything else is an error of the engine. If such an error may be gone at the next
        try, the command runs again in a new container.

        Raises:
            EngineError: the engine failed, or something outside interfered with the container.
            Cancelled: the user asked to stop.
        """
        doing = f"run {command[0]} in {image}"

        def once() -> Ran:
            with translated(doing):
                return self._run(doing, image, command, environment, limits, gpu=gpu, first=first)

        return retried(once, self.connection.tell, self.connection.cancelled)

    def _run(
        self,
        doing: str,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        *,
        gpu: bool,
        first: bool,
    ) -> Ran:
        client = self.connection.client
        container = self._create(image, command, environment, limits, gpu=gpu, first=first)
        try:
            output = Output(*attached(client.attach_socket(container)), limits.output)
            try:
                return _Watch(self.connection, doing, container, limits, output).run(command[0])
            finally:
                output.close()
        finally:
            # How the run ended counts more than a failed removal. `remove_of` tries again.
            with suppress(*FAILURES):
                client.remove_container(container, force=True, v=True)

    def all(self) -> frozenset[str]:
        """Return the ids of all containers of the engine, whoever created them."""
        return self._ids(stopped_too=True)

    def running(self) -> frozenset[str]:
        """Return the ids of the containers that run now, whoever created them."""
        return self._ids(stopped_too=False)

    def remove_of(self, run_id: str) -> bool:
        """Remove the containers of a run. Return whether none is left.

        A failure is not reported, because the run itself has its own outcome to report.
        """
        with suppress(*FAILURES):
            client = self.connection.client
            wanted = {"label": f"{RUN_LABEL}={run_id}"}
            found = client.containers(all=True, filters=wanted)
            for container in found:
                with suppress(*FAILURES):
                    client.remove_container(container["Id"], force=True, v=True)
            return not found or not client.containers(all=True, filters=wanted)
        return False

    def _create(
        self,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        *,
        gpu: bool,
        first: bool,
    ) -> str:
        client = self.connection.client
        host_config = client.create_host_config(
            **isolation(limits, first=first),
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else None,
        )
        created = client.create_container(
            image,
            list(command),
            user=f"{USER}:{USER}",
            environment=dict(environment),
            labels={RUN_LABEL: self.connection.run_id},
            host_config=host_config,
            # A container without a network needs no proxy, nor the credentials in its address.
            use_config_proxy=False,
        )
        return str(created["Id"])

    def _ids(self, *, stopped_too: bool) -> frozenset[str]:
        with translated("list containers"):
            found = self.connection.client.containers(all=stopped_too, quiet=True)
        return frozenset(container["Id"] for container in found)


@dataclass(slots=True)
class _Watch:
    """Watches one run of a container, from its start to its end."""

    connection: Connection
    doing: str
    container: str
    limits: Limits
    output: Output
    paused: bool = False
    asked: float = -math.inf

    def run(self, program: str) -> Ran:
        """Start the container, and kill it if it exceeds its time or its output.

        Raises:
            EngineError: how the process ended is not known, or something else ended it.
        """
        started = time.monotonic()
        try:
            self.connection.client.start(self.container)
        except APIError as error:
            said = str(error.explanation or error)
            if not is_of_image(said, program):
                raise
            return Ran(COULD_NOT_START, "", said, 0.0)
        self.output.start()
        timed_out, killed = self._until_end(started)
        seconds = time.monotonic() - started
        if not self.output.done.wait(END_SECONDS):
            raise self._lost("its output did not end with it")
        state = self._state()
        if not killed:
            self._check_output(state, started)
            state = self._check_end(state)
        return Ran(
            exit_code=None if killed else int(state["ExitCode"]),
            stdout=self.output.text("stdout"),
            stderr=self.output.text("stderr"),
            seconds=round(seconds, 3),
            out_of_memory=bool(state.get("OOMKilled")),
            timed_out=timed_out,
            flooded=self.output.flooded,
        )

    def _until_end(self, started: float) -> tuple[bool, bool]:
        """Wait for the end. Return whether it came too late, and whether we caused it."""
        while self._goes_on():
            if self.connection.cancelled.is_set():
                raise Cancelled
            now = time.monotonic()
            too_late = now - started > self.limits.seconds
            if self.output.flooded:
                self._kill()
                return False, True
            if too_late:
                if self.paused:
                    raise self._lost("something outside paused it until its time was over")
                if self.output.done.is_set():
                    raise self._lost("its output ended, and the engine does not say that it ended")
                self._kill()
                return True, True
            if not self.output.done.is_set():
                self.output.done.wait(POLL_SECONDS)
            elif now - self.output.ended > END_SECONDS:
                raise self._lost("its output ended, and the engine does not say that it ended")
            else:
                self.connection.cancelled.wait(POLL_SECONDS / 4)
        return False, False

    def _goes_on(self) -> bool:
        """Return whether the container runs. The engine is asked seldom while output may come."""
        now = time.monotonic()
        if self.asked + LOOK_SECONDS > now and not self.output.done.is_set():
            return True
        self.asked = now
        return self._is_running()

    def _kill(self) -> None:
        """Kill the container, and wait for its end."""
        try:
            self.connection.client.kill(self.container)
        except APIError as error:
            if error.status_code != _NOT_RUNNING:
                raise
        deadline = time.monotonic() + END_SECONDS
        while self._is_running():
            if time.monotonic() > deadline:
                raise self._lost("the engine killed it, and does not say that it ended")
            self.connection.cancelled.wait(POLL_SECONDS / 4)

    def _is_running(self) -> bool:
        state = self._state()
        self.paused = self.paused or bool(state.get("Paused"))
        return bool(state["Running"])

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.connection.client.inspect_container(self.container)["State"]
        return state

    def _check_output(self, state: Mapping[str, Any], started: float) -> None:
        """Refuse output that broke off.

        Raises:
            EngineError: the stream broke off, or it ended before the container did.
        """
        if self.output.error is not None:
            raise self._lost(f"its output broke off ({self.output.error})")
        ran = _duration(state)
        if ran is not None and self.output.ended - started < ran - EARLY_SECONDS:
            raise self._lost("its output broke off before its end")

    def _check_end(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state of a container that ended by itself.

        Raises:
            EngineError: something else ended it, or its exit code is not known.
        """
        if state.get("Error"):
            raise refused(self.doing, str(state["Error"]))
        if state.get("Dead") or state.get("Status", _ENDED) != _ENDED:
            raise self._lost(f"the engine says that it is {state.get('Status') or 'dead'}")
        code = int(state["ExitCode"])
        if code in _FROM_OUTSIDE and not state.get("OOMKilled"):
            # The engine may tell of the memory a moment after the end.
            self.connection.cancelled.wait(POLL_SECONDS)
            state = self._state()
            if not state.get("OOMKilled"):
                raise self._killed(code)
        memory = int(self.connection.info.get("MemTotal") or 0)
        if state.get("OOMKilled") and 0 < memory <= self.limits.memory:
            raise EngineError(
                f"the host of the engine ran out of memory: it has {memory / 2**30:.1f} GiB, and a "
                f"probe may use {self.limits.memory / 2**30:.1f}",
                where=self.doing,
                next_step="use an engine on a machine with more memory",
                kind="out-of-memory",
            )
        return state

    def _killed(self, code: int) -> EngineError:
        name = signal.Signals(code - _SIGNALLED).name
        return EngineError(
            f"something outside the container ended it ({name}): a person, the engine, or the host "
            "for want of memory",
            where=self.doing,
            next_step="see `dmesg` on the host for the killer of processes that want too much "
            "memory, then run it again with --jobs 1",
            kind="killed",
            transient=True,
        )

    def _lost(self, what: str) -> EngineError:
        return EngineError(
            f"the engine lost track of a container: {what}",
            where=self.doing,
            next_step="see the engine's own log (`journalctl --unit docker`), then try again",
            transient=True,
        )


_NOT_RUNNING = 409
"""The HTTP status of a request to kill what does not run any more."""


def _duration(state: Mapping[str, Any]) -> float | None:
    """Return how many seconds a container ran, by the clock of the engine."""
    try:
        # Without the fraction: engines write nanoseconds, which `fromisoformat` may not read.
        begun, ended = (
            datetime.fromisoformat(state[name][:19]) for name in ("StartedAt", "FinishedAt")
        )
    except (KeyError, TypeError, ValueError):
        return None
    return (ended - begun).total_seconds()


def isolation(limits: Limits, *, first: bool = False) -> dict[str, Any]:
    """Return the settings that isolate and limit every container which runs a probe.

    They differ in one thing only where the command is the `first` process of the container.
    """
    return {
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={limits.scratch}"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "pids_limit": limits.processes,
        "shm_size": 256 * 2**20,
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # We read the output as it comes. A log file could fill the disk of the engine.
        "log_config": {"type": "none"},
        "init": not first,
    }
