"""Badges: the JSON that shields.io asks an endpoint for.

There is one for each framework (the newest release that works) and one for each release (the
Pythons it works on). What nobody has run has no badge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from envmatrix.model.part import Part
from envmatrix.model.verdicts import Verdict
from envmatrix.report.releases import Release, newest

NAMED: Final = 4
"""The Pythons that a badge names. More are told by their ends."""
_COLOURS: Final = {
    Verdict.WORKS: "brightgreen",
    Verdict.PARTIAL: "yellow",
    Verdict.BROKEN: "red",
}


class Badge(Part):
    """What shields.io draws. https://shields.io/badges/endpoint-badge tells the form."""

    form: Annotated[Literal[1], Field(alias="schemaVersion", description="The version.")] = 1
    label: Annotated[str, Field(description="The left part.")]
    message: Annotated[str, Field(description="The right part.")]
    color: Annotated[str, Field(description="The colour of the right part.")]


def badges(found: Mapping[str, Sequence[Release]]) -> dict[str, Badge]:
    """Return the badges by path: badges/torch.json, badges/torch/2.13.0.json."""
    made: dict[str, Badge] = {}
    for framework, listed in found.items():
        run = [release for release in listed if release.verdict.was_run]
        if run:
            made[f"badges/{framework}.json"] = _of_framework(framework, run)
        for release in run:
            made[f"badges/{framework}/{release.version}.json"] = _of_release(release)
    return made


def _of_framework(framework: str, run: Sequence[Release]) -> Badge:
    best = next(filter(None, (newest(run, verdict) for verdict in Verdict)))
    if best.verdict is Verdict.BROKEN:
        return Badge(label=framework, message="none works", color="red")
    return Badge(
        label=framework,
        message=f"{best.version} {best.verdict}",
        color=_COLOURS[best.verdict],
    )


def _of_release(release: Release) -> Badge:
    verdict = release.verdict
    mixed = verdict is Verdict.WORKS and release.pythons(Verdict.BROKEN)
    return Badge(
        label=f"{release.framework} {release.version}",
        message=f"{verdict} on Python {_listed(release.pythons(verdict))}"
        + (", emulated" if release.best.emulated else ""),
        color="yellowgreen" if mixed else _COLOURS[verdict],
    )


def _listed(pythons: Sequence[str]) -> str:
    if len(pythons) > NAMED:
        return f"{pythons[0]} to {pythons[-1]} ({len(pythons)} of them)"
    return ", ".join(pythons)
