"""Text from outside, made inert. This is the one place that decides what is kept of such text.

Whatever this package did not write itself is untrusted: what an image prints, what an engine, an
index or an installer says, evidence that other people made, names of files. A terminal, a browser
and a person must all see what is there, and nothing must act upon any of it. So control
characters, escape sequences, characters that turn the direction of writing, and credentials are
taken out. Ordinary Unicode stays. Each function takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

WORD = 200
"""The characters of a text that is short enough to remember."""
LINE_LIMIT = 4_000
"""The characters of a line that are shown. A longer line loses its end."""
NAME_LIMIT = 40
"""The characters of a name that is made of untrusted text."""

_CUT = " ..."
_LOCAL = ("unix", "file")
"""Schemes of addresses that hold a path of this machine and no credentials."""
_HIDDEN = "***"
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_ESCAPES = re.compile(
    # A string that has its end goes as a whole; of one without an end only its beginning.
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])(?:[^\x07\x1b\x90\x98\x9b-\x9f\n]*(?:\x07|\x1b\\\\|\x9c))?"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|\x1b[ -/]*[0-~]?"
)
UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""As a class of characters: controls, turns of direction, breaks of lines, halves of characters,
and what is never seen. The joiners of Persian, of Indic scripts and of emoji stay."""
_UNSEEN = re.compile(f"[{UNSEEN}]")
_PILES = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]{4})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]+"
)
"""More accents on one letter than any language has. They reach into the lines above and below."""

# What stands behind "://". A password that holds a / or a # is none by the rules of addresses,
# and is given all the same: so an address with a colon that no port follows is read up to its @.
_LOGIN = re.compile(r"[^\s/?#]*@|[^\s/?#:@]*:(?!\d{1,5}(?:[/?#\s\"'`),;\]]|$))[^\s@]*@")
_PATH = re.compile(r"[^\s?#\"'`<>]*")
_QUERY = re.compile(r"\?[^\s#\"'`<>]*")
_SECRET_PART = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_~=-]{16,}")
_BARE_LOGIN = re.compile(r"(?<![\w.%+@:/-])[\w.%+-]{1,128}:[^\s@:/\"'`]{1,256}@(?!sha\d)(?=[\w\[])")
_NAMES = ("passw", "token", "secret", "api", "authorization", "credential", "bearer", "basic")
"""A word of these is in every text that `_NAMED` finds something in."""
_NAMED = re.compile(
    r"(?i)(\b(?:Bearer|Basic) +|"
    r"\b[\w-]{0,40}(?:password|passwd|token|secret|api[_-]?key|authorization|credentials?)"
    r"[\"']? ?[=:] ?[\"']?(?:Bearer |Basic )?)"
    r"(?=[^\s\"'0-9]{0,60}[0-9])[\w.~+/=!$%^&*-]{8,}"
)


def inert(text: str) -> str:
    """Return a text of lines that nothing acts upon, without credentials."""
    if text.isascii() and text.isprintable():
        return hidden(text)
    text = _ESCAPES.sub("", _BREAKS.sub("\n", text))
    return hidden(_PILES.sub(r"\1", _UNSEEN.sub("", text)))


def line(text: str, limit: int = LINE_LIMIT) -> str:
    """Return a text as one line of at most `limit` characters that nothing acts upon."""
    return _cut(inert(text).replace("\n", " ").replace("\t", "    "), limit)


def name(text: str) -> str:
    """Return a word for a name of a file: letters and digits of ASCII, and `.`, `_`, `+`, `-`."""
    word = re.sub(r"[^A-Za-z0-9._+-]+", "_", line(text))[:NAME_LIMIT]
    return word if word[:1].isalnum() else f"x{word}"


_NUMBERS = frozenset({float, int, bool, type(None)})


class _Clean(dict[Any, Any]):
    """A dictionary that is cleaned already: evidence is cleaned as a whole, then part by part."""


def inert_data(data: object, depth: int, limit: int | None = None) -> Any:  # noqa: ANN401
    """Return data in which all text is inert, and where there is a limit, none is longer.

    What lies deeper than `depth` stays as it is.
    """
    if isinstance(data, str):
        # A member of an enumeration is text of ours.
        return _cut(inert(data), limit) if type(data) is str else data
    if not depth or (limit is None and type(data) is _Clean):
        return data
    if isinstance(data, Mapping):
        return _Clean(
            (inert_data(key, 1, limit), inert_data(value, depth - 1, limit))
            for key, value in data.items()
        )
    if isinstance(data, list | tuple):
        if _NUMBERS.issuperset(map(type, data)):  # A loop over each loss of a model takes long.
            return list(data)
        return [inert_data(value, depth - 1, limit) for value in data]
    return data


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def json_line(text: str) -> str:
    """Return JSON in which each character that is not seen is written as its number.

    Such characters stand in JSON only within texts, and a reader gets the same data.
    """
    return _UNSEEN.sub(_numbered, text)


def _numbered(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


# --- credentials -----------------------------------------------------------------------------


def hidden(text: str) -> str:
    """Return a text without the credentials that it shows.

    These are users, passwords and queries of addresses, long parts of their paths in which letters
    and digits are mixed, and what is called a password or a token.
    """
    return _hidden_word(text) if len(text) <= WORD else _hidden(text)


@lru_cache(maxsize=16_384)
def _hidden_word(text: str) -> str:
    """Remember short texts: the parts of evidence are cleaned by themselves and as a whole."""
    return _hidden(text)


def _hidden(text: str) -> str:
    if "://" in text:
        pieces = text.split("://")
        shown = [
            address if before.endswith(_LOCAL) else _without_login(address)
            for before, address in pairwise(pieces)
        ]
        text = "://".join([pieces[0], *shown])
    if "@" in text:
        text = _BARE_LOGIN.sub(f"{_HIDDEN}@", text)
    # Most texts are short words and hashes, of which a plan reads tens of thousands.
    lower = text.lower()
    if any(word in lower for word in _NAMES):
        text = _NAMED.sub(rf"\1{_HIDDEN}", text)
    return text


def _without_login(address: str) -> str:
    """Hide what an address holds of a secret. It begins behind its scheme, and text follows it."""
    login = _LOGIN.match(address)
    start = login.end() if login else 0
    path = _PATH.match(address, start)
    end = path.end() if path else start
    parts = address[start:end].split("/")
    kept = [_HIDDEN if _SECRET_PART.fullmatch(part) else part for part in parts[1:]]
    query = _QUERY.match(address, end)
    rest = query.end() if query else end
    asked = f"?{_HIDDEN}" if rest > end + 1 else address[end:rest]
    shown = f"{_HIDDEN}@" if login else ""
    return shown + "/".join([parts[0], *kept]) + asked + address[rest:]
