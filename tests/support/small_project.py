"""A small project for tests: a matrix of a framework that is quick, its probes, and its folder.

With the two fakes the whole way of a cell takes about a second and needs no network:

    with FakeEngine() as engine, FakeIndex() as index:
        serve_wheels(index)
        folder = make_project(tmp_path, environment(engine.url, index.url))
        done = folder.run("run", GOOD)

`Folder` works with a real engine too: give it an environment that names one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_index import FakeIndex

from envmatrix.cli import main
from envmatrix.cli.workspace import Workspace
from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence
from envmatrix.resolve.pip_settings import pip_settings
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.options import Options
from envmatrix.stages.run import Run

MATRIX = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian12: {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
               image: "debian:12-slim", bootstrap: bookworm}
    debian13: {distribution: debian, codename: trixie, glibc: "2.41", python: "3.13",
               image: "debian:13-slim"}
  python: ["3.11", "3.13"]
  accelerator:
    cpu: {}
    cu130: {cuda: "13.0", driver: "580"}
  arch: [amd64]
base: {installer: "uv==0.13.9", venv: ["pip"]}
frameworks:
  jinja2:
    title: Jinja
    versions: ["2.9.6", "3.1.6", "9.9.9"]
    variants:
      - name: wheel
        requires: ["jinja2=={version}"]
        accelerators: {cpu: [">=2"], cu130: ["3.1.6"]}
rules:
  - when: {os: debian13, version: "2.9.6"}
    exclude: true
    reason: nobody asked for it
profiles:
  quick: [{version: ["2.9.6", "3.1.6"], os: debian12, python: own, accelerator: cpu}]
  good: [{version: "3.1.6", os: debian12, python: own, accelerator: cpu}]
  published: [{profile: quick}]
"""

GOOD = "jinja2-3.1.6-py3.11-debian12-cpu"
OLD = "jinja2-2.9.6-py3.11-debian12-cpu"
CUDA = "jinja2-3.1.6-py3.11-debian12-cu130"
NEWER = "jinja2-3.1.6-py3.13-debian13-cpu"
IMPOSSIBLE = "jinja2-9.9.9-py3.11-debian12-cpu"
EXCLUDED = "jinja2-2.9.6-py3.13-debian13-cpu"
ARM_MATRIX = MATRIX.replace("arch: [amd64]", "arch: [amd64, arm64]")
"""The matrix for two architectures."""
ARM = f"{GOOD}-arm64"
"""The same cell as `GOOD` on the other architecture."""
LOCKED = (GOOD, OLD, CUDA, NEWER, IMPOSSIBLE)
"""The cells that `make_locked_project` locks."""
BASE = "debian12-py3.11-cpu"

_HEADER = """\
# /// probe
# name = "{name}"
# framework = "jinja2"
# proves = "{proves}"
# required = {required}
# timeout = 30
{more}# ///
"""
IMPORT_PROBE = _HEADER.format(
    name="jinja2-import",
    proves="Jinja imports and says its version.",
    required="true",
    more="",
) + (
    """\
import json, os, platform
import jinja2

report = {"probe": "jinja2-import", "nonce": os.environ["ENVMATRIX_NONCE"]}
lines = open("/etc/os-release").read().split("\\n")
system = dict(line.split("=", 1) for line in lines if "=" in line)
observed = {
    "version": jinja2.__version__,
    "python": ".".join(platform.python_version_tuple()[:2]),
    "distribution": system["ID"],
    "codename": system["VERSION_CODENAME"],
    "glibc": platform.libc_ver()[1],
    "accelerator": "cpu",
    "arch": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
}
print(json.dumps({**report, "observed": observed}))
"""
)
RENDER_PROBE = _HEADER.format(
    name="jinja2-render",
    proves="A template is rendered.",
    required="true",
    more="",
) + (
    """\
import json, os
import jinja2

assert jinja2.Template("{{ x }}").render(x=1) == "1"
report = {"probe": "jinja2-render", "nonce": os.environ["ENVMATRIX_NONCE"]}
print(json.dumps({**report, "observed": {}}))
"""
)
GPU_PROBE = _HEADER.format(
    name="jinja2-gpu",
    proves="A template is rendered beside a GPU.",
    required="false",
    more='# needs = "gpu"\n',
) + RENDER_PROBE.partition("# ///\n")[2].replace("jinja2-render", "jinja2-gpu")

_OWN_SETTINGS = ("PIP_", "UV_", "DOCKER_")
NOWHERE = "http://127.0.0.1:9/simple/"
"""The address of an index at which nothing listens."""


def environment(engine: str, index: str = NOWHERE) -> dict[str, str]:
    """Return the environment of a command that uses this engine and this index.

    No setting of the user counts, and whatever cannot be reached is asked for once.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OWN_SETTINGS) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "DOCKER_HOST": engine,
        "DOCKER_CONFIG": os.devnull,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index,
        "PIP_RETRIES": "0",
        "PIP_TIMEOUT": "5",
        "UV_HTTP_RETRIES": "0",
        "UV_HTTP_TIMEOUT": "3",
        "UV_NO_CACHE": "1",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_INSTALL_MIRROR": NOWHERE,
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextmanager
def inside(variables: Mapping[str, str]) -> Iterator[None]:
    """Give this process an environment, and let it forget what pip said of another."""
    pip_settings.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(variables):
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
    pip_settings.cache_clear()


def serve_wheels(index: FakeIndex) -> None:
    """Let an index serve every wheel that the small matrix can be locked to."""
    for version in ("2.9.6", "3.1.6"):
        index.add("jinja2", version, requires=["markupsafe>=2"])
    machines = ("x86_64", "aarch64")
    tags = [
        f"cp3{minor}-cp3{minor}-manylinux_2_17_{machine}"
        for minor in (11, 13)
        for machine in machines
    ]
    index.add("markupsafe", "3.0.1", tags=tags)
    index.add("pip", "26.0")
    tags = [f"py3-none-manylinux_2_17_{machine}" for machine in machines]
    index.add("uv", "0.13.9", tags=tags)


@dataclass(frozen=True)
class Folder:
    """A project in a folder of its own, and the environment that its commands get."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, name: str) -> str:
        """Return the text of a file of the project."""
        return (self.root / name).read_text(encoding="utf-8")

    # --- as a command

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs envmatrix."""
        return [sys.executable, "-m", "envmatrix", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run envmatrix as a user would."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run_json(self, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Run envmatrix; return its exit code and the cells of its JSON by id."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        return done.returncode, {cell["id"]: cell for cell in json.loads(done.stdout)["cells"]}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start envmatrix in a session of its own; the caller waits for it."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    # --- in this process

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this process stand where a command of the project would: its folder, its settings."""
        before = Path.cwd()
        os.chdir(self.root)
        try:
            with inside(self.environment):
                yield
        finally:
            os.chdir(before)

    def main(self, *arguments: str) -> int:
        """Run envmatrix in this process, which stands `inside`; return the exit code."""
        codes: list[int] = []
        try:
            main(arguments, codes.append)
        except SystemExit as end:
            codes.append(int(end.code or 0))
        (code,) = codes
        return code

    def workspace(self) -> Workspace:
        """Return the parts of envmatrix for this project, as a new command has them."""
        return Workspace(self.root / "matrix.yaml")

    def cells(self, *ids: str) -> list[Cell]:
        """Return cells of the matrix by id, in this order."""
        by_id = {cell.id: cell for cell in self.workspace().cells}
        return [by_id[cell_id] for cell_id in ids]

    def copy(self, root: Path, variables: Mapping[str, str]) -> Folder:
        """Return a copy of this project, with all that it knows, for another environment."""
        return Folder(Path(shutil.copytree(self.root, root)), variables)


def make_project(root: Path, variables: Mapping[str, str], matrix: str = MATRIX) -> Folder:
    """Write the small project into a folder."""
    folder = Folder(root, variables)
    folder.write("matrix.yaml", matrix)
    folder.write("scripts/probes/jinja2_import.py", IMPORT_PROBE)
    folder.write("scripts/probes/jinja2_render.py", RENDER_PROBE)
    return folder


def make_locked_project(root: Path, matrix: str = MATRIX, ids: Sequence[str] = LOCKED) -> Folder:
    """Write the small project, lock some of its cells, and download their wheels.

    These cells need no index any more.
    """
    with FakeIndex() as index:
        serve_wheels(index)
        folder = make_project(root, environment("unix:///nowhere", index.url), matrix)
        with folder.inside():
            _lock_and_fetch(folder, ids)
    return folder


def _lock_and_fetch(folder: Folder, ids: Sequence[str]) -> None:
    workspace, cells = folder.workspace(), folder.cells(*ids)
    resolutions = workspace.resolutions
    found = workspace.locking.lock(cells, Told(), jobs=2)
    wheelhouse = Wheelhouse(workspace.layout.wheelhouse, print)
    problems = [
        problem
        for cell in cells
        for problem in (resolutions.problem(cell), resolutions.base_problem(cell))
    ]
    for problem in problems:
        resolution = found[problem.key]
        if resolution.lock:
            wheelhouse.fetch(
                resolution.lock,
                python=problem.python,
                glibc=problem.glibc,
                arch=problem.arch,
                index=None,
            )


# --- running cells in this process -----------------------------------------------------------

ONE = Options(jobs=1)
"""One piece of work after another, so that a fault hits what it is meant for."""


def run(project: Folder, *ids: str, options: Options = ONE, progress: Told | None = None) -> Run:
    """Run cells as a new command does."""
    return project.workspace().runner.run(project.cells(*ids), options, progress or Told())


def run_one(project: Folder, cell_id: str, options: Options = ONE) -> Evidence:
    """Run one cell; return its evidence."""
    (found,) = run(project, cell_id, options=options).cells
    return found


def judged(found: Evidence) -> tuple[str, str, str]:
    """Return the verdict, the stage and the class."""
    return found.verdict.value, found.stage, found.class_


@dataclass
class Told:
    """A progress that remembers what it was told."""

    expected: dict[str, int] = field(default_factory=dict)
    started_items: list[tuple[str, str]] = field(default_factory=list)
    finished_items: list[tuple[str, str, str, bool]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def expect(self, stage: str, count: int) -> None:
        """Remember how much is ahead."""
        self.expected[stage] = count

    def started(self, stage: str, subject: str) -> None:
        """Remember what began."""
        self.started_items.append((stage, subject))

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Remember what ended, and how."""
        self.finished_items.append((stage, subject, said, reused))

    def tell(self, text: str) -> None:
        """Remember a text."""
        self.texts.append(text)

    def said(self, stage: str) -> Sequence[str]:
        """Return how the work of a stage ended, in order."""
        return [said for kind, _, said, _ in self.finished_items if kind == stage]
