"""Reading a file of evidence: the evidence, or one clear error about the file."""

from __future__ import annotations

import json

from pydantic import ValidationError

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import SCHEMA, Evidence
from envmatrix.model.part import check_keepable


class UnreadableEvidenceError(InputError):
    """A file of evidence is damaged, or was written by another envmatrix."""


def read_evidence(text: str, where: str, expected: str | None = None) -> Evidence:
    """Read the JSON of one evidence file, which `where` names.

    The evidence must be of the id `expected`, where that is given: the name of the file says it.

    Raises:
        UnreadableEvidenceError: the text is not evidence of this schema.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise _damaged("it is nested too deeply", where, expected) from error
    except ValueError as error:
        raise _damaged("it is not JSON", where, expected) from error
    try:
        check_keepable(data)
    except ValueError as error:
        raise _damaged(str(error), where, expected) from error
    if not isinstance(data, dict):
        raise _damaged("it is not a JSON object", where, expected)
    found = data.get("schema")
    if found != SCHEMA:
        newer = isinstance(found, int) and found > SCHEMA
        told = f"of schema {found!r:.20}" if "schema" in data else "without a schema"
        raise UnreadableEvidenceError(
            f"this evidence is {told}, and this envmatrix reads schema {SCHEMA}",
            where=where,
            next_step="update envmatrix" if newer else _run_again(expected),
        )
    try:
        evidence = Evidence.model_validate(data)
    except ValidationError as error:
        raise _damaged(_misfit(error), where, expected) from error
    if expected is not None and evidence.id != expected:
        raise _damaged(f"it is the evidence of {evidence.id}", where, expected)
    return evidence


def _run_again(cell_id: str | None) -> str:
    return "run the cell again" + (f": `envmatrix run {cell_id}`" if cell_id else "")


def _damaged(why: str, where: str, cell_id: str | None) -> UnreadableEvidenceError:
    return UnreadableEvidenceError(
        f"this evidence file is damaged: {why}",
        where=where,
        next_step=_run_again(cell_id) + ", or restore the file from git",
    )


def _misfit(error: ValidationError) -> str:
    """Say which field is the first that is wrong, and how."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:200]
    match first["type"]:
        case "extra_forbidden":
            return f"it has the unknown field {field}"
        case "missing":
            return f"it lacks the field {field}"
    return f"the field {field} holds what `envmatrix schema evidence` does not allow"
