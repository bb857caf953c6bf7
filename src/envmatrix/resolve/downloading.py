"""Downloading wheels with pip, so that the user's indexes, credentials and proxies count.

pip compares each wheel with its hash before it leaves it in the folder. All attempts have a limit
of time together, since a server that drips keeps each single answer alive.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.causes import SURROUNDINGS, classify
from envmatrix.model.errors import DiskError, NetworkError, SurroundingsError
from envmatrix.model.locks import Wheel
from envmatrix.resolve.indexes import Indexes
from envmatrix.resolve.pip_settings import pip_environment, pip_settings
from envmatrix.resolve.programs import TooSlowError, run_program
from envmatrix.resolve.tags import platform_tags
from envmatrix.resolve.uv_output import blocked, refused, without_addresses

# How long the download of some wheels may take in all. A server that drips is slower.
DOWNLOAD_SECONDS = 600.0
_BYTES_A_SECOND = 256 * 1024
_OF_UNKNOWN_SIZE = 2**30
# After so many downloads in a row that were too slow, a run tries no other one.
_SLOW_AT_MOST = 2
_AGAIN = "check the index and the network, then run again"
_CORRECT = (
    "run again, or correct the index or the proxy; if they are right and the lock is not, lock "
    "anew with `envmatrix lock --fresh`"
)
_OTHER_BYTES = re.compile(r"\bGot +([0-9a-f]{64})\b")
_NOTHING_FITS = re.compile(r"No matching distribution found")


@dataclass
class Downloads:
    """The downloads of one run. A download ends at once when `stopped` is set."""

    stopped: threading.Event
    _slow_in_a_row: int = 0

    def bring(
        self, wheels: Sequence[Wheel], folder: Path, target: Sequence[str], index: str | None
    ) -> None:
        """Download wheels into a folder, by the user's settings and by the index of a variant.

        Raises:
            DiskError: the disk is full.
            NetworkError: a wheel cannot be had; its class says why.
        """
        if self._slow_in_a_row >= _SLOW_AT_MOST:
            raise _failure(wheels, "it was not tried, because the downloads before were too slow")
        command = _command(wheels, folder, target)
        # The first attempt goes without the variant's own index: the user's settings may provide
        # every wheel, and an index that cannot be reached costs minutes of retries.
        attempts = [command] + ([[*command, "--extra-index-url", index]] if index else [])
        size = sum(wheel.size or _OF_UNKNOWN_SIZE for wheel in wheels)
        failure: SurroundingsError | None = None
        for attempt in attempts:
            try:
                result = run_program(
                    attempt,
                    # pip's temporary files then lie on the disk whose space was checked, and are
                    # removed with the folder.
                    environment=pip_environment(os.environ) | {"TMPDIR": str(folder)},
                    folder=Path.cwd(),  # pip's settings may hold paths that begin here
                    seconds=DOWNLOAD_SECONDS + size / _BYTES_A_SECOND,
                    stopped=self.stopped,
                )
            except TooSlowError as error:
                failure = _failure(wheels, f"the download {error}")
                self._slow_in_a_row += 1
                continue
            self._slow_in_a_row = 0
            if result.returncode == 0:
                return
            failure = self._explained(wheels, result.stderr, index)
        assert failure is not None  # noqa: S101  (for the type checker: there is an attempt)
        raise failure

    def _explained(
        self, wheels: Sequence[Wheel], output: str, index: str | None
    ) -> SurroundingsError:
        """Return the error that tells why pip could not download these wheels."""
        # pip ends at the first file that it cannot have, and names it. The others are not at fault.
        guilty = [wheel for wheel in wheels if _names(output, wheel)] or wheels
        if other := _OTHER_BYTES.search(output):
            why = f"other bytes came than the lock names (their SHA-256 is {other[1]})"
            return _failure(guilty, why, _CORRECT, "mirror")
        if found := classify(output, SURROUNDINGS):
            return _failure(guilty, found.cause, found.remedy, found.kind)
        if _NOTHING_FITS.search(output):
            return self._not_listed(guilty, index)
        said = [line for line in output.splitlines() if "ERROR" in line]
        return _failure(guilty, without_addresses(" ".join(said or ["pip said nothing"])))

    def _not_listed(self, wheels: Sequence[Wheel], index: str | None) -> SurroundingsError:
        """Return the error that no index lists these wheels. pip keeps quiet of one that fails."""
        asked = Indexes(pip_settings(), self.stopped)
        trouble = asked.trouble(index, [wheel.name for wheel in wheels])
        if trouble is None:
            return _failure(
                wheels,
                f"{asked.named(index)} has no such file any more",
                "lock the cell again with `envmatrix lock --fresh`: the index has changed",
            )
        cause = trouble.cause
        said = refused(cause, trouble.place.shown) if trouble.refused else blocked(cause)
        return _failure(wheels, said.cause, said.remedy, said.kind)


def _command(wheels: Sequence[Wheel], folder: Path, target: Sequence[str]) -> list[str]:
    """Write the requirements of wheels into a folder; return the command that downloads them."""
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    wanted = folder / "requirements.txt"
    wanted.write_text("".join(lines), encoding="utf-8")
    return [
        sys.executable,
        "-m",
        "pip",
        "--no-input",
        "download",
        "--requirement",
        str(wanted),
        "--require-hashes",
        "--no-deps",
        # pip obeys upper bounds on Python and would refuse some wheels that uv chose. uv
        # ignores these bounds, because most of them are guesses.
        "--ignore-requires-python",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--quiet",
        "--dest",
        str(folder),
        *target,
    ]


def _failure(
    wheels: Sequence[Wheel], why: str, next_step: str = _AGAIN, kind: str = ""
) -> SurroundingsError:
    names = wheels[0].filename + (f" and {len(wheels) - 1} more" if len(wheels) > 1 else "")
    error = DiskError if kind == DiskError.kind else NetworkError
    return error(f"{names} cannot be downloaded: {why[:600]}", next_step=next_step, kind=kind)


def _names(output: str, wheel: Wheel) -> bool:
    """Return whether pip names a wheel as one that it could not have."""
    pinned = rf"(?<![\w.-]){re.escape(wheel.name)}=={re.escape(wheel.version)}(?![\w.+!-])"
    return wheel.filename in output or re.search(pinned, output) is not None


def target_of(python: str, glibc: str, arch: str) -> list[str]:
    """Return the arguments that tell pip for which Python and machine it downloads."""
    tag = "cp" + python.replace(".", "")
    arguments = ["--python-version", python, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        arguments += ["--abi", abi]
    for platform in platform_tags(glibc, arch):
        arguments += ["--platform", platform]
    return arguments
