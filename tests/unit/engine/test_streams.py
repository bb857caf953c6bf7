"""The progress of pushes and pulls: a standstill is told from work that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from requests import ReadTimeout
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import ReadTimeoutError

from envmatrix.engine.refusals import push_refused
from envmatrix.engine.streams import STANDSTILL_SECONDS, progressing


def pushing(layer: str, current: int) -> dict[str, Any]:
    """Return an event of a layer of which so many bytes are gone."""
    return {"id": layer, "status": "Pushing", "progressDetail": {"current": current, "total": 9}}


def each_second(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is progress where an event comes each second."""
    seconds = count()
    return progressing(lambda: events, lambda: float(next(seconds)))


def test_an_engine_that_repeats_itself_stands_still() -> None:
    """Docker with containerd's store tells the same of a layer for ever: that ends."""
    events = each_second(pushing("a", 5) for _ in count())
    with pytest.raises(TimeoutError, match="no progress for 120 s") as caught:
        list(events)
    assert push_refused("r/x:1", str(caught.value)).transient


@pytest.mark.parametrize(
    "lost", [ReadTimeout(), ReadTimeoutError(HTTPConnectionPool("x"), "/", "timed out")]
)
def test_an_engine_that_tells_nothing_stands_still(lost: Exception) -> None:
    """Docker 20.10 is silent while its registry is. The engine itself is not to blame."""

    def events() -> Iterator[dict[str, Any]]:
        yield pushing("a", 5)
        raise lost

    with pytest.raises(TimeoutError, match="no progress for") as caught:
        list(each_second(events()))
    assert push_refused("r/x:1", str(caught.value)).transient


def test_a_layer_that_moves_keeps_a_push_alive() -> None:
    """Others may wait for it much longer than the limit."""
    long = int(3 * STANDSTILL_SECONDS)
    events = (pushing("a", 0) if at % 2 else pushing("b", at // 60) for at in range(long))
    assert len(list(each_second(events))) == long
