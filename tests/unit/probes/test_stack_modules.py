"""The general probe of stacks, run for real on small distributions in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[3] / "scripts" / "probes" / "stack_modules.py"


def installed(place: Path, name: str, files: dict[str, str]) -> None:
    """Install a distribution with these files, as an installer leaves it."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text, encoding="utf-8")


def probe(place: Path, *names: str) -> tuple[int, dict[str, Any], str]:
    """Run the probe for these distributions; return its exit code, its report, and stderr."""
    done = subprocess.run(
        [sys.executable, str(SOURCE)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(place),
            "ENVMATRIX_NONCE": "n",
            "ENVMATRIX_STACK": " ".join(names),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return done.returncode, report.get("observed", {}), done.stderr


@pytest.mark.parametrize(
    ("name", "files", "imported"),
    [
        ("plain", {"plain/__init__.py": "", "plain/part.py": "raise SystemExit"}, ["plain"]),
        ("open-cv", {"cv2/__init__.py": ""}, ["cv2"]),
        ("one-module", {"six.py": ""}, ["six"]),
        (
            "tools",
            {"tools/__init__.py": "", "tests/__init__.py": "1/0", "helper/__init__.py": "1/0"},
            ["tools"],
        ),
        ("cloud-store", {"cloud/store/__init__.py": ""}, ["cloud.store"]),
        (
            "torch-edge",
            {"torch_edge/core/__init__.py": "", "torch_edge/sdk/__init__.py": "import absent"},
            ["torch_edge"],
        ),
        (
            "many",
            {"apis/a/__init__.py": "", "apis/examples/b/__init__.py": "import absent"},
            ["apis.a"],
        ),
        ("messages", {"apis/a_pb2.py": "", "apis/b_pb2.py": ""}, ["apis.a_pb2", "apis.b_pb2"]),
        ("two", {"first/__init__.py": "", "second/__init__.py": ""}, ["first", "second"]),
    ],
)
def test_the_modules_that_a_distribution_holds_are_imported(
    tmp_path: Path, name: str, files: dict[str, str], imported: list[str]
) -> None:
    """The probe finds the names to import in the distribution itself."""
    installed(tmp_path, name, files)
    code, observed, said = probe(tmp_path, name)
    assert (0, {name: imported}) == (code, observed.get("imported")), said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "raise ImportError('libGL.so.1: cannot open shared object file: No such file')",
            "ImportError: libGL.so.1: cannot open shared object file",
        ),
        (
            "import warnings\nwarnings.warn('unable to load x.so: undefined symbol: _ZN2tf')",
            "ImportError: unable to load x.so: undefined symbol: _ZN2tf",
        ),
    ],
)
def test_a_distribution_that_does_not_import_fails(tmp_path: Path, source: str, said: str) -> None:
    """A failed import fails the probe, and so does a library that warns of a missing symbol."""
    installed(tmp_path, "good", {"good/__init__.py": ""})
    installed(tmp_path, "bad", {"bad/__init__.py": source})
    code, observed, stderr = probe(tmp_path, "good", "bad")
    assert (code, observed) == (1, {})
    assert said in stderr


def test_another_warning_is_no_failure(tmp_path: Path) -> None:
    """A distribution that warns of something else passes."""
    installed(
        tmp_path, "noisy", {"noisy/__init__.py": "import warnings\nwarnings.warn('soon gone')"}
    )
    assert probe(tmp_path, "noisy")[0] == 0


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_distribution_without_a_module_fails(tmp_path: Path, name: str) -> None:
    """A distribution that is not installed, or that holds no module, proves nothing."""
    installed(tmp_path, "empty", {"empty.data/share/notes.txt": ""})
    assert probe(tmp_path, name)[0] == 1
