"""The hash that records and evidence are keyed by."""

from __future__ import annotations

import hashlib
import json


def digest(*parts: object) -> str:
    """Return the SHA-256 (hex) of `parts`, each of which JSON can hold."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
