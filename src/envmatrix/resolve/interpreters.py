"""Standalone Pythons, asked of uv with all that the user has set for them.

uv knows a list of downloads, or takes one that the user names (UV_PYTHON_DOWNLOADS_JSON_URL). It
composes addresses of its own default or of a mirror (UV_PYTHON_INSTALL_MIRROR), and compares what
arrives with the SHA-256 of the list. Unlike for wheels, uv reads the user's uv.toml here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from envmatrix.model.errors import NetworkError
from envmatrix.model.interpreters import Interpreter, Wanted, key, told
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.programs import TooSlowError, run_program
from envmatrix.resolve.uv import not_started, uv_program
from envmatrix.resolve.uv_output import last_cause, tells_of_no_connection

LIST_SECONDS = 120.0
DOWNLOAD_SECONDS = 900.0
"""How long a download of some 30 MB may take in all. A server that drips is slower."""
REMEDY = (
    "set UV_PYTHON_INSTALL_MIRROR to a mirror that this machine reaches, and lock again; or choose "
    "an OS whose own Python it is"
)

# What a user sets for the Pythons of uv, beside what says how the network is reached.
_LIST = "UV_PYTHON_DOWNLOADS_JSON_URL"
_MIRROR = "UV_PYTHON_INSTALL_MIRROR"
_FOR_PYTHONS = (
    *(_MIRROR, _LIST, "UV_ASTRAL_MIRROR_URL"),
    *("UV_INSECURE_HOST", "UV_OFFLINE"),
    *("UV_CONFIG_FILE", "UV_NO_CONFIG", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"),
)
_MISMATCH = re.compile(r"Hash mismatch.*Computed:\s+(?P<found>[0-9a-f]{64})", re.DOTALL)


@dataclass
class Interpreters:
    """Asks uv, and remembers that no download can be reached, so that it waits for that once."""

    settings: PipSettings
    stopped: threading.Event = field(default_factory=threading.Event)
    _unreached: str = field(default="", init=False)

    def newest(self, wanted: Wanted) -> str:
        """Return the file name of the newest archive that meets a want, by the user's list.

        uv's own list is a part of uv, so no network is needed for it.

        Raises:
            NetworkError: the list cannot be read, or has none.
            ToolError: uv is missing.
        """
        found = [
            name for name in self._offered(wanted.python, wanted.machine) if wanted.is_met_by(name)
        ]
        if not found:
            raise NetworkError(
                f"uv knows no standalone Python {wanted.python} for {wanted.arch} that was built "
                f"up to {wanted.as_of}",
                next_step="choose an OS whose own Python it is, raise `as_of` in the matrix, or "
                f"name a list that has it in {_LIST}",
                kind="no-interpreter",
            )
        return max(found, key=lambda name: [int(part) for part in told(name)["version"].split(".")])

    def _offered(self, python: str, machine: str) -> list[str]:
        """Return the names of all archives of a Python that the user's list has."""
        request = key(python, machine)
        only = ["--only-downloads", "--all-versions", "--output-format", "json"]
        done = self._run(["list", *only, request], {}, LIST_SECONDS)
        try:
            if done.returncode == 0:
                addresses = [str(one["url"]) for one in json.loads(done.stdout)]
                return [unquote(urlsplit(url).path.rpartition("/")[2]) for url in addresses]
            why = last_cause(done.stderr)
        except (ValueError, TypeError, LookupError) as error:
            why = f"uv's answer cannot be read ({type(error).__name__})"
        raise NetworkError(
            f"the list of standalone Pythons cannot be read: {why}",
            next_step=f"correct {_LIST}, or the mirror that the addresses of the list are "
            f"composed of ({_MIRROR}); where they are not set, uv.toml",
        )

    def download(self, filename: str, folder: Path, pinned: Interpreter | None = None) -> Path:
        """Download an archive into a new folder; return its path there.

        A `pinned` one may be in no list any more. uv then composes its address from its name, and
        compares with the hash that is pinned. Only a list of the user's own may have it elsewhere.

        Raises:
            NetworkError: it cannot be reached, or other bytes were served.
            ToolError: uv is missing.
        """
        if self._unreached:
            raise _failure(filename, self._unreached)
        archives = folder / "archives"
        arguments = ["install", "--no-bin", "--install-dir", str(folder / "installed")]
        if pinned and not self._is_listed(pinned):
            listed = folder / "python.json"
            listed.write_text(pinned.download_list, encoding="utf-8")
            arguments += ["--python-downloads-json-url", str(listed)]
        name = told(filename)
        arguments += [key(name["version"], name["machine"])]
        own = {"UV_PYTHON_CACHE_DIR": str(archives), "TMPDIR": str(folder)}
        done = self._run(arguments, own, DOWNLOAD_SECONDS)
        if done.returncode != 0:
            if mismatch := _MISMATCH.search(done.stderr):
                raise other_bytes(filename, mismatch["found"])
            why = last_cause(done.stderr)
            if tells_of_no_connection(done.stderr) or "timed out" in done.stderr:
                self._unreached = why
            raise _failure(filename, why)
        # uv puts nine digits of the hash before the name, and has no plus in it.
        found = list(archives.glob("*-" + filename.replace("+", "-")))
        if len(found) != 1:
            raise _failure(filename, "uv kept no archive of this name")
        return found[0]

    def _is_listed(self, interpreter: Interpreter) -> bool:
        """Return whether a list of the user's own has this archive, at whatever address."""
        if _LIST not in os.environ:
            return False
        name = told(interpreter.filename)
        try:
            return interpreter.filename in self._offered(name["python"], name["machine"])
        except NetworkError:
            return False

    def _run(
        self, arguments: list[str], own: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        command = [uv_program(), "python", *arguments]
        users = {name: os.environ[name] for name in _FOR_PYTHONS if name in os.environ}
        environment = self.settings.uv_environment(os.environ) | users | own
        try:
            return run_program(
                command,
                environment=environment | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"},
                folder=Path.cwd(),  # settings may hold paths that begin here
                seconds=seconds,
                stopped=self.stopped,
            )
        except TooSlowError as error:
            said = f"error: uv {error}"
            return subprocess.CompletedProcess(command, 2, "", said)
        except OSError as error:
            raise not_started(error, command[0]) from error


def other_bytes(filename: str, sha256: str) -> NetworkError:
    """Return the error that an archive has another hash than the list or the lock says."""
    return NetworkError(
        f"the interpreter {filename} was served with other bytes (their SHA-256 is {sha256}) than "
        "those that are listed or locked",
        next_step="correct the mirror; if it is right, lock anew with `envmatrix lock --fresh`",
    )


def _failure(filename: str, why: str) -> NetworkError:
    return NetworkError(f"the interpreter {filename} cannot be downloaded: {why}", next_step=REMEDY)
