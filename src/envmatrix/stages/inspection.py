"""What the image of a cell is made of: the size of each layer, and packages of the system.

An image tells both: its history, and the lists that its steps wrote. Neither is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.process import Limits
from envmatrix.model.cells import Cell
from envmatrix.model.evidence import LayerSize, Role
from envmatrix.model.part import LARGEST

MOST_PACKAGES = 2000
"""How many packages are kept of a list. A compiler takes 36."""

_PACKAGE = re.compile(
    r"[a-z0-9][a-z0-9+.-]{0,99} [A-Za-z0-9.+:~-]{1,99} [a-z0-9-]{1,20} [0-9a-f]{64}"
)
_READ = "cat /opt/envmatrix/packages-* 2> /dev/null || true"
_OURS = "/dev/shm/envmatrix"  # noqa: S108  (a word of every step of ours)
# What the instruction of a layer of a cell holds, by the role of the layer.
_ROLES: tuple[tuple[str, Role], ...] = (
    ("/opt/envmatrix/packages-", "packages"),
    ("uv pip install ", "wheels"),
    ("/opt/envmatrix/constraints.txt", "settings"),
)


def sizes_of(history: Iterable[tuple[str, int]]) -> Iterator[LayerSize]:
    """Yield the layers that hold any bytes, from instructions and the bytes that each added.

    What lies below the first step of ours is the operating system.
    """
    role: Role = "os"
    for instruction, size in history:
        if _OURS in instruction:
            role = next((role for word, role in _ROLES if word in instruction), "base")
        if 0 < size <= LARGEST:
            yield LayerSize(role=role, size=size)


def packages_of(engine: Engine, image: Image, cell: Cell) -> tuple[str, ...]:
    """Return the packages that were installed in the image of a cell, above its base.

    Raises:
        EngineError: the engine failed.
        Cancelled: the user asked to stop.
    """
    if not (cell.packages or cell.stack_packages):
        return ()
    ran = engine.containers.run(image.id, ["sh", "-c", _READ], environment={}, limits=Limits())
    found = [text for text in ran.stdout.splitlines() if _PACKAGE.fullmatch(text)]
    return tuple(sorted(set(found))[:MOST_PACKAGES])
