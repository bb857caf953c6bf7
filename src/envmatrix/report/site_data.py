"""What the site is made of, and the data that its first page holds for its script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from packaging.version import Version

from envmatrix.model import gpus
from envmatrix.model.audits import Audit
from envmatrix.model.evidence import Evidence
from envmatrix.model.expectations import Known
from envmatrix.model.matrix import AXES, DEFAULT_ARCH
from envmatrix.model.probe_results import Outcome
from envmatrix.model.served import FIRST_TOOLKITS, TOOLKIT_DRIVERS
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import Comparison
from envmatrix.report.entries import Entry
from envmatrix.report.history import History

SHOWN = {
    "build": "build",
    "python_full": "Python in full",
    "glibc": "C library",
    "cudnn_loaded": "cuDNN",
    "numpy": "NumPy",
    "seconds_to_import": "seconds to import",
}
"""What the comparison of two cells shows of what their import probes observed, and its words."""
ID = "{id}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pages show beside evidence.

    By framework its title. By axis its values, in order. By accelerator its CUDA version and the
    lowest driver branch. By cell the commands that install its wheels (what they are for, and the
    command), and the texts of its Dockerfile and its lock. By probe what it proves. `pulls` has, by
    cell, the command that starts the published image, where it is that of the evidence. `audits`
    has the known vulnerabilities of the cells for which they were asked.
    """

    titles: Mapping[str, str]
    axes: Mapping[str, Sequence[str]]
    cuda: Mapping[str, str | None]
    drivers: Mapping[str, str | None]
    installs: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    proves: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pulls: Mapping[str, str] = field(default_factory=dict)
    audits: Mapping[str, Audit] = field(default_factory=dict)


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
        "drivers": {name: int(one or 0) for name, one in site.facts.drivers.items()},
        "toolkit_drivers": {
            name: TOOLKIT_DRIVERS.get(cuda or "", 0) for name, cuda in site.facts.cuda.items()
        },
        "gpu_drivers": {gpu: TOOLKIT_DRIVERS[toolkit] for gpu, toolkit in FIRST_TOOLKITS.items()},
        "known": {cell_id: known.said for cell_id, known in site.known.items()},
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
            SHOWN[name]: str(value)
            for name, value in evidence.observed.items()
            if name in SHOWN and value is not None
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
        found["install"] = list(install)
    if architectures := evidence.observed.architectures:
        served = gpus.served_by(architectures)
        found["caps"] = [served[code] for code in gpus.Code]
    return found
