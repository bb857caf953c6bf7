"""Whether an engine reaches the loopback network of this machine. It is tried, not guessed.

The engine is asked to fetch a page that only this process serves. A rootless engine, Docker
Desktop, a virtual machine, an engine on another machine, and the engine behind a socket that is
mounted into a container have another loopback network, or none that leads here.
"""

from __future__ import annotations

import http.server
import secrets
import threading
from contextlib import suppress

from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES

SECONDS = 20
"""The time that the engine has for the page. On loopback it needs milliseconds."""
_POLL_SECONDS = 0.02


def reaches(connection: Connection, address: str) -> bool:
    """Return whether an engine reaches an address of this machine's loopback network.

    The engine gets the page as the context of a build. There is no such page, so the build ends
    there and leaves nothing behind. The request for it is the proof.
    """
    nonce = f"/{secrets.token_hex(16)}"
    asked = threading.Event()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer that there is no such page, and remember who asked."""
            if self.path == nonce:
                asked.set()
            self.send_error(http.HTTPStatus.NOT_FOUND)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    try:
        server = http.server.ThreadingHTTPServer((address, 0), Page)
    except OSError:
        return False
    with server:
        thread = threading.Thread(target=server.serve_forever, args=[_POLL_SECONDS], daemon=True)
        thread.start()
        try:
            url = f"http://{address}:{server.server_address[1]}{nonce}"
            with suppress(*FAILURES):
                connection.post("/build", {"remote": url, "q": "1"}, seconds=SECONDS)
        finally:
            server.shutdown()
            thread.join()
    return asked.is_set()
