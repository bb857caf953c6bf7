"""Root filesystems made from a distribution's own packages, where no image registry answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from envmatrix.errors import ToolError


def epoch(as_of: str) -> int:
    """Return the day `as_of` (YYYY-MM-DD) as SOURCE_DATE_EPOCH."""
    return int(datetime.fromisoformat(as_of).replace(tzinfo=UTC).timestamp())


def make_root(
    suite: str, destination: Path, *, packages: Sequence[str], as_of: str, log: Path
) -> None:
    """Write the root filesystem of a suite, with `packages`, to `destination`, a tar.

    The same packages give the same bytes: SOURCE_DATE_EPOCH is the day the matrix names.

    Raises:
        ToolError: mmdebstrap is missing, or failed.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ToolError(
            f"{suite} must be bootstrapped, and mmdebstrap is not installed",
            next_step="install it (Debian, Ubuntu: apt-get install mmdebstrap)",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".partial.tar")
    command = [
        program,
        "--variant=minbase",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--include={','.join(packages)}",
        # Lists expire after a week; a mirror that stands still longer is signed all the same.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        suite,
        str(partial),
    ]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch(as_of))}
    with log.open("w", encoding="utf-8") as file:
        result = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    if result.returncode != 0:
        partial.unlink(missing_ok=True)
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise ToolError(
            f"mmdebstrap could not make {suite}: {' '.join(tail)}",
            where=str(log),
            next_step="check that the distribution's mirror can be reached",
        )
    partial.replace(destination)
