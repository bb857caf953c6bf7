"""Wheels and source archives made from nothing: small, real, and the same each time."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

_MTIME = 1_700_000_000
_ZIP_TIME = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A file that an index serves, and what the index says of it."""

    name: str
    version: str
    filename: str
    data: bytes
    metadata: bytes
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: str | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel."""
        return self.filename.endswith(".whl")


def make_metadata(
    name: str, version: str, requires: Sequence[str] = (), requires_python: str | None = None
) -> bytes:
    """Return the METADATA of a distribution."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n").encode()


def make_wheel(
    name: str, version: str, tag: str, metadata: bytes, files: Mapping[str, str | bytes] | None
) -> tuple[str, bytes]:
    """Return the file name and the bytes of a wheel.

    Without files the wheel holds one module, which tells its version.
    """
    stem = f"{_escaped(name)}-{version}"
    module = f"{_escaped(name)}/__init__.py"
    content = {
        path: text.encode() if isinstance(text, str) else text
        for path, text in (files or {module: f'__version__ = "{version}"\n'}).items()
    }
    about = f"{stem}.dist-info"
    content[f"{about}/METADATA"] = metadata
    content[f"{about}/WHEEL"] = _wheel_file(tag)
    content[f"{about}/RECORD"] = _record(content, f"{about}/RECORD")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path, _ZIP_TIME), data)
    return f"{stem}-{tag}.whl", buffer.getvalue()


def make_source(name: str, version: str, metadata: bytes) -> tuple[str, bytes]:
    """Return the file name and the bytes of a source archive, which nothing can build."""
    stem = f"{_escaped(name)}-{version}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(f"{stem}/PKG-INFO")
        entry.size, entry.mtime = len(metadata), _MTIME
        tar.addfile(entry, io.BytesIO(metadata))
    return f"{stem}.tar.gz", gzip.compress(buffer.getvalue(), mtime=_MTIME)


def _escaped(name: str) -> str:
    return canonicalize_name(name).replace("-", "_")


def _wheel_file(tag: str) -> bytes:
    python, abi, platform = tag.split("-")
    lines = ["Wheel-Version: 1.0", "Generator: fake", "Root-Is-Purelib: true"]
    lines += [
        f"Tag: {one}-{two}-{three}"
        for one in python.split(".")
        for two in abi.split(".")
        for three in platform.split(".")
    ]
    return ("\n".join(lines) + "\n").encode()


def _record(content: Mapping[str, bytes], own: str) -> bytes:
    lines = []
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()
