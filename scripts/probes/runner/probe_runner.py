"""Runs the probes of a cell one after another in one container, most of them from one import.

envmatrix starts this program as the first process of the container. It is the supervisor:
- It runs each probe in a process of its own, with its own nonce, limits of time and output, and an
  empty scratch folder. What a probe leaves is removed: processes, files, shared memory.
- A probe is either a new process, or a fork of the importer: a second process of this program that
  has done nothing but import the framework.
- It writes a line of JSON for each probe to its stdout, and nobody else can write there. The
  supervisor is not dumpable, so a process of the same user reads neither its memory nor its
  environment, which holds the nonces, and opens none of its files. No signal of a process of the
  container kills the first one.

Where anything is not as it should be, it ends. envmatrix runs alone what has no line, and what did
not pass. It runs in images, so it needs the standard library of Python 3.9 only. docs/decisions has
the reasons (0018).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PLAN = "ENVMATRIX_PLAN"
NONCE = "ENVMATRIX_NONCE"
START = "import sys;exec(compile(sys.argv[1],'probe_runner.py','exec'))"

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
SIGNALLED = 128
POLL_SECONDS = 0.02
SWEEP_SECONDS = 10.0
FORK_SECONDS = 30.0
TASK_BYTES = 4096
CHANNEL = 3
"""The descriptor by which the importer talks to the supervisor."""

libc = ctypes.CDLL(None, use_errno=True)


class WrongError(Exception):
    """Something is not as it should be: nothing else may run beside what is here."""


def control(option: int, value: int) -> None:
    """Set an attribute of this process (prctl)."""
    if libc.prctl(option, value, 0, 0, 0):
        raise WrongError(f"prctl({option}, {value}): {os.strerror(ctypes.get_errno())}")


# --- the importer, and the probes that are forked from it ---------------------------------------


def import_and_fork(scratch: str, modules: list[str]) -> None:
    """Import modules, then fork a process for each probe. It returns in such a process only."""
    if sys.path[0] == "":
        sys.path[0] = scratch  # the folder of the probe, as where Python is started with its file
    for module in modules:
        importlib.import_module(module)
    flush()
    # What was imported lives as long as a probe does. Otherwise each fork would look through it for
    # garbage at its end, which takes twice as long as the whole end of a fork takes now.
    gc.collect()
    gc.freeze()
    control(PR_SET_DUMPABLE, 0)
    channel = socket.socket(fileno=CHANNEL)
    channel.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, TASK_BYTES, 3)
        if not message:
            os._exit(0)
        if fork_twice(channel):
            channel.close()
            become_probe(json.loads(message), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def flush() -> None:
    """Write out what Python and C hold back, or each fork would write it."""
    sys.stdout.flush()
    sys.stderr.flush()
    libc.fflush(None)


def fork_twice(channel: socket.socket) -> bool:
    """Fork a process whose parent is the supervisor. Return whether this is it."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            raise WrongError("the process between the importer and a probe failed")
        return False
    try:
        between = os.getpid()
        probe = os.fork()
        if probe:
            channel.send(b"%d" % probe)
            os._exit(0)
    except OSError:
        os._exit(1)
    while os.path.exists(f"/proc/{between}"):  # the probe must find nobody whom it could harm
        time.sleep(0.001)
    return True


def become_probe(task: dict[str, str], descriptors: list[int]) -> None:
    """Run a probe in this process as if Python had been started with its file."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.setsid()
    control(PR_SET_DUMPABLE, 1)
    os.environ[NONCE] = task["nonce"]
    path = task["path"]
    sys.argv[:] = [path]
    sys.orig_argv = [sys.executable, path]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # the module `random` does so by itself
    with open(path, "rb") as file:
        source = file.read()
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)  # noqa: S102
    except Exception as error:
        trace = error.__traceback__
        error.__traceback__ = trace.tb_next if trace else None  # without the line above
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


# --- the supervisor -----------------------------------------------------------------------------


def supervise(sources: list[str]) -> None:
    """Run the probes of the plan, whose sources these are, and write a line for each."""
    plan = json.loads(os.environ.pop(PLAN))
    if plan["first"] and os.getpid() != 1:
        raise WrongError("there is a process above this one, which others may reach")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    control(PR_SET_DUMPABLE, 0)
    control(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = Supervisor(plan)
    for probe, source in zip(plan["probes"], sources):
        line = json.dumps(supervisor.run(probe, source)) + "\n"
        write(1, line.encode())
    supervisor.sweep()


def write(descriptor: int, data: bytes) -> None:
    """Write all of the data."""
    while data:
        data = data[os.write(descriptor, data) :]


class Supervisor:
    """Starts probes, watches them, and removes what they leave."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.scratch = plan["scratch"]
        self.modules = plan["preload"]
        self.import_seconds = plan["import_seconds"]
        self.output_limit = plan["output_limit"]
        self.nothing = os.open(os.devnull, os.O_RDWR)
        self.importer = 0
        self.importer_limits: object = None
        self.channel, self.importers_end = socket.socketpair()
        self.watched: dict[int, int | None] = {}
        """The exit status of each process that is ours to wait for, once it has ended."""
        self.shared_memory = shared_memory()

    def run(self, probe: dict[str, Any], source: str) -> dict[str, Any]:
        """Run one probe, and return how it ended."""
        if probe["forked"] and not self.importer:
            self.start_importer()
        self.clean()
        path = os.path.join(self.scratch[0], probe["file"])
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(source)
        killed = memory_kills()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        started = time.monotonic()
        start = self.fork if probe["forked"] else self.spawn_probe
        process = start(path, probe["nonce"], [self.nothing, out_end, err_end])
        os.close(out_end)
        os.close(err_end)
        found = self.watch(process, Output(out, err, self.output_limit), started, probe["timeout"])
        found["nonce"] = probe["nonce"]
        found["out_of_memory"] = None if killed is None else memory_kills() != killed
        self.clean()
        return found

    def start_importer(self) -> None:
        """Start the process that imports, and wait until it is ready to fork."""
        self.clean()
        command = ["-c", START, sys.argv[1], "import", self.scratch[0], *self.modules]
        descriptors = [self.nothing] * 3 + [self.importers_end.fileno()]
        process = self.spawn(command, dict(os.environ), descriptors)
        self.importers_end.close()
        self.importer = process
        self.watched[process] = None
        if self.told(self.import_seconds) != b"ready":
            raise WrongError("the importer is not ready")
        self.importer_limits = limits_of(process)
        self.shared_memory = shared_memory()  # what the import made is no probe's

    def told(self, seconds: float) -> bytes:
        """Return what the importer says; raise where it says nothing for so long."""
        readable, _, _ = select.select([self.channel], [], [], seconds)
        message = self.channel.recv(TASK_BYTES) if readable else b""
        if not message:
            raise WrongError("the importer does not answer")
        return message

    def fork(self, path: str, nonce: str, descriptors: list[int]) -> int:
        """Let the importer fork a process that becomes a probe, and return its number."""
        task = json.dumps({"path": path, "nonce": nonce}).encode()
        socket.send_fds(self.channel, [task], descriptors)
        process = int(self.told(FORK_SECONDS))
        self.watched[process] = None
        return process

    def spawn_probe(self, path: str, nonce: str, descriptors: list[int]) -> int:
        """Start a probe as a new process."""
        return self.spawn([path], {**os.environ, NONCE: nonce}, descriptors)

    def spawn(
        self, arguments: list[str], environment: dict[str, str], descriptors: list[int]
    ) -> int:
        """Start Python with these descriptors, from 0 up, and no others."""
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, *arguments],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, descriptor, target)
                for target, descriptor in enumerate(descriptors)
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these two
        )
        self.watched[process] = None
        return process

    def watch(self, process: int, output: Output, started: float, seconds: float) -> dict[str, Any]:
        """Wait for the end of a probe, or end it; then end what it left."""
        timed_out = False
        while not (output.flooded or timed_out):
            output.read(POLL_SECONDS)
            self.bury()
            if self.watched[process] is not None:
                break
            timed_out = time.monotonic() - started > seconds
        ended = time.monotonic()
        self.sweep()
        output.drain()
        status = self.watched.pop(process)
        if status is None:
            raise WrongError("the end of a process is not known")
        code = os.waitstatus_to_exitcode(status)
        return {
            "exit_code": SIGNALLED - code if code < 0 else code,
            "seconds": round(ended - started, 3),
            "timed_out": timed_out,
            "flooded": output.flooded,
            "stdout": output.text(output.out),
            "stderr": output.text(output.err),
        }

    def bury(self) -> None:
        """Take the exit codes of processes that ended: of those we watch, and of orphans."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            if process in self.watched:
                self.watched[process] = status

    def sweep(self) -> None:
        """End every process but the importer.

        All are stopped first: a process that forks faster than it can be killed cannot get away.
        """
        deadline = time.monotonic() + SWEEP_SECONDS
        before: set[int] = set()
        while time.monotonic() < deadline:
            self.bury()
            left = descendants(os.getpid()) - {self.importer}
            if not left:
                self.bury()
                return
            number = signal.SIGKILL if left == before else signal.SIGSTOP
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            before = left
        raise WrongError("a process does not end")

    def clean(self) -> None:
        """Remove what a probe left, and check the importer. Nothing else runs now.

        The importer may have been stopped, and may have got other limits: any process of the same
        user can do so.
        """
        self.sweep()
        for folder in self.scratch:
            if os.path.isdir(folder):
                for name in os.listdir(folder):
                    remove(os.path.join(folder, name))
        if shared_memory() != self.shared_memory:
            raise WrongError("shared memory is left")
        if self.importer:
            if self.watched[self.importer] is not None:
                raise WrongError("the importer has ended")
            os.kill(self.importer, signal.SIGCONT)
            if self.importer_limits and limits_of(self.importer) != self.importer_limits:
                raise WrongError("the importer has other limits than before")


class Output:
    """What a probe writes, up to a limit for both streams together."""

    def __init__(self, out: int, err: int, limit: int) -> None:
        self.out, self.err, self.limit = out, err, limit
        self.parts = {out: bytearray(), err: bytearray()}
        self.open = [out, err]
        self.flooded = False
        for descriptor in self.open:
            os.set_blocking(descriptor, False)

    def read(self, seconds: float) -> bool:
        """Read what is there, wait for it so long; return whether there was anything."""
        if not self.open:
            time.sleep(seconds)
            return False
        readable, _, _ = select.select(self.open, [], [], seconds)
        for descriptor in readable:
            data = os.read(descriptor, 65536)
            self.parts[descriptor] += data
            if not data:
                self.open.remove(descriptor)
        self.flooded = sum(map(len, self.parts.values())) > self.limit
        return bool(readable)

    def drain(self) -> None:
        """Read what is left. Nobody writes any more."""
        while self.open and not self.flooded and self.read(0):
            pass
        os.close(self.out)
        os.close(self.err)

    def text(self, descriptor: int) -> str:
        """Return what came by one stream, in base64."""
        return base64.b64encode(self.parts[descriptor][: self.limit]).decode()


def descendants(ancestor: int) -> set[int]:
    """Return the processes below one that have not ended."""
    parents, ended = {}, set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue  # it has just ended
            parents[int(name)] = int(parent)
            if state in (b"Z", b"X"):
                ended.add(int(name))
    found: set[int] = set()
    below = {ancestor}
    while below:
        below = {process for process, parent in parents.items() if parent in below} - found
        found |= below
    return found - ended


def limits_of(process: int) -> tuple[object, ...]:
    """Return what another process of the same user could change of a process."""
    with open(f"/proc/{process}/limits", "rb") as file:
        limits = file.read()
    return limits, os.sched_getaffinity(process), os.getpriority(os.PRIO_PROCESS, process)


def shared_memory() -> list[list[bytes]]:
    """Return the keys of what System V holds for processes: memory, semaphores, messages."""
    found = []
    for name in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{name}", "rb") as file:
                found += [line.split()[:2] for line in file]
        except FileNotFoundError:
            continue
    return found


def memory_kills() -> int | None:
    """Return how many processes of the container the kernel killed for want of memory.

    None where the kernel does not tell.
    """
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except OSError:
            continue
    return None


def remove(path: str) -> None:
    """Remove a file, or a folder with all that is in it, whatever its permissions."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        remove(os.path.join(path, name))
    os.rmdir(path)


if __name__ == "__main__":
    if sys.argv[2] == "supervise":
        supervise(sys.argv[3:])
    else:
        import_and_fork(sys.argv[3], sys.argv[4:])
