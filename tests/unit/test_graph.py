"""Tasks run after those they wait for, side by side where they may."""

import threading
import time
from collections.abc import Mapping
from graphlib import CycleError
from typing import Any

import pytest

from envmatrix.graph import Task, run_graph


def test_a_task_runs_after_those_it_waits_for_and_sees_their_results() -> None:
    """Whatever the order they are given in."""

    def join(results: Mapping[str, Any]) -> str:
        return str(results["a"]) + str(results["b"])

    tasks = [
        Task("c", ["a", "b"], "build", join),
        Task("b", ["a"], "probe", lambda results: results["a"] + "b"),
        Task("a", [], "build", lambda _: "a"),
    ]
    assert run_graph(tasks, {"build": 1, "probe": 1}) == {"a": "a", "b": "ab", "c": "aab"}


def test_nothing_to_do_is_done() -> None:
    """An empty graph gives no results."""
    assert run_graph([], {"build": 1}) == {}


@pytest.mark.parametrize("size", [1, 3])
def test_a_lane_runs_as_many_tasks_as_it_is_wide(size: int) -> None:
    """Never more; and as many where there are enough: they meet at a barrier."""
    together = threading.Barrier(size)
    lock = threading.Lock()
    now = most = 0

    def work(_: Mapping[str, Any]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(timeout=10)
        with lock:
            now -= 1

    run_graph([Task(str(n), [], "build", work) for n in range(2 * size)], {"build": size})
    assert size == most


def test_lanes_do_not_wait_for_each_other() -> None:
    """A probe runs while a build does: each waits here until the other has begun."""
    meeting = threading.Barrier(2)
    tasks = [
        Task(lane, [], lane, lambda _: meeting.wait(timeout=10) >= 0) for lane in ("build", "probe")
    ]
    assert run_graph(tasks, {"build": 1, "probe": 1}) == {"build": True, "probe": True}


def test_a_task_that_fails_drops_the_rest_and_raises() -> None:
    """What is at work is waited for, what has not begun never begins."""
    begun, ended = threading.Event(), threading.Event()
    ran: list[str] = []

    def slow(_: Mapping[str, Any]) -> None:
        begun.set()
        time.sleep(0.3)
        ended.set()

    def fail(_: Mapping[str, Any]) -> None:
        begun.wait(timeout=10)
        raise KeyError("the task's own")

    tasks = [
        Task("slow", [], "probe", slow),
        Task("fail", [], "build", fail),
        Task("queued", [], "probe", lambda _: ran.append("queued")),
        Task("after", ["fail"], "build", lambda _: ran.append("after")),
    ]
    with pytest.raises(KeyError, match="the task's own"):
        run_graph(tasks, {"build": 1, "probe": 1})
    assert ended.is_set()
    assert ran == []


def test_tasks_that_wait_for_each_other_are_refused() -> None:
    """Nothing is begun."""
    ran: list[str] = []
    tasks = [Task(a, [b], "build", lambda _: ran.append("ran")) for a, b in ("ab", "ba")]
    with pytest.raises(CycleError):
        run_graph(tasks, {"build": 1})
    assert ran == []


def test_what_is_begun_is_brought_to_its_end_before_the_next_is_begun() -> None:
    """Where one lane does it all, the order of the list decides among what could start."""
    done: list[str] = []

    def noting(key: str) -> Task:
        after = [f"build:{key.partition(':')[2]}"] if key.startswith("probe") else []
        return Task(key, after, "engine", lambda _: done.append(key))

    tasks = [
        noting(f"{stage}:{cell}") for cell in ("long", "short") for stage in ("build", "probe")
    ]
    run_graph(tasks, {"engine": 1})
    assert done == ["build:long", "probe:long", "build:short", "probe:short"]
