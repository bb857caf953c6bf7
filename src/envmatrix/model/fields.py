"""What people may write in their files: the allow-list of each kind of text, and what it says.

Values from here reach Dockerfiles, command lines and pages. So each field has an allow-list, and no
value has to be escaped later.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from packaging.requirements import Requirement as Parsed
from packaging.specifiers import SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

_OPERATORS = r"(===|==|<=|>=|<|>|!=|~=)"
_CLAUSE = rf"{_OPERATORS}[0-9]+(\.[0-9*]+)*"
_PLACEHOLDER = r"\{version\}|\{accelerator\}"
_PATH_PART = r"[a-z0-9]+([._-][a-z0-9]+)*"

ALLOWED: dict[str, str] = {}
"""By pattern: what is allowed there, in words with an example. Error messages tell it."""


def text_of(allowed: str, pattern: str, maximum: int = 200) -> StringConstraints:
    """Return the allow-list of a text: `pattern` decides, and `allowed` says it in words."""
    whole = f"^({pattern})$"
    ALLOWED[whole] = allowed
    return StringConstraints(pattern=whole, max_length=maximum, strict=True)


def _checked_clauses(pattern: str) -> str:
    """Refuse clauses that look like a version specifier and are none, such as `<2.*`."""
    if pattern[0] in "<>=!~":
        specifier(pattern)
    return pattern


def _checked_requirement(text: str) -> str:
    Parsed(text.replace("{version}", "1").replace("{accelerator}", "cpu"))
    return text


Name = Annotated[
    str,
    text_of(
        "a name of small letters, digits, dots and dashes, such as torch or debian-slim",
        r"[a-z][a-z0-9]*([.-][a-z0-9]+)*",
        40,
    ),
]
# The last parts of a cell's id: without a dash in them, no two cells can have the same id.
Word = Annotated[
    str,
    text_of(
        "a word of small letters, digits and dots, without a dash, such as debian12 or cu130",
        r"[a-z][a-z0-9]*(\.[a-z0-9]+)*",
        24,
    ),
]
PythonVersion = Annotated[
    str,
    text_of('a Python 3 in quotes, without a patch number, such as "3.11"', r"3\.(0|[1-9][0-9]?)"),
]
ReleaseVersion = Annotated[
    str,
    text_of(
        'a release in quotes, such as "2.13.0" or "2.22.0rc0"',
        r"[0-9]+(\.[0-9]+){1,3}((a|b|rc)[0-9]+)?",
        24,
    ),
]
Glibc = Annotated[
    str, text_of('a glibc from "2.17" on, in quotes, such as "2.36"', r"2\.(1[7-9]|[2-9][0-9])")
]
Dotted = Annotated[
    str, text_of('numbers with dots, in quotes, such as "13.0" or "580"', r"[0-9]+(\.[0-9]+)*", 20)
]
Day = Annotated[
    str, text_of('a day in quotes, such as "2026-11-20"', r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
]
_DISTRIBUTION = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*(\[[a-z0-9-]+(,[a-z0-9-]+)*\])?"
_MORE_CLAUSES = rf"(,{_OPERATORS}[A-Za-z0-9.*+]+)*"
Requirement = Annotated[
    str,
    text_of(
        "a distribution with version clauses, such as setuptools<82 or tensorflow[and-cuda]==2.21.0"
        " (no address, no environment marker, no blanks)",
        rf"{_DISTRIBUTION}({_OPERATORS}[A-Za-z0-9.*+]+{_MORE_CLAUSES})?",
    ),
    AfterValidator(_checked_requirement),
]
Template = Annotated[
    str,
    text_of(
        "a distribution with version clauses, in which {version} and {accelerator} stand for those "
        "of the cell, such as torch=={version}+{accelerator}",
        rf"{_DISTRIBUTION}({_OPERATORS}([A-Za-z0-9.*+]|{_PLACEHOLDER})+{_MORE_CLAUSES})?",
    ),
    AfterValidator(_checked_requirement),
]
"""A requirement in which `{version}` and `{accelerator}` stand for those of the cell."""
ImageReference = Annotated[
    str,
    text_of(
        "an image with a tag or a digest, such as debian:12-slim or host:5000/os/debian:12",
        rf"{_PATH_PART}(:[0-9]+)?(/{_PATH_PART})*(:[A-Za-z0-9][A-Za-z0-9._-]*)?"
        r"(@sha256:[0-9a-f]{64})?",
    ),
]
IndexUrl = Annotated[
    str,
    text_of(
        "the address of a package index, without a user or a query, such as "
        "https://wheels.example/whl/{accelerator}",
        rf"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?"
        rf"(/([A-Za-z0-9_~-]|\.[A-Za-z0-9_~-]|{_PLACEHOLDER})+)*/?",
    ),
]
Prose = Annotated[
    str,
    text_of(
        "a sentence of letters, digits and common punctuation, such as: it imports pkg_resources",
        r"[\w .,;:()/+<>=%~!?&#@*\[\]-]+",
        300,
    ),
]
Pattern = Annotated[
    str,
    text_of(
        "a value, a glob or a version specifier, such as debian12, cu* or >=2.4,<2.8",
        rf"[a-z0-9*?][a-z0-9.*?+-]*|{_CLAUSE}(,{_CLAUSE})*",
        60,
    ),
    AfterValidator(_checked_clauses),
]
VersionPattern = Annotated[
    str,
    text_of(
        "a version, a glob or a version specifier, such as 2.13.0, 2.1* or >=2.4,<2.8",
        rf"[0-9*][0-9.*abrc]*|{_CLAUSE}(,{_CLAUSE})*",
        60,
    ),
    AfterValidator(_checked_clauses),
]


ProbeFolder = Annotated[
    str,
    text_of(
        "a folder in the folder of the matrix, such as probes or tests/probes (no .., no / first)",
        r"\.?[A-Za-z0-9_][A-Za-z0-9._-]*(/\.?[A-Za-z0-9_][A-Za-z0-9._-]*)*",
    ),
]
Package = Annotated[
    str,
    text_of(
        "a package of the operating system, such as g++ or libpython{python}-dev",
        r"[a-z0-9](\{python\}|[a-z0-9+.-])+",
        80,
    ),
]
"""A package of Debian or Ubuntu. `{python}` stands for the Python of the cell."""
Licenses = Annotated[
    str,
    text_of(
        "an SPDX expression, such as BSD-3-Clause or MIT AND Apache-2.0",
        r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*",
    ),
]

Kind = Annotated[
    str,
    text_of(
        "a class of a cause, as docs/causes.md names it, such as undefined-symbol",
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
        60,
    ),
]
Link = Annotated[
    str,
    text_of(
        "the address of a public page, without a user, such as https://example.org/issues/7",
        r"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?(/[A-Za-z0-9._~%+-]*)*"
        r"(\?[A-Za-z0-9._~=&%+-]+)?(#[A-Za-z0-9._~=&%/+-]+)?",
        300,
    ),
]
"""It becomes the target of a link in Markdown as it is."""


class Given(BaseModel):
    """A part of a file that a person wrote. A key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def as_list(value: object) -> object:
    """Return a value that stands alone as a list of one."""
    return [value] if isinstance(value, str | int | float) else value


@lru_cache(maxsize=4096)
def specifier(pattern: str) -> SpecifierSet:
    """Return a version specifier that takes pre-releases, too.

    Raises:
        InvalidSpecifier: it is none.
    """
    return SpecifierSet(pattern, prereleases=True)
