"""The JSON of api/v1/: an index, a document for each release, and one for each Python.

What is promised: ids and the meaning of every field stay. A change that breaks a reader gets
another folder beside v1. All links are relative to the document that they stand in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import Field

from envmatrix import __version__
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Axes
from envmatrix.model.part import Handle, Part, Word
from envmatrix.model.verdicts import Verdict
from envmatrix.report.document import count
from envmatrix.report.entries import Entry
from envmatrix.report.freshness import freshness
from envmatrix.report.history import History
from envmatrix.report.releases import Release, in_order, newest, releases
from envmatrix.report.states import Time
from envmatrix.report.table import commands

ROOT: Final = "api/v1"
"""Where the documents lie."""
_OF_PYTHONS: Final = "python"
_SCHEMAS: Final = "schema"
_UP: Final = "../../../"
"""From a document of a release or a Python to the root of the site."""

Form = Annotated[Literal[1], Field(alias="schema", description="The version of this form.")]
Counts = Annotated[
    Mapping[str, int], Field(description="How many cells have each verdict; all are named.")
]
Made = Annotated[Time, Field(description="When the document was made, in UTC.")]


class ApiCell(Part):
    """What is known of a cell."""

    id: Annotated[Handle, Field(description="The id of the cell. It never changes its meaning.")]
    axes: Annotated[Axes, Field(description="The value of the cell on each axis.")]
    verdict: Annotated[
        Verdict,
        Field(
            description="works: every required probe passed in the built image. partial: what "
            "could be run passed, and something required could not be run. broken: it was run and "
            "failed. impossible: proven without running. unknown: no evidence."
        ),
    ]
    class_: Annotated[
        str, Field(alias="class", description="The class of the cause; empty where it works.")
    ]
    cause: Annotated[str, Field(description="Why the verdict is what it is, in a sentence.")]
    remedy: Annotated[str, Field(description="What a user can do about it.")]
    emulated: Annotated[bool, Field(description="Whether it ran by emulation only.")]
    since: Annotated[
        Time | None, Field(description="Since when it has this verdict; null: not known.")
    ]
    run_at: Annotated[
        Time | None, Field(description="When the evidence was recorded; null: there is none.")
    ]
    command: Annotated[
        str | None,
        Field(description="Starts the image where it was built; null: there is none to use."),
    ]
    evidence: Annotated[
        str | None, Field(description="The file of its evidence; null: there is none.")
    ]


class CellLink(Part):
    """A cell in short, with the document that tells the rest."""

    id: Annotated[Handle, Field(description="The id of the cell.")]
    verdict: Annotated[Verdict, Field(description="What is known of it.")]
    class_: Annotated[
        str, Field(alias="class", description="The class of the cause; empty where it works.")
    ]
    link: Annotated[str, Field(description="The document of its release.")]


class ReleaseDocument(Part):
    """The cells of one version of a framework."""

    form: Form = 1
    generated_at: Made
    framework: Annotated[Word, Field(description="The framework, with its stack: torch+vision.")]
    version: Annotated[Word, Field(description="The version of the framework.")]
    counts: Counts
    cells: Annotated[tuple[ApiCell, ...], Field(description="What is known of each cell.")]


class PythonDocument(Part):
    """The cells of one Python."""

    form: Form = 1
    generated_at: Made
    python: Annotated[Word, Field(description="The Python, such as 3.11.")]
    counts: Counts
    cells: Annotated[tuple[CellLink, ...], Field(description="The verdict of each cell.")]


class ReleaseLink(Part):
    """A version of a framework, with its document."""

    version: Annotated[Word, Field(description="The version of the framework.")]
    verdict: Annotated[Verdict, Field(description="The best verdict of its cells.")]
    counts: Counts
    link: Annotated[str, Field(description="Its document.")]


class FrameworkLinks(Part):
    """A framework, with its releases."""

    name: Annotated[Word, Field(description="The framework, with its stack: torch+vision.")]
    newest_that_works: Annotated[
        Word | None, Field(description="The newest version of which a cell works; null: none.")
    ]
    releases: Annotated[tuple[ReleaseLink, ...], Field(description="Its versions, newest first.")]


class PythonLink(Part):
    """A Python, with its document."""

    python: Annotated[Word, Field(description="The Python, such as 3.11.")]
    counts: Counts
    link: Annotated[str, Field(description="Its document.")]


class Index(Part):
    """Everything that there is, with links."""

    form: Form = 1
    generated_at: Made
    tool: Annotated[str, Field(description="The envmatrix that made it.")]
    counts: Counts
    oldest_evidence: Annotated[
        Time | None, Field(description="When the first cell was run; null: none was.")
    ]
    newest_evidence: Annotated[
        Time | None, Field(description="When the last cell was run; null: none was.")
    ]
    frameworks: Annotated[tuple[FrameworkLinks, ...], Field(description="All frameworks.")]
    pythons: Annotated[tuple[PythonLink, ...], Field(description="All Pythons, oldest first.")]


DOCUMENTS: Final[Mapping[str, type[Part]]] = {
    "index": Index,
    "release": ReleaseDocument,
    "python": PythonDocument,
}
"""The forms of the documents, by name."""


def api(entries: Sequence[Entry], history: History, now: datetime, evidence: str) -> dict[str, str]:
    """Return the documents by path from the root of the site.

    `evidence` is the folder of the evidence files, as a path from that root, such as `cells`.

    Raises:
        InputError: a framework has a name that the API needs for itself.
    """
    found = releases(entries)
    for taken in (_OF_PYTHONS, _SCHEMAS):
        if taken in found:
            raise InputError(
                f"the API has a folder of its own that is called {taken!r}",
                where=f"frameworks.{taken}",
                next_step="give the framework another name in matrix.yaml",
            )
    cells = {entry.id: _cell(entry, history, evidence) for entry in entries}
    pythons: dict[str, list[Entry]] = {}
    for entry in entries:
        pythons.setdefault(entry.axes.python, []).append(entry)
    made: dict[str, Part] = {"index.json": _index(entries, found, pythons, now)}
    for release in (one for listed in found.values() for one in listed):
        made[f"{release.framework}/{release.version}.json"] = ReleaseDocument(
            generated_at=now,
            framework=release.framework,
            version=release.version,
            counts=_counts(release.entries),
            cells=tuple(cells[entry.id] for entry in release.entries),
        )
    for python, listed in pythons.items():
        made[f"{_OF_PYTHONS}/{python}.json"] = PythonDocument(
            generated_at=now,
            python=python,
            counts=_counts(listed),
            cells=tuple(map(_cell_link, listed)),
        )
    texts = {f"{ROOT}/{path}": to_text(document.to_json()) for path, document in made.items()}
    schemas = {
        f"{ROOT}/{_SCHEMAS}/{name}.json": to_text(form.json_schema())
        for name, form in DOCUMENTS.items()
    }
    return texts | schemas


def to_text(data: Any) -> str:  # noqa: ANN401  (whatever JSON can hold)
    """Return data as the text of a JSON file. Each cell is one line: there are thousands."""
    if "cells" not in data:
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    head = json.dumps({**data, "cells": []}, indent=1, ensure_ascii=False)
    lines = ",\n".join(f"  {json.dumps(cell, ensure_ascii=False)}" for cell in data["cells"])
    return head.replace('"cells": []', f'"cells": [\n{lines}\n ]') + "\n"


def _index(
    entries: Sequence[Entry],
    found: Mapping[str, Sequence[Release]],
    pythons: Mapping[str, Sequence[Entry]],
    now: datetime,
) -> Index:
    days = freshness(entry.evidence for entry in entries if entry.evidence)
    return Index(
        generated_at=now,
        tool=f"envmatrix {__version__}",
        counts=_counts(entries),
        oldest_evidence=days.oldest,
        newest_evidence=days.newest,
        frameworks=tuple(_links(name, listed) for name, listed in found.items()),
        pythons=tuple(
            PythonLink(
                python=python,
                counts=_counts(pythons[python]),
                link=quote(f"{_OF_PYTHONS}/{python}.json", safe="/+"),
            )
            for python in sorted(pythons, key=in_order)
        ),
    )


def _links(framework: str, listed: Sequence[Release]) -> FrameworkLinks:
    works = newest(listed, Verdict.WORKS)
    return FrameworkLinks(
        name=framework,
        newest_that_works=works.version if works else None,
        releases=tuple(
            ReleaseLink(
                version=release.version,
                verdict=release.verdict,
                counts=_counts(release.entries),
                link=quote(f"{framework}/{release.version}.json", safe="/+"),
            )
            for release in listed
        ),
    )


def _cell(entry: Entry, history: History, evidence: str) -> ApiCell:
    found, judgement = entry.evidence, entry.judgement
    return ApiCell(
        id=entry.id,
        axes=entry.axes,
        verdict=judgement.verdict,
        class_=judgement.kind,
        cause=judgement.cause,
        remedy=judgement.remedy,
        emulated=found.emulated if found else False,
        since=_since(entry, history),
        run_at=found.generated_at if found and entry.was_run else None,
        command=commands([found]).get(entry.id) if found else None,
        evidence=quote(f"{_UP}{evidence}/{entry.id}.json", safe="/+") if found else None,
    )


def _cell_link(entry: Entry) -> CellLink:
    release = f"../{entry.axes.framework}/{entry.axes.version}.json"
    return CellLink(
        id=entry.id,
        verdict=entry.verdict,
        class_=entry.judgement.kind,
        link=quote(release, safe="/+"),
    )


def _since(entry: Entry, history: History) -> datetime | None:
    """Return since when a cell has its verdict. A history of another verdict says nothing of it."""
    events = history.of(entry.id)
    return history.since(entry.id) if events and events[-1].verdict == entry.verdict else None


def _counts(entries: Iterable[Entry]) -> dict[str, int]:
    return count(entry.verdict for entry in entries)
