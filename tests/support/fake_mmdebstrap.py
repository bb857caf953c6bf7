"""A fake mmdebstrap on PATH: it makes a root filesystem at once, from a list of packages.

    with fake_mmdebstrap(tmp_path) as debian:
        debian.packages = ["libc6 2.36-9"]
        ...

The program is started as the real one is, writes the tar and the list of packages that the real
one writes, and fails on command.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("base-files 12.4", "libc6 2.36-9", "python3 3.11.2-1")

_PROGRAM = """\
#!{python}
import json, os, pathlib, shlex, shutil, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
if (folder / "error").exists():
    sys.exit((folder / "error").read_text())
hook = next(one for one in sys.argv if one.startswith("--customize-hook=download "))
shutil.copyfile(folder / "packages", shlex.split(hook)[-1])
shutil.copyfile(folder / "root.tar", sys.argv[-1])
"""


@dataclass(frozen=True)
class FakeMmdebstrap:
    """What the fake program makes. It lies in `folder`, which comes first on PATH."""

    folder: Path

    def hold(self, *packages: str, backwards: bool = False) -> None:
        """Let the next root hold packages, each `name version`.

        The tar holds a file for each package; `backwards` writes the same files in another order.
        """
        texts = [
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Filename: pool/{name}.deb\nSHA256: {_sha256(name, version)}\n"
            for name, version in (package.split() for package in packages)
        ]
        (self.folder / "packages").write_text("\n".join(texts), encoding="utf-8")
        names = sorted(packages, reverse=backwards)
        (self.folder / "root.tar").write_bytes(_tar(names))

    def fail(self, error: str) -> None:
        """Let the program print an error and fail."""
        (self.folder / "error").write_text(error, encoding="utf-8")

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        path = self.folder / "calls"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def held(*packages: str) -> tuple[str, ...]:
    """Return packages, each `name version`, as a list of packages holds them."""
    pairs = [package.split() for package in packages]
    return tuple(f"{name} {version} amd64 {_sha256(name, version)}" for name, version in pairs)


@contextmanager
def fake_mmdebstrap(folder: Path, packages: Sequence[str] = PACKAGES) -> Iterator[FakeMmdebstrap]:
    """Put the program on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "mmdebstrap"
    program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)), encoding="utf-8")
    program.chmod(0o755)
    fake = FakeMmdebstrap(folder)
    fake.hold(*packages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield fake


def _sha256(name: str, version: str) -> str:
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


def _tar(packages: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for package in packages:
            name, version = package.split()
            entry = tarfile.TarInfo(f"usr/share/doc/{name}/version")
            entry.size = len(version)
            tar.addfile(entry, io.BytesIO(version.encode()))
    return buffer.getvalue()
