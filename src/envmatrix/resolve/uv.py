"""Running uv: its command, its environment, and how long it may take."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from uv import find_uv_bin

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import Problem
from envmatrix.resolve.pip_settings import PipSettings

# The releases of uv whose words and log `uv_output` reads. uv promises neither to stay the same,
# so pyproject.toml allows these releases only. Before you change them, record the outputs in
# tests/unit/resolve/uv_output again; the tests say how, and whether UV_GLIBC still holds.
UV_RELEASES = "0.13"
RESOLVE_SECONDS = 300
# uv builds nothing here, so the Python that it is given does not change the answer. Without one,
# uv looks for the asked version and starts every Python that it finds, up to a second each. A
# free-threaded Python is not given: uv would then look for free-threaded wheels.
_GIVEN_PYTHON = () if sysconfig.get_config_var("Py_GIL_DISABLED") else ("--python", sys.executable)
# The log of uv's resolver names the wheels that it tried.
_ENVIRONMENT = {"NO_COLOR": "1", "RUST_LOG": "uv_resolver::resolver=debug"}


def run_uv(
    problem: Problem, *, index: str | None, strategy: str, settings: PipSettings, output: Path
) -> subprocess.CompletedProcess[str]:
    """Ask uv to write the lock of a problem to `output`, a new file named `pylock.toml`.

    `index` comes before the indexes of the user's settings. `strategy` tells how uv uses several
    indexes. Where uv takes too long, the result says so as uv's own words would.

    Raises:
        ToolError: uv cannot be started.
    """
    constraints = output.with_name("constraints.txt")
    constraints.write_text("\n".join(problem.constraints) + "\n", encoding="utf-8")
    command = [
        find_uv_bin(),
        "pip",
        "compile",
        "-",
        "--constraints",
        str(constraints),
        "--python-version",
        problem.python,
        *_GIVEN_PYTHON,
        "--python-platform",
        problem.uv_platform,
        "--only-binary",
        ":all:",
        "--exclude-newer",
        problem.as_of,
        "--no-python-downloads",
        "--format",
        "pylock.toml",
        "--output-file",
        str(output),
        "--quiet",
        "--index-strategy",
        strategy,
        *(["--index", index] if index else []),
        *settings.uv_arguments(),
    ]
    try:
        return subprocess.run(
            command,
            input="\n".join(problem.requires) + "\n",
            text=True,
            capture_output=True,
            check=False,
            env=os.environ | settings.uv_environment() | _ENVIRONMENT,
            cwd=output.parent,
            timeout=RESOLVE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            command, 2, "", f"error: timed out after {RESOLVE_SECONDS} s"
        )
    except OSError as error:
        raise ToolError(
            f"uv cannot be started: {error}",
            where=command[0],
            next_step="reinstall envmatrix; uv comes with it",
        ) from error
