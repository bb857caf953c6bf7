"""Claims: what the official tables of vendors declare of a release, with their sources.

They stand in `claims.yaml` beside the matrix. `report/claims.py` compares them with evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from envmatrix.model.checked import Problem, checked, schema_of, text_of_file
from envmatrix.model.fields import (
    Day,
    Dotted,
    Given,
    Glibc,
    Link,
    Name,
    Prose,
    PythonVersion,
    VersionPattern,
    Word,
    as_list,
)
from envmatrix.model.matrix import Arch, nearest, version_matches

VersionPatterns = Annotated[
    Sequence[VersionPattern],
    Field(min_length=1),
    BeforeValidator(
        as_list,
        json_schema_input_type=VersionPattern
        | Annotated[Sequence[VersionPattern], Field(min_length=1)],
    ),
]


class Source(Given):
    """A page of a vendor, and the day on which it was read."""

    title: Prose
    url: Link
    read: Day


class Claim(Given):
    """What a source declares of some releases of a framework.

    A list is everything that the source names there, unless the claim is `partial`: then a Python
    or CUDA line that is not in it says nothing. `accelerator` and `arch` say for which builds the
    source declares it.
    """

    source: Name
    framework: Name
    versions: VersionPatterns
    accelerator: Word | None = None
    arch: Arch | None = None
    partial: Literal[True] | None = None
    pythons: Annotated[Sequence[PythonVersion], Field(min_length=1)] | None = None
    glibc: Glibc | None = None
    cuda: Annotated[Sequence[Dotted], Field(min_length=1)] | None = None
    cudnn: Dotted | None = None

    def is_about(self, framework: str, version: str) -> bool:
        """Return whether a release is one of those that are meant."""
        return self.framework == framework and any(
            version_matches(version, pattern) for pattern in self.versions
        )


class Claims(Given):
    """All of `claims.yaml`."""

    version: Annotated[Literal[1], Field(alias="schema")]
    sources: Mapping[Name, Source] = Field(default_factory=dict)
    claims: Sequence[Claim] = ()


# Made without validation: the first validation builds a validator, which takes a while.
NO_CLAIMS = Claims.model_construct(version=1)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `claims.yaml`, for editors."""
    return schema_of(Claims)


def read_claims(path: Path) -> Claims:
    """Read and check the claims of a file; there are none where there is no file.

    Raises:
        InputError: it cannot be read, or the first thing that is wrong with it.
    """
    if not path.exists():
        return NO_CLAIMS
    return load(text_of_file(path, "the claims", "check its permissions"), path.name)


def load(text: str, name: str) -> Claims:
    """Read and check claims.

    Raises:
        InputError: the first thing that is wrong, with file, line, key and remedy.
    """
    is_a = "claims are a mapping with the keys schema, sources and claims"
    return checked(text, name, Claims, _contradictions, is_a=is_a, docs="docs/evidence.md")


def _contradictions(file: Claims) -> Iterator[Problem]:
    """Yield what the schema cannot see."""
    for name, source in file.sources.items():
        try:
            date.fromisoformat(source.read)
        except ValueError:
            yield ("sources", name, "read"), f"{source.read} is not a day", 'write "YYYY-MM-DD"'
    for index, claim in enumerate(file.claims):
        place = ("claims", index)
        if claim.source not in file.sources:
            known = list(file.sources)
            next_step = nearest(claim.source, known) if known else "add it under `sources`"
            yield (*place, "source"), f'there is no source "{claim.source}"', next_step
        if not any((claim.pythons, claim.glibc, claim.cuda, claim.cudnn)):
            yield place, "this claim declares nothing", "give pythons, glibc, cuda or cudnn"
