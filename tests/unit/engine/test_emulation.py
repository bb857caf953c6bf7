"""Whether an engine runs programs of another architecture. It is tried."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from fake_engine import Exit, Facts, FakeEngine, Refuses, StartRefused

from envmatrix.engine.client import Engine
from envmatrix.engine.emulation import program
from envmatrix.model.errors import EngineError

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@pytest.mark.parametrize(("emulates", "expected"), [(("arm64",), True), ((), False)])
def test_whether_an_engine_emulates_is_tried_once(
    fake: FakeEngine, engine: Engine, emulates: tuple[str, ...], expected: bool
) -> None:
    """A program of the architecture runs in an image of it, and nothing of that stays."""
    fake.facts = Facts(emulates=emulates)
    assert engine.is_foreign("arm64")
    assert expected is engine.emulates("arm64")
    assert expected is engine.emulates("arm64")
    (run,) = fake.runs
    assert run.image.architecture == "arm64"
    assert (fake.images.by_id, fake.containers.by_id) == ({}, {})


@pytest.mark.parametrize(("told", "arch"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("", "x")])
def test_an_engine_runs_its_own_architecture_itself(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, told: str, arch: str
) -> None:
    """Nothing is tried, and nothing is called emulated. An engine that tells nothing counts so."""
    fake.facts = Facts(architecture=told)
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    with Engine.connect() as engine:
        assert not engine.is_foreign(arch)
        assert not engine.emulates(arch)
    assert fake.asked("POST /images/load") == []


def test_an_engine_that_refuses_the_program_does_not_emulate(
    fake: FakeEngine, engine: Engine
) -> None:
    """Some engines say at the start of the container what others leave to its output."""
    refusal = StartRefused(message="OCI runtime create failed: exec /ends-well: exec format error")
    fake.fail(refusal, times=None)
    assert not engine.emulates("arm64")


def test_an_engine_that_fails_leaves_it_unknown(fake: FakeEngine, engine: Engine) -> None:
    """A failure of the engine is no answer, and the next question is asked again."""
    fake.facts = Facts(emulates=("arm64",))
    fake.fail(Refuses("POST /containers/create", 400, "it is not in the mood"))
    with pytest.raises(EngineError, match="not in the mood"):
        engine.emulates("arm64")
    assert engine.emulates("arm64")


def test_the_words_of_docker_init_say_so_too(fake: FakeEngine, engine: Engine) -> None:
    """It cannot execute the program, tries a shell, and finds none in the image."""
    fake.facts = Facts(emulates=("arm64",))
    said = "[FATAL tini (7)] exec /ends-well failed: No such file or directory"
    fake.on_run = lambda _: Exit(127, stderr=said)
    assert not engine.emulates("arm64")


@pytest.mark.parametrize("ending", [Exit(139), Exit(1, stderr="no space left"), Exit(137)])
def test_a_program_that_ends_in_another_way_leaves_it_unknown(
    fake: FakeEngine, engine: Engine, ending: Exit
) -> None:
    """Only "exec format error" says that nothing emulates."""
    fake.facts = Facts(emulates=("arm64",))
    fake.on_run = lambda _: ending
    with pytest.raises(EngineError):
        engine.emulates("arm64")
    assert fake.images.by_id == {}


@pytest.mark.parametrize(("arch", "machine"), [("amd64", 62), ("arm64", 183)])
def test_the_program_says_which_machine_it_is_for(arch: str, machine: int) -> None:
    """The header is that of ELF: the kernel chooses by its first 20 bytes."""
    data = program(arch)
    assert data[:8] == b"\x7fELF\x02\x01\x01\x00"
    assert int.from_bytes(data[18:20], "little") == machine


@pytest.mark.skipif(platform.system() != "Linux", reason="it is a program of Linux")
def test_the_program_of_this_machine_ends_well(tmp_path: Path) -> None:
    """It does nothing, and its exit code is 0."""
    path = tmp_path / "program"
    path.write_bytes(program(MACHINES[platform.machine()]))
    path.chmod(0o755)
    assert subprocess.run([path], check=False).returncode == 0
