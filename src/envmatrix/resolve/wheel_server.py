"""The wheels of a wheelhouse as a package index on loopback, for builds.

Containers that build need neither certificates nor a network beyond the host then. An engine that
does not reach the loopback network of this machine has one of its own, where `PROGRAM` serves.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import quote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envmatrix.model.errors import SurroundingsError

HOST = "wheelhouse"
PORT = 8417
INDEX = f"http://{HOST}:{PORT}/simple/"
"""The address of the index in every build. It stands in the history of an image, so it is always
the same. `serve` says which address of loopback the name stands for."""
PYTHON_MIRROR = f"http://{HOST}:{PORT}/python"
"""The address of the interpreters in every build, in the layout of a mirror of them."""
PROGRAM = Path(__file__).with_suffix(".pl")
"""The same index as a program for a container. It takes an address, `PORT`, and a folder."""
POLL_SECONDS = 0.05
"""How soon the server notices that it shall end. Every run waits so long at its end."""
_LOOPBACK = IPv4Network("127.0.0.0/8")
_LEFT_ALONE = 2
"""Addresses at each end of loopback that are not used: 127.0.0.1 belongs to everybody."""
_ADDRESSES = 8
"""How many addresses are tried for one folder. So many processes can serve it at once."""


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve the files under `root`, and yield the address of `HOST`.

    They are wheels (`wheels/SHA-256/FILE`) and interpreters (`python/BUILD/FILE`).

    The address is computed from the folder, because the build cache of the engine knows a step
    again only where the address is the same. While another process serves the same folder, the
    next address is taken.

    Raises:
        SurroundingsError: the port is in use on every address that was tried.
    """
    (root / "wheels").mkdir(parents=True, exist_ok=True)
    with _server(root) as server:
        address = str(server.server_address[0])
        thread = threading.Thread(target=server.serve_forever, args=[POLL_SECONDS], daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()


def _server(root: Path) -> _Server:
    handler = functools.partial(_Index, directory=str(root))
    for address in addresses(root):
        try:
            return _Server((address, PORT), handler)
        except OSError as error:
            failure = error
    raise SurroundingsError(
        f"the wheelhouse cannot be served: {failure.strerror}",
        where=f"{address}:{PORT}",
        next_step=f"end what listens on port {PORT} of every address",
    ) from failure


def addresses(root: Path) -> list[str]:
    """Return the addresses of loopback that a folder can be served on, its own first."""
    own = int(hashlib.sha256(bytes(root.resolve())).hexdigest(), 16)
    usable = _LOOPBACK.num_addresses - 2 * _LEFT_ALONE
    return [str(_LOOPBACK[_LEFT_ALONE + (own + attempt) % usable]) for attempt in range(_ADDRESSES)]


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # uv connects for all wheels of a step at once


class _Index(http.server.SimpleHTTPRequestHandler):
    """Answers as a simple repository does (PEP 503). Each link holds the hash of its wheel."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page of a distribution, or with a file that such a page links to."""
        page = re.fullmatch(r"/simple/([a-z0-9-]+)/", self.path)
        if page is None:
            super().do_GET()
            return
        links = [
            f'<a href="/wheels/{path.parent.name}/{quote(path.name)}#sha256={path.parent.name}">'
            f"{path.name}</a>"
            for path in sorted(Path(self.directory, "wheels").glob("*/*.whl"))
            if _distribution(path.name) == page[1]
        ]
        body = "\n".join(links).encode()
        self.send_response(http.HTTPStatus.OK if links else http.HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: the terminal belongs to the progress display."""


def _distribution(filename: str) -> str:
    """Return the name of the distribution of a wheel; empty where a stray file is no wheel."""
    try:
        return parse_wheel_filename(filename)[0]
    except InvalidWheelFilename:
        return ""
