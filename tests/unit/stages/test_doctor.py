"""How checks are made: side by side, within a time, and without ever failing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from envmatrix.engine.facts import read_facts
from envmatrix.model.errors import ToolError
from envmatrix.model.gpus import Gpu
from envmatrix.model.matrix import Matrix
from envmatrix.probes.this_host import Graphics, ThisHost
from envmatrix.render.sharing import Sharing
from envmatrix.stages import engine_checks, index_checks, machine_checks, state_checks
from envmatrix.stages.doctor import (
    Check,
    Finding,
    State,
    Work,
    examine,
    fine,
    missing,
    nothing_missing,
    warning,
)
from envmatrix.stages.index_checks import CLOCK_SECONDS
from envmatrix.store.layout import Layout


@pytest.fixture
def work(small: Matrix) -> Work:
    """The small matrix, of which no cell is chosen."""
    return Work("the profile quick", small, Sharing((), lambda _: None), ())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project without state."""
    (tmp_path / "matrix.yaml").write_text("", encoding="utf-8")
    return Layout(tmp_path / "matrix.yaml")


def states(findings: list[Finding]) -> dict[str, State]:
    """Return the state of each finding by its topic; the last one of a topic counts."""
    return {one.topic: one.state for one in findings}


# --- making checks ---------------------------------------------------------------------------


def test_findings_have_the_order_of_the_checks() -> None:
    """However long each check takes."""
    first_waits = threading.Event()

    def slow() -> Iterator[Finding]:
        first_waits.wait(5)
        yield fine("slow", "done")

    def quick() -> Iterator[Finding]:
        first_waits.set()
        yield fine("quick", "done")

    found = examine([Check("slow", slow), Check("quick", quick)])
    assert [one.topic for one in found] == ["slow", "quick"]


def test_a_check_that_fails_is_a_finding() -> None:
    """By an error for people, or by any other; what it found before stays."""

    def told() -> Iterator[Finding]:
        yield fine("told", "so far")
        raise ToolError("it is gone", next_step="install it")

    def crashed() -> Iterator[Finding]:
        yield from ()
        raise RuntimeError("oops")

    found = examine([Check("told", told), Check("crashed", crashed)])
    assert [(one.state, one.said, one.remedy) for one in found] == [
        (State.OK, "so far", ""),
        (State.UNKNOWN, "not checked: it is gone", "install it"),
        (State.UNKNOWN, "not checked: RuntimeError: oops", ""),
    ]


def test_what_takes_too_long_is_told() -> None:
    """What is needed and gives no answer is missing. What it found before is kept."""
    never = threading.Event()

    def silent() -> Iterator[Finding]:
        never.wait(30)
        yield fine("silent", "late")

    def stuck() -> Iterator[Finding]:
        yield fine("stuck", "it is there")
        never.wait(30)

    checks = [
        Check("needed", silent, needed=True, remedy="restart it"),
        Check("other", silent),
        Check("stuck", stuck, needed=True),
    ]
    found = examine(checks, 0.3)
    never.set()
    assert found[0] == Finding("needed", State.MISSING, "no answer within 0.3 s", "restart it")
    assert [one.state for one in found[1:]] == [State.UNKNOWN, State.OK, State.UNKNOWN]


def test_only_what_is_missing_counts() -> None:
    """Warnings and what is not known end well."""
    assert nothing_missing([fine("a", ""), warning("b", "", "")])
    assert not nothing_missing([fine("a", ""), missing("b", "", "")])


def test_a_finding_in_json_is_inert() -> None:
    """An engine or a file may say anything."""
    told = warning("engine", "a\x1b[31m https://me:secret@host/", "").to_json()
    assert told["said"] == "a https://***@host/"


# --- this machine ----------------------------------------------------------------------------


def test_the_tools_of_this_machine(work: Work) -> None:
    """Those that run this test are there."""
    found = [
        *machine_checks.python(),
        *machine_checks.uv(),
        *machine_checks.pip(),
        *machine_checks.mmdebstrap(work),
    ]
    assert states(found) == {"python": State.OK, "uv": State.OK, "pip": State.OK}


def test_tools_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a command that installs it."""

    def gone() -> str:
        raise ToolError("uv is missing")

    monkeypatch.setattr(machine_checks, "uv_program", gone)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    found = [*machine_checks.uv(), *machine_checks.pip()]
    assert states(found) == {"uv": State.MISSING, "pip": State.MISSING}
    assert found[0].remedy.startswith("/nowhere/python -m pip install 'uv~=")
    assert found[1].remedy == "/nowhere/python -m ensurepip"


@pytest.mark.parametrize(
    ("version", "state"),
    [("uv 0.13.1", State.OK), ("uv 0.14.0", State.WARNING), ("", State.MISSING)],
)
def test_the_line_of_uv(monkeypatch: pytest.MonkeyPatch, version: str, state: State) -> None:
    """Locks are made with one line of uv."""
    monkeypatch.setattr(machine_checks, "_version", lambda _: version)
    assert [one.state for one in machine_checks.uv()] == [state]


def test_memory_is_what_the_group_of_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container has less than its machine. Too little is a warning."""
    (tmp_path / "info").write_text("MemTotal: 32000000 kB\nMemAvailable: 20000000 kB\n")
    (tmp_path / "max").write_text("3000000000\n")
    monkeypatch.setattr(machine_checks, "MEMINFO", tmp_path / "info")
    monkeypatch.setattr(machine_checks, "CGROUPS", (tmp_path / "none",))
    assert states([*machine_checks.capacity()])["memory"] is State.OK
    monkeypatch.setattr(machine_checks, "CGROUPS", (tmp_path / "none", tmp_path / "max"))
    found = [*machine_checks.capacity()][-1]
    assert found.state is State.WARNING
    assert found.said.startswith("3.0 GB, of which 3.0 GB are available")
    monkeypatch.setattr(machine_checks, "MEMINFO", tmp_path / "none")
    assert states([*machine_checks.capacity()])["memory"] is State.UNKNOWN


@pytest.mark.parametrize(
    ("memory", "state"),
    [(0, State.UNKNOWN), (2 * 2**30, State.WARNING), (16 * 2**30, State.OK)],
)
def test_the_memory_of_the_engine(memory: int, state: State) -> None:
    """A probe may use 4 GiB."""
    assert machine_checks.enough_for_a_probe("engine memory", memory).state is state


@pytest.mark.parametrize(
    ("driver", "said", "state"),
    [
        ("570.86", "serves no line of the matrix, and not cu130 (needs 580)", State.WARNING),
        ("580.10", "serves every line of the matrix: cu130", State.OK),
    ],
)
def test_the_lines_that_a_driver_serves(
    monkeypatch: pytest.MonkeyPatch, work: Work, driver: str, said: str, state: State
) -> None:
    """By the driver that each line of CUDA needs at least."""
    graphics = Graphics(driver, (Gpu("NVIDIA L4", "8.9", "Ada"),), "NVML")
    host = ThisHost("x86_64", "Debian", "3.11", graphics)
    monkeypatch.setattr(machine_checks, "this_host", lambda: host)
    gpu, lines = machine_checks.gpu(work)
    assert gpu.said == f"NVIDIA L4; driver {driver} (told by NVML)"
    assert (lines.state, said in lines.said) == (state, True)


# --- the folder ------------------------------------------------------------------------------


def test_a_state_that_is_not_there_is_not_made(layout: Layout) -> None:
    """Only that it can be made is told."""
    found = [*state_checks.state(layout), *state_checks.disk(layout, None)]
    assert states(found) == {"state": State.OK, "disk": State.OK}
    assert not layout.state.exists()


def test_a_state_that_cannot_be_used(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a link to nothing, a folder of somebody else."""
    layout.state.symlink_to("nowhere")
    assert next(iter(state_checks.state(layout))).remedy == f"rm {layout.state}"
    layout.state.unlink()
    layout.state.touch()
    assert states([*state_checks.state(layout)]) == {"state": State.MISSING}
    layout.state.unlink()
    layout.state.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = state_checks.state(layout)
    assert (found.state, found.remedy.startswith("sudo chown -R ")) == (State.MISSING, True)


def test_leftovers_and_links_are_told(layout: Layout, tmp_path: Path) -> None:
    """With the command that removes the first, and shows the second."""
    (layout.state / "bootstrap").mkdir(parents=True)
    (layout.state / "bootstrap/bookworm.tar").touch()
    (layout.state / "logs").symlink_to(tmp_path)
    found = [*state_checks.state(layout)]
    assert [one.remedy for one in found[1:]] == [
        "envmatrix clean temporary",
        f"ls -ld {layout.state}/logs",
    ]


@pytest.mark.parametrize(
    ("gigabytes", "files", "found"),
    [
        (100, 10**7, {"disk": State.OK}),
        (11, 10**7, {"disk": State.WARNING}),
        (9, 10**7, {"disk": State.MISSING}),
        (100, 50_000, {"disk": State.OK, "inodes": State.WARNING}),
        (100, 500, {"disk": State.OK, "inodes": State.MISSING}),
    ],
)
def test_room(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, files: int, found: dict[str, State]
) -> None:
    """Ten gigabytes are needed."""
    free = SimpleNamespace(f_bavail=gigabytes * 10**6, f_frsize=1000, f_files=10**8, f_favail=files)
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    assert states([*state_checks.room("disk", Path("/"), 10 * 10**9, "wheels")]) == found


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """A later mount at one point covers an earlier one. Blanks are escaped."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /data rw shared:1 - xfs /dev/b rw\n"
        "3 1 0:3 / /data rw - nfs4 server:/x rw\n"
        "4 1 0:4 / /a\\040b rw - vfat /dev/c rw\n"
        "damaged\n"
    )
    kinds = [
        state_checks.kind_of(Path(place), mounts)
        for place in ("/data/project", "/database", "/a b/c")
    ]
    assert kinds == ["nfs4", "ext4", "vfat"]
    assert state_checks.kind_of(Path("/"), tmp_path / "none") == ""


def test_file_systems_that_break(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only, noexec, on another machine, and one that ignores case."""
    assert states([*state_checks.file_systems(layout)]) == {"file system": State.OK}
    flags = SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOEXEC)
    monkeypatch.setattr(os, "statvfs", lambda _: flags)
    monkeypatch.setattr(state_checks, "kind_of", lambda _: "nfs4")
    monkeypatch.setattr(Path, "samefile", lambda *_: True)
    said = [one.said for one in state_checks.file_systems(layout)]
    for number, word in enumerate(("read-only", "noexec", "another machine", "differ in case")):
        assert word in said[number]


# --- engines and clocks ----------------------------------------------------------------------


def test_what_an_engine_says() -> None:
    """Rootless, Podman, and images in containerd are told by signs of their own."""
    docker = read_facts(
        {
            "ServerVersion": "28.5.2",
            "Driver": "overlayfs",
            "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"],
        }
    )
    assert (docker.number, docker.rootless, docker.in_containerd) == ((28, 5), True, True)
    podman = read_facts({"ServerVersion": "5.8.6", "BuildahVersion": "1.42"})
    assert (podman.foreign, podman.rootless) == ("Podman", False)
    assert read_facts({"ServerVersion": "dev"}).number == (0, 0)


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(0, State.OK), (-CLOCK_SECONDS - 60, State.WARNING), (9999, State.WARNING)],
)
def test_the_clock(seconds: float, state: State) -> None:
    """More than five minutes are too many, before and behind."""
    assert index_checks._clock(seconds).state is state


def test_podman_cannot_be_used() -> None:
    """docs/engines.md says why."""
    facts = read_facts({"ServerVersion": "5.8.6", "BuildahVersion": "1.42", "Driver": "vfs"})
    connected = SimpleNamespace(connection=SimpleNamespace(url="unix:///podman.sock"))
    found = [*engine_checks._what_it_is(connected, facts)]  # type: ignore[arg-type]
    assert states(found) == {"engine": State.MISSING, "storage": State.WARNING}
