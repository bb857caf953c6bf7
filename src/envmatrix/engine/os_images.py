"""Root filesystems made from the packages of a distribution, for use without an image registry."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from envmatrix.engine.process import Cancelled
from envmatrix.model.errors import ToolError

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
"""How long mmdebstrap may take to end when the user asked to stop."""

# Debian compiles with a random hash seed. Before Python 3.11 the bytecode depends on the seed
# (bpo-37596).
_COMPILE_AGAIN = (
    "python3 -c 'import sys; sys.exit(sys.version_info >= (3, 11))' || exit 0; "
    "PYTHONHASHSEED=0 python3 -S -m compileall -qq -f /usr/lib/python3* || true"
)
_SHOW_PACKAGES = (
    r"dpkg-query --show --showformat '\${binary:Package}=\${Version}\n'"
    " | xargs apt-cache show > /packages"
)
HOOKS = (
    f'chroot "$1" sh -c "{_COMPILE_AGAIN}"',
    # Lists the installed packages with the hashes of their .deb files. Only apt knows the hashes.
    f'chroot "$1" sh -c "{_SHOW_PACKAGES}"',
    "download /packages {held}",
    # Removes the list again, the settings of apt for this run, and the files of this machine.
    'cd "$1" && rm -f packages etc/apt/apt.conf.d/99mmdebstrap etc/hostname etc/resolv.conf',
)
"""The commands that mmdebstrap runs in a root before it packs the root.

`held` is the path on this machine that gets the list of packages.
"""

ENVIRONMENT = {
    # The scripts of the packages compile only modules that have no bytecode yet.
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
}
"""What the scripts of the packages see in their environment, on every machine alike."""
_KEPT = re.compile(r"PATH|HOME|TMPDIR|APT_CONFIG|SSL_CERT_(?:FILE|DIR)|\w+_PROXY", re.IGNORECASE)

# What mmdebstrap and the kernel say where the packages are of an architecture that nothing runs.
_NO_EMULATION = re.compile(
    r"arch-test for foreign architecture|emulation with binfmt_misc|exec format error",
    re.IGNORECASE,
)
# With fewer free bytes than these, the disk is why a system could not be made.
_LEAST_FREE = 8 * 2**20
_FIELDS = ("Package", "Version", "Architecture", "SHA256")
_FIELD = re.compile(rf"^({'|'.join(_FIELDS)}): (\S+)$", re.MULTILINE)


def make_root(
    suite: str,
    destination: Path,
    *,
    architecture: str,
    packages: Sequence[str],
    epoch: int,
    log: Path,
    cancelled: threading.Event | None = None,
) -> list[str]:
    """Write a tar of the root filesystem of a suite, with `packages`, to `destination`.

    The scripts of the packages run, so this machine is of the `architecture` or emulates it.

    Every new file gets the time `epoch`, so the same packages give the same bytes. Return every
    package of the root filesystem as `name version architecture sha256`, sorted.

    Raises:
        Cancelled: `cancelled` was set.
        ToolError: mmdebstrap is missing or failed.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ToolError(
            f"{suite} must be bootstrapped, and mmdebstrap is not installed",
            where=f"make the root filesystem of {suite}",
            next_step="install it (Debian, Ubuntu: apt-get install mmdebstrap)",
            kind="blocked",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".partial.tar")
    held = destination.with_suffix(".packages")
    command = [
        program,
        "--variant=minbase",
        f"--architectures={architecture}",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--include={','.join(packages)}",
        # Package lists expire after a week. An older mirror is still signed, so we accept it.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--customize-hook={hook.replace('{held}', shlex.quote(str(held)))}" for hook in HOOKS),
        suite,
        str(partial),
    ]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(os.environ) | {"SOURCE_DATE_EPOCH": str(epoch)},
        )
        stopped = _wait(process, cancelled or threading.Event())
    if stopped or process.returncode != 0:
        # A full disk takes neither the system nor the words of the program about it.
        full = next((place for place in _places(partial, log) if _is_full(place)), None)
        for path in (partial, held):
            path.unlink(missing_ok=True)
        if stopped:
            raise Cancelled
        if full:
            raise ToolError(
                f"mmdebstrap could not make {suite}: the disk is full",
                where=str(full),
                next_step=f"free some disk (`df -h {shlex.quote(str(full))}` shows what is left), "
                "or name another folder in TMPDIR; then run again",
                kind="disk-full",
            )
        said = log.read_text(encoding="utf-8", errors="replace")
        if _NO_EMULATION.search(said):
            raise ToolError(
                f"{suite} for {architecture} cannot be bootstrapped: this machine does not emulate "
                f"{architecture}",
                where=str(log),
                next_step=f"let it do so (scripts/setup-engine --emulate {architecture})",
                kind="blocked",
            )
        from envmatrix.model.causes import SURROUNDINGS, classify  # noqa: PLC0415  (loads slowly)

        found = classify(said, SURROUNDINGS)
        raise ToolError(
            f"mmdebstrap could not make {suite}: {' '.join(said.strip().splitlines()[-3:])}",
            where=str(log),
            next_step=found.remedy
            if found
            else "check that this machine reaches the mirror of the distribution",
            kind=found.kind if found else "blocked",
        )
    partial.replace(destination)
    try:
        return sorted(set(_listed(held.read_text(encoding="utf-8"))))
    finally:
        held.unlink()


def _places(*files: Path) -> list[Path]:
    """Return the folders in which mmdebstrap writes: those of its files, and the temporary one."""
    return [*(file.parent for file in files), Path(tempfile.gettempdir())]


def _is_full(folder: Path) -> bool:
    state = os.statvfs(folder)
    no_files = state.f_files > 0 and state.f_favail == 0
    return no_files or state.f_bavail * state.f_frsize < _LEAST_FREE


def _wait(process: subprocess.Popen[bytes], cancelled: threading.Event) -> bool:
    """Wait for the end of a program. Return whether the user asked to stop, and so it was ended."""
    while not cancelled.is_set():
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            return False
    process.terminate()  # mmdebstrap removes its root then.
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return True


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for mmdebstrap.

    The user's own variables say how to reach the mirror and where to work; no other one is kept.
    """
    return {name: value for name, value in given.items() if _KEPT.fullmatch(name)} | ENVIRONMENT


def _listed(shown: str) -> Iterator[str]:
    """Yield a line for each paragraph of the output of `apt-cache show`."""
    for paragraph in shown.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields:
            yield " ".join(fields[name] for name in _FIELDS)
