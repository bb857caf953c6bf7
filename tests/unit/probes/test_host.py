"""Host mode: probes in an interpreter of this machine, with real small programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from envmatrix.engine.process import OUTPUT_LIMIT
from envmatrix.model.errors import InputError
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.probes.headers import Probe
from envmatrix.probes.host import probe_host, run_on_host
from envmatrix.report.document import document
from envmatrix.stages.evidence import host_evidence, machine

REPORT = (
    "import json, os, sys\n"
    "def report(**more):\n"
    "    print(json.dumps({'probe': NAME, 'nonce': os.environ['ENVMATRIX_NONCE'], **more}))\n"
)


def made(
    source: str,
    name: str = "demo-import",
    framework: str = "demo",
    timeout: int = 20,
    stack: str = "",
) -> Probe:
    """Return a probe of this source, which may call `report`."""
    return Probe(
        name,
        framework,
        "something",
        required=True,
        timeout=timeout,
        source=f"NAME = {name!r}\n{REPORT}{source}",
        stack=stack,
    )


def outcomes(found: Mapping[str, Sequence[ProbeResult]]) -> dict[str, list[tuple[str, Outcome]]]:
    """Return the name and the outcome of each result, by framework."""
    return {
        framework: [(result.probe, result.outcome) for result in results]
        for framework, results in found.items()
    }


# --- which probes run ------------------------------------------------------------------------


def test_the_probes_of_each_framework_run_in_their_order() -> None:
    """Each result is kept under its framework."""
    found = probe_host(
        sys.executable,
        [
            made("report(observed={'version': '1.0'})"),
            made("assert False", "demo-sum"),
            made("report(observed={'version': '2'})", "other-import", "other"),
        ],
    )
    assert outcomes(found) == {
        "demo": [("demo-import", Outcome.PASSED), ("demo-sum", Outcome.FAILED)],
        "other": [("other-import", Outcome.PASSED)],
    }
    assert found["demo"][0].observed.version == "1.0"


def test_a_framework_that_is_not_installed_is_passed_over(tmp_path: Path) -> None:
    """It is neither broken nor unknown, and its other probes do not even start."""
    trace = tmp_path / "trace"
    found = probe_host(
        sys.executable,
        [made("import no_such_framework"), made(f"open({str(trace)!r}, 'w')", "demo-sum")],
    )
    assert found == {}
    assert not trace.exists()


def test_a_framework_that_cannot_be_imported_is_told() -> None:
    """It is installed, so its probes are of interest."""
    found = probe_host(sys.executable, [made("raise ImportError('libx.so: cannot open')")])
    assert outcomes(found) == {"demo": [("demo-import", Outcome.FAILED)]}


def test_the_probes_of_a_stack_do_not_run_on_a_host() -> None:
    """A host has declared no stack."""
    probes = [made("report(observed={})"), made("report(observed={})", "demo-x", stack="x")]
    assert outcomes(probe_host(sys.executable, probes)) == {
        "demo": [("demo-import", Outcome.PASSED)]
    }
    assert probe_host(sys.executable, [made("", stack="x")]) == {}


def test_the_results_become_host_evidence() -> None:
    """The evidence has an id of its own, with what was observed on its axes."""
    found = probe_host(sys.executable, [made("report(observed={'version': '1.0'})")])
    evidence = host_evidence("demo", found["demo"])

    assert (evidence.kind, evidence.verdict) == ("host", Verdict.WORKS)
    assert evidence.id.startswith("host-demo-1.0-")
    assert evidence.axes.version == "1.0"


def test_host_evidence_counts_for_no_cell() -> None:
    """A report holds it apart from the cells."""
    found = probe_host(sys.executable, [made("report(observed={'version': '1.0'})")])
    evidence = host_evidence("demo", found["demo"])
    report = document([], machine(), [evidence])

    assert report.summary == {"works": 0, "partial": 0, "broken": 0, "impossible": 0, "unknown": 0}
    assert report.cells == ()
    assert [one.id for one in report.on_hosts] == [evidence.id]


# --- how a probe ends ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "source"),
    [
        (Outcome.PASSED, "report(observed={})"),
        (Outcome.FAILED, "assert False, 'no'"),
        (Outcome.FAILED, "sys.exit(3)"),
        (Outcome.CRASHED, "os.kill(os.getpid(), 9)"),
        (Outcome.BAD_REPORT, "print('fine')"),
        (Outcome.FLOODED, "print('x' * 2_000_000)"),
        (Outcome.FLOODED, "report(observed={}); print('x' * 2_000_000, file=sys.stderr)"),
        (Outcome.NOT_RUN, "report(not_run='no GPU'); sys.exit(77)"),
        (Outcome.COULD_NOT_START, "sys.exit(127)"),
    ],
)
def test_a_probe_has_the_same_outcomes_as_in_a_container(expected: Outcome, source: str) -> None:
    """The judge is the same."""
    assert run_on_host(sys.executable, made(source)).outcome == expected


def test_a_signal_is_named() -> None:
    """The exit code is the one that a container would have."""
    result = run_on_host(sys.executable, made("os.kill(os.getpid(), 11)"))
    assert (result.exit_code, result.cause) == (139, "ended by SIGSEGV")


def test_both_streams_are_kept_apart_and_cut() -> None:
    """Output that is not UTF-8 is shown with marks."""
    source = "sys.stdout.buffer.write(b'out\\xff\\n'); sys.stderr.write('err\\n'); sys.exit(1)"
    assert run_on_host(sys.executable, made(source)).log_tail == "out\N{REPLACEMENT CHARACTER}\nerr"
    flood = f"sys.stdout.write('x' * {OUTPUT_LIMIT} + '\\nlast')"
    assert "last" not in run_on_host(sys.executable, made(flood)).log_tail


def test_a_probe_that_takes_too_long_is_ended() -> None:
    """There is no exit code, and what was printed is kept."""
    source = "import time; print('begun', flush=True); time.sleep(60)"
    result = run_on_host(sys.executable, made(source, timeout=1))
    assert (result.outcome, result.exit_code) == (Outcome.TIMED_OUT, None)
    assert result.log_tail in ("begun", "")  # a busy machine may not have come so far


def test_a_probe_ends_with_what_it_started(tmp_path: Path) -> None:
    """No child outlives its probe, also if the probe itself ends well."""
    pid = tmp_path / "pid"
    source = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "report(observed={})\n"
    )
    assert run_on_host(sys.executable, made(source)).outcome is Outcome.PASSED
    status = Path(f"/proc/{pid.read_text()}/status")
    # The signal is sent; on a machine that is busy it takes effect a little later.
    for _ in range(100):
        if not status.exists() or "Z (zombie)" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("the child lives on")


# --- what a probe sees -----------------------------------------------------------------------


def test_a_probe_runs_alone_in_a_folder_that_is_removed(tmp_path: Path) -> None:
    """Its own file is there, standard input is empty, and the user's environment is kept."""
    told = tmp_path / "told"
    source = (
        f"open({str(told)!r}, 'w').write(os.getcwd())\n"
        "report(observed={'file': os.path.basename(__file__), 'stdin': sys.stdin.read(),\n"
        "    'own_session': os.getsid(0) == os.getpid(), 'path': os.environ['PATH']})\n"
    )
    result = run_on_host(sys.executable, made(source, "demo-sees-it"))
    assert dict(result.observed.items()) == {
        "file": "probe_demo_sees_it.py",
        "stdin": "",
        "own_session": True,
        "path": os.environ["PATH"],
    }
    assert not Path(told.read_text()).exists()


def test_each_run_has_a_nonce_of_its_own() -> None:
    """A report of an earlier run does not count."""
    source = "report(observed={'nonce': os.environ['ENVMATRIX_NONCE']})"
    first, second = (
        dict(run_on_host(sys.executable, made(source)).observed.items()) for _ in range(2)
    )
    assert first != second


@pytest.mark.parametrize("kind", ["missing", "not executable", "folder"])
def test_an_interpreter_that_cannot_be_started_is_wrong_input(tmp_path: Path, kind: str) -> None:
    """The error names the option, and nothing is judged."""
    python = tmp_path / "python"
    if kind == "not executable":
        python.write_text("#!/bin/sh\n")
    if kind == "folder":
        python.mkdir()
    with pytest.raises(InputError, match="cannot be started") as caught:
        probe_host(str(python), [made("")])
    assert caught.value.where == "--python"
    assert str(python) in caught.value.what
    assert caught.value.next_step


def test_a_program_that_is_no_python_reports_nothing(tmp_path: Path) -> None:
    """Its exit code 0 proves nothing."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho fine\n", encoding="utf-8")
    program.chmod(0o755)
    (result,) = probe_host(str(program), [made("")])["demo"]
    assert result.outcome is Outcome.BAD_REPORT
