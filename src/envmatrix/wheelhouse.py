"""The wheelhouse: every wheel is downloaded once, checked by hash, and shared by all cells.

pip downloads, so that the user's indexes, credentials, certificates and proxies count. Builds
take the wheels from an HTTP server on loopback, an index of all of them; containers need neither
certificates nor a network beyond the host. A file that is not what its lock names is put aside
and fetched again; no build gets it.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import quote

from packaging.utils import parse_wheel_filename

from envmatrix.causes import SURROUNDINGS, classify
from envmatrix.errors import DiskError, NetworkError, SurroundingsError
from envmatrix.lock import Lock, Wheel, platform_tags

HOST = "wheelhouse"
PORT = 8417
INDEX = f"http://{HOST}:{PORT}/simple/"
_LOOPBACK = IPv4Network("127.0.0.0/8")
POLL_SECONDS = 0.05
"""How soon the server sees that it shall end; every run waits for that."""
_ADDRESSES = 8
"""Addresses tried for one folder: so many processes can serve it at once."""


class Wheelhouse:
    """Wheels under a folder, each beneath its SHA-256; `tell` gets what a user should know."""

    def __init__(self, root: Path, tell: Callable[[str], None]) -> None:
        self.root = root
        self._tell = tell
        self._downloading = threading.Lock()
        # Not the same lock: one build takes its wheels while those of the next are downloaded.
        self._checking = threading.Lock()
        self._sound: set[Path] = set()

    def path(self, wheel: Wheel) -> Path:
        """Return where a wheel lies, or will."""
        return self.root / "wheels" / wheel.sha256 / wheel.filename

    def missing(self, lock: Lock) -> list[Wheel]:
        """Return the wheels of a lock that are not here, or are cut short. Reads none of them."""
        return [wheel for wheel in lock.wheels if not self._is_here(wheel)]

    def _is_here(self, wheel: Wheel) -> bool:
        try:
            size = self.path(wheel).stat().st_size
        except OSError:
            return False
        return wheel.size in (0, size)

    def fetch(self, lock: Lock, *, python: str, glibc: str, arch: str, index: str | None) -> int:
        """Download what is missing or damaged of a lock; return the bytes downloaded.

        Raises:
            NetworkError: a wheel cannot be had.
            SurroundingsError: the disk is full, or a file on it cannot be used.
        """
        with self._downloading, _using(self.root):
            self._remove_leftovers()
            wanted = [wheel for wheel in lock.wheels if not self._is_sound(wheel)]
            if not wanted:
                return 0
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix="incoming-") as folder:
                self._download(wanted, Path(folder), _target(python, glibc, arch), index)
                for wheel in wanted:
                    self._keep(Path(folder), wheel)
            return sum(wheel.size for wheel in wanted)

    def _remove_leftovers(self) -> None:
        """Remove what killed runs were downloading. No other run is at work in the store now."""
        for folder in self.root.glob("incoming-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _is_sound(self, wheel: Wheel) -> bool:
        """Return whether a wheel is here and has its SHA-256; one that has not is put aside.

        A file is read once in the life of this object: a run has many cells with the same wheels.
        """
        path = self.path(wheel)
        with self._checking, _using(path):
            if path in self._sound:
                return True
            if not path.exists():
                return False
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != wheel.sha256:
                self._quarantine(wheel, found)
                return False
            self._sound.add(path)
            return True

    def _quarantine(self, wheel: Wheel, found: str) -> None:
        # Beneath the digest it has: a file that is there already has the same bytes.
        place = self.root / "quarantine" / found / wheel.filename
        place.parent.mkdir(parents=True, exist_ok=True)
        self.path(wheel).replace(place)
        self._tell(
            f"{wheel.filename} was corrupted (its SHA-256 is {found[:12]}…, not "
            f"{wheel.sha256[:12]}…) and has to be fetched again; "
            f"the damaged file is in {place.parent}"
        )

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
        # pip's own temporary files lie beside, on the disk whose space is known, and go with it.
        environment = {**os.environ, "TMPDIR": str(folder)}
        output = ""
        for attempt in attempts:
            result = subprocess.run(
                attempt, env=environment, capture_output=True, text=True, check=False
            )
            if result.returncode == 0:
                return
            output = result.stderr
        raise _failure(wheels, output)

    def _keep(self, folder: Path, wheel: Wheel) -> None:
        arrived = folder / wheel.filename
        if not arrived.exists():
            raise NetworkError(
                f"pip brought no {wheel.filename}",
                next_step="lock the cell again: the index has changed",
            )
        place = self.path(wheel)
        with _using(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(place)

    def check(self, lock: Lock) -> None:
        """Make sure that a build gets every wheel of a lock, undamaged.

        Raises:
            SurroundingsError: a wheel is damaged or not here, or the disk fails.
        """
        for wheel in lock.wheels:
            if not self._is_sound(wheel):
                raise SurroundingsError(
                    f"{wheel.filename} is not in the wheelhouse, or was damaged there",
                    where=str(self.path(wheel)),
                    next_step="run again: it is fetched then",
                )

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve `INDEX` on an address of loopback; yield the address, for the name in `INDEX`.

        The name and the port are always the same, since what a build is told of the index stands
        in the history of the image. The address is this folder's own, so that the engine's build
        cache knows a step again, or the next one while another process serves it.
        """
        (self.root / "wheels").mkdir(parents=True, exist_ok=True)
        with self._server() as server:
            address = str(server.server_address[0])
            thread = threading.Thread(target=server.serve_forever, args=[POLL_SECONDS], daemon=True)
            thread.start()
            try:
                yield address
            finally:
                server.shutdown()
                thread.join()

    def _server(self) -> _Server:
        handler = functools.partial(_Index, directory=str(self.root))
        own = int(hashlib.sha256(bytes(self.root.resolve())).hexdigest(), 16)
        for attempt in range(_ADDRESSES):
            address = str(_LOOPBACK[2 + (own + attempt) % (_LOOPBACK.num_addresses - 4)])
            try:
                return _Server((address, PORT), handler)
            except OSError as error:
                failure = error
        raise SurroundingsError(
            f"the wheelhouse cannot be served: {failure.strerror}",
            where=f"{address}:{PORT}",
            next_step=f"end what listens on port {PORT} of every address",
        ) from failure


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # uv connects for all wheels of a step at once


class _Index(http.server.SimpleHTTPRequestHandler):
    """A simple repository (PEP 503) of the wheels, each with its hash."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the page of a distribution, or one of the files it links to."""
        page = re.fullmatch(r"/simple/([a-z0-9-]+)/", self.path)
        if page is None:
            super().do_GET()
            return
        links = [
            f'<a href="/wheels/{path.parent.name}/{quote(path.name)}#sha256={path.parent.name}">'
            f"{path.name}</a>"
            for path in sorted(Path(self.directory, "wheels").glob("*/*.whl"))
            if parse_wheel_filename(path.name)[0] == page[1]
        ]
        body = "\n".join(links).encode()
        self.send_response(http.HTTPStatus.OK if links else http.HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the progress display."""


@contextmanager
def _using(path: Path) -> Iterator[None]:
    """Name the file where the disk or its permissions fail.

    Raises:
        SurroundingsError: in place of what the system raised.
    """
    try:
        yield
    except OSError as error:
        raise SurroundingsError(
            f"cannot use {path}: {error.strerror or error}",
            where=str(path),
            next_step="check the disk and the permissions, then run again",
        ) from error


def _failure(wheels: Sequence[Wheel], output: str) -> SurroundingsError:
    """Return what pip's output means for the wheels that it was to bring."""
    names = wheels[0].filename + (f" and {len(wheels) - 1} more" if len(wheels) > 1 else "")
    found = classify(output, SURROUNDINGS)
    if found and found.kind == "disk-full":
        return DiskError(
            f"{names} cannot be downloaded: {found.cause}",
            next_step="free some disk, then run again",
        )
    said = [line for line in output.splitlines() if "ERROR" in line]
    return NetworkError(
        f"{names} cannot be downloaded: " + " ".join(said or ["pip said nothing"])[:600],
        next_step="check the index and the network, then run again",
    )


def _target(python: str, glibc: str, arch: str) -> list[str]:
    tag = "cp" + python.replace(".", "")
    arguments = ["--python-version", python, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        arguments += ["--abi", abi]
    for platform in platform_tags(glibc, arch):
        arguments += ["--platform", platform]
    return arguments
