"""Root filesystems made from a distribution's own packages, where no image registry answers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from envmatrix.errors import ToolError

# Debian compiles with a random hash seed, on which bytecode depends before Python 3.11 (bpo-37596).
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
    # While apt still has its lists: what is installed, with the hash of its .deb.
    f'chroot "$1" sh -c "{_SHOW_PACKAGES}"',
    "download /packages {held}",
    # Beside that list: what apt was told for this once, and what is of this machine.
    'cd "$1" && rm -f packages etc/apt/apt.conf.d/99mmdebstrap etc/hostname etc/resolv.conf',
)
"""What is done in a root before it is packed, for mmdebstrap; `held` is a path here."""

ENVIRONMENT = {
    # The packages' own scripts compile bytecode, and only what they find uncompiled.
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
}
"""What is set while a root is made: the scripts of its packages see this, whoever makes it."""
_KEPT = re.compile(r"PATH|HOME|TMPDIR|APT_CONFIG|SSL_CERT_(?:FILE|DIR)|\w+_PROXY", re.IGNORECASE)

_FIELDS = ("Package", "Version", "Architecture", "SHA256")
_FIELD = re.compile(rf"^({'|'.join(_FIELDS)}): (\S+)$", re.MULTILINE)


def make_root(
    suite: str, destination: Path, *, packages: Sequence[str], epoch: int, log: Path
) -> list[str]:
    """Write the root filesystem of a suite, with `packages`, to `destination`, a tar.

    The same packages give the same bytes, `epoch` being the time of all that is made. Returns
    every package that is in it, as `name version architecture sha256`, by name.

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
    held = destination.with_suffix(".packages")
    command = [
        program,
        "--variant=minbase",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--include={','.join(packages)}",
        # Lists expire after a week; a mirror that stands still longer is signed all the same.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--customize-hook={hook.replace('{held}', shlex.quote(str(held)))}" for hook in HOOKS),
        suite,
        str(partial),
    ]
    with log.open("w", encoding="utf-8") as file:
        result = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment(os.environ) | {"SOURCE_DATE_EPOCH": str(epoch)},
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
    try:
        return sorted(set(_listed(held.read_text(encoding="utf-8"))))
    finally:
        held.unlink()


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what is left of the user's environment: how to reach the mirror, and where to work."""
    return {name: value for name, value in given.items() if _KEPT.fullmatch(name)} | ENVIRONMENT


def _listed(shown: str) -> Iterator[str]:
    """Yield a line for each paragraph of what `apt-cache show` printed."""
    for paragraph in shown.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields:
            yield " ".join(fields[name] for name in _FIELDS)
