"""The matrix: the intent in `matrix.yaml`, as checked and frozen data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Annotated, Final, Literal

from packaging.version import Version
from pydantic import BeforeValidator, Field

from envmatrix.model.fields import (
    Day,
    Dotted,
    Given,
    Glibc,
    ImageReference,
    IndexUrl,
    Kind,
    Licenses,
    Link,
    Name,
    Package,
    Pattern,
    ProbeFolder,
    Prose,
    PythonVersion,
    ReleaseVersion,
    Requirement,
    Template,
    VersionPattern,
    Word,
    as_list,
    specifier,
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

Arch = Literal["amd64", "arm64"]


class OperatingSystem(Given):
    """An operating system release: what its C library and own Python are, where it comes from."""

    distribution: Name
    codename: Name
    glibc: Glibc
    python: PythonVersion
    image: ImageReference
    bootstrap: Name | None = None


class Accelerator(Given):
    """`cpu`, or a CUDA line with the lowest NVIDIA driver branch that serves it."""

    cuda: Dotted | None = None
    driver: Dotted | None = None


class Axes(Given):
    """The values each axis may take."""

    os: Annotated[Mapping[Word, OperatingSystem], Field(min_length=1)]
    python: Annotated[Sequence[PythonVersion], Field(min_length=1)]
    accelerator: Annotated[Mapping[Word, Accelerator], Field(min_length=1)]
    arch: Annotated[Sequence[Arch], Field(min_length=1)] = (DEFAULT_ARCH,)


class Variant(Given):
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


class Framework(Given):
    """A framework: its versions and the variants they come in.

    `excludes` are packages that must not be added to its images, with the reason.
    """

    title: Prose
    license: Licenses | None = None
    versions: Annotated[Sequence[ReleaseVersion], Field(min_length=1)]
    packages: Sequence[Package] = ()
    companions: Mapping[Name, Mapping[ReleaseVersion, ReleaseVersion]] = Field(default_factory=dict)
    excludes: Mapping[Name, Prose] = Field(default_factory=dict)
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


Patterns = Annotated[
    Sequence[Pattern],
    Field(min_length=1),
    BeforeValidator(
        as_list,
        json_schema_input_type=Pattern | Annotated[Sequence[Pattern], Field(min_length=1)],
    ),
]


class Where(Given):
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


class Rule(Given):
    """Excludes the cells it matches, or adds constraints to their resolution. Always says why."""

    when: Where
    exclude: Literal[True] | None = None
    constrain: Sequence[Requirement] = ()
    reason: Prose


class KnownBroken(Given):
    """Cells that are known to be broken, and why. A run that finds them so has not failed.

    With a `class`, only a failure of that class is the known one.
    """

    when: Where
    verdict: Literal["broken"]
    class_: Annotated[Kind | None, Field(alias="class")] = None
    reason: Prose
    link: Link | None = None


class Stack(Given):
    """Wheels beside a framework, for the cells it is declared on, with probes of their own."""

    title: Prose
    cells: Annotated[Sequence[Where], Field(min_length=1)]
    requires: Annotated[Sequence[Requirement], Field(min_length=1)]
    packages: Sequence[Package] = ()


class Labels(Given):
    """Who publishes the images, and where they tell of it: labels that OCI names."""

    authors: Prose | None = None
    documentation: Prose | None = None
    source: Prose | None = None
    url: Prose | None = None
    vendor: Prose | None = None


class ProfileEntry(Where):
    """Cells of a profile: by axis, or all those of another profile."""

    profile: Name | None = None


class Resolve(Given):
    """How locks are resolved: `as_of` is the day after which published files do not count."""

    as_of: Day

    @property
    def epoch(self) -> int:
        """The day as SOURCE_DATE_EPOCH: the time of all that is built."""
        return int(datetime.fromisoformat(self.as_of).replace(tzinfo=UTC).timestamp())


class Base(Given):
    """The installer that every base carries, and what every virtual environment holds."""

    installer: Requirement
    venv: Sequence[Requirement] = ()


class Matrix(Given):
    """All of `matrix.yaml`."""

    version: Annotated[Literal[1], Field(alias="schema")]
    resolve: Resolve
    axes: Axes
    base: Base
    labels: Labels = Labels()
    probes: Sequence[ProbeFolder] = ()
    frameworks: Annotated[Mapping[Name, Framework], Field(min_length=1)]
    stacks: Mapping[Word, Stack] = Field(default_factory=dict)
    rules: Sequence[Rule] = ()
    known: Sequence[KnownBroken] = ()
    profiles: Annotated[
        Mapping[Name, Annotated[Sequence[ProfileEntry], Field(min_length=1)]], Field(min_length=1)
    ]


@lru_cache(maxsize=16384)
def version_matches(version: str, pattern: str) -> bool:
    """Return whether a version equals `pattern`, or fits it where that is one such as <2.9."""
    if pattern[0] in "<>=!~":
        return specifier(pattern).contains(Version(version))
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


def meant(word: str, known: Iterable[str]) -> tuple[str, str] | None:
    """Return a word with the known word that is nearest to it, where one is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return (word, close[0]) if close else None


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the known words nearest to `word`, or all of a few."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    listed = ", ".join(known[:NAMED_AT_MOST])
    return f"known: {listed}" + (", ..." if len(known) > NAMED_AT_MOST else "")
