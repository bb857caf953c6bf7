"""A graph of work: which items run side by side, and which wait for others. No Docker here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from threading import Condition
from typing import TypeVar

WAKE_SECONDS = 0.2
"""How often the run looks for Ctrl-C while it waits for work to end."""

END_SECONDS = 20.0
"""How long a run that is stopped waits for the work that is going on. An engine may hang."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of work as plain data, so that another process could do it.

    `kind` says what is done, `subject` to what, and `cell_id` for which cell. `inputs` are the keys
    of the items whose results it needs. `steps` counts the steps of a cell that a layer holds.
    """

    kind: str
    subject: str
    cell_id: str
    lane: str
    inputs: tuple[str, ...] = ()
    steps: int = 0

    @property
    def key(self) -> str:
        """The handle of this item and of its result."""
        return f"{self.kind}:{self.subject}"


def run_graph(
    items: Sequence[Item],
    lanes: Mapping[str, int],
    do: Callable[[Item, Mapping[str, _Result]], _Result],
    cancel: Callable[[], None] = lambda: None,
) -> dict[str, _Result]:
    """Do every item after its inputs; return the results by key.

    `do` gets an item and the results that are there so far. `lanes` says how many items of each
    lane may be at work at once. Of the items of a lane that could start, the one that stands first
    in `items` starts: where the items of one cell stand together, a cell that is begun is finished
    first. The exception of an item, or Ctrl-C, ends the run: items that have not started are
    dropped, `cancel` is called for those at work, and the exception is raised once they have ended,
    or after `END_SECONDS`.
    """
    places = {item.key: place for place, item in enumerate(items)}
    order = TopologicalSorter({item.key: item.inputs for item in items})
    order.prepare()
    results: dict[str, _Result] = {}
    waiting: dict[str, list[int]] = {lane: [] for lane in lanes}
    free = dict(lanes)
    running: dict[Future[_Result], Item] = {}
    pools = {lane: ThreadPoolExecutor(size) for lane, size in lanes.items()}
    at_work = _AtWork()
    try:
        while order.is_active():
            for key in order.get_ready():
                heappush(waiting[items[places[key]].lane], places[key])
            for lane, queue in waiting.items():
                while queue and free[lane]:
                    item = items[heappop(queue)]
                    free[lane] -= 1
                    running[pools[lane].submit(at_work.do, do, item, results)] = item
            done, _ = wait(running, timeout=WAKE_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                item = running.pop(future)
                free[item.lane] += 1
                results[item.key] = future.result()
                order.done(item.key)
    except BaseException:
        cancel()
        at_work.end(END_SECONDS)
        raise
    finally:
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
    return results


@dataclass
class _AtWork:
    """The items that are being done. After the end none begins."""

    _count: int = 0
    _over: bool = False
    _changed: Condition = field(default_factory=Condition)

    def do(
        self,
        do: Callable[[Item, Mapping[str, _Result]], _Result],
        item: Item,
        results: Mapping[str, _Result],
    ) -> _Result:
        with self._changed:
            if self._over:
                raise KeyboardInterrupt
            self._count += 1
        try:
            return do(item, results)
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """Let nothing more begin, and wait so long for what goes on."""
        with self._changed:
            self._over = True
            self._changed.wait_for(lambda: not self._count, seconds)
