"""Reading a matrix file: a checked matrix, or one clear error about what is wrong first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from envmatrix.model.checked import Problem, checked, schema_of, text_of_file
from envmatrix.model.first_matrix import example
from envmatrix.model.matrix import (
    DEFAULT_ARCH,
    NATIVE_ARCH,
    OWN_PYTHON,
    STACKED,
    Matrix,
    ProfileEntry,
    Where,
    nearest,
    value_matches,
)
from envmatrix.model.yamldoc import Location

MAX_CELLS = 20_000


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `matrix.yaml`, for editors."""
    return schema_of(Matrix)


def read_matrix(path: Path, name: str | None = None) -> Matrix:
    """Read and check the matrix of a file. `name` is what messages call it.

    Raises:
        InputError: it cannot be read, or the first thing that is wrong with it.
    """
    next_step = (
        "`envmatrix init` writes a first one here; "
        "`envmatrix --matrix FILE plan` takes one of another place"
    )
    return load(text_of_file(path, "the matrix", next_step), name or path.name)


def load(text: str, name: str) -> Matrix:
    """Read and check a matrix.

    Raises:
        InputError: the first thing that is wrong, with file, line, key and remedy.
    """
    is_a = "a matrix is a mapping with the keys schema, axes, frameworks, ..."
    return checked(
        text,
        name,
        Matrix,
        _contradictions,
        is_a=is_a,
        docs="docs/matrix.md",
        example=example,
    )


def _contradictions(matrix: Matrix) -> Iterator[Problem]:
    """Yield what the schema cannot see: names that do not exist, values twice, too many cells."""
    yield from _bad_day(matrix)
    yield from _twice(matrix)
    yield from _unknown_accelerators(matrix)
    yield from _unknown_versions(matrix)
    yield from _unsupported(matrix)
    for index, rule in enumerate(matrix.rules):
        yield from _bad_where(matrix, rule.when, ("rules", index, "when"))
        if bool(rule.exclude) == bool(rule.constrain):
            yield (
                ("rules", index),
                "a rule does exactly one thing",
                "give either `exclude: true` or `constrain: [...]`",
            )
    for index, known in enumerate(matrix.known):
        yield from _bad_where(matrix, known.when, ("known", index, "when"))
    for name, entries in matrix.profiles.items():
        for index, entry in enumerate(entries):
            yield from _bad_where(matrix, entry, ("profiles", name, index))
            yield from _bad_profile(matrix, name, entry, ("profiles", name, index, "profile"))
    for name, stack in matrix.stacks.items():
        for index, where in enumerate(stack.cells):
            yield from _bad_where(matrix, where, ("stacks", name, "cells", index), of_a_stack=True)
    yield from _long_ids(matrix)
    yield from _too_large(matrix)


def _bad_day(matrix: Matrix) -> Iterator[Problem]:
    try:
        date.fromisoformat(matrix.resolve.as_of)
    except ValueError:
        yield (("resolve", "as_of"), f"{matrix.resolve.as_of} is not a day", 'write "YYYY-MM-DD"')


SUPPORTED = ("debian", "ubuntu")
"""The distributions whose bases envmatrix can make: they install with apt."""


def _unsupported(matrix: Matrix) -> Iterator[Problem]:
    for name, os in matrix.axes.os.items():
        if os.distribution not in SUPPORTED:
            yield (
                ("axes", "os", name, "distribution"),
                f'the distribution "{os.distribution}" is not supported: bases are made with apt',
                f"supported: {', '.join(SUPPORTED)}",
            )
    for name, accelerator in matrix.axes.accelerator.items():
        if accelerator.cuda and not accelerator.driver:
            yield (
                ("axes", "accelerator", name),
                f"the CUDA line {accelerator.cuda} names no driver",
                'add the lowest NVIDIA driver branch that serves it, such as driver: "580"',
            )


def _twice(matrix: Matrix) -> Iterator[Problem]:
    lists: list[tuple[Location, Sequence[str]]] = [
        (("axes", "python"), matrix.axes.python),
        (("axes", "arch"), matrix.axes.arch),
    ]
    lists += [
        (("frameworks", name, "versions"), framework.versions)
        for name, framework in matrix.frameworks.items()
    ]
    for location, values in lists:
        for index, value in enumerate(values):
            if value in values[:index]:
                yield ((*location, index), f"{value} stands twice", "remove one of the two")


def _unknown_accelerators(matrix: Matrix) -> Iterator[Problem]:
    for name, framework in matrix.frameworks.items():
        for index, variant in enumerate(framework.variants):
            for accelerator in variant.accelerators:
                if accelerator not in matrix.axes.accelerator:
                    yield (
                        ("frameworks", name, "variants", index, "accelerators", accelerator),
                        f'unknown accelerator "{accelerator}"',
                        nearest(accelerator, list(matrix.axes.accelerator)),
                    )


def _unknown_versions(matrix: Matrix) -> Iterator[Problem]:
    for name, framework in matrix.frameworks.items():
        for companion, releases in framework.companions.items():
            for version in releases:
                if version not in framework.versions:
                    yield (
                        ("frameworks", name, "companions", companion, version),
                        f"{framework.title} {version} is not in the matrix",
                        nearest(version, framework.versions),
                    )


def _stacked_names(matrix: Matrix) -> list[str]:
    """Return the names of the frameworks with each stack that is declared on them."""
    return [
        f"{name}{STACKED}{key}"
        for key, stack in matrix.stacks.items()
        for name in matrix.frameworks
        if any(
            where.framework is None
            or any(value_matches("framework", name, pattern) for pattern in where.framework)
            for where in stack.cells
        )
    ]


def _bad_where(
    matrix: Matrix, where: Where, location: Location, *, of_a_stack: bool = False
) -> Iterator[Problem]:
    # A stack stands on a framework, and not on another stack.
    stacked = [] if of_a_stack else _stacked_names(matrix)
    known: dict[str, list[str]] = {
        "framework": [*matrix.frameworks, *stacked],
        "version": [v for framework in matrix.frameworks.values() for v in framework.versions],
        "python": list(matrix.axes.python),
        "os": list(matrix.axes.os),
        "accelerator": list(matrix.axes.accelerator),
        "arch": list(matrix.axes.arch),
    }
    for axis, patterns in where.patterns:
        for pattern in patterns:
            if axis == "python" and pattern == OWN_PYTHON:
                continue
            if axis == "arch" and pattern == NATIVE_ARCH and isinstance(where, ProfileEntry):
                continue
            if not any(value_matches(axis, value, pattern) for value in known[axis]):
                yield (
                    (*location, axis),
                    f'no {axis} in the matrix matches "{pattern}"',
                    nearest(pattern, known[axis]),
                )


def _bad_profile(
    matrix: Matrix, name: str, entry: ProfileEntry, location: Location
) -> Iterator[Problem]:
    if entry.profile is None:
        return
    if entry.patterns:
        yield (
            location[:-1],
            "an entry names a profile or axes, not both",
            "make two entries of it",
        )
    earlier = list(matrix.profiles)[: list(matrix.profiles).index(name)]
    if entry.profile not in earlier:
        yield (
            location,
            f'no profile "{entry.profile}" stands above this one',
            nearest(entry.profile, earlier) if earlier else "move it below the one it names",
        )


ID_CHARACTERS = 128
"""The characters that the tag of an image may have."""


def _long_ids(matrix: Matrix) -> Iterator[Problem]:
    """Yield frameworks of which an id could be too long, though no name is."""
    axes = matrix.axes
    stack = max((len(name) + 1 for name in matrix.stacks), default=0)
    arch = max(len(name) + 1 if name != DEFAULT_ARCH else 0 for name in axes.arch)
    place = sum(max(map(len, values)) for values in (axes.python, axes.os, axes.accelerator))
    for name, framework in matrix.frameworks.items():
        version = max(map(len, framework.versions))
        length = len(name) + stack + len("-") + version + len("-py--") + place + arch
        if length > ID_CHARACTERS:
            yield (
                ("frameworks", name),
                f"an id of it could have {length} characters, and {ID_CHARACTERS} are the most",
                "shorten its name, or those of systems, accelerators and stacks",
            )


def _too_large(matrix: Matrix) -> Iterator[Problem]:
    axes = matrix.axes
    places = len(axes.os) * len(axes.python) * len(axes.arch)
    total = sum(
        places * len(framework.versions) * len(axes.accelerator)
        for framework in matrix.frameworks.values()
    )
    if total > MAX_CELLS * 10:
        yield (
            ("axes",),
            f"this matrix could have {total} cells, far above {MAX_CELLS}",
            "declare fewer values, or split the matrix into several files",
        )
        return
    places = len(axes.os) * len(axes.python)
    declared = sum(
        places * len(framework.offers(arch))
        for framework in matrix.frameworks.values()
        for arch in axes.arch
    )
    if declared > MAX_CELLS:
        yield (
            ("axes",),
            f"this matrix declares {declared} cells; at most {MAX_CELLS} are taken",
            "declare fewer values, or split the matrix into several files",
        )
    if declared == 0:
        yield (
            ("frameworks",),
            "this matrix declares no cell: no variant offers any version",
            "give a variant whose accelerators match one of the versions",
        )
