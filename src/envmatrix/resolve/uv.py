"""Running uv: its command, its environment, its settings, and how long it may take.

uv is hermetic: it reads no settings of the user, and of the environment only what an allow-list
names. The user's pip settings reach it in a file that nobody else can read, because addresses of
indexes can hold passwords, and every user of a machine can read command lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

from uv import find_uv_bin

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import UV_RELEASES, Problem
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.programs import TooSlowError, run_program

__all__ = ["RESOLVE_SECONDS", "UV_RELEASES", "run_uv", "uv_program"]

RESOLVE_SECONDS = 300
# uv builds nothing here, so the Python that it is given does not change the answer. Without one,
# uv looks for the asked version and starts every Python that it finds, up to a second each. A
# free-threaded Python is not given: uv would then look for free-threaded wheels.
_GIVEN_PYTHON = () if sysconfig.get_config_var("Py_GIL_DISABLED") else ("--python", sys.executable)
# The log of uv's resolver names the wheels that it tried.
_ENVIRONMENT = {"NO_COLOR": "1", "RUST_LOG": "uv_resolver::resolver=debug"}


def run_uv(
    problem: Problem,
    *,
    index: str | None,
    strategy: str,
    settings: PipSettings,
    output: Path,
    refresh: bool = False,
    stopped: threading.Event | None = None,
) -> subprocess.CompletedProcess[str]:
    """Ask uv to write the lock of a problem to `output`, a new file named `pylock.toml`.

    `index` comes before the indexes of the user's settings. `strategy` tells how uv uses several
    indexes. With `refresh` uv trusts nothing that it kept of earlier answers. Where uv takes too
    long, the result says so as uv's own words would.

    Raises:
        StoppedError: `stopped` was set meanwhile.
        ToolError: uv cannot be started.
    """
    constraints = output.with_name("constraints.txt")
    constraints.write_text("\n".join(problem.constraints) + "\n", encoding="utf-8")
    config = output.with_name("uv.toml")
    config.touch(mode=0o600)
    config.write_text(settings.uv_config(index, strategy), encoding="utf-8")
    command = [
        uv_program(),
        "pip",
        "compile",
        "-",
        # uv reads this file and no other: neither the user's nor a project's.
        "--config-file",
        str(config),
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
        problem.cutoff,
        "--no-python-downloads",
        "--format",
        "pylock.toml",
        "--output-file",
        str(output),
        "--quiet",
        *(["--refresh"] if refresh else []),
    ]
    try:
        return run_program(
            command,
            text="\n".join(problem.requires) + "\n",
            environment=settings.uv_environment(os.environ) | _ENVIRONMENT,
            folder=output.parent,
            seconds=RESOLVE_SECONDS,
            stopped=stopped or threading.Event(),
        )
    except TooSlowError as error:
        return subprocess.CompletedProcess(command, 2, "", f"error: {error}")
    except OSError as error:
        raise not_started(error, command[0]) from error


def not_started(error: OSError, program: str) -> ToolError:
    """Return the error that uv is there and cannot be started."""
    return ToolError(
        f"uv cannot be started: {error.strerror or error}",
        where=program,
        next_step=f"install it again with `{sys.executable} -m pip install --force-reinstall "
        f"'uv~={UV_RELEASES}.0'`",
    )


def uv_program() -> str:
    """Return the path of the uv that was installed with envmatrix.

    Raises:
        ToolError: it is gone.
    """
    try:
        return find_uv_bin()
    except FileNotFoundError as error:
        raise ToolError(
            "uv is missing, which resolves locks",
            where=sys.prefix,
            next_step=f"install it with `{sys.executable} -m pip install 'uv~={UV_RELEASES}.0'`",
        ) from error
