"""Host mode: probes in an interpreter of this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from envmatrix.errors import InputError
from envmatrix.host import probe_host, run_on_host
from envmatrix.probe import Outcome, Probe
from envmatrix.report import document

REPORT = (
    "import json, os, sys\n"
    "def report(**more):\n"
    "    print(json.dumps({'probe': NAME, 'nonce': os.environ['ENVMATRIX_NONCE'], **more}))\n"
)


def made(
    source: str, name: str = "demo-import", framework: str = "demo", timeout: int = 20
) -> Probe:
    """Return a probe of this source, which may call `report`."""
    return Probe(
        name,
        framework,
        "something",
        required=True,
        timeout=timeout,
        source=f"NAME = {name!r}\n{REPORT}{source}",
    )


def test_what_an_interpreter_has_becomes_host_evidence() -> None:
    """Under an id of its own, with what was observed on its axes."""
    (found,) = probe_host(sys.executable, [made("report(observed={'version': '1.0'})")])

    assert (found["kind"], found["verdict"]) == ("host", "works")
    assert found["id"].startswith("host-demo-1.0-")
    assert found["axes"]["version"] == "1.0"


def test_a_framework_that_is_not_installed_is_passed_over() -> None:
    """It is neither broken nor unknown: nobody said it is there."""
    assert probe_host(sys.executable, [made("import no_such_framework")]) == []


def test_host_evidence_counts_for_no_cell() -> None:
    """A report holds it apart from the cells."""
    (found,) = probe_host(sys.executable, [made("report(observed={'version': '1.0'})")])
    report = document([], {}, [found])

    assert report["summary"] == {"works": 0, "broken": 0, "impossible": 0, "unknown": 0}
    assert report["cells"] == []
    assert [one["id"] for one in report["on_hosts"]] == [found["id"]]


@pytest.mark.parametrize(
    ("expected", "source"),
    [
        (Outcome.FAILED, "assert False, 'no'"),
        (Outcome.CRASHED, "os.kill(os.getpid(), 9)"),
        (Outcome.BAD_REPORT, "print('fine')"),
        (Outcome.FLOODED, "print('x' * 2_000_000)"),
        (Outcome.NOT_RUN, "report(not_run='no GPU'); sys.exit(77)"),
    ],
)
def test_it_ends_in_the_same_outcomes_as_in_a_container(expected: Outcome, source: str) -> None:
    """The judge is the same."""
    assert run_on_host(sys.executable, made(source)).outcome == expected


def test_what_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """No child outlives its probe."""
    pid = tmp_path / "pid"
    source = (
        "import subprocess, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )

    assert run_on_host(sys.executable, made(source, timeout=2)).outcome == Outcome.TIMED_OUT
    status = Path(f"/proc/{pid.read_text()}/status")
    # The signal is sent; on a machine that is busy it takes effect a little later.
    for _ in range(100):
        if not status.exists() or "Z (zombie)" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("the child lives on")


def test_an_interpreter_that_is_not_there_is_wrong_input() -> None:
    """Said before anything is judged."""
    with pytest.raises(InputError, match="cannot be started"):
        probe_host("/no/such/python", [made("")])
