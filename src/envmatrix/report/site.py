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
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from packaging.version import Version

from envmatrix.model import gpus
from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known
from envmatrix.model.matrix import AXES, DEFAULT_ARCH
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.model.verdicts import Verdict
from envmatrix.report.changes import Change, compare
from envmatrix.report.claims import WHAT, Comparison
from envmatrix.report.entries import Entry
from envmatrix.report.history import AGO, History, moment_of
from envmatrix.report.states import State
from envmatrix.report.svg import curve, stacked
from envmatrix.report.table import MARKS

SHOWN = ("build", "python_full", "glibc", "cudnn_loaded", "numpy", "seconds_to_import")
"""What the comparison of two cells shows of what their import probes observed."""
ID = "{id}"
EVIDENCE = "../"
"""Where the evidence files lie, as seen from index.html: the site is a folder of the report."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pages show beside evidence.

    By framework its title. By axis its values, in order. By accelerator its CUDA version and the
    lowest driver branch. By cell the command that installs the same wheels, and the texts of its
    Dockerfile and its lock. By probe what it proves. `pulls` has, by cell, the command that starts
    the published image, where it is that of the evidence.
    """

    titles: Mapping[str, str]
    axes: Mapping[str, Sequence[str]]
    cuda: Mapping[str, str | None]
    drivers: Mapping[str, str | None]
    installs: Mapping[str, str] = field(default_factory=dict)
    proves: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pulls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Root:
    """Cells that one cause has in common."""

    kind: str
    cause: str
    cells: tuple[str, ...]
    known: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """What the site is made of.

    `known` is what the matrix knows of broken cells, by id; `disagreements` is what vendors declare
    otherwise than it was observed.
    """

    entries: Sequence[Entry]
    facts: Facts
    tool: str
    generated_at: datetime
    history: History = field(default_factory=History)
    known: Mapping[str, Known] = field(default_factory=dict)
    disagreements: Sequence[Comparison] = ()
    on_hosts: Sequence[Evidence] = ()

    @property
    def executed(self) -> dict[str, Evidence]:
        """The evidence of the cells that were run, by id."""
        return {one.id: one.evidence for one in self.entries if one.was_run and one.evidence}


@dataclass(frozen=True, slots=True)
class Period:
    """What changed since a time, as the page shows it."""

    title: str
    summary: str
    groups: tuple[tuple[str, tuple[Change, ...]], ...]


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
    others = len(site.entries) - run
    ran = ", ".join(
        f"{counts[verdict]} {verdict}"
        for verdict in (Verdict.WORKS, Verdict.PARTIAL, Verdict.BROKEN)
    )
    return (
        f"{run:,} cells were run{when}: {ran}. Of {others:,} more, {counts[Verdict.IMPOSSIBLE]:,} "
        f"are proven impossible and {counts[Verdict.UNKNOWN]:,} are unknown."
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
            changes = compare(site.history.at(moment), states)
            groups = tuple((group.said, cells) for group, cells in changes.shown())
            found.append(Period(title, changes.headline, groups))
    return found


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


# --- the data of the index --------------------------------------------------------------------


def index_data(site: Site) -> dict[str, Any]:
    """Return what the script knows: every cell in eight numbers, and more of those that were run.

    A cell is the place of its value on each axis, of its verdict and of its reason. Its id follows
    from its axes.
    """
    axes = {axis: list(_values(site, axis)) for axis in AXES}
    places = {axis: {value: at for at, value in enumerate(axes[axis])} for axis in axes}
    verdicts = [verdict.value for verdict in Verdict]
    reasons: dict[tuple[str, str, str], int] = {}
    cells = []
    for entry in site.entries:
        judgement = entry.judgement
        # Thousands of reasons differ in the id alone. The script puts it in again.
        cause, remedy = (text.replace(entry.id, ID) for text in (judgement.cause, judgement.remedy))
        reason = (judgement.kind, cause, remedy)
        place = reasons.setdefault(reason, len(reasons))
        at = [places[axis][getattr(entry.axes, axis)] for axis in axes]
        cells.append([*at, verdicts.index(entry.verdict), place])
    return {
        "axes": axes,
        "plain_arch": DEFAULT_ARCH,
        "titles": dict(site.facts.titles),
        "cuda": dict(site.facts.cuda),
        "drivers": dict(site.facts.drivers),
        "verdicts": verdicts,
        "reasons": list(reasons),
        "cells": cells,
        "run": {
            place: _run(site, entry.evidence)
            for place, entry in enumerate(site.entries)
            if entry.was_run and entry.evidence
        },
        **gpus.catalogue_for_programs(),
    }


def _values(site: Site, axis: str) -> Iterable[str]:
    """Return the values that cells have on an axis; versions from the oldest to the newest."""
    held = {getattr(entry.axes, axis): None for entry in site.entries}
    if axis == "version":
        return sorted(held, key=Version)
    known = [value for value in site.facts.axes.get(axis, ()) if value in held]
    return dict.fromkeys([*known, *held])


def _run(site: Site, evidence: Evidence) -> dict[str, Any]:
    """Return what the index holds of a cell that was run."""
    ran = [one.outcome for one in evidence.probes if one.outcome is not Outcome.NOT_RUN]
    found: dict[str, Any] = {
        "day": str(evidence.generated_at.date()),
        "probes": f"{ran.count(Outcome.PASSED)} of {len(ran)}",
        "outcomes": {one.probe: one.outcome.value for one in evidence.probes},
        "observed": {
            name: str(value) for name, value in evidence.observed.items() if name in SHOWN
        },
        "size": evidence.image.size if evidence.image else 0,
    }
    if evidence.emulated:
        found["emulated"] = True
    if evidence.reproducibility.status == "proven":
        found["rebuilt"] = True
    if evidence.image and evidence.image.run:
        found["run"] = evidence.image.run
    if pull := site.facts.pulls.get(evidence.id):
        found["pull"] = pull
    if install := site.facts.installs.get(evidence.id):
        found["install"] = install
    if architectures := evidence.observed.architectures:
        served = gpus.served_by(architectures)
        found["caps"] = [served[code] for code in gpus.Code]
    return found


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
        "usable": evidence.verdict in (Verdict.WORKS, Verdict.PARTIAL),
        "install": site.facts.installs.get(evidence.id, ""),
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
