"""A standalone CPython as python-build-standalone has them, made of Debian 11's packages.

Debian's python3.9 finds its library beside itself, so it runs from any folder. The modules whose
shared libraries only Debian 11 has are left out (ssl, ctypes, decimal, hashlib).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

PREFIX = "https://github.com/astral-sh/python-build-standalone/releases/download"
OF_DEBIAN = "cpython-3.9.2+20261101-x86_64-unknown-linux-gnu-install_only.tar.gz"
"""The archive that `pack_python` makes."""
TINY = "cpython-3.12.16+20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
"""An archive that `pack_nothing` makes, and a Python that uv's own list has, too."""
_NAME = re.compile(r"cpython-3\.(?P<minor>\d+)\.(?P<patch>\d+)\+(?P<build>\d+)-")
_LEFT_OUT = ("_ctypes", "_decimal", "_hashlib", "_ssl")


def pack_python(folder: Path) -> Path:
    """Make the archive in a new folder, from a mirror of Debian; return its path."""
    root, python = folder / "root", folder / "python"
    packages = "python3.9,python3-distutils"
    command = ["mmdebstrap", "--variant=extract", f"--include={packages}", "bullseye", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    library = python / "lib" / "python3.9"
    shutil.copytree(root / "usr/lib/python3.9", library, symlinks=True)
    for name in _LEFT_OUT:
        for module in (library / "lib-dynload").glob(f"{name}.*"):
            module.unlink()
    (library / "sitecustomize.py").unlink()  # a link into /etc
    (python / "bin").mkdir()
    shutil.copy(root / "usr/bin/python3.9", python / "bin")
    for name in ("python", "python3"):
        (python / "bin" / name).symlink_to("python3.9")
    archive = folder / OF_DEBIAN
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(python, "python")
    shutil.rmtree(root)
    return archive


def pack_nothing(content: str = "") -> bytes:
    """Return an archive with what uv looks for in one, and no Python."""
    buffer = io.BytesIO()
    settings = "# system configuration generated and used by the sysconfig module\n"
    files = {
        "bin/python3.12": "#!/bin/sh\n",
        "lib/python3.12/os.py": content,
        "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py": settings
        + "build_time_vars = {}\n",
    }
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"python/{name}")
            member.size, member.mode = len(text), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def download_list(filename: str, sha256: str, *, prefix: str = PREFIX) -> str:
    """Return a list of downloads for uv that has one archive alone."""
    name = _NAME.match(filename)
    assert name is not None
    entry = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": int(name["minor"]),
        "patch": int(name["patch"]),
        "url": f"{prefix}/{name['build']}/{filename.replace('+', '%2B')}",
        "sha256": sha256,
        "build": name["build"],
    }
    return json.dumps({f"cpython-3.{name['minor']}.{name['patch']}-linux-x86_64-gnu": entry})


@dataclass(frozen=True)
class Mirror:
    """A mirror of interpreters on loopback, which a folder holds. `asked` are the paths."""

    url: str
    folder: Path
    asked: list[str]

    def put(self, filename: str, content: bytes) -> str:
        """Let the mirror serve these bytes as an archive; return their SHA-256."""
        name = _NAME.match(filename)
        assert name is not None
        place = self.folder / name["build"] / filename
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return hashlib.sha256(content).hexdigest()


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *arguments: object) -> None:
        """Remember what was asked, and print nothing."""
        self.asked.append(self.path)


@contextmanager
def serve_mirror(folder: Path) -> Iterator[Mirror]:
    """Serve a folder as a mirror of interpreters."""
    folder.mkdir(parents=True, exist_ok=True)
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield Mirror(f"http://127.0.0.1:{server.server_port}", folder, asked)
        finally:
            server.shutdown()
            thread.join()
