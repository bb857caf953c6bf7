"""What needs no Docker runs where docker and requests cannot be imported."""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import envmatrix.model
import envmatrix.report

BLOCKED = ("docker", "requests")
BLOCK = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))  # Importing a module that is None fails.
"""
RUN = """
import json, sys
from envmatrix.cli import main
codes = []
try:
    main(sys.argv[1:], codes.append)
except SystemExit as end:
    codes.append(end.code)
loaded = sorted(name for name in ("docker", "requests") if sys.modules.get(name))
sys.stderr.write(json.dumps({"codes": codes, "loaded": loaded}))
"""
PURE = [
    f"{package.__name__}.{module.name}"
    for package in (envmatrix.model, envmatrix.report)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.fixture
def project(tmp_path: Path, small_text: str) -> Path:
    """A folder with the small matrix."""
    (tmp_path / "matrix.yaml").write_text(small_text, encoding="utf-8")
    report = '{"schema": 2, "generated_at": "2026-11-20T00:00:00Z", "cells": []}'
    (tmp_path / "new").write_text(report, encoding="utf-8")
    return tmp_path


def python(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("block", ["", BLOCK], ids=["docker is there", "docker is blocked"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan",), "2 cells: 2 unknown"),
        (("explain", "torch-2.10.0-py3.11-debian12-cpu"), "nothing was tried yet"),
        (("plan", "--grid"), "2.10.0     ?     ?"),
        (("recommend", "--no-host"), "no answer for torch"),
        (("report", "--out", "out"), "written to out/"),
        (("report", "--out", "out", "--site"), "written to out/"),
        (("diff", "new", "new"), "0 cells: none"),
        (("plan", "--shards", "2"), "2/2: 1 cell"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_that_needs_no_docker_imports_none(
    project: Path, arguments: tuple[str, ...], said: str, block: str
) -> None:
    """Such a command runs in a project, and imports neither docker nor requests."""
    ran = python(project, block + RUN, *arguments)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stderr.splitlines()[-1]) == {"codes": [0], "loaded": []}
    assert said in ran.stdout


def test_every_module_of_the_model_and_of_reports_is_imported_without_docker(
    tmp_path: Path,
) -> None:
    """Each module under model and report is imported where docker and requests are blocked."""
    assert {"envmatrix.model.evidence", "envmatrix.report.table"} <= set(PURE)
    ran = python(tmp_path, BLOCK + "\n".join(f"import {name}" for name in PURE))
    assert ran.returncode == 0, ran.stderr


def test_what_is_blocked_cannot_be_imported(tmp_path: Path) -> None:
    """The engine's client, which needs docker, cannot be imported where docker is blocked."""
    assert python(tmp_path, "import envmatrix.engine.client").returncode == 0
    ran = python(tmp_path, BLOCK + "import envmatrix.engine.client")
    assert ran.returncode == 1
    assert "'docker' is not a package" in ran.stderr
