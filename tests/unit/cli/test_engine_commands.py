"""Commands that need an engine: build, probe, run, verify."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fake_engine import Exit, FakeEngine, PullRefused, StepFails, UnstableLayer
from shown import Commands
from small_project import (
    EXCLUDED,
    GOOD,
    IMPORT_PROBE,
    NEWER,
    OLD,
    Folder,
)

from envmatrix.model.image_names import run_command

# --- build, probe, run -----------------------------------------------------------------------


def test_the_command_of_a_single_image_stands_in_one_line(
    project: Folder, command: Commands
) -> None:
    """The story of a cell tells it, too, and why it sets the size of /dev/shm."""
    told = run_command(f"envmatrix/cell:{GOOD}", gpus=False)
    assert f"start it: {told}\n" in command(project, "run", GOOD).out
    shown = command(project, "explain", GOOD).out
    assert f"  start:   {told}\n" in shown
    assert "--shm-size" in shown
    assert command(project, "run", GOOD, "--json").document()["cells"][0]["image"]["run"] == told


def test_a_pruned_run_tells_no_command(project: Folder, command: Commands) -> None:
    """The image is gone."""
    assert "docker run" not in command(project, "run", GOOD, "--prune").out


def test_run(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A run prints the table, what was done and where the evidence is; progress goes to stderr."""
    code, out, err = command(project, "run", "--jobs", "1")
    assert code == 0
    commands = "".join(
        f"  {run_command(f'envmatrix/cell:{name}', gpus=False)}\n" for name in (OLD, GOOD)
    )
    assert f"2 cells: 2 works\nstart one:\n{commands}3 images built, 4 probes run\n" in out
    assert out.endswith("evidence: .envmatrix/report/ (report.json, table.md, cells/)\n")
    assert f"build 2/2  {GOOD}: " in err
    assert (project.root / ".envmatrix/report/table.md").exists()
    code, out, err = command(project, "run")
    assert (code, err) == (0, "")
    assert "nothing built, nothing probed: no input has changed\n" in out


def test_run_as_json(project: Folder, command: Commands) -> None:
    """The JSON of a run is the report that it wrote."""
    found = command(project, "run", GOOD, EXCLUDED, "--json").document()
    verdicts = {cell["id"]: cell["verdict"] for cell in found["cells"]}
    assert verdicts == {GOOD: "works", EXCLUDED: "impossible"}
    assert (found["schema"], found["summary"]["works"]) == (2, 1)
    written = json.loads(project.read(".envmatrix/report/report.json"))
    assert written["cells"] == found["cells"]


@pytest.mark.parametrize("name", ["build", "probe", "run", "verify"])
def test_claims_that_are_wrong_stop_what_would_tell_them(
    project: Folder, command: Commands, fake: FakeEngine, name: str
) -> None:
    """JSON tells what vendors declare, so a mistake there is told before any work."""
    project.write("claims.yaml", "schema: 2\n")
    assert command(project, name, GOOD, "--json").is_refusal(2, "claims.yaml:1")
    assert not fake.requests
    assert command(project, name, GOOD).code == 0


def test_run_of_a_broken_cell(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A broken cell ends with 1, and its cause, remedy and log are told."""
    fake.fail(StepFails("jinja2===3.1.6", output="ModuleNotFoundError: No module named 'six'\n"))
    code, out, _ = command(project, "run", GOOD, OLD)
    assert code == 1
    assert f"{GOOD}: broken at build (module-missing)\n" in out
    assert "  cause:  the module six is not installed\n" in out
    assert "  remedy: " in out
    assert f"  log:    .envmatrix/logs/build/{GOOD}.log\n" in out
    assert "1 works, 1 broken" in out


def test_run_of_a_cell_that_stays_unknown(
    project: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that stays unknown ends with 3; a broken one beside it decides."""
    fake.fail(PullRefused(403), times=None)
    code, out, _ = command(project, "run", NEWER, "--base", "pull")
    assert code == 3
    assert "base: credentials: debian:13-slim cannot be pulled" in out
    fake.heal()
    fake.on_run = lambda _: Exit(1, stderr="AssertionError: no\n")
    fake.fail(PullRefused(403, reference="debian:13*"), times=None)
    assert command(project, "run", GOOD, NEWER)[0] == 1


@pytest.mark.parametrize("name", ["build", "probe", "run", "verify"])
def test_without_an_engine(offline: Folder, command: Commands, name: str) -> None:
    """Commands that need an engine end with 3, and tell what to do."""
    assert command(offline, name, GOOD).is_refusal(3, "no Docker engine answers", "DOCKER_HOST")


@pytest.mark.parametrize("name", ["build", "run", "verify"])
def test_an_origin_that_does_not_exist_is_an_error(
    offline: Folder, command: Commands, name: str
) -> None:
    """The origin of bases is one of three words."""
    shown = command(offline, name, GOOD, "--base", "steal")
    assert shown.is_refusal(2, "--base steal is not known", "auto, pull or bootstrap")


@pytest.mark.parametrize("name", ["lock", "build", "probe", "run", "verify"])
def test_a_number_of_jobs_that_makes_no_sense_is_refused(
    offline: Folder, command: Commands, name: str
) -> None:
    """There are at least one and at most 64 jobs."""
    code, _, err = command(offline, name, GOOD, "--jobs", "0")
    assert code == 2
    assert "--jobs" in err


@pytest.mark.parametrize("name", ["lock", "build", "probe", "run", "verify"])
def test_two_commands_do_not_work_in_one_state(
    project: Folder, command: Commands, name: str
) -> None:
    """While another envmatrix is at work here, a command that writes ends with 3."""
    with project.workspace().records.exclusive():
        assert command(project, name, GOOD).is_refusal(3, "another envmatrix is at work here")
        assert command(project, "plan")[0] == 0


def test_build(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A build makes the images, probes nothing, and ends with 0 though the cells are unknown."""
    code, out, _ = command(project, "build", GOOD)
    assert code == 0
    assert "it was built, and not probed" in out
    assert out.endswith("2 images built, 0 probes run\n")
    assert fake.runs == []
    found = command(project, "build", GOOD, "--json").document()
    assert found["cells"][0]["image"]["name"] == f"envmatrix/cell:{GOOD}"


def test_build_that_fails(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A build that is broken ends with 1, and one without an image for another reason with 3."""
    fake.fail(StepFails("jinja2===3.1.6", output="no\n"))
    assert command(project, "build", GOOD)[0] == 1
    fake.fail(PullRefused(500), times=None)
    assert command(project, "build", NEWER)[0] == 3


def test_probe(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """Probing builds what is not built, and runs the probes."""
    code, out, _ = command(project, "probe", GOOD)
    assert code == 0
    assert "1 cell: 1 works" in out
    assert len(fake.runs) == 2
    assert command(project, "probe", GOOD, "--fresh")[0] == 0
    assert len(fake.runs) == 4


def test_probe_of_a_host(offline: Folder, command: Commands) -> None:
    """The interpreter of this machine is probed without a container, and its evidence is kept."""
    offline.write("scripts/probes/jinja2_render.py", IMPORT_PROBE.replace("-import", "-again"))
    code, out, _ = command(offline, "probe", "--host")
    assert code == 0
    assert "works" in out
    path = out.splitlines()[-1].removeprefix("evidence: ")
    assert path.startswith(".envmatrix/host/host-jinja2-")
    assert (offline.root / path).exists()
    found = command(offline, "probe", "--host", "--json").document()
    assert [one["kind"] for one in found["on_hosts"]] == ["host"]
    for one in found["on_hosts"][0]["probes"]:
        assert offline.read(one["log"]).startswith("passed\n")


def test_the_logs_of_a_host_are_named(offline: Folder, command: Commands) -> None:
    """What a probe of a host printed is in a file that the command names, as far as it failed."""
    failing = IMPORT_PROBE.replace("-import", "-again").replace(
        "report = ", "raise OSError; report = "
    )
    offline.write("scripts/probes/jinja2_render.py", failing)
    code, out, _ = command(offline, "probe", "--host")
    assert code == 1
    (path,) = (line.split()[1] for line in out.splitlines() if line.startswith("  log: "))
    assert "raise OSError" in offline.read(path)


def test_probe_of_a_host_that_has_nothing(
    offline: Folder, command: Commands, tmp_path: Path
) -> None:
    """A Python without any of the frameworks ends with 3, and one that cannot start with 2."""
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    assert command(offline, "probe", "--host", "--python", str(bare)).is_refusal(
        3,
        "none of the frameworks is installed",
        str(bare),
    )
    assert command(offline, "probe", "--host", "--python", "/no/python").is_refusal(
        2,
        "/no/python cannot be started",
    )


@pytest.mark.parametrize("more", [[GOOD], ["--profile", "quick"]])
def test_probe_of_a_host_takes_no_cells(
    offline: Folder, command: Commands, more: list[str]
) -> None:
    """A host is no cell, so cells beside it are an error."""
    assert command(offline, "probe", "--host", *more).is_refusal(
        2, "leave SELECT and --profile out"
    )


# --- verify ----------------------------------------------------------------------------------


def test_verify(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A cell that comes out the same is proven, and ends with 0."""
    code, out, err = command(project, "verify", GOOD)
    assert code == 0
    assert out.startswith(f"proven      {GOOD}  ")
    assert "verify 3/3" in err
    found = command(project, "verify", GOOD, "--json").document()
    assert found["cells"][0]["reproducibility"]["status"] == "proven"


def test_verify_of_what_differs(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """A cell that differs ends with 1, and tells the path and the cause."""
    fake.fail(UnstableLayer("jinja2===3.1.6 --hash"), times=None)
    code, out, _ = command(project, "verify", GOOD)
    assert code == 1
    assert "  /unstable: content " in out


def test_verify_of_what_cannot_be_built(
    project: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that cannot be checked ends with 3, and says why there is no image."""
    fake.fail(PullRefused(403), times=None)
    code, out, _ = command(project, "verify", NEWER, "--base", "pull")
    assert code == 3
    assert out.startswith(f"not checked {NEWER}  0 layers\n")
    assert "  there is no image: debian:13-slim cannot be pulled" in out


# --- known failures --------------------------------------------------------------------------

KNOWN = """
known:
  - when: {version: "3.1.6", os: debian12, python: own, accelerator: cpu}
    verdict: broken
    class: assertion
    reason: it never rendered
    link: https://example.org/issues/7
"""


@pytest.fixture
def knowing(project: Folder) -> Folder:
    """The small project, whose matrix knows a cell to be broken."""
    project.write("matrix.yaml", project.read("matrix.yaml") + KNOWN)
    return project


def test_a_run_that_finds_what_is_known_has_not_failed(
    knowing: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that is broken as known ends with 0, and the reason stands beside it."""
    fake.on_run = lambda _: Exit(1, stderr="Traceback (most recent call last):\nAssertionError\n")
    code, out, err = command(knowing, "run", GOOD)
    assert code == 0
    assert f"✗ broken: {GOOD}: known: it never rendered; import: assertion: " in out
    assert "1 cell: 1 broken (1 broken as known)\n" in out
    assert "  matrix:  known: it never rendered (https://example.org/issues/7)\n" in out
    assert "note:" not in err
    found = command(knowing, "run", GOOD, "--json").document()
    assert found["known"][GOOD] == {
        "standing": "as known",
        "class": "assertion",
        "reason": "it never rendered",
        "link": "https://example.org/issues/7",
    }
    assert "known: it never rendered" in knowing.read(".envmatrix/report/table.md")
    assert "  matrix:  known: it never rendered" in command(knowing, "explain", GOOD).out
    assert command(knowing, "probe", GOOD).code == 0
    assert command(knowing, "run", GOOD, "--strict").code == 0


def test_another_failure_than_the_known_one_is_a_failure(
    knowing: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that is broken with another class ends with 1, and that is told."""
    fake.fail(StepFails("jinja2===3.1.6", output="ModuleNotFoundError: No module named 'six'\n"))
    code, out, err = command(knowing, "build", GOOD)
    assert code == 1
    assert "not as known (known: assertion: it never rendered); build: module-missing" in out
    assert f"note: {GOOD} is broken, not as known" in err
    fake.fail(StepFails("jinja2===3.1.6", output="ModuleNotFoundError: No module named 'six'\n"))
    assert command(knowing, "run", GOOD).code == 1


def test_a_known_failure_beside_another_does_not_hide_it(
    knowing: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that nothing is known of and that is broken ends with 1."""
    fake.on_run = lambda _: Exit(1, stderr="Traceback (most recent call last):\nAssertionError\n")
    code, out, _ = command(knowing, "run", GOOD, OLD)
    assert code == 1
    assert "2 cells: 2 broken (1 broken as known)\n" in out


def test_an_unexpected_pass_is_told(knowing: Folder, command: Commands) -> None:
    """A cell that works though it is known to be broken ends with 0, with a note."""
    code, out, err = command(knowing, "run", GOOD)
    assert code == 0
    assert "1 cell: 1 works (1 passed though known to be broken)\n" in out
    note = f"note: {GOOD} passed, though known to be broken: it never rendered; remove it from"
    assert note in err
    assert note in command(knowing, "report", GOOD).err


def test_a_known_failure_makes_no_evidence_stale(project: Folder, command: Commands) -> None:
    """It is a fact of the matrix, so evidence of before still counts."""
    command(project, "run", GOOD)
    project.write("matrix.yaml", project.read("matrix.yaml") + KNOWN)
    (cell,) = command(project, "plan", GOOD, "--json").document()["cells"]
    assert (cell["verdict"], cell["known"]["standing"]) == ("works", "passed")
    out = command(project, "plan", GOOD).out
    assert f"{GOOD}  passed, though known to be broken: it never rendered\n" in out
    assert out.endswith("1 cell: 1 works (1 passed though known to be broken)\n")
    (other,) = command(project, "plan", OLD, "--json").document()["cells"]
    assert other["known"] is None
