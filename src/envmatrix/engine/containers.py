"""Containers: to run a command in an image, isolated and limited, and to clean up."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError
from docker.types import CancellableStream, DeviceRequest, Ulimit

from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.process import OUTPUT_LIMIT, Cancelled, Limits, Ran
from envmatrix.model.image_names import USER

RUN_LABEL = "io.envmatrix.run"
POLL_SECONDS = 0.2
COULD_NOT_START = 127
"""The exit code of a command that the engine cannot start, as a shell reports it."""


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
    ) -> Ran:
        """Run a command in an isolated container, and remove the container.

        Raises:
            EngineError: the engine failed.
            Cancelled: the user asked to stop.
        """
        client = self.connection.client
        with translated(f"run {command[0]} in {image}"):
            container = self._create(image, command, environment, limits, gpu=gpu)
            try:
                output = _Output(client.attach(container, stream=True, demux=True))
                try:
                    return self._watch(container, limits, output)
                finally:
                    output.close()
            finally:
                # How the run ended counts more than a failed removal. `remove_left` tries again.
                with suppress(*FAILURES):
                    client.remove_container(container, force=True, v=True)

    def all(self) -> frozenset[str]:
        """Return the ids of all containers of the engine, whoever created them."""
        return self._ids(stopped_too=True)

    def running(self) -> frozenset[str]:
        """Return the ids of the containers that run now, whoever created them."""
        return self._ids(stopped_too=False)

    def remove_left(self) -> None:
        """Remove the containers that are left of this run.

        A failure is not reported, because the run itself has its own outcome to report.
        """
        client = self.connection.client
        with suppress(*FAILURES):
            for container in client.containers(
                all=True, filters={"label": f"{RUN_LABEL}={self.connection.run_id}"}
            ):
                with suppress(*FAILURES):
                    client.remove_container(container["Id"], force=True, v=True)

    def _create(
        self,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        *,
        gpu: bool,
    ) -> str:
        client = self.connection.client
        host_config = client.create_host_config(
            **isolation(limits),
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else None,
        )
        created = client.create_container(
            image,
            list(command),
            user=f"{USER}:{USER}",
            environment=dict(environment),
            labels={RUN_LABEL: self.connection.run_id},
            host_config=host_config,
        )
        return str(created["Id"])

    def _watch(self, container: str, limits: Limits, output: _Output) -> Ran:
        """Start a container, and kill it if it exceeds its time or its output."""
        client = self.connection.client
        started = time.monotonic()
        try:
            client.start(container)
        except APIError as error:
            return Ran(COULD_NOT_START, "", str(error.explanation or error), 0.0)
        output.start()
        timed_out = killed = False
        while client.inspect_container(container)["State"]["Running"]:
            if self.connection.cancelled.is_set():
                raise Cancelled
            too_late = time.monotonic() - started > limits.seconds
            if output.flooded or too_late:
                killed, timed_out = True, not output.flooded
                with suppress(APIError):
                    client.kill(container)
                break
            output.done.wait(POLL_SECONDS)
        seconds = time.monotonic() - started
        output.done.wait(5)
        state = client.inspect_container(container)["State"]
        return Ran(
            exit_code=None if killed else int(state["ExitCode"]),
            stdout=output.text("stdout"),
            stderr=output.text("stderr"),
            seconds=round(seconds, 3),
            out_of_memory=bool(state.get("OOMKilled")),
            timed_out=timed_out,
            flooded=output.flooded,
        )

    def _ids(self, *, stopped_too: bool) -> frozenset[str]:
        with translated("list containers"):
            found = self.connection.client.containers(all=stopped_too, quiet=True)
        return frozenset(container["Id"] for container in found)


class _Output:
    """Collects the output of a container in a thread of its own, up to `OUTPUT_LIMIT`."""

    def __init__(self, stream: CancellableStream[tuple[bytes | None, bytes | None]]) -> None:
        self._stream = stream
        self._parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.flooded = False
        self.done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        """Read to the end, also past the limit: a full stream would keep the container alive."""
        total = 0
        with suppress(*FAILURES, ValueError):
            for out, err in self._stream:
                if self.flooded:
                    continue
                self._parts["stdout"].append(out or b"")
                self._parts["stderr"].append(err or b"")
                total += len(out or b"") + len(err or b"")
                self.flooded = total > OUTPUT_LIMIT
        self.done.set()

    def close(self) -> None:
        with suppress(*FAILURES, AttributeError):
            self._stream.close()

    def text(self, name: str) -> str:
        return b"".join(self._parts[name])[:OUTPUT_LIMIT].decode("utf-8", "replace")


def isolation(limits: Limits) -> dict[str, Any]:
    """Return the settings that isolate and limit every container which runs a probe."""
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
        "init": True,
    }
