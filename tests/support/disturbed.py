"""Runs that something disturbs, such as a signal or a kill at a write, and what they leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from conftest import REPOSITORY, Folder
from private_engine import wait_until
from small_project import GOOD

from envmatrix.engine.client import Engine

HOOK = Path(__file__).parent / "stopped_writes"
RUN = ("run", "--profile", "good", "--jobs", "1")
"""A run of one cell, with one thing after the other."""
MOST_SECONDS = 90.0
"""More than any stop may take."""
OUR_NAMES = ("envmatrix/below:*", "envmatrix/layer:*", "envmatrix/made:*")
"""The names that a run gives and takes away."""

PROBE = """\
# /// probe
# name = "{name}"
# framework = "jinja2"
# proves = "Nothing: it is disturbed."
# required = true
# timeout = {timeout}
# ///
import json, os
def report(**more):
    print(json.dumps({{"probe": "{name}", "nonce": os.environ["ENVMATRIX_NONCE"], **more}}))
{source}
"""


def write_probe(folder: Folder, name: str, source: str, timeout: int = 300) -> None:
    """Write a probe of a project. Its source may call `report`."""
    path = f"scripts/probes/{name.replace('-', '_')}.py"
    folder.write(path, PROBE.format(name=name, timeout=timeout, source=source))


def write_step(folder: Folder, step: str) -> None:
    """Let every build of a cell end with a step of its own."""
    templates = folder.root / "templates"
    shutil.copytree(REPOSITORY / "templates", templates)
    with (templates / "cell.Dockerfile.j2").open("a", encoding="utf-8") as file:
        file.write(f"RUN {step}\n")


def forget_step(folder: Folder) -> None:
    """Let builds be as they were before `write_step`."""
    shutil.rmtree(folder.root / "templates")


@contextmanager
def started(folder: Folder, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start envmatrix in a session of its own. It is killed where it still runs afterwards."""
    with subprocess.Popen(
        folder.command(*arguments),
        cwd=folder.root,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def send(process: subprocess.Popen[str], number: int) -> str:
    """Send a signal to envmatrix alone, wait for its end, and return what it said on stderr."""
    process.send_signal(number)
    return process.communicate(timeout=MOST_SECONDS)[1]


def run_with_writes(
    folder: Folder, path: str = "", do: str = "", arguments: Sequence[str] = RUN
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run envmatrix, and act at its first write of a file whose path fits the pattern.

    It is killed just before the write, or a command is done just after it. Return how it ended, and
    what it wrote.
    """
    with tempfile.NamedTemporaryFile() as log:
        asked = {"root": str(folder.root), "log": log.name, "path": path, "do": do}
        before = os.environ.get("PYTHONPATH")
        done = subprocess.run(
            folder.command(*arguments),
            cwd=folder.root,
            env=os.environ
            | {
                "AT_A_WRITE": json.dumps(asked),
                "PYTHONPATH": os.pathsep.join(filter(None, (str(HOOK), before))),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, Path(log.name).read_text(encoding="utf-8").splitlines()


def judged(folder: Folder) -> tuple[str, str, str]:
    """Return verdict, stage and class of the good cell, as its evidence is kept."""
    path = folder.root / ".envmatrix" / "cells" / f"{GOOD}.json"
    evidence = json.loads(path.read_text(encoding="utf-8"))
    return evidence["verdict"], evidence["stage"], evidence["class"]


def settled(evidence: dict[str, Any]) -> Any:
    """Return evidence without its times and logs: what any two runs of the same inputs agree on.

    A run that finds a step done has no log of it.
    """

    def kept(value: object) -> object:
        if isinstance(value, dict):
            return {
                name: kept(inner)
                for name, inner in value.items()
                if name not in ("generated_at", "seconds", "logs")
            }
        return [kept(inner) for inner in value] if isinstance(value, list) else value

    return kept(evidence)


def left(folder: Folder, engine: Engine) -> list[str]:
    """Return what a run left that it should not: half-written files, notes, containers, names."""
    state = folder.root / ".envmatrix"
    files = [
        str(path.relative_to(folder.root))
        for path in folder.root.rglob(".*")
        if re.search(r"\.\d{8}$", path.name)
    ]
    notes = [path.name for path in state.glob("records/run/*")]
    names = [name for pattern in OUR_NAMES for name in engine.images.names(pattern)]
    return [*files, *notes, *sorted(engine.containers.all()), *sorted(names)]


def is_running(command: str) -> bool:
    """Look for a process of this machine, which those in containers are too."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if path.read_bytes().split(b"\0")[:-1] == command.encode().split():
                return True
    return False


def wait_for_container(process: subprocess.Popen[str], engine: Engine) -> None:
    """Wait until a run of envmatrix has a container that runs."""

    def at_work() -> object:
        assert process.poll() is None, process.communicate()
        return engine.containers.running()

    wait_until(at_work)
