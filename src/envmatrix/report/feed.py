"""The Atom feed of changes: one entry for each event of the history, newest first.

An entry never changes: a reader that has seen it sees it no more. So its id is made of the cell,
the time, and what it became.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise
from typing import Final
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from envmatrix.model.errors import InputError
from envmatrix.report.history import Event, History

NAME: Final = "feed.atom"
"""The file of the feed, at the root of the site."""
ENTRIES: Final = 100
"""The entries of the feed. Older events stand in the history alone."""
NOWHERE: Final = "envmatrix.invalid"
"""The authority of ids where the address of the site is not known. Nobody can own that name."""

_ADDRESS = re.compile(
    r"https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
)


def site_address(text: str) -> str:
    """Return the address of a site, which ends with a slash.

    Raises:
        InputError: it is none, or holds a login, a query or a fragment.
    """
    if not _ADDRESS.fullmatch(text):
        raise InputError(
            f"{text!r} is no address of a site",
            where="--base-url",
            next_step="give it like `--base-url https://example.org/envmatrix/`",
        )
    return text if text.endswith("/") else f"{text}/"


def atom(history: History, now: datetime, evidence: str, base_url: str = "") -> str:
    """Return the text of the feed.

    `evidence` is the folder of the evidence files as a path from the root of the site. `base_url`
    is the address of that root, and ends with a slash; empty: it is not known, and links are
    relative. Ids hold its host, so a site must always give the same one.
    """
    authority = urlsplit(base_url).hostname or NOWHERE
    events = history.events
    feed = ET.Element("feed", {"xmlns": "http://www.w3.org/2005/Atom"})
    _text(feed, "title", "envmatrix: what changed")
    _text(feed, "id", f"tag:{authority},2026:changes")
    _text(feed, "updated", _time(events[-1].at if events else now))
    _text(ET.SubElement(feed, "author"), "name", "envmatrix")
    ET.SubElement(
        feed, "link", {"rel": "self", "type": "application/atom+xml", "href": f"{base_url}{NAME}"}
    )
    for event in reversed(events[-ENTRIES:]):
        entry = ET.SubElement(feed, "entry")
        _text(entry, "title", f"{event.id}: {_said(event)}")
        _text(entry, "id", _id(event, authority))
        _text(entry, "updated", _time(event.at))
        if event.state:
            href = base_url + quote(f"{evidence}/{event.id}.json", safe="/+")
            ET.SubElement(
                entry, "link", {"rel": "alternate", "type": "application/json", "href": href}
            )
        content = ET.SubElement(entry, "content", {"type": "text"})
        content.text = f"{event.id}: {_said(event)}. {_before(event, history)}"
    ET.indent(feed, " ")
    text = ET.tostring(feed, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _text(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _id(event: Event, authority: str) -> str:
    specific = f"{event.id}:{_time(event.at)}:{event.verdict}:{event.class_}"
    return f"tag:{authority},{event.at:%Y-%m-%d}:{quote(specific, safe=':+')}"


def _said(event: Event) -> str:
    return event.state.said if event.state else "gone from the report"


def _before(event: Event, history: History) -> str:
    for one, following in pairwise(history.of(event.id)):
        if following is event:
            return f"Before: {_said(one)}, since {one.at:%Y-%m-%d}."
    return "It is new in the report."
