"""Annotations of GitHub: a line for each cell that is newly broken. A job of Actions shows them."""

from __future__ import annotations

from collections.abc import Iterable

from envmatrix.model.text import line
from envmatrix.report.changes import Change

_LONGEST = 1_000
"""The characters of a message before it is escaped."""


def error_lines(changes: Iterable[Change]) -> list[str]:
    """Return a workflow command for each cell that is broken now and was not before."""
    found = []
    for one in changes:
        if one.new is None:
            continue
        was = one.old.said if one.old else "not in the report"
        title = f"{one.id} is broken; it was {was}"
        why = ": ".join(text for text in (one.new.kind, one.new.cause) if text)
        message = f"{why or 'cause not known'}. The whole story: envmatrix explain {one.id}"
        found.append(f"::error title={_property(title)}::{_data(message)}")
    return found


def _data(text: str) -> str:
    """Escape a message as the toolkit of Actions does. The percent sign comes first."""
    text = line(text, _LONGEST)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape the value of a property, which a comma or a colon would end."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
