"""The page of the table: one document that answers, and one for each cell that was run.

Everything is in the documents: no script, style, font or number comes from elsewhere. They open
from disk. Their policy (CSP) allows only the one script and the one style that they hold, by hash.
Text from outside passes Jinja's escaping, or stands in JSON that only `textContent` shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.report import changes
from envmatrix.report.changes import Change
from envmatrix.report.claims import WHAT
from envmatrix.report.entries import Entry
from envmatrix.report.history import AGO, moment_of
from envmatrix.report.site_data import Site, index_data
from envmatrix.report.states import State
from envmatrix.report.svg import curve, stacked
from envmatrix.report.table import MARKS

EVIDENCE = "../"
"""Where the evidence files lie, as seen from index.html: the site is a folder of the report."""


@dataclass(frozen=True, slots=True)
class Root:
    """Cells that one cause has in common."""

    kind: str
    cause: str
    cells: tuple[str, ...]
    known: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The cells that became the same. Those that are broken now stand under their causes."""

    title: str
    count: int
    by_cause: tuple[tuple[str, tuple[Change, ...]], ...]


@dataclass(frozen=True, slots=True)
class Period:
    """What changed since a time, as the page shows it."""

    title: str
    summary: str
    groups: tuple[Gathered, ...]


def pages(site: Site, templates: Path, made: str = "") -> dict[str, str]:
    """Return the documents of the site by their path within it. Each ends with the mark `made`."""
    jinja = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (
        (templates / "site" / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    shared = {
        "style": Markup(style),  # noqa: S704  (ours; no text from outside is in it)
        "marks": MARKS,
        "executed": site.executed,
        "made": Markup(made),  # noqa: S704
        "tool": site.tool,
        "generated_at": f"{site.generated_at:%Y-%m-%d %H:%M} UTC",
    }
    index = jinja.get_template("site/index.html.j2").render(
        **shared,
        policy=_policy(style, script),
        script=Markup(script),  # noqa: S704
        data=Markup(_json(index_data(site))),  # noqa: S704
        evidence=EVIDENCE,
        headline=headline(site),
        oldest=_day(min(_days(site), default=None)),
        newest=_day(max(_days(site), default=None)),
        changes=periods(site),
        roots=roots(site.entries, site.known),
        disagreements=site.disagreements,
        field_names=WHAT,
        hosts=[_host(one) for one in site.on_hosts],
    )
    found = {"index.html": index}
    template = jinja.get_template("site/cell.html.j2")
    for cell_id, evidence in site.executed.items():
        found[f"cells/{cell_id}.html"] = template.render(
            **shared,
            policy=_policy(style),
            evidence=f"../{EVIDENCE}",
            outcome_class=_outcome_class,
            outcome_mark=lambda probe: MARKS[Verdict(_outcome_class(probe))],
            **_cell(site, evidence),
        )
    return found


def headline(site: Site) -> str:
    """Say in a few sentences how much is known, and how old it is."""
    counts = dict.fromkeys(Verdict, 0)
    for entry in site.entries:
        counts[entry.verdict] += 1
    run = len(site.executed)
    days = _days(site)
    when = ""
    if days:
        first, last = min(days), max(days)
        when = f" on {first}" if first == last else f" from {first} to {last}"
    declared = len(site.entries)
    ran = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if verdict.was_run)
    return (
        f"{run:,} combinations were built as images, and probes ran in each{when}: {ran}. Of all "
        f"{declared:,} declared ones, {counts[Verdict.IMPOSSIBLE]:,} more are proven impossible, "
        f"and {counts[Verdict.UNKNOWN]:,} are unknown."
    )


def periods(site: Site) -> list[Period]:
    """Return what changed since a day, a week and a month ago, and since the history began.

    Only cells of the report have a history. A time before it began cannot be told.
    """
    now, began = site.generated_at, site.history.begins
    if began is None:
        return []
    known = site.history.at(now)
    states = {
        one.id: State(one.verdict, one.judgement.kind, one.judgement.cause)
        for one in site.entries
        if one.id in known or one.was_run
    }
    moments = {f"Since a {name} ago": moment_of(name, now) for name in AGO}
    moments[f"Since the first report, {began:%Y-%m-%d}"] = began
    found = []
    for title, moment in moments.items():
        if moment and moment >= began:
            compared = changes.compare(site.history.at(moment), states)
            groups = tuple(_gathered(group.said, cells) for group, cells in compared.shown())
            found.append(Period(title, compared.headline, groups))
    return found


def _gathered(title: str, cells: Sequence[Change]) -> Gathered:
    caused = changes.roots(cells)
    broken = {one.id for root in caused for one in root.changes}
    others = [one for one in cells if one.id not in broken]
    # What was never run has little to tell, and there is much of it.
    told = tuple(one for one in others if _was_run(one.old) or _was_run(one.new))
    untold = len(others) - len(told)
    by_cause = [(root.said, root.changes) for root in caused]
    if told:
        by_cause.append(("", told))
    if untold:
        by_cause.append((f"{untold} more that were never run", ()))
    return Gathered(title, len(cells), tuple(by_cause))


def _was_run(state: State | None) -> bool:
    return state is not None and state.verdict.was_run


def roots(entries: Iterable[Entry], known: Mapping[str, Known] | None = None) -> list[Root]:
    """Return the broken cells by their causes, the cause with the most cells first."""
    known = known or {}
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if entry.verdict is Verdict.BROKEN:
            found.setdefault((entry.judgement.kind, entry.judgement.cause), []).append(entry.id)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        Root(kind, cause, tuple(cells), known[cells[0]].said if cells[0] in known else "")
        for (kind, cause), cells in ordered
    ]


# --- the document of a cell -------------------------------------------------------------------


def _cell(site: Site, evidence: Evidence) -> dict[str, Any]:
    dockerfile, lock = site.facts.files.get(evidence.id, ("", ""))
    declared = dict(evidence.declared.items()) if evidence.declared else {}
    observed = {name: value for name, value in evidence.observed.items() if value is not None}
    observed.pop("architectures", None)
    names = dict.fromkeys([*declared, *observed])
    since = site.history.works_since(evidence.id)
    return {
        "cell": evidence,
        "title": site.facts.titles.get(evidence.axes.framework, evidence.axes.framework),
        "known": site.known[evidence.id].said if evidence.id in site.known else "",
        "pull": site.facts.pulls.get(evidence.id, ""),
        "usable": evidence.verdict.is_usable,
        "installs": site.facts.installs.get(evidence.id, ()),
        "compared": [(name, declared.get(name, ""), observed.get(name, "")) for name in names],
        "since": _day(since.date()) if since else "",
        "events": site.history.of(evidence.id),
        "seconds": [
            (name, value) for name, value in evidence.seconds.model_dump().items() if value
        ],
        "proves": site.facts.proves,
        "curves": [
            curve(one.probe, one.observed.losses)
            for one in evidence.probes
            if len(one.observed.losses) > 1
        ],
        "layers": stacked(evidence.image.sizes) if evidence.image else (),
        "audit": site.facts.audits.get(evidence.id),
        "lock": lock,
        "dockerfile": dockerfile,
    }


def _outcome_class(probe: ProbeResult) -> str:
    """Return the verdict whose look an outcome has."""
    if probe.passed:
        return Verdict.WORKS
    return Verdict.UNKNOWN if probe.outcome is Outcome.NOT_RUN else Verdict.BROKEN


def _host(evidence: Evidence) -> dict[str, str]:
    gpu = next((one.observed for one in evidence.probes if one.needs == "gpu"), None)
    extra = (gpu.model_extra or {}) if gpu else {}
    name, driver = extra.get("name"), extra.get("driver")
    told = f"{name}, driver {driver}" if name and driver else str(name or "")
    return {"id": evidence.id, "verdict": evidence.verdict, "told": evidence.told, "gpu": told}


# --- small things -----------------------------------------------------------------------------


def _days(site: Site) -> list[date]:
    return [one.generated_at.date() for one in site.executed.values()]


def _day(day: date | None) -> str:
    return str(day) if day else "no day"


def _json(data: object) -> str:
    """Return JSON that no parser of HTML takes for an end of the script, or for a tag."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(style: str, script: str | None = None) -> str:
    sources = {"default-src": "'none'", "style-src": _hash(style), "img-src": "data:"}
    if script is not None:
        sources["script-src"] = _hash(script)
    return "; ".join(f"{name} {value}" for name, value in sources.items()) + "; form-action 'none'"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
