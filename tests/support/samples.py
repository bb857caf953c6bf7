"""Small pieces that tests of several packages begin with: wheels, locks, cells, evidence."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from envmatrix.model.cells import Cell, expand
from envmatrix.model.evidence import Axes, CellImage, Evidence, Inputs, Machine
from envmatrix.model.interpreters import Interpreter
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import Verdict

STACK = """
stacks:
  vision:
    title: torchvision
    cells: [{framework: torch, version: "2.10.0", accelerator: cpu, os: debian12, python: own}]
    requires: ["torchvision==0.25.0"]
"""
"""What adds one stack to the small matrix of the unit tests."""

Location = tuple[str | int, ...]


def scalars(node: Any, path: Location = ()) -> Iterator[tuple[Location, str]]:
    """Yield every text of a document that is a value, with its path."""
    for location, value in values(node, path):
        if isinstance(value, str):
            yield location, value


def values(node: Any, path: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Yield every value of a document with its path, the outer ones first."""
    yield path, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from values(value, (*path, key))


def replaced(data: Any, path: Location, value: object) -> Any:
    """Return a copy of a document with another value at `path`."""
    data = copy.deepcopy(data)
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return data


INPUTS = Inputs(
    lock="1", dockerfile="2", settings="3", base="4", declared="5", probes={"torch-import": "6"}
)
"""The inputs of a cell that never was."""


def the_wheel(name: str, version: str = "1", size: int = 1) -> Wheel:
    """Return a wheel of a distribution."""
    sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Wheel(name, version, filename, sha256, size)


def the_lock(*wheels: Wheel, key: str = "key") -> Lock:
    """Return a lock of wheels, one for each distribution, in the order of their names."""
    assert len(wheels) == len({wheel.name for wheel in wheels})
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    return Lock(key, "Python 3.11, glibc 2.36, amd64", "2026-11-20", ordered)


def the_interpreter(version: str = "3.12.16", build: str = "20261110") -> Interpreter:
    """Return a standalone CPython."""
    filename = f"cpython-{version}+{build}-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
    return Interpreter(filename, hashlib.sha256(filename.encode()).hexdigest(), 30_000_000)


def the_cell(matrix: Matrix, cell_id: str) -> Cell:
    """Return the cell of an id."""
    return next(cell for cell in expand(matrix) if cell.id == cell_id)


def the_evidence(verdict: Verdict = Verdict.WORKS, **fields: Any) -> Evidence:
    """Return the evidence of a cell of PyTorch, with some fields of it."""
    axes = Axes(
        os="debian12",
        python="3.11",
        accelerator=fields.pop("accelerator", "cpu"),
        framework="torch",
        version="2.10.0",
        arch="amd64",
    )
    image = CellImage(name="envmatrix/cell:x", layers=("sha256:os", "sha256:cell"), size=1_500_000)
    given: dict[str, Any] = {
        "generated_at": datetime(2026, 11, 22, 10, tzinfo=UTC),
        "tool": "envmatrix 0",
        "host": Machine(system="Linux", machine="x86_64"),
        "id": "torch-2.10.0-py3.11-debian12-cpu",
        "axes": axes,
        "verdict": verdict,
        "stage": "probe",
        "image": image,
    }
    return Evidence(**(given | fields))
