"""Every way a probe can end, and what it cannot do, each provoked in a real container."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from envmatrix.engine import containers
from envmatrix.engine.client import Engine
from envmatrix.engine.process import Limits
from envmatrix.model.probe_results import Outcome
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import judge
from envmatrix.probes.running import run_probe

pytestmark = pytest.mark.engine

REPORT = (
    "import json, os\n"
    "def report(**more):\n"
    "    print(json.dumps({'probe': 'a-probe', 'nonce': os.environ['ENVMATRIX_NONCE'], **more}))\n"
)


def made(source: str, timeout: int = 30) -> Probe:
    """Return a probe of this source, which may call `report`."""
    return Probe(
        "a-probe", "none", "something", required=True, timeout=timeout, source=REPORT + source
    )


ENDINGS = {
    Outcome.PASSED: "report(observed={})",
    Outcome.FAILED: "assert 2 == 3, 'two is not three'",
    Outcome.CRASHED: "os.kill(os.getpid(), 11)",
    Outcome.BAD_REPORT: "print('all is well')",
    Outcome.FLOODED: "while True: print('x' * 10_000)",
    Outcome.NOT_RUN: "report(not_run='nothing to do')\nraise SystemExit(77)",
    Outcome.OUT_OF_MEMORY: "hog = [bytearray(2**26) for _ in range(1000)]",
}


@pytest.mark.parametrize(("expected", "source"), ENDINGS.items())
def test_each_ending_is_told_apart(
    engine: Engine, base_image: str, expected: Outcome, source: str
) -> None:
    """Passed, failed, crashed, ... are different words for different things."""
    result = run_probe(engine.containers, base_image, made(source), gpu=False)

    assert expected == result.outcome, result.log_tail


def test_a_probe_that_takes_too_long_is_ended(engine: Engine, base_image: str) -> None:
    """And is told apart from one that crashed."""
    slow = made("import time; time.sleep(60)", timeout=1)

    assert run_probe(engine.containers, base_image, slow, gpu=False).outcome == Outcome.TIMED_OUT


def test_a_command_that_does_not_exist_could_not_start(engine: Engine, base_image: str) -> None:
    """It says nothing about what the probe would have proved."""
    ran = engine.containers.run(base_image, ["/no/such/python"], environment={}, limits=Limits())

    assert judge(made(""), ran, "0").outcome == Outcome.COULD_NOT_START


def test_a_good_report_with_a_bad_exit_code_fails(engine: Engine, base_image: str) -> None:
    """Text on stdout alone never passes."""
    lying = made("report(observed={}); raise SystemExit(1)")

    assert run_probe(engine.containers, base_image, lying, gpu=False).outcome == Outcome.FAILED


HARM = {
    "write to the root filesystem": "open('/opt/venv/x', 'w')",
    "write to /etc": "open('/etc/x', 'w')",
    "reach the host's loopback": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "reach the host by its address": "import socket; socket.create_connection((HOST, PORT), 5)",
    "become root": "os.setuid(0)",
    "mount a filesystem": "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
    "assert c.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0, os.strerror(ctypes.get_errno())",
    "start processes without bound": "import signal, time\n"
    "for _ in range(600):\n    if os.fork() == 0: time.sleep(60); os._exit(0)",
    "fill the disk": "file = open('/tmp/x', 'wb')\nfor _ in range(1100): file.write(bytes(2**20))",
}


@pytest.fixture(scope="module")
def listening() -> Iterator[str]:
    """Python that names a server of the host, which takes every connection, on every address."""
    with socket.create_server(("0.0.0.0", 0), backlog=16) as server:  # noqa: S104
        address, port = _own_address(), server.getsockname()[1]
        yield f"HOST, PORT = {address!r}, {port}\n"


def _own_address() -> str:
    """Return an address of this machine that is not of its loopback. Nothing is sent for that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("source", HARM.values(), ids=HARM)
def test_a_probe_cannot_do_harm(
    engine: Engine, base_image: str, listening: str, source: str
) -> None:
    """Whatever it tries ends in an error inside the container."""
    probe = made(listening + source + "\nreport(observed={})")
    result = run_probe(engine.containers, base_image, probe, gpu=False)

    assert result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY), result.log_tail
    assert result.outcome is Outcome.OUT_OF_MEMORY or "Error" in result.log_tail


@pytest.mark.parametrize("source", HARM.values(), ids=HARM)
def test_the_same_attempt_succeeds_without_isolation(
    engine: Engine,
    base_image: str,
    listening: str,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the isolation stops it, and no other reason does."""
    monkeypatch.setattr(containers, "isolation", no_isolation)
    monkeypatch.setattr(containers, "USER", 0)
    probe = made(listening + source + "\nreport(observed={})", timeout=60)
    result = run_probe(engine.containers, base_image, probe, gpu=False)

    assert result.outcome == Outcome.PASSED, result.log_tail


def no_isolation(_: Limits, *, first: bool = False) -> dict[str, Any]:
    """Return host settings that forbid none of these attempts.

    They are not `privileged`: an engine that itself runs in a container may not give all of that.
    """
    return {
        "network_mode": "host",
        "cap_add": ["SYS_ADMIN"],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "init": not first,
    }
