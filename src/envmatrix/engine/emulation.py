"""Whether an engine runs the programs of an architecture. It is tried, not guessed.

The engine gets an image with one program of that architecture, which does nothing but end well. The
engine may be on another machine, and what emulates there (binfmt_misc with QEMU, Rosetta) is told
nowhere. Without emulation the kernel refuses the program ("exec format error").
"""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import uuid
from pathlib import Path

from envmatrix.engine.containers import Containers
from envmatrix.engine.images import Images
from envmatrix.engine.process import Limits
from envmatrix.model.errors import EngineError
from envmatrix.model.image_names import run_tag

SECONDS = 60.0
"""The time that the program has. Under emulation it needs milliseconds."""
_PROGRAM = "ends-well"
_NO_EMULATION = "exec format error"
_NOT_EXECUTED = (126, 127)
"""What docker-init ends with. It tries a shell next, so its words are "No such file"."""

# By architecture: the machine of ELF, and the instructions of exit(0).
_CODE = {
    "amd64": (62, "31ff b83c000000 0f05"),
    "arm64": (183, "000080d2 a80b80d2 010000d4"),
}
_HEADER_BYTES, _SEGMENT_BYTES = 64, 56
_ADDRESS = 0x400000


def runs(images: Images, containers: Containers, architecture: str) -> bool:
    """Return whether an engine runs programs of an architecture, itself or by emulation.

    Raises:
        EngineError: the engine failed, so it is not known.
    """
    name = run_tag("made", images.connection.run_id, uuid.uuid4().hex)
    with tempfile.TemporaryDirectory(prefix="envmatrix-") as folder:
        root = Path(folder) / "root.tar"
        root.write_bytes(_root(program(architecture)))
        image = images.load_tar(root, name, architecture)
    try:
        ran = containers.run(
            image.id, [f"/{_PROGRAM}"], environment={}, limits=Limits(seconds=SECONDS)
        )
    except EngineError as error:
        if _NO_EMULATION in error.what:
            return False
        raise
    finally:
        images.remove(name)
    if ran.exit_code in _NOT_EXECUTED or _NO_EMULATION in ran.stderr:
        return False
    if ran.exit_code != 0:
        raise EngineError(
            f"whether the engine runs programs of {architecture} is not known: one ended with "
            f"{ran.exit_code}: {ran.stderr.strip()[:200]}",
            where=f"run a program of {architecture}",
            next_step="try again; if it stays so, use an engine of that architecture",
        )
    return True


def program(architecture: str) -> bytes:
    """Return a static program of Linux that ends with exit code 0: 64-bit ELF with one segment."""
    machine, instructions = _CODE[architecture]
    code = bytes.fromhex(instructions)
    start = _HEADER_BYTES + _SEGMENT_BYTES
    size = start + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        machine,
        1,
        _ADDRESS + start,
        _HEADER_BYTES,
        0,
        0,
        _HEADER_BYTES,
        _SEGMENT_BYTES,
        1,
        0,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x10000)
    return header + segment + code


def _root(data: bytes) -> bytes:
    """Return the tar of a root filesystem that holds the program alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(_PROGRAM)
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
