"""Running a probe in an image: what the engine is asked, and what becomes of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fake_engine import Exit, Facts, FakeEngine, Refuses, RunRequest, StartRefused

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import Address, Connection
from envmatrix.model.errors import EngineError
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.probes import running
from envmatrix.probes.headers import Probe, parse_probe
from envmatrix.probes.running import _START, alarmed, run_probe

IMAGE = "envmatrix/cell:a"
SOURCE = """\
# /// probe
# name = "demo-in-a-box"
# framework = "demo"
# proves = "Something."
# required = true
# timeout = 7
# ///
import inspect, json, os, sys

def told():
    return "its own source"

report = {"probe": "demo-in-a-box", "nonce": os.environ["ENVMATRIX_NONCE"]}
print(json.dumps({**report, "observed": {"file": __file__, "source": inspect.getsource(told)}}))
"""
PROBE = parse_probe(SOURCE, Path("demo_in_a_box.py"))


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """A fake engine with an image, which no test may break from the inside."""
    with FakeEngine() as engine:
        engine.add_image(IMAGE)
        yield engine
    assert engine.errors == []


def run(fake: FakeEngine, probe: Probe = PROBE, *, gpu: bool = False) -> ProbeResult:
    """Run a probe on the fake engine."""
    engine = Engine(Connection(Address(fake.url)))
    with closing(engine.connection.client):
        return run_probe(engine.containers, IMAGE, probe, gpu=gpu)


def test_a_probe_runs_in_the_python_of_the_image(fake: FakeEngine) -> None:
    """The source is an argument, and only the nonce and a home folder are in the environment."""
    fake.observed[PROBE.name] = {"n": 1}
    result = run(fake)

    (asked,) = fake.runs
    assert asked.image_names == (f"{IMAGE}",)
    program = alarmed(_START, PROBE.timeout)
    assert asked.command == ("python", "-I", "-S", "-c", program, "demo_in_a_box", SOURCE)
    assert asked.host_config["Init"] is False
    assert asked.environment == {"ENVMATRIX_NONCE": asked.nonce, "HOME": "/tmp"}  # noqa: S108
    assert not asked.wants_gpu
    assert result.outcome is Outcome.PASSED
    assert dict(result.observed.items()) == {"n": 1}


def test_each_run_has_a_nonce_of_its_own(fake: FakeEngine) -> None:
    """So an image cannot know a report beforehand."""
    run(fake)
    run(fake)
    first, second = (asked.nonce for asked in fake.runs)
    assert len(first) == len(second) == 16
    assert first != second


def test_a_report_of_another_run_does_not_count(fake: FakeEngine) -> None:
    """The nonce in it is not that of this run."""
    fake.on_run = lambda asked: Exit(0, asked.report({}).replace(asked.nonce, "0" * 16))
    assert run(fake).outcome is Outcome.BAD_REPORT


def test_the_timeout_of_the_header_ends_a_probe(fake: FakeEngine) -> None:
    """The result names that time."""
    fake.on_run = lambda _: Exit(seconds=60)
    probe = parse_probe(SOURCE.replace("timeout = 7", "timeout = 1"), Path("x.py"))
    result = run(fake, probe)
    assert (result.outcome, result.cause) == (Outcome.TIMED_OUT, "not done after 1 s")


@pytest.mark.parametrize("gpu", [False, True])
def test_a_gpu_is_handed_to_every_probe_of_a_cell_that_has_one(fake: FakeEngine, gpu: bool) -> None:
    """A probe that does not need the GPU gets it, too."""
    fake.facts = Facts(nvidia=True)
    run(fake, gpu=gpu)
    assert fake.runs[0].wants_gpu is gpu


def test_a_probe_that_needs_a_gpu_is_not_run_without_one(fake: FakeEngine) -> None:
    """The engine is asked for nothing."""
    probe = parse_probe(SOURCE.replace("# ///\nimp", '# needs = "gpu"\n# ///\nimp'), Path("x.py"))
    result = run(fake, probe)
    assert (result.outcome, result.cause) == (
        Outcome.NOT_RUN,
        "the engine has no GPU for this cell",
    )
    assert fake.asked("POST *") == []
    fake.facts = Facts(nvidia=True)
    assert run(fake, probe, gpu=True).outcome is Outcome.PASSED


def test_a_gpu_that_the_engine_holds_back_is_a_failure(fake: FakeEngine) -> None:
    """A probe that needs a GPU is not merely "not run" where there is one, as on WSL2."""
    probe = parse_probe(SOURCE.replace("# ///\nimp", '# needs = "gpu"\n# ///\nimp'), Path("x.py"))
    engine = Engine(Connection(Address(fake.url)))
    with closing(engine.connection.client), pytest.raises(EngineError, match="WSL2") as caught:
        run_probe(engine.containers, IMAGE, probe, gpu=False, unseen_gpu="this is WSL2")
    assert caught.value.kind == "gpu-not-served"
    assert "nvidia-ctk" in caught.value.next_step


def test_a_missing_report_is_confirmed_by_a_second_run(fake: FakeEngine) -> None:
    """An output that broke off just before the report is no evidence against the image."""

    def broken_off_once(asked: RunRequest) -> Exit:
        return Exit(0, asked.report({"n": 1}) if len(fake.runs) > 1 else "")

    fake.on_run = broken_off_once
    assert run(fake).outcome is Outcome.PASSED
    fake.on_run = lambda _: Exit(0)
    assert run(fake).outcome is Outcome.BAD_REPORT
    assert len(fake.runs) == 4


def test_an_image_without_python_could_not_start(fake: FakeEngine) -> None:
    """The words of the engine are the cause."""
    fake.fail(StartRefused.not_found("python"))
    result = run(fake)
    assert result.outcome is Outcome.COULD_NOT_START
    assert "OCI runtime create failed" in result.cause


def test_a_crash_in_an_image_is_judged(fake: FakeEngine) -> None:
    """A report that came before the crash does not count."""

    def crash(asked: RunRequest) -> Exit:
        return Exit(139, asked.report({"n": 1}))

    fake.on_run = crash
    result = run(fake)
    assert (result.outcome, result.cause) == (Outcome.CRASHED, "ended by SIGSEGV")


def test_an_engine_that_fails_is_no_result_of_a_probe(fake: FakeEngine) -> None:
    """The image is not to blame."""
    fake.fail(Refuses("POST /containers/create", 500, "no such runtime"), times=None)
    with pytest.raises(EngineError, match="no such runtime"):
        run(fake)


def start(folder: Path, source: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """Start a probe as its container does, with its scratch folder elsewhere."""
    program = alarmed(_START, seconds).replace("/tmp/", f"{folder}/")  # noqa: S108
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, "demo_in_a_box", source],
        env={"ENVMATRIX_NONCE": "abc"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("import os, time\nif os.fork(): raise SystemExit(4)\ntime.sleep(0.2)", 4),
    ],
)
def test_the_first_process_ends_as_the_probe_does(tmp_path: Path, source: str, code: int) -> None:
    """An exit code is passed on, a signal counts as in a shell, and orphans change nothing."""
    assert code == start(tmp_path, source).returncode


def test_the_first_process_ends_in_time_whatever_the_probe_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody outside is needed for that: envmatrix may have been killed."""
    monkeypatch.setattr(running, "ALARM_SECONDS", 0)
    stubborn = "import os, signal, time\nos.close(1)\nos.close(2)\nsignal.alarm(0)\ntime.sleep(5)"
    assert start(tmp_path, stubborn, 1).returncode == 142


def test_the_start_makes_a_file_of_the_probe_and_becomes_it(tmp_path: Path) -> None:
    """The file is in the scratch folder, its name is no module's, and inspect reads its source."""
    done = start(tmp_path, SOURCE)
    assert done.returncode == 0
    assert json.loads(done.stdout)["observed"] == {
        "file": str(tmp_path / "probe_demo_in_a_box.py"),
        "source": 'def told():\n    return "its own source"\n',
    }
