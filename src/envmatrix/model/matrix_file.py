"""Reading a matrix file: a checked matrix, or one clear error about what is wrong first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from envmatrix.model.errors import InputError
from envmatrix.model.matrix import (
    ALLOWED,
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
from envmatrix.model.yamldoc import Document, Location, parse

MAX_CELLS = 20_000


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `matrix.yaml`, for editors."""
    schema = Matrix.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_matrix(path: Path) -> Matrix:
    """Read and check the matrix of a file.

    Raises:
        InputError: it cannot be read, or the first thing that is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "the file is not UTF-8 text", where=path.name, next_step="save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(
            f"the matrix cannot be read: {error.strerror}",
            where=str(path),
            next_step="run in the folder that holds matrix.yaml, or give --matrix FILE",
        ) from error
    return load(text, path.name)


def load(text: str, name: str) -> Matrix:
    """Read and check a matrix.

    Raises:
        InputError: the first thing that is wrong, with file, line, key and remedy.
    """
    document = parse(text, name)
    if not isinstance(document.data, dict):
        raise InputError(
            "a matrix is a mapping with the keys schema, axes, frameworks, ...",
            where=document.where(()),
            next_step="see docs/matrix.md",
        )
    try:
        matrix = Matrix.model_validate(document.data)
    except ValidationError as error:
        raise _explain(document, error.errors(include_url=False)) from None
    for location, what, next_step in _contradictions(matrix):
        raise InputError(what, where=document.where(location), next_step=next_step)
    return matrix


# --- what is wrong with it -------------------------------------------------------------------

_KEY = "[key]"
"""The last part of a location where pydantic finds the key itself wrong."""
_SHOWN = 80
_LIST = "wrong type: a list is needed here, found {found}"
_MAPPING = "wrong type: keys with values are needed here, found {found}"
_IN_BRACKETS = "put it in square brackets: [...]; allowed is {allowed}"

# By pydantic's type of an error: what is wrong. Other types take the words of `_told`.
_WHAT = {
    "dict_type": _MAPPING,
    "is_instance_of": _LIST,
    "mapping_type": _MAPPING,
    "missing": 'the key "{key}" is missing',
    "model_type": _MAPPING,
    "sequence_str": _LIST,
    "string_too_long": "{found} is too long: at most {max_length} characters are allowed here",
    "string_type": "wrong type: text is needed here, found {found}",
    "too_short": "this is empty",
    "value_error": "{found} is not allowed here: {why}",
}
# By the same: what to do.
_NEXT = {
    "is_instance_of": _IN_BRACKETS,
    "missing": 'add "{key}": {allowed}',
    "sequence_str": _IN_BRACKETS,
    "string_too_long": "shorten it; allowed is {allowed}",
    "too_short": "give at least one entry; allowed is {allowed}",
    "value_error": "write it as pip does, for instance >=2.4,<2.8",
}


def _explain(document: Document, problems: Sequence[ErrorDetails]) -> InputError:
    # A key that is unknown explains best why another is missing.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    location: Location = problem["loc"]
    what, next_step = _told(document, problem)
    place = tuple(part for part in location if part != _KEY)
    return InputError(what, where=document.where(place), next_step=next_step)


def _told(document: Document, problem: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong, and what to do."""
    kind, location, found = problem["type"], problem["loc"], problem.get("input")
    key = str(location[-1])[:_SHOWN]
    raw = (document.spot(location).raw or "").strip()[:_SHOWN]
    if kind == "extra_forbidden":
        return f'unknown key "{key}"', nearest(key, _keys(_node(location[:-1])))
    if kind == "missing" and key == "reason":
        return 'the key "reason" is missing', "say in one sentence why the rule exists"
    if kind == "string_type" and raw and found is not None:
        number = isinstance(found, int | float) and not isinstance(found, bool)
        read_as = f"the {'number' if number else 'value'} {_shown(found)}"
        return f"{raw} is read as {read_as}, but text is needed here", f'quote it: "{raw}"'
    context = problem.get("ctx", {})
    words = {
        "allowed": _allowed(location),
        "found": _shown(found),
        "key": key,
        "max_length": context.get("max_length"),
        "why": str(context.get("error", "")).partition("\n")[0],
    }
    return (
        _WHAT.get(kind, "{found} is not allowed here").format(**words),
        _NEXT.get(kind, "allowed is {allowed}").format(**words),
    )


def _shown(value: object) -> str:
    """Return a value as a person would name it, cut to a readable length."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() | bytes():
            return f"{value!r:.{_SHOWN}}"
    return f"{value!s:.{_SHOWN}}"


_Schema = Mapping[str, Any]


@cache
def _schema() -> _Schema:
    return json_schema()


def _allowed(location: Location) -> str:
    """Say in words, with an example, what the schema allows at `location`."""
    if location[-1] == _KEY:
        return ALLOWED[next(iter(_node(location[:-2])["patternProperties"]))]
    return _in_words(_node(location))


def _in_words(node: _Schema) -> str:
    if "pattern" in node:
        return ALLOWED[node["pattern"]]
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return " or ".join(map(json.dumps, node["enum"]))
    if "properties" in node:
        return f"a mapping with some of the keys {', '.join(_keys(node))}"
    if "items" in node:
        return f"a list of entries, each {_in_words(_options(node['items'])[0])}"
    ((pattern, value),) = node["patternProperties"].items()
    return f"a mapping from {ALLOWED[pattern]} to {_in_words(_options(value)[0])}"


def _keys(node: _Schema) -> list[str]:
    return list(node.get("properties", ()))


def _node(location: Location) -> _Schema:
    """Return what the schema says of the value at a location."""
    node = _schema()
    for part in location:
        node = next(found for one in _options(node) if (found := _below(one, part)))
    return _options(node)[0]


def _options(node: _Schema) -> list[_Schema]:
    """Return the alternatives of a node, with references followed."""
    return [
        _schema()["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in node.get("anyOf", [node])
    ]


def _below(node: _Schema, part: str | int) -> _Schema | None:
    """Return what the schema says of the value under a key or an index of a node."""
    if isinstance(part, int):
        return node.get("items")
    any_name: Mapping[str, _Schema] = node.get("patternProperties", {})
    found: _Schema | None = node.get("properties", {}).get(part)
    return found or next(iter(any_name.values()), None)


_Problem = tuple[Location, str, str]


def _contradictions(matrix: Matrix) -> Iterator[_Problem]:
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
    for name, entries in matrix.profiles.items():
        for index, entry in enumerate(entries):
            yield from _bad_where(matrix, entry, ("profiles", name, index))
            yield from _bad_profile(matrix, name, entry, ("profiles", name, index, "profile"))
    for name, stack in matrix.stacks.items():
        for index, where in enumerate(stack.cells):
            yield from _bad_where(matrix, where, ("stacks", name, "cells", index), of_a_stack=True)
    yield from _long_ids(matrix)
    yield from _too_large(matrix)


def _bad_day(matrix: Matrix) -> Iterator[_Problem]:
    try:
        date.fromisoformat(matrix.resolve.as_of)
    except ValueError:
        yield (("resolve", "as_of"), f"{matrix.resolve.as_of} is not a day", 'write "YYYY-MM-DD"')


SUPPORTED = ("debian", "ubuntu")
"""The distributions whose bases envmatrix can make: they install with apt."""


def _unsupported(matrix: Matrix) -> Iterator[_Problem]:
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


def _twice(matrix: Matrix) -> Iterator[_Problem]:
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


def _unknown_accelerators(matrix: Matrix) -> Iterator[_Problem]:
    for name, framework in matrix.frameworks.items():
        for index, variant in enumerate(framework.variants):
            for accelerator in variant.accelerators:
                if accelerator not in matrix.axes.accelerator:
                    yield (
                        ("frameworks", name, "variants", index, "accelerators", accelerator),
                        f'unknown accelerator "{accelerator}"',
                        nearest(accelerator, list(matrix.axes.accelerator)),
                    )


def _unknown_versions(matrix: Matrix) -> Iterator[_Problem]:
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
) -> Iterator[_Problem]:
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
) -> Iterator[_Problem]:
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


def _long_ids(matrix: Matrix) -> Iterator[_Problem]:
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


def _too_large(matrix: Matrix) -> Iterator[_Problem]:
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
