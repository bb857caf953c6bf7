"""The workflows and the action: every command of ours in them is one that exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from envmatrix.cli.app import app
from envmatrix.cli.workspace import Workspace

ROOT = Path(__file__).parents[2]
FILES = [*sorted(ROOT.glob(".github/workflows/*.yml")), ROOT / "action.yml"]
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")
_OURS = re.compile(
    r'(?:^|[\s(])(?:envmatrix|"\$envmatrix"|"[^"\n]*/bin/envmatrix")\s+([^\n]*)', re.MULTILINE
)
_ENDS = ("|", "||", "&&", ">", ">>", "<", "2>", ";", "then")
"""What ends a command line in a shell script, as far as its arguments go."""
SAMPLES = {
    "SHARDS": "8",
    "SHARD": "2/8",
    "PROFILE": "published",
    "OUT": "out",
    "matrix": str(ROOT / "matrix.yaml"),
    "cell": "torch-2.13.0-py3.11-debian12-cpu",
    "COMMAND": "pytest -q",
}
ARRAYS = {
    '"${select[@]}"': ["verdict=unknown", "framework=torch"],
    '"${select[@]/#/--select=}"': ["--select=verdict=unknown"],
    '"${site[@]}"': ["--site", "--base-url", "https://example.org/site/"],
    '"${release[@]}"': ["framework=torch", "version=2.13.0"],
}


def document(path: Path) -> Mapping[str, Any]:
    """Return a workflow or an action as data."""
    found: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of all jobs of a file, and the jobs that call another workflow."""
    data = document(path)
    if "runs" in data:
        yield from data["runs"]["steps"]
    for job in data.get("jobs", {}).values():
        yield from job.get("steps", [job])


def scripts() -> list[tuple[str, str]]:
    """Return every script of every file, with a name for it."""
    return [
        (f"{path.name}: {step.get('name', step['run'].splitlines()[0])}", step["run"])
        for path in FILES
        for step in steps(path)
        if "run" in step
    ]


def commands() -> list[list[str]]:
    """Return the arguments of every call of envmatrix, with samples in place of variables."""
    found = []
    for _, script in scripts():
        text = script.replace("\\\n", " ")
        for call in _OURS.finditer(text):
            line = call[1]
            for array, values in ARRAYS.items():
                line = line.replace(array, shlex.join(values))
            line = re.sub(r"\$\{?(\w+)\}?", lambda name: SAMPLES.get(name[1], "x"), line)
            words = shlex.split(line.partition(")")[0].replace(">", " > ").replace("<", " < "))
            ends = [index for index, word in enumerate(words) if word.rstrip("0123456789") in _ENDS]
            found.append([word for word in words[: min(ends, default=len(words))] if word != "2"])
    return found


CALLS = commands()


def test_commands_are_found() -> None:
    """The search finds what it is for, so that the tests below test something."""
    names = {word for call in CALLS for word in call}
    assert {"plan", "run", "merge", "build", "shell", "outdated", "lock", "report"} <= names
    assert len(CALLS) >= 12


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_every_command_line_parses(arguments: list[str], tmp_path: Path) -> None:
    """Each option exists and takes the value that it gets. Nothing is run."""
    root = typer.main.get_group(app)
    context = root.make_context("envmatrix", list(arguments))
    name, *rest = [*context._protected_args, *context.args]
    root.commands[name].make_context(name, rest, parent=context)


@pytest.mark.parametrize(("name", "script"), scripts())
def test_every_script_is_one_of_bash(name: str, script: str) -> None:
    """Bash reads it, and no expression of a workflow is pasted into it."""
    assert "${{" not in script, name
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_sessions_exist() -> None:
    """Each session of nox that a script or a workflow names is in the noxfile."""
    text = (ROOT / ".ci/run").read_text() + "".join(script for _, script in scripts())
    sessions = set(re.findall(r"nox -s (\w+)", text))
    defined = set(
        re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    )
    assert sessions
    assert sessions <= defined


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    """Each action is a full commit, and says which version that is. A workflow has no right."""
    text = path.read_text(encoding="utf-8")
    for step in steps(path):
        uses = step.get("uses", "./")
        assert uses.startswith("./") or PINNED.fullmatch(uses), uses
        if not uses.startswith("./"):
            assert re.search(rf"{re.escape(uses)} # v\d+\.\d+\.\d+$", text, re.MULTILINE), uses
        if uses.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    data = document(path)
    if "jobs" in data:
        assert data["permissions"] == {}
        assert all("permissions" in job for job in data["jobs"].values())


def test_selectors_and_profiles_of_workflows_choose_cells(root: Path) -> None:
    """What the weekly look runs for a release has cells in the matrix of now."""
    workspace = Workspace(root / "matrix.yaml")
    selectors = ["framework=torch", "version=2.13.0", "os=debian12", "python=own"]
    assert workspace.choose([*selectors, "accelerator=cpu", "arch=amd64"], None)
    assert "published" in workspace.matrix.profiles


def test_workflows_call_with_inputs_that_exist() -> None:
    """A job that calls a workflow, and a step that uses our action, give inputs of it."""
    for path in FILES:
        for step in steps(path):
            uses = step.get("uses", "")
            if uses.startswith("./.github/workflows/"):
                data = document(ROOT / uses)
                known = data[True]["workflow_call"]["inputs"]  # type: ignore[index]
                assert step["with"].keys() <= known.keys()
            elif uses == "./envmatrix":
                assert step["with"].keys() <= document(ROOT / "action.yml")["inputs"].keys()
