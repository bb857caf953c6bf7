"""Cells that fail are data: they are judged, and stop nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import MATRIX, Folder

from envmatrix.engine.client import Engine

pytestmark = pytest.mark.engine

GOOD = "jinja2-3.1.6-py3.11-debian12-cpu"
CANNOT_IMPORT = "jinja2-2.9.6-py3.11-debian12-cpu"

RAISING_PROBE = """\
# /// probe
# name = "jinja2-raising"
# framework = "jinja2"
# proves = "Nothing: it always fails."
# required = true
# timeout = 30
# ///
raise AssertionError("two is not three")
"""

LONG_STEP = f"sleep 29{os.getpid()}"

# A second cell with the wheels of the first: what they begin with is one layer.
SAME = """\
stacks:
  same: {title: The same, cells: [{framework: jinja2}], requires: ["markupsafe"]}
"""
LAYERS = "envmatrix/layer:*"

# OpenCV's wheel needs libraries of the OS, which no requirement of it can name.
OPENCV = """\
stacks:
  bare: {title: OpenCV, cells: [{version: "3.1.6"}], requires: ["opencv-python<5"]}
  cv:
    title: OpenCV
    cells: [{version: "3.1.6"}]
    requires: ["opencv-python<5"]
    packages: [libgl1, "libglib2.0-0"]
"""

WAITING_PROBE = """\
# /// probe
# name = "jinja2-waiting"
# framework = "jinja2"
# proves = "Nothing: it waits to be stopped."
# required = true
# timeout = 300
# ///
import time
time.sleep(300)
"""


def test_a_version_that_does_not_import_is_broken_and_the_others_work(folder: Folder) -> None:
    """Jinja 2.9 imports a name that MarkupSafe has dropped; pip installs the two gladly."""
    code, cells = folder.run_json("run")

    broken = cells[CANNOT_IMPORT]
    assert (broken["verdict"], broken["stage"]) == ("broken", "import")
    assert broken["class"] == "module-removed"
    assert "soft_unicode" in broken["cause"]
    assert cells[GOOD]["verdict"] == "works"
    assert code == 1


def test_a_stack_has_the_packages_that_its_libraries_need(folder: Folder) -> None:
    """Without them the remedy says how a matrix lists one; with them they stand in the evidence."""
    folder.write("matrix.yaml", MATRIX + OPENCV)
    bare, whole = (GOOD.replace("jinja2", f"jinja2+{stack}") for stack in ("bare", "cv"))
    code, cells = folder.run_json("run", bare, whole)

    assert (code, cells[bare]["class"]) == (1, "missing-library")
    assert re.search(
        r"in a matrix, packages: \[lib[a-z0-9.-]+\] of the stack", cells[bare]["remedy"]
    )
    assert cells[whole]["verdict"] == "works", cells[whole]["cause"]
    names = {line.split()[0] for line in cells[whole]["image"]["packages"]}
    assert {"libgl1", "libglib2.0-0"} <= names
    roles = [layer["role"] for layer in cells[whole]["image"]["sizes"]]
    assert "packages" in roles[roles.index("wheels") :]


def test_a_probe_that_raises_makes_the_cell_broken(folder: Folder) -> None:
    """Stage, class, cause and the end of the log are told."""
    folder.write("scripts/probes/jinja2_raising.py", RAISING_PROBE)
    done = folder.run("run", "--profile", "good")

    assert done.returncode == 1
    assert f"{GOOD}: broken at probe (assertion)" in done.stdout
    assert "two is not three" in done.stdout


def test_changing_one_probe_runs_that_probe_alone(folder: Folder) -> None:
    """The image and the other probe's evidence are kept."""
    folder.run("run", "--profile", "good")
    folder.write("scripts/probes/jinja2_raising.py", RAISING_PROBE)

    assert "0 images built, 1 probe run" in folder.run("run", "--profile", "good").stdout


def test_a_release_that_does_not_exist_is_impossible(folder: Folder) -> None:
    """The resolver proves it; nothing is built, and that is no failure."""
    code, cells = folder.run_json("run", "jinja2-9.9.9-py3.11-debian12-cpu")

    (cell,) = cells.values()
    assert (cell["verdict"], cell["class"]) == ("impossible", "no-such-version")
    assert code == 0


def test_an_index_that_cannot_be_reached_leaves_the_cell_unknown(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never taken for an impossible cell."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    code, cells = folder.run_json("run", "--profile", "good")

    assert (cells[GOOD]["verdict"], cells[GOOD]["class"]) == ("unknown", "blocked")
    assert code == 3


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_without_an_engine_nothing_is_lost(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """One message with the next step, exit code 3, and the locks are kept."""
    monkeypatch.setenv("DOCKER_HOST", address)
    done = folder.run("run", "--profile", "good")

    assert done.returncode == 3
    assert "no Docker engine answers" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((folder.root / ".envmatrix/records/lock").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk that is too small")
def test_a_plan_that_does_not_fit_is_refused_before_it_starts(folder: Folder) -> None:
    """It says how much is needed and how much there is, and downloads nothing."""
    wheelhouse = folder.root / ".envmatrix" / "wheelhouse"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder.root / ".envmatrix")],
        check=True,
    )
    try:
        done = folder.run("run", "--profile", "good")

        assert done.returncode == 3
        assert "MB of disk" in done.stderr
        assert not list(wheelhouse.glob("wheels/*"))
    finally:
        subprocess.run(["umount", str(folder.root / ".envmatrix")], check=True)


def test_ctrl_c_leaves_no_name_of_a_layer(folder: Folder, engine: Engine) -> None:
    """What several cells begin with carries a name while they are built, and not after."""
    folder.write("matrix.yaml", MATRIX + SAME)
    before, running = engine.images.names(LAYERS), engine.containers.running()
    with _started(folder, "probe") as process:
        # A step of a classic build runs in a container, too: wait for one that probes.
        def probing() -> object:
            return _seen(folder.root, '"passed"') and engine.containers.running() - running

        _wait_until(probing)
        assert engine.images.names(LAYERS) - before
        _stop(process)

    assert engine.images.names(LAYERS) == before


@pytest.mark.parametrize("moment", ["build", "probe"])
def test_ctrl_c_leaves_nothing_at_work(folder: Folder, engine: Engine, moment: str) -> None:
    """Whether a build or a probe is, when the user stops; a step of a build is no container."""
    before = engine.containers.running()

    def at_work() -> object:
        return _is_running(LONG_STEP) if moment == "build" else engine.containers.running() - before

    with _started(folder, moment) as process:
        waited = {"build": f"RUN {LONG_STEP}", "probe": '"passed"'}[moment]
        _wait_until(lambda: _seen(folder.root, waited) and at_work())
        said = _stop(process)

    assert process.returncode == 130
    assert "stopped" in said
    _wait_until(lambda: not at_work())
    assert not engine.containers.all() - before


@contextmanager
def _started(folder: Folder, moment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run that is long at a moment: while it builds, or while it probes."""
    if moment == "probe":
        folder.write("scripts/probes/jinja2_waiting.py", WAITING_PROBE)
    else:
        templates = Path(
            shutil.copytree(Path(__file__).parents[2] / "templates", folder.root / "templates")
        )
        with (templates / "cell.Dockerfile.j2").open("a") as file:
            file.write(f"RUN {LONG_STEP}\n")
    process = subprocess.Popen(
        folder.command("run", "--profile", "good"),
        cwd=folder.root,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C; return what is said to that."""
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=60)[1]


def _is_running(command: str) -> bool:
    """Look for a process of this machine, which those in containers are too."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if path.read_bytes().split(b"\0")[:-1] == command.encode().split():
                return True
    return False


def _seen(root: Path, text: str) -> bool:
    state = root / ".envmatrix"
    files = [*state.glob("logs/*/*.log"), *state.glob("records/probe/*.json")]
    return any(text in path.read_text(encoding="utf-8") for path in files)


def _wait_until(condition: object, seconds: float = 120) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)
