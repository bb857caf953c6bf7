"""Running a graph of tasks: what may run beside what, and what waits for what. Knows no Docker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from typing import Any

WAKE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work after others. `lane` names the pool it runs in.

    `work` gets the results of all tasks that are done, by key.
    """

    key: str
    after: Sequence[str]
    lane: str
    work: Callable[[Mapping[str, Any]], Any]


def run_graph(
    tasks: Sequence[Task], lanes: Mapping[str, int], cancel: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Run every task after those it waits for; return the results by key.

    Of the tasks that could start in a lane, the one that stands first in `tasks` does: with the
    tasks of one subject listed together, what is begun is brought to its end first.
    A task's exception, or Ctrl-C, ends the run: tasks not yet started are dropped, those at work
    are told through `cancel` and waited for, and the exception is raised.
    """
    places = {task.key: place for place, task in enumerate(tasks)}
    order = TopologicalSorter({task.key: task.after for task in tasks})
    order.prepare()
    results: dict[str, Any] = {}
    waiting: dict[str, list[int]] = {lane: [] for lane in lanes}
    free = dict(lanes)
    running: dict[Future[Any], Task] = {}
    with ExitStack() as stack:
        pools = {
            lane: stack.enter_context(ThreadPoolExecutor(size)) for lane, size in lanes.items()
        }
        try:
            while order.is_active():
                for key in order.get_ready():
                    heappush(waiting[tasks[places[key]].lane], places[key])
                for lane, queue in waiting.items():
                    while queue and free[lane]:
                        task = tasks[heappop(queue)]
                        free[lane] -= 1
                        running[pools[lane].submit(task.work, results)] = task
                # A time limit, so that Ctrl-C is seen between two looks.
                done, _ = wait(running, timeout=WAKE_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    free[task.lane] += 1
                    results[task.key] = future.result()
                    order.done(task.key)
        except BaseException:
            cancel()
            for pool in pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
