"""A Docker engine of these tests alone: it may be killed, frozen and started again.

`scripts/private-engine` runs it. Its images stay in its folder, so a killed engine finds them again
when it is started again, as after a crash of its machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from docker import APIClient
from docker.errors import DockerException

PROGRAM = Path(__file__).parents[2] / "scripts" / "private-engine"
START_SECONDS = 300.0
"""The first start unpacks the engine."""
ANSWER_SECONDS = 5


class NoEngineError(Exception):
    """The engine could not be had."""


@dataclass
class PrivateEngine:
    """An engine of a version, in a folder that keeps it and its images in a store."""

    version: str
    folder: Path
    store: str = "overlay2"
    _home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="engine-")))
    _script: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The address of the engine. It stays the same when the engine is started again."""
        return f"unix://{self._home / 'd.sock'}"

    @property
    def log(self) -> Path:
        """What the script that starts the engine says."""
        return self._home / "log"

    def start(self) -> None:
        """Start the engine, and wait until it answers.

        Raises:
            NoEngineError: it cannot be had, such as without root.
        """
        options = ["--store", self.store, "--dir", str(self.folder)]
        with self.log.open("ab") as log:
            self._script = subprocess.Popen(
                [str(PROGRAM), self.version, *options, "--", "sleep", "infinity"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        socket = self._home / "d.sock"
        socket.unlink(missing_ok=True)
        socket.symlink_to(self.folder / self.version / "run" / "d.sock")
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._script.poll() is not None or time.monotonic() > end:
                said = self.log.read_text(encoding="utf-8", errors="replace")
                self.stop()
                raise NoEngineError(said[-2000:])
            time.sleep(0.2)

    def answers(self) -> bool:
        """Return whether the engine answers a request."""
        with suppress(DockerException, OSError):
            client = APIClient(base_url=self.address, timeout=ANSWER_SECONDS)
            try:
                return bool(client.ping())
            finally:
                client.close()
        return False

    @property
    def process(self) -> int:
        """The process of the engine itself."""
        assert self._script is not None
        found = []
        for one in _below(self._script.pid):
            with suppress(OSError):  # it has just ended
                if Path(f"/proc/{one}/comm").read_text(encoding="utf-8") == "private-dockerd\n":
                    found.append(one)
        (process,) = found
        return process

    def kill(self) -> None:
        """Kill the engine. All that it runs ends too, as when its machine loses power."""
        os.kill(self.process, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Clean up after an engine that was killed by others."""
        wait_until(lambda: not self.answers())
        self.stop()

    def freeze(self) -> None:
        """Stop the engine from doing anything. What it runs goes on."""
        os.kill(self.process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen engine go on."""
        os.kill(self.process, signal.SIGCONT)

    def stop(self) -> None:
        """End the engine. Nothing happens where it has ended."""
        script, self._script = self._script, None
        if script is not None:
            script.terminate()
            script.wait()

    def close(self) -> None:
        """End the engine for good; its images stay in its folder."""
        self.stop()
        shutil.rmtree(self._home)


def _below(ancestor: int) -> set[int]:
    """Return the processes below one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has just ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    below = {ancestor}
    while below:
        below = {process for process, parent in parents.items() if parent in below} - found
        found |= below
    return found


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:.0f} s"
        time.sleep(0.1)
