"""recommend: the answer first, with what was taken from this host, in words and as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from samples import the_evidence
from shown import Commands
from small_project import CUDA, GOOD, IMPOSSIBLE, MATRIX, NEWER, OLD, Folder

from envmatrix.model.evidence import CellImage
from envmatrix.model.gpus import Gpu
from envmatrix.model.probe_results import Observed
from envmatrix.model.verdicts import Verdict
from envmatrix.probes.this_host import Graphics, ThisHost

ADA = Graphics("580.65.06", (Gpu("NVIDIA GeForce RTX 4090", "8.9", "Ada"),), "NVML")
PLAIN = ThisHost("x86_64", "Debian GNU/Linux 12 (bookworm)", "3.11", None)
WITH_GPU = ThisHost("x86_64", "Ubuntu 24.04", "3.12", ADA)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets this machine be another one."""

    def be(host: ThisHost) -> None:
        monkeypatch.setattr("envmatrix.probes.this_host.this_host", lambda: host)

    be(PLAIN)
    return be


def know(project: Folder, cell_id: str, verdict: Verdict = Verdict.WORKS, **fields: Any) -> None:
    """Let the project have current evidence of a cell."""
    workspace = project.workspace()
    (cell,) = project.cells(cell_id)
    inputs = workspace.folders.inputs(cell, workspace.probes.hashes(cell), "")
    image = CellImage(name="x", layers=(), size=10**9)
    given: dict[str, Any] = {"id": cell_id, "axes": cell.axes, "inputs": inputs, "image": image}
    workspace.book.keep(the_evidence(verdict, **(given | fields)))


def test_an_answer(offline: Folder, command: Commands, host: Any) -> None:
    """The answer is a cell with its commands, below what was taken from this host."""
    know(offline, GOOD)
    code, out, err = command(offline, "recommend")
    assert (code, err) == (0, "")
    first, *others = out.splitlines()
    assert first.startswith("From this host: the architecture amd64. `--no-host`")
    assert f"✓ {GOOD}: works" in others
    assert f"  image:   envmatrix build {GOOD}" in others
    assert "  uv:      uv venv --python 3.11 && uv pip install jinja2==3.1.6" in others
    assert "Debian GNU/Linux 12 (bookworm) and its Python 3.11 narrow nothing" in out
    assert "No NVIDIA driver answers" in out
    assert "  newer:   jinja2 9.9.9 is unknown: nothing was tried yet (`envmatrix run " in out


def test_the_lock_is_told_only_where_it_is_committed(
    offline: Folder, command: Commands, host: Any
) -> None:
    """Nobody is sent to a file that is not there."""
    know(offline, GOOD)
    assert "requirements.lock" not in command(offline, "recommend").out
    assert command(offline, "lock", "--profile", "published").code == 0
    place = f"images/{GOOD}/requirements.lock"
    told = f" && uv pip install --require-hashes -r {place}\n"
    assert told in command(offline, "recommend").out


def test_the_gpu_and_the_driver_of_this_host_count(
    offline: Folder, command: Commands, host: Any
) -> None:
    """With a GPU here the answer is a CUDA cell that serves it; --no-host takes nothing."""
    know(offline, GOOD)
    know(offline, CUDA, Verdict.PARTIAL, observed=Observed(architectures=("sm_86",)))
    host(WITH_GPU)
    out = command(offline, "recommend").out
    assert "the GPU NVIDIA GeForce RTX 4090 (8.9), as NVML tells" in out
    assert "the NVIDIA driver 580.65.06, as NVML tells" in out
    assert f"~ {CUDA}: partial" in out
    found = command(offline, "recommend", "--no-host", "--json").document()
    assert found["host"] is None
    assert found["answers"][0]["choice"]["id"] == GOOD


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (["8.9"], "580.65.06")),
        (("--driver", "575"), (["8.9"], "575")),
        (("--gpu", "L4"), (["8.9"], None)),
        (("--gpu", "H100", "--gpu", "8.0"), (["9.0", "8.0"], None)),
        (("--accelerator", "cpu"), ([], None)),
    ],
)
def test_what_is_asked_comes_before_this_host(
    offline: Folder,
    command: Commands,
    host: Any,
    arguments: tuple[str, ...],
    expected: tuple[list[str], str | None],
) -> None:
    """A GPU that is asked is of another machine, whose driver is not this one's."""
    host(WITH_GPU)
    found = command(offline, "recommend", *arguments, "--json").document()["question"]
    assert ([gpu["capability"] for gpu in found["gpus"]], found["driver"]) == expected


def test_another_architecture_is_another_machine(
    offline: Folder, command: Commands, host: Any
) -> None:
    """An architecture that the matrix lacks is not taken, and of another one no GPU is."""
    offline.write("matrix.yaml", MATRIX.replace("arch: [amd64]", "arch: [amd64, arm64]"))
    host(WITH_GPU)
    asked = command(offline, "recommend", "--arch", "arm64", "--json").document()["question"]
    assert (asked["arch"], asked["gpus"]) == ("arm64", [])
    host(ThisHost("riscv64", "x", "3.13", None))
    shown = command(offline, "recommend", "--json").document()
    assert (shown["question"]["arch"], shown["host"]["taken"]) == (None, [])
    assert "From this host" not in command(offline, "recommend").out


def test_a_gpu_that_nobody_knows_is_told(offline: Folder, command: Commands, host: Any) -> None:
    """The driver counts without it."""
    host(ThisHost("x86_64", "x", "3.11", Graphics("570.1", (), "nvidia-smi", ("Z900",))))
    out = command(offline, "recommend").out
    assert "it is not known what they run: Z900" in out
    assert "the NVIDIA driver 570.1, as nvidia-smi tells" in out


def test_without_an_answer_it_is_told_what_to_change(
    offline: Folder, command: Commands, host: Any
) -> None:
    """What stands in the way is told with the answer without it, and the cells that fit."""
    know(offline, GOOD)
    code, out, _ = command(offline, "recommend", "--version", "9.9.9", "--python", "3.11")
    assert code == 0
    assert "no answer for jinja2 with Python 3.11, version 9.9.9, amd64: no such cell" in out
    assert f"  without version 9.9.9: ✓ works: {GOOD}\n" in out
    assert f"impossible (no-such-version): 1 cell, such as {IMPOSSIBLE}: " in out


def test_a_reason_tells_what_to_do(offline: Folder, command: Commands, host: Any) -> None:
    """Cells that nobody ran are told with the command that runs the first of them."""
    _, out, _ = command(offline, "recommend", "--version", "2.9.6", "--os", "debian12")
    assert f"      `envmatrix run {OLD}`\n" in out


def test_the_json_of_an_answer(offline: Folder, command: Commands, host: Any) -> None:
    """The document has a schema, the question, the host and each answer."""
    know(offline, NEWER)
    found = command(offline, "recommend", "--prefer", "smallest", "--json").document()
    assert (found["schema"], found["question"]["prefer"]) == (1, "smallest")
    assert found["host"]["system"] == "Debian GNU/Linux 12 (bookworm)"
    (answer,) = found["answers"]
    assert answer["choice"]["id"] == NEWER
    assert {"image", "start", "uv", "pip"} == {one["what"] for one in answer["choice"]["commands"]}


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("--framework", "jinja"), "jinja2"),
        (("--version", "3.1.7"), "3.1.6"),
        (("--gpu", "RTX 4091"), "RTX 4090"),
        (("--driver", "new"), "nvidia-smi"),
        (("--prefer", "small"), "smallest"),
    ],
)
def test_a_question_that_is_wrong_is_refused(
    offline: Folder, command: Commands, host: Any, arguments: tuple[str, str], near: str
) -> None:
    """It ends with 2, and tells what is near."""
    assert command(offline, "recommend", *arguments).is_refusal(2, arguments[0], near)


def test_every_framework_with_the_version_gets_an_answer(
    offline: Folder, command: Commands, host: Any
) -> None:
    """Without a framework each is answered; one that lacks the version that was asked is not."""
    more = (
        '  other:\n    title: Other\n    versions: ["1.0"]\n    variants:\n'
        '      - {name: wheel, requires: ["other=={version}"], accelerators: {cpu: ["*"]}}\n'
    )
    offline.write("matrix.yaml", MATRIX.replace("rules:\n", f"{more}rules:\n"))

    def frameworks(*arguments: str) -> list[str]:
        found = command(offline, "recommend", *arguments, "--json").document()
        return [answer["framework"] for answer in found["answers"]]

    assert frameworks() == ["jinja2", "other"]
    assert frameworks("--version", "1.0") == ["other"]


def test_only_the_framework_that_was_asked_is_answered(
    offline: Folder, command: Commands, host: Any
) -> None:
    """Without the facts of a host the answer is the first line."""
    know(offline, GOOD)
    code, out, _ = command(offline, "recommend", "--framework", "jinja2", "--no-host")
    assert code == 0
    assert out.startswith(f"✓ {GOOD}: works\n  jinja2 3.1.6 works on Python 3.11")
