"""The matrix: the intent in `matrix.yaml`, as checked and frozen data.

Values from here reach Dockerfiles and command lines. So each field has an allow-list, and no value
has to be escaped later.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Annotated, Final, Literal

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
)

NAMED_AT_MOST = 12
OWN_PYTHON = "own"
NATIVE_ARCH = "native"
"""In a profile: the architecture of the machine that runs envmatrix."""
DEFAULT_ARCH: Final = "amd64"
"""The architecture that ids leave out."""
STACKED = "+"
"""Between framework and stack on the framework axis: torch+vision."""

AXES = ("framework", "version", "python", "os", "accelerator", "arch")

_OPERATORS = r"(===|==|<=|>=|<|>|!=|~=)"
_CLAUSE = rf"{_OPERATORS}[0-9]+(\.[0-9*]+)*"
_PLACEHOLDER = r"\{version\}|\{accelerator\}"
_PATH_PART = r"[a-z0-9]+([._-][a-z0-9]+)*"

ALLOWED: dict[str, str] = {}
"""By pattern: what is allowed there, in words with an example. Error messages tell it."""


def _text(allowed: str, pattern: str, maximum: int = 200) -> StringConstraints:
    """Return the allow-list of a text: `pattern` decides, and `allowed` says it in words."""
    whole = f"^({pattern})$"
    ALLOWED[whole] = allowed
    return StringConstraints(pattern=whole, max_length=maximum, strict=True)


def _checked_clauses(pattern: str) -> str:
    """Refuse clauses that look like a version specifier and are none, such as `<2.*`."""
    if pattern[0] in "<>=!~":
        _specifier(pattern)
    return pattern


def _checked_requirement(text: str) -> str:
    Parsed(text.replace("{version}", "1").replace("{accelerator}", "cpu"))
    return text


Name = Annotated[
    str,
    _text(
        "a name of small letters, digits, dots and dashes, such as torch or debian-slim",
        r"[a-z][a-z0-9]*([.-][a-z0-9]+)*",
        40,
    ),
]
# The last parts of a cell's id: without a dash in them, no two cells can have the same id.
Word = Annotated[
    str,
    _text(
        "a word of small letters, digits and dots, without a dash, such as debian12 or cu130",
        r"[a-z][a-z0-9]*(\.[a-z0-9]+)*",
        24,
    ),
]
PythonVersion = Annotated[
    str,
    _text('a Python 3 in quotes, without a patch number, such as "3.11"', r"3\.(0|[1-9][0-9]?)"),
]
ReleaseVersion = Annotated[
    str,
    _text(
        'a release in quotes, such as "2.13.0" or "2.22.0rc0"',
        r"[0-9]+(\.[0-9]+){1,3}((a|b|rc)[0-9]+)?",
        24,
    ),
]
Glibc = Annotated[
    str, _text('a glibc from "2.17" on, in quotes, such as "2.36"', r"2\.(1[7-9]|[2-9][0-9])")
]
Dotted = Annotated[
    str, _text('numbers with dots, in quotes, such as "13.0" or "580"', r"[0-9]+(\.[0-9]+)*", 20)
]
Day = Annotated[
    str, _text('a day in quotes, such as "2026-11-20"', r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
]
_DISTRIBUTION = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*(\[[a-z0-9-]+(,[a-z0-9-]+)*\])?"
_MORE_CLAUSES = rf"(,{_OPERATORS}[A-Za-z0-9.*+]+)*"
Requirement = Annotated[
    str,
    _text(
        "a distribution with version clauses, such as setuptools<82 or tensorflow[and-cuda]==2.21.0"
        " (no address, no environment marker, no blanks)",
        rf"{_DISTRIBUTION}({_OPERATORS}[A-Za-z0-9.*+]+{_MORE_CLAUSES})?",
    ),
    AfterValidator(_checked_requirement),
]
Template = Annotated[
    str,
    _text(
        "a distribution with version clauses, in which {version} and {accelerator} stand for those "
        "of the cell, such as torch=={version}+{accelerator}",
        rf"{_DISTRIBUTION}({_OPERATORS}([A-Za-z0-9.*+]|{_PLACEHOLDER})+{_MORE_CLAUSES})?",
    ),
    AfterValidator(_checked_requirement),
]
"""A requirement in which `{version}` and `{accelerator}` stand for those of the cell."""
ImageReference = Annotated[
    str,
    _text(
        "an image with a tag or a digest, such as debian:12-slim or host:5000/os/debian:12",
        rf"{_PATH_PART}(:[0-9]+)?(/{_PATH_PART})*(:[A-Za-z0-9][A-Za-z0-9._-]*)?"
        r"(@sha256:[0-9a-f]{64})?",
    ),
]
IndexUrl = Annotated[
    str,
    _text(
        "the address of a package index, without a user or a query, such as "
        "https://wheels.example/whl/{accelerator}",
        rf"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?"
        rf"(/([A-Za-z0-9_~-]|\.[A-Za-z0-9_~-]|{_PLACEHOLDER})+)*/?",
    ),
]
Prose = Annotated[
    str,
    _text(
        "a sentence of letters, digits and common punctuation, such as: it imports pkg_resources",
        r"[\w .,;:()/+<>=%~!?&#@*\[\]-]+",
        300,
    ),
]
Pattern = Annotated[
    str,
    _text(
        "a value, a glob or a version specifier, such as debian12, cu* or >=2.4,<2.8",
        rf"[a-z0-9*?][a-z0-9.*?+-]*|{_CLAUSE}(,{_CLAUSE})*",
        60,
    ),
    AfterValidator(_checked_clauses),
]
VersionPattern = Annotated[
    str,
    _text(
        "a version, a glob or a version specifier, such as 2.13.0, 2.1* or >=2.4,<2.8",
        rf"[0-9*][0-9.*abrc]*|{_CLAUSE}(,{_CLAUSE})*",
        60,
    ),
    AfterValidator(_checked_clauses),
]


Package = Annotated[
    str,
    _text(
        "a package of the operating system, such as g++ or libpython{python}-dev",
        r"[a-z0-9](\{python\}|[a-z0-9+.-])+",
        80,
    ),
]
"""A package of Debian or Ubuntu. `{python}` stands for the Python of the cell."""
Licenses = Annotated[
    str,
    _text(
        "an SPDX expression, such as BSD-3-Clause or MIT AND Apache-2.0",
        r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*",
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Arch = Literal["amd64", "arm64"]


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
    arch: Annotated[Sequence[Arch], Field(min_length=1)] = (DEFAULT_ARCH,)


class Variant(_Model):
    """Which requirements give which accelerators, for which versions of the framework.

    `arch` are the architectures for which it does; None stands for all.
    """

    name: Name
    arch: Annotated[Sequence[Arch], Field(min_length=1)] | None = None
    requires: Annotated[Sequence[Template], Field(min_length=1)]
    index: IndexUrl | None = None
    accelerators: Annotated[
        Mapping[Word, Annotated[Sequence[VersionPattern], Field(min_length=1)]],
        Field(min_length=1),
    ]


class Framework(_Model):
    """A framework: its versions and the variants they come in."""

    title: Prose
    license: Licenses | None = None
    versions: Annotated[Sequence[ReleaseVersion], Field(min_length=1)]
    packages: Sequence[Package] = ()
    companions: Mapping[Name, Mapping[ReleaseVersion, ReleaseVersion]] = Field(default_factory=dict)
    variants: Annotated[Sequence[Variant], Field(min_length=1)]

    def companions_of(self, version: str) -> Mapping[str, str]:
        """Return the release of each companion that is built for this version of the framework."""
        return {
            name: releases[version]
            for name, releases in self.companions.items()
            if version in releases
        }

    def offers(self, arch: str) -> Mapping[tuple[str, str], Variant]:
        """Return the variant that gives each (version, accelerator): the first that offers it."""
        found: dict[tuple[str, str], Variant] = {}
        variants = [one for one in self.variants if one.arch is None or arch in one.arch]
        for version in self.versions:
            for variant in variants:
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
    packages: Sequence[Package] = ()


class Labels(_Model):
    """Who publishes the images, and where they tell of it: labels that OCI names."""

    authors: Prose | None = None
    documentation: Prose | None = None
    source: Prose | None = None
    url: Prose | None = None
    vendor: Prose | None = None


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
    labels: Labels = Labels()
    frameworks: Annotated[Mapping[Name, Framework], Field(min_length=1)]
    stacks: Mapping[Word, Stack] = Field(default_factory=dict)
    rules: Sequence[Rule] = ()
    profiles: Annotated[
        Mapping[Name, Annotated[Sequence[ProfileEntry], Field(min_length=1)]], Field(min_length=1)
    ]


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


@lru_cache(maxsize=16384)
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
