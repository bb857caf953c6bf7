"""What is known of each cell in short: a verdict with its reason. Comparisons and history take it.

A state is less than evidence on purpose. Reports of every release of envmatrix hold it, and so does
a line of the history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import SCHEMA
from envmatrix.model.part import Handle, Part
from envmatrix.model.text import line
from envmatrix.model.verdicts import CAUSE_LIMIT, Verdict


def utc(moment: datetime) -> datetime:
    """Return a time in UTC, in whole seconds. A time without a zone is one of UTC.

    Raises:
        ValueError: it is not within the years 1 to 9999 there.
    """
    moment = moment.replace(microsecond=0)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


Time = Annotated[datetime, AfterValidator(utc)]
"""A time in UTC, in whole seconds."""


@dataclass(frozen=True, slots=True)
class State:
    """The verdict of a cell, with its class and its cause. The history knows no causes."""

    verdict: Verdict
    kind: str = ""
    cause: str = ""

    @property
    def said(self) -> str:
        """The state in words, such as broken (undefined-symbol)."""
        return f"{self.verdict} ({self.kind})" if self.kind else self.verdict.value

    def to_json(self) -> dict[str, str]:
        """Return the fields as JSON names them."""
        return {"verdict": self.verdict.value, "class": self.kind, "cause": self.cause}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known of each cell at one time, and a title that says which time that is."""

    title: str
    states: Mapping[str, State]


class _Cell(Part):
    id: Handle
    verdict: Verdict
    class_: Annotated[str, Field(alias="class")] = ""
    cause: str = ""


class _Report(Part):
    generated_at: Time
    cells: tuple[_Cell, ...]


_FIELDS: Final = ("id", "verdict", "class", "cause")


def read_report(text: str, where: str) -> Snapshot:
    """Read the states of the cells of a report.json, which `where` names.

    Only what a state needs is read, so the reports of earlier releases are read, too.

    Raises:
        InputError: it is no report.json, or one of a newer release.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_report("it is not JSON", where) from error
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise _no_report("it has no list of cells", where)
    schema = data.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        newer = type(schema) is int and schema > SCHEMA
        raise InputError(
            f"this report is of schema {schema!r:.20}, and this envmatrix reads 1 to {SCHEMA}",
            where=where,
            next_step="update envmatrix" if newer else "give a report.json of `envmatrix report`",
        )
    try:
        found = _Report.model_validate(
            {"generated_at": data.get("generated_at"), "cells": [*map(_short, data["cells"])]}
        )
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise _no_report(f"the field {field} is wrong", where) from error
    states = {
        cell.id: State(cell.verdict, line(cell.class_, 80), line(cell.cause, CAUSE_LIMIT))
        for cell in found.cells
    }
    if len(states) != len(found.cells):
        raise _no_report("it names a cell twice", where)
    return Snapshot(f"{where} of {found.generated_at:%Y-%m-%d %H:%M} UTC", states)


def _short(cell: object) -> Any:  # noqa: ANN401  (what is no mapping is refused by the model)
    if not isinstance(cell, dict):
        return cell
    return {name: cell[name] for name in _FIELDS if name in cell}


def _no_report(why: str, where: str) -> InputError:
    return InputError(
        f"this is no report.json: {why}",
        where=where,
        next_step="make one: `envmatrix report --profile published --out reports`",
    )
