"""Numbers to the shapes of inline SVG: the course of a loss, and layers side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envmatrix.model.evidence import LayerSize

LEFT, TOP, WIDTH, HEIGHT = 30, 8, 206, 82
"""The field of a curve, in the units of its viewBox."""
MOST_POINTS = 120
"""More points than a small picture can show. Of a longer course every nth is drawn."""
BAR = 600.0


@dataclass(frozen=True, slots=True)
class Curve:
    """The course of a loss, as a polyline with its labels."""

    probe: str
    points: str
    first: str
    last: str
    low: str
    high: str
    steps: int


@dataclass(frozen=True, slots=True)
class Bar:
    """The layers of one role: their place in a bar, their bytes, and their share of the image."""

    role: str
    x: str
    width: str
    size: int
    share: str


def curve(probe: str, losses: Sequence[float]) -> Curve:
    """Return the picture of at least two losses, from the first step to the last."""
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    step = max(1, -(-len(losses) // MOST_POINTS))
    chosen = list(range(0, len(losses), step))
    if chosen[-1] != len(losses) - 1:
        chosen.append(len(losses) - 1)
    points = " ".join(
        f"{LEFT + WIDTH * at / (len(losses) - 1):.1f},"
        f"{TOP + HEIGHT * (high - losses[at]) / span:.1f}"
        for at in chosen
    )
    first, last, lowest, highest = (_short(one) for one in (losses[0], losses[-1], low, high))
    return Curve(probe, points, first, last, lowest, highest, len(losses))


def stacked(sizes: Iterable[LayerSize]) -> list[Bar]:
    """Return the layers of an image by role, lowest first, as parts of one bar."""
    by_role: Counter[str] = Counter()
    for layer in sizes:
        by_role[layer.role] += layer.size
    whole, begun, found = by_role.total() or 1, 0, []
    for role, size in by_role.items():
        x, width = BAR * begun / whole, BAR * size / whole
        found.append(Bar(role, f"{x:.1f}", f"{width:.1f}", size, f"{size / whole:.0%}"))
        begun += size
    return found


def _short(number: float) -> str:
    return f"{number:.3g}"
