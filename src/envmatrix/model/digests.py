"""The hash that records and evidence are keyed by, and the form of digests of layers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Final

CONTENT_SCHEME: Final = "envmatrix-content-1"
"""The form of the digests of what layers contain (decision 13). A digest begins with its name."""

SHOWN_DIGITS: Final = 12


def content_scheme(content: str) -> str:
    """Return the form of a digest of what a layer contains."""
    return content.partition(":")[0]


def moved(reference: str, before: str, now: Collection[str]) -> str:
    """Say that a reference names another image than before; nothing where it does not.

    `before` and `now` are digests. An image may have several, and none where they are not known.
    """
    if not (is_digest(before) and now) or before in now:
        return ""
    return f"{reference} has moved: {short(before)} -> {short(min(now))}"


def is_digest(text: str) -> bool:
    """Return whether a text is a digest, such as a registry knows an image by."""
    return re.fullmatch(r"[a-z0-9+._-]+:[0-9a-f]{32,}", text) is not None


def short(text: str) -> str:
    """Return the beginning of a digest, which is enough to tell two apart."""
    form, colon, value = text.partition(":")
    return f"{form}{colon}{value[:SHOWN_DIGITS]}"


def digest(*parts: object) -> str:
    """Return the SHA-256 (hex) of `parts`, each of which JSON can hold."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
