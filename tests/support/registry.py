"""A real image registry on loopback: the one that Debian packages."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_START_SECONDS = 20


@contextmanager
def serve_images(folder: Path) -> Iterator[str]:
    """Serve a registry that lies in a new folder; yield its name, such as `localhost:40001`.

    The package is unpacked, not installed.
    """
    folder.mkdir()
    program = _unpack(folder)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "images", port=port), encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([program, "serve", config], stdout=file, stderr=file)
    try:
        _wait(port, process)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _unpack(folder: Path) -> Path:
    # apt drops root where the folder allows it, and warns where it does not.
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("docker-registry_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    return folder / "usr/bin/docker-registry"


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
                connection.request("GET", "/v2/")
                if connection.getresponse().status == http.client.OK:
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the registry does not start")
