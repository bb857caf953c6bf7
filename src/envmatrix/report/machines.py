"""Everything that a site gives to programs, as texts by path: API, feed, badges, llms.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from envmatrix.model.part import Part
from envmatrix.model.verdicts import Verdict
from envmatrix.report.api import ROOT, PythonDocument, ReleaseDocument, api, to_text
from envmatrix.report.badges import Badge, badges
from envmatrix.report.document import summary
from envmatrix.report.entries import Entry
from envmatrix.report.feed import NAME, atom
from envmatrix.report.history import History
from envmatrix.report.releases import Release, newest, releases

FOLDERS: Final = (ROOT, "badges")
"""The folders that hold a file for each release, which may be gone in the next report."""
_FORMS: Final[tuple[type[Part], ...]] = (ReleaseDocument, PythonDocument, Badge)


def for_machines(
    entries: Sequence[Entry], history: History, now: datetime, evidence: str, base_url: str = ""
) -> dict[str, str]:
    """Return the text of each file, by its path from the root of the site.

    `evidence` is the folder of the evidence files, as a path from the root of the site. `base_url`
    is the address of the root, which ends with a slash; empty: it is not known.

    Raises:
        InputError: a framework has a name that the API needs for itself.
    """
    found = releases(entries)
    return {
        **api(entries, history, now, evidence),
        **{path: to_text(badge.to_json()) for path, badge in badges(found).items()},
        NAME: atom(history, now, evidence, base_url),
        "llms.txt": llms(entries, found, now, evidence, base_url),
    }


def is_ours(text: str) -> bool:
    """Return whether a text is one of the documents that belong to a release or a Python."""
    for form in _FORMS:
        try:
            form.model_validate_json(text)
        except ValidationError:
            continue
        return True
    return False


def llms(
    entries: Sequence[Entry],
    found: Mapping[str, Sequence[Release]],
    now: datetime,
    evidence: str,
    base_url: str = "",
) -> str:
    """Return llms.txt: what this is, where the JSON is, and what works. Links are as in the feed.

    https://llmstxt.org tells the form.
    """
    lines = [
        "# envmatrix",
        "",
        (
            "> Which combinations of framework, Python, accelerator and operating system really "
            "work. Each was built as an image, and probes ran in it."
        ),
        "",
        f"Made at {now:%Y-%m-%dT%H:%M:%SZ}. {summary([entry.verdict for entry in entries])}.",
        "",
        "A cell is one combination, and its id is its name everywhere. Its verdict is one of:",
        "",
        "- `works`: every required probe ran and passed in the built image.",
        (
            "- `partial`: what could be run passed, and something required could not be run. "
            "It is not `works`; `cause` says what is missing."
        ),
        "- `broken`: it was run and failed. `cause` and `remedy` say why, and what to do.",
        "- `impossible`: proven without running, such as no wheel for that Python.",
        "- `unknown`: there is no evidence. It says nothing for or against the cell.",
        "",
        "## Data",
        "",
        f"- [Index]({base_url}{ROOT}/index.json): every framework, release and Python, with links",
        (
            f"- [Forms]({base_url}{ROOT}/schema/index.json): the JSON Schema of the index; "
            "`release.json` and `python.json` lie beside it"
        ),
        f"- [Evidence]({base_url}{evidence}/): one JSON file for each cell",
        f"- [Changes]({base_url}{NAME}): an Atom feed",
        "",
        "## Newest release that works",
        "",
    ]
    for framework, listed in found.items():
        if works := newest(listed, Verdict.WORKS):
            link = f"{base_url}{ROOT}/{framework}/{works.version}.json"
            pythons = ", ".join(works.pythons(Verdict.WORKS))
            lines.append(f"- [{framework} {works.version}]({link}): on Python {pythons}")
        else:
            partial = newest(listed, Verdict.PARTIAL)
            more = f"; {partial.version} is partial" if partial else ""
            lines.append(f"- {framework}: none is known to work{more}")
    return "\n".join(lines) + "\n"
