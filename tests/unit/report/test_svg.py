"""Numbers as shapes: the course of a loss, and layers side by side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.evidence import LayerSize
from envmatrix.report.svg import HEIGHT, LEFT, MOST_POINTS, TOP, WIDTH, curve, stacked

LOSSES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=400)


@given(LOSSES)
def test_a_curve_stays_in_its_field(losses: list[float]) -> None:
    """Every point lies in the field, from its left side to its right, and few are drawn."""
    points = [tuple(map(float, point.split(","))) for point in curve("x", losses).points.split()]
    assert all(LEFT <= x <= LEFT + WIDTH and TOP <= y <= TOP + HEIGHT for x, y in points)
    assert points[0][0] == LEFT
    assert points[-1][0] == LEFT + WIDTH
    assert len(points) <= MOST_POINTS + 1


def test_a_loss_that_falls_is_a_line_that_falls() -> None:
    """The largest loss is at the top, as in every chart."""
    found = curve("x", [3.0, 2.0, 1.0])
    heights = [float(point.split(",")[1]) for point in found.points.split()]
    assert heights == sorted(heights)
    assert (found.first, found.last, found.low, found.high, found.steps) == ("3", "1", "1", "3", 3)


def test_a_loss_that_stays_is_a_flat_line() -> None:
    """Equal losses have no span to divide by."""
    assert len({point.split(",")[1] for point in curve("x", [1.0, 1.0, 1.0]).points.split()}) == 1


def test_layers_fill_the_bar_in_their_order() -> None:
    """The layers of a role are one part, and the parts follow each other up to the end."""
    sizes = [
        LayerSize(role=role, size=size)
        for role, size in (("os", 100), ("wheels", 500), ("wheels", 300), ("settings", 100))
    ]
    found = stacked(sizes)
    assert [(bar.role, bar.x, bar.width, bar.share) for bar in found] == [
        ("os", "0.0", "60.0", "10%"),
        ("wheels", "60.0", "480.0", "80%"),
        ("settings", "540.0", "60.0", "10%"),
    ]
    assert stacked([]) == []
