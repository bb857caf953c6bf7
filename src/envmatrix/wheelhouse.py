"""The wheelhouse: every wheel is downloaded once, checked by hash, and shared by all cells.

pip downloads, so that the user's indexes, credentials, certificates and proxies count. Builds
take the wheels from an HTTP server on loopback, one index a lock; containers need neither
certificates nor a network beyond the host.
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from envmatrix.errors import NetworkError
from envmatrix.lock import Lock, Wheel, platform_tags


class Wheelhouse:
    """Wheels under a folder, each beneath its SHA-256."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._downloading = threading.Lock()

    def path(self, wheel: Wheel) -> Path:
        """Return where a wheel lies, or will."""
        return self.root / "wheels" / wheel.sha256 / wheel.filename

    def missing(self, lock: Lock) -> list[Wheel]:
        """Return the wheels of a lock that are not here."""
        return [wheel for wheel in lock.wheels if not self._is_here(wheel)]

    def _is_here(self, wheel: Wheel) -> bool:
        try:
            size = self.path(wheel).stat().st_size
        except OSError:
            return False
        return wheel.size in (0, size)

    def fetch(self, lock: Lock, *, python: str, glibc: str, arch: str, index: str | None) -> int:
        """Download what is missing of a lock, one lock at a time; return the bytes downloaded.

        Raises:
            NetworkError: a wheel cannot be had.
        """
        with self._downloading:
            missing = self.missing(lock)
            if not missing:
                return 0
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix="incoming-") as folder:
                self._download(missing, Path(folder), _target(python, glibc, arch), index)
                for wheel in missing:
                    self._keep(Path(folder), wheel)
            return sum(wheel.size for wheel in missing)

    def _download(
        self, wheels: Sequence[Wheel], folder: Path, target: Sequence[str], index: str | None
    ) -> None:
        wanted = folder / "requirements.txt"
        wanted.write_text(
            "".join(
                f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels
            ),
            encoding="utf-8",
        )
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--requirement",
            str(wanted),
            "--require-hashes",
            "--no-deps",
            # The resolver has chosen. Upper bounds on Python, which it passes over as most of them
            # are guesses, would make pip refuse its choice.
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
        # The variant's own index comes second: without it pip may have all it needs, from the
        # user's settings, and an index that cannot be reached costs minutes of retries.
        attempts = [command] + ([[*command, "--extra-index-url", index]] if index else [])
        result = None
        for attempt in attempts:
            result = subprocess.run(attempt, capture_output=True, text=True, check=False)
            if result.returncode == 0:
                return
        said = [line for line in (result.stderr if result else "").splitlines() if "ERROR" in line]
        raise NetworkError(
            "the wheels of a lock cannot be downloaded: "
            + " ".join(said or ["pip said nothing"])[:600],
            next_step="check the index and the network, then run again",
        )

    def _keep(self, folder: Path, wheel: Wheel) -> None:
        arrived = folder / wheel.filename
        if not arrived.exists():
            raise NetworkError(
                f"pip brought no {wheel.filename}",
                next_step="lock the cell again: the index has changed",
            )
        place = self.path(wheel)
        place.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(place)

    def view(self, lock: Lock) -> str:
        """Lay the wheels of a lock out as an index, by hard links; return its name.

        A folder a distribution with its wheel in it: listed over HTTP that is a simple
        repository (PEP 503), which pip and uv take as they take any other.
        """
        for wheel in lock.wheels:
            link = self.root / "locks" / lock.sha256 / wheel.name / wheel.filename
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(self.path(wheel), link)
        return lock.sha256

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve the views on loopback; yield the address that their names go behind."""
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        handler = functools.partial(_QuietHandler, directory=str(self.root / "locks"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the progress display."""


def _target(python: str, glibc: str, arch: str) -> list[str]:
    tag = "cp" + python.replace(".", "")
    arguments = ["--python-version", python, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        arguments += ["--abi", abi]
    for platform in platform_tags(glibc, arch):
        arguments += ["--platform", platform]
    return arguments
