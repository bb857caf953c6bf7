"""The matrix: the intent in `matrix.yaml`, checked before anything is touched.

Values from here reach Dockerfiles and command lines, so each field has an allow-list; nothing is
escaped later that could be refused now.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from packaging.requirements import Requirement as Parsed
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails

from envmatrix.errors import InputError
from envmatrix.yamldoc import Document, Location, parse

MAX_CELLS = 20_000
NAMED_AT_MOST = 12
OWN_PYTHON = "own"
STACKED = "+"
"""Between framework and stack on the framework axis: torch+vision."""

AXES = ("framework", "version", "python", "os", "accelerator", "arch")

_OPERATORS = r"(===|==|<=|>=|<|>|!=|~=)"
_CLAUSE = rf"{_OPERATORS}[0-9]+(\.[0-9*]+)*"
_PLACEHOLDER = r"\{version\}|\{accelerator\}"
_PATH_PART = r"[a-z0-9]+([._-][a-z0-9]+)*"


def _text(pattern: str, maximum: int = 200) -> StringConstraints:
    return StringConstraints(pattern=f"^({pattern})$", max_length=maximum, strict=True)


def _checked_clauses(pattern: str) -> str:
    """Refuse clauses that look like a version specifier and are none, such as `<2.*`."""
    if pattern[0] in "<>=!~":
        _specifier(pattern)
    return pattern


def _checked_requirement(text: str) -> str:
    Parsed(text.replace("{version}", "1").replace("{accelerator}", "cpu"))
    return text


Name = Annotated[str, _text(r"[a-z][a-z0-9]*([.-][a-z0-9]+)*", 40)]
# The last parts of a cell's id: without a dash in them, no two cells can have the same id.
Word = Annotated[str, _text(r"[a-z][a-z0-9]*(\.[a-z0-9]+)*", 24)]
PythonVersion = Annotated[str, _text(r"3\.(0|[1-9][0-9]?)")]
ReleaseVersion = Annotated[str, _text(r"[0-9]+(\.[0-9]+){1,3}((a|b|rc)[0-9]+)?", 24)]
Glibc = Annotated[str, _text(r"2\.(1[7-9]|[2-9][0-9])")]
Dotted = Annotated[str, _text(r"[0-9]+(\.[0-9]+)*", 20)]
Day = Annotated[str, _text(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")]
_DISTRIBUTION = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*(\[[a-z0-9-]+(,[a-z0-9-]+)*\])?"
_MORE_CLAUSES = rf"(,{_OPERATORS}[A-Za-z0-9.*+]+)*"
Requirement = Annotated[
    str,
    _text(rf"{_DISTRIBUTION}({_OPERATORS}[A-Za-z0-9.*+]+{_MORE_CLAUSES})?"),
    AfterValidator(_checked_requirement),
]
Template = Annotated[
    str,
    _text(rf"{_DISTRIBUTION}({_OPERATORS}([A-Za-z0-9.*+]|{_PLACEHOLDER})+{_MORE_CLAUSES})?"),
    AfterValidator(_checked_requirement),
]
"""A requirement in which `{version}` and `{accelerator}` stand for those of the cell."""
ImageReference = Annotated[
    str,
    _text(
        rf"{_PATH_PART}(:[0-9]+)?(/{_PATH_PART})*(:[A-Za-z0-9][A-Za-z0-9._-]*)?"
        r"(@sha256:[0-9a-f]{64})?"
    ),
]
IndexUrl = Annotated[
    str,
    _text(
        rf"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?"
        rf"(/([A-Za-z0-9_~-]|\.[A-Za-z0-9_~-]|{_PLACEHOLDER})+)*/?"
    ),
]
Prose = Annotated[str, _text(r"[\w .,;:()/+<>=%~!?&#@*\[\]-]+", 300)]
Pattern = Annotated[
    str,
    _text(rf"[a-z0-9*?][a-z0-9.*?+-]*|{_CLAUSE}(,{_CLAUSE})*", 60),
    AfterValidator(_checked_clauses),
]
VersionPattern = Annotated[
    str,
    _text(rf"[0-9*][0-9.*abrc]*|{_CLAUSE}(,{_CLAUSE})*", 60),
    AfterValidator(_checked_clauses),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OperatingSystem(_Model):
    """An operating system release: what its C library and own Python are, where it comes from."""

    distribution: Name
    codename: Name
    glibc: Glibc
    python: PythonVersion
    image: ImageReference
    bootstrap: Name | None = None


class Accelerator(_Model):
    """`cpu`, or a CUDA line with the lowest NVIDIA driver branch that serves it."""

    cuda: Dotted | None = None
    driver: Dotted | None = None


class Axes(_Model):
    """The values each axis may take."""

    os: Annotated[Mapping[Word, OperatingSystem], Field(min_length=1)]
    python: Annotated[Sequence[PythonVersion], Field(min_length=1)]
    accelerator: Annotated[Mapping[Word, Accelerator], Field(min_length=1)]
    arch: Annotated[Sequence[Literal["amd64"]], Field(min_length=1)] = ("amd64",)


class Variant(_Model):
    """Which requirements give which accelerators, for which versions of the framework."""

    name: Name
    requires: Annotated[Sequence[Template], Field(min_length=1)]
    index: IndexUrl | None = None
    accelerators: Annotated[
        Mapping[Word, Annotated[Sequence[VersionPattern], Field(min_length=1)]],
        Field(min_length=1),
    ]


class Framework(_Model):
    """A framework: its versions and the variants they come in."""

    title: Prose
    versions: Annotated[Sequence[ReleaseVersion], Field(min_length=1)]
    variants: Annotated[Sequence[Variant], Field(min_length=1)]

    @cached_property
    def offers(self) -> Mapping[tuple[str, str], Variant]:
        """The variant that gives each (version, accelerator): the first that offers it."""
        found: dict[tuple[str, str], Variant] = {}
        for version in self.versions:
            for variant in self.variants:
                for accelerator, patterns in variant.accelerators.items():
                    if any(version_matches(version, pattern) for pattern in patterns):
                        found.setdefault((version, accelerator), variant)
        return found


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


Patterns = Annotated[
    Sequence[Pattern],
    Field(min_length=1),
    BeforeValidator(
        _as_list,
        json_schema_input_type=Pattern | Annotated[Sequence[Pattern], Field(min_length=1)],
    ),
]


class Where(_Model):
    """Which cells: every axis named must match one of its patterns; unnamed axes match all."""

    framework: Patterns | None = None
    version: Patterns | None = None
    python: Patterns | None = None
    os: Patterns | None = None
    accelerator: Patterns | None = None
    arch: Patterns | None = None

    @cached_property
    def patterns(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Each axis that is named, with its patterns."""
        named = ((axis, getattr(self, axis)) for axis in AXES)
        return tuple((axis, patterns) for axis, patterns in named if patterns is not None)


class Rule(_Model):
    """Excludes the cells it matches, or adds constraints to their resolution. Always says why."""

    when: Where
    exclude: Literal[True] | None = None
    constrain: Sequence[Requirement] = ()
    reason: Prose


class Stack(_Model):
    """Wheels beside a framework, for the cells it is declared on, with probes of their own."""

    title: Prose
    cells: Annotated[Sequence[Where], Field(min_length=1)]
    requires: Annotated[Sequence[Requirement], Field(min_length=1)]


class ProfileEntry(Where):
    """Cells of a profile: by axis, or all those of another profile."""

    profile: Name | None = None


class Resolve(_Model):
    """How locks are resolved: `as_of` is the day after which published files do not count."""

    as_of: Day

    @property
    def epoch(self) -> int:
        """The day as SOURCE_DATE_EPOCH: the time of all that is built."""
        return int(datetime.fromisoformat(self.as_of).replace(tzinfo=UTC).timestamp())


class Base(_Model):
    """The installer that every base carries, and what every virtual environment holds."""

    installer: Requirement
    venv: Sequence[Requirement] = ()


class Matrix(_Model):
    """All of `matrix.yaml`."""

    version: Annotated[Literal[1], Field(alias="schema")]
    resolve: Resolve
    axes: Axes
    base: Base
    frameworks: Annotated[Mapping[Name, Framework], Field(min_length=1)]
    stacks: Mapping[Word, Stack] = Field(default_factory=dict)
    rules: Sequence[Rule] = ()
    profiles: Annotated[
        Mapping[Name, Annotated[Sequence[ProfileEntry], Field(min_length=1)]], Field(min_length=1)
    ]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `matrix.yaml`, for editors."""
    schema = Matrix.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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


@lru_cache(maxsize=4096)
def _specifier(pattern: str) -> SpecifierSet:
    return SpecifierSet(pattern, prereleases=True)


@lru_cache(maxsize=16384)
def version_matches(version: str, pattern: str) -> bool:
    """Return whether a version equals `pattern`, or fits it where that is one such as <2.9."""
    if pattern[0] in "<>=!~":
        return _specifier(pattern).contains(Version(version))
    if "*" in pattern or "?" in pattern:
        return _glob_matches(version, pattern)
    return version == pattern


def _glob_matches(value: str, pattern: str) -> bool:
    return fnmatchcase(value, pattern)


def value_matches(axis: str, value: str, pattern: str) -> bool:
    """Return whether the value of an axis fits a pattern (exact, glob, or version specifier)."""
    if axis in ("version", "python"):
        return version_matches(value, pattern)
    return _glob_matches(value, pattern)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the known words nearest to `word`, or all of a few."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    listed = ", ".join(known[:NAMED_AT_MOST])
    return f"known: {listed}" + (", ..." if len(known) > NAMED_AT_MOST else "")


# --- what is wrong with it -------------------------------------------------------------------


_REMEDIES = {
    "is_instance_of": ("wrong type: a list is needed here", "put it in square brackets: [...]"),
    "sequence_str": ("wrong type: a list is needed here", "put it in square brackets: [...]"),
    "too_short": ("this is empty", "give at least one entry"),
}


def _explain(document: Document, problems: Sequence[ErrorDetails]) -> InputError:
    # A key that is unknown explains best why another is missing.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    location: Location = problem["loc"]
    found = problem.get("input")
    what, next_step = problem["msg"], "see docs/matrix.md for what may stand here"
    context = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            what = f'unknown key "{location[-1]}"'
            next_step = nearest(str(location[-1]), _allowed_keys(location))
        case "missing":
            what = f'the key "{location[-1]}" is missing'
            if location[-1] == "reason":
                next_step = "say in one sentence why the rule exists"
            else:
                next_step = f'add "{location[-1]}"'
        case "string_type" if (raw := document.spot(location).raw) and found is not None:
            number = isinstance(found, int | float) and not isinstance(found, bool)
            what = f"{raw} is read as the {'number' if number else 'value'} {found}"
            what += ", but text is needed here"
            next_step = f'quote it: "{raw}"'
        case "string_pattern_mismatch":
            what = f"{found!r} is not allowed here"
            next_step = f"it must match {context['pattern']}"
        case "value_error":
            what = f"{found!r} is not allowed here: {str(context['error']).splitlines()[0]}"
            next_step = "write it as pip does, for instance >=2.4,<2.8"
        case kind if kind in _REMEDIES:
            what, next_step = _REMEDIES[kind]
        case kind if kind.endswith("_type"):
            what = f"wrong type: {found!r:.80}; {problem['msg'].lower()}"
        case "literal_error":
            what = f"{found!r} is not allowed here"
            next_step = f"allowed: {context['expected']}"
    location = tuple(part for part in location if part != "[key]")
    return InputError(what, where=document.where(location), next_step=next_step)


def _allowed_keys(location: Location) -> list[str]:
    """Return the keys that the schema allows beside the one at `location`."""
    schema = json_schema()
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            of_any_name = [*node.get("patternProperties", {}).values(), {}]
            node = node.get("properties", {}).get(part, of_any_name[0])
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for option in (node, *node.get("anyOf", ())):
        if "$ref" in option:
            target: dict[str, Any] = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
            return target
    return node


_Problem = tuple[Location, str, str]


def _contradictions(matrix: Matrix) -> Iterator[_Problem]:
    """Yield what the schema cannot see: names that do not exist, values twice, too many cells."""
    yield from _bad_day(matrix)
    yield from _twice(matrix)
    yield from _unknown_accelerators(matrix)
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
            yield from _bad_where(matrix, where, ("stacks", name, "cells", index))
    yield from _too_large(matrix)


def _bad_day(matrix: Matrix) -> Iterator[_Problem]:
    try:
        date.fromisoformat(matrix.resolve.as_of)
    except ValueError:
        yield (("resolve", "as_of"), f"{matrix.resolve.as_of} is not a day", 'write "YYYY-MM-DD"')


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


def _bad_where(matrix: Matrix, where: Where, location: Location) -> Iterator[_Problem]:
    known: dict[str, list[str]] = {
        "framework": [
            *matrix.frameworks,
            *(f"{name}{STACKED}{stack}" for name in matrix.frameworks for stack in matrix.stacks),
        ],
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
    declared = sum(places * len(framework.offers) for framework in matrix.frameworks.values())
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
