"""A real image registry on loopback: the one that Debian packages."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
"""
_TLS = ', tls: {{certificate: "{certificate}", key: "{key}"}}'
_LOGIN = "auth: {{htpasswd: {{realm: test, path: {path}}}}}\n"
_BCRYPT = "print crypt($ARGV[0], q($2y$05$envmatrixenvmatrixenvm))"
_START_SECONDS = 20


@dataclass(frozen=True)
class Secured:
    """What a registry is secured with: files of a certificate and its key, a user, a password."""

    certificate: Path
    key: Path
    user: str
    password: str

    def config(self, folder: Path) -> tuple[str, str]:
        """Return what the configuration gets for TLS, and for the login."""
        made = subprocess.run(
            ["perl", "-e", _BCRYPT, self.password], check=True, capture_output=True, text=True
        )
        users = folder / "users"
        users.write_text(f"{self.user}:{made.stdout}\n", encoding="utf-8")
        tls = _TLS.format(certificate=self.certificate, key=self.key)
        return tls, _LOGIN.format(path=users)


@contextmanager
def serve_images(folder: Path, secured: Secured | None = None) -> Iterator[str]:
    """Serve a registry that lies in a new folder; yield its name, such as `localhost:40001`.

    The package is unpacked, not installed. One that is `secured` is encrypted and asks for a login.
    """
    folder.mkdir()
    program = _unpack(folder)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.yml"
    tls, login = secured.config(folder) if secured else ("", "")
    text = _CONFIG.format(folder=folder / "images", port=port, tls=tls)
    config.write_text(text + login, encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([program, "serve", config], stdout=file, stderr=file)
    try:
        _wait(port, process, encrypted=secured is not None)
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


def _wait(port: int, process: subprocess.Popen[bytes], *, encrypted: bool) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with closing(_connection(port, encrypted=encrypted)) as connection:
                connection.request("GET", "/v2/")
                if connection.getresponse().status in (http.client.OK, http.client.UNAUTHORIZED):
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the registry does not start")


def _connection(port: int, *, encrypted: bool) -> http.client.HTTPConnection:
    if not encrypted:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
