"""Which GPUs and drivers a build serves: known from the wheel, without any GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Compute capability to the name of its generation, as in NVIDIA's table of CUDA GPUs. A capability
# that is not here belongs to the generation of the nearest one below it with the same major.
GENERATIONS = {
    50: "Maxwell",
    60: "Pascal",
    70: "Volta",
    75: "Turing",
    80: "Ampere",
    89: "Ada",
    90: "Hopper",
    100: "Blackwell",
    110: "Blackwell",
    120: "Blackwell",
}
_ARCHITECTURE = re.compile(r"(?:sm|compute)_(\d+)[af]?$")


def generations(architectures: Iterable[str]) -> list[str]:
    """Return the GPU generations of architectures such as sm_75, oldest first, each once."""
    found: dict[str, None] = {}
    for capability in sorted(_capabilities(architectures)):
        below = [known for known in GENERATIONS if known <= capability]
        if below and max(below) // 10 == capability // 10:
            found[GENERATIONS[max(below)]] = None
    return list(found)


def _capabilities(architectures: Iterable[str]) -> set[int]:
    matches = (_ARCHITECTURE.match(name) for name in architectures)
    return {int(match[1]) for match in matches if match}
