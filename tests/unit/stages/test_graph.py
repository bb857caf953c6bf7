"""The graph: items are done after their inputs, side by side where they may be."""

from __future__ import annotations

import _thread
import json
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from graphlib import CycleError

import pytest

from envmatrix.stages import graph
from envmatrix.stages.graph import Item, run_graph


def item(key: str, lane: str = "build", inputs: tuple[str, ...] = ()) -> Item:
    """Return an item with the key `do:KEY`, whose inputs are the items with such keys."""
    return Item("do", key, "cell", lane, tuple(f"do:{one}" for one in inputs))


def test_an_item_is_done_after_its_inputs_and_sees_their_results() -> None:
    """Items in any order are done after their inputs, and get the results of these."""

    def join(one: Item, results: Mapping[str, str]) -> str:
        return "".join(results[key] for key in one.inputs) + one.subject

    items = [item("c", inputs=("a", "b")), item("b", "probe", ("a",)), item("a")]
    assert run_graph(items, {"build": 1, "probe": 1}, join) == {
        "do:a": "a",
        "do:b": "ab",
        "do:c": "aabc",
    }


def test_nothing_to_do_is_done() -> None:
    """An empty graph gives no results."""
    assert run_graph([], {"build": 1}, lambda _, __: None) == {}


def test_an_item_is_plain_data() -> None:
    """An item survives pickle and JSON unchanged, so that it can travel to another process."""
    one = Item("layer", "torch", "cell", "engine", ("base:x", "fetch:y"), 2)
    through_json = json.loads(json.dumps(asdict(one)))
    assert one == pickle.loads(pickle.dumps(one))  # noqa: S301
    assert one == Item(**through_json | {"inputs": tuple(through_json["inputs"])})
    assert one.key == "layer:torch"


@pytest.mark.parametrize("size", [1, 3])
def test_a_lane_does_as_many_items_at_once_as_it_is_wide(size: int) -> None:
    """A lane does as many items side by side as it is wide, and never more."""
    together = threading.Barrier(size)
    lock = threading.Lock()
    now = most = 0

    def work(_: Item, __: Mapping[str, None]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(timeout=10)
        with lock:
            now -= 1

    run_graph([item(str(number)) for number in range(2 * size)], {"build": size}, work)
    assert size == most


def test_lanes_do_not_wait_for_each_other() -> None:
    """Items of two lanes are at work at the same time: each waits here until both have begun."""
    meeting = threading.Barrier(2)
    items = [item("b", "build"), item("p", "probe")]
    found = run_graph(items, {"build": 1, "probe": 1}, lambda _, __: meeting.wait(timeout=10) >= 0)
    assert found == {"do:b": True, "do:p": True}


class Interrupted:
    """Two items at work: `fails` ends the run and `slow` has to be waited for. Others never run."""

    def __init__(self, ending: Callable[[], None]) -> None:
        self.ending = ending
        self.begun, self.cancelled, self.ended = (threading.Event() for _ in range(3))
        self.others: list[str] = []

    def do(self, one: Item, _: Mapping[str, None]) -> None:
        """Do an item."""
        match one.subject:
            case "slow":
                self.begun.set()
                assert self.cancelled.wait(timeout=10)
                self.ended.set()
            case "fails":
                assert self.begun.wait(timeout=10)
                self.ending()
            case other:
                self.others.append(other)

    def run(self) -> None:
        """Run the items."""
        items = [
            item("slow", "probe"),
            item("fails"),
            item("queued", "probe"),
            item("after", inputs=("fails",)),
        ]
        run_graph(items, {"build": 1, "probe": 1}, self.do, self.cancelled.set)


def test_the_exception_of_an_item_ends_the_run() -> None:
    """The run cancels what is at work, waits for it, drops the rest and raises the exception."""

    def fail() -> None:
        raise KeyError("the item's own")

    run = Interrupted(fail)
    with pytest.raises(KeyError, match="the item's own"):
        run.run()
    assert run.cancelled.is_set()
    assert run.ended.is_set()
    assert run.others == []


def test_ctrl_c_ends_the_run() -> None:
    """Ctrl-C cancels what is at work, waits for it, drops the rest and is raised."""
    run: Interrupted

    def interrupt() -> None:
        _thread.interrupt_main()
        assert run.cancelled.wait(timeout=10)

    run = Interrupted(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.ended.is_set()
    assert run.others == []


def test_work_that_hangs_does_not_keep_a_run_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception is raised after a while, and what has not begun by then never does."""
    monkeypatch.setattr(graph, "END_SECONDS", 0.05)
    hangs = threading.Event()
    begun: list[str] = []

    def do(one: Item, _: Mapping[str, None]) -> None:
        begun.append(one.subject)
        if one.subject == "hangs":
            assert hangs.wait(timeout=60)
        if one.subject == "fails":
            raise KeyError("the item's own")

    items = [item("hangs", "probe"), item("fails"), item("after", inputs=("fails",))]
    with pytest.raises(KeyError, match="the item's own"):
        run_graph(items, {"build": 1, "probe": 1}, do)
    assert not hangs.is_set()
    hangs.set()
    assert sorted(begun) == ["fails", "hangs"]


def test_items_that_wait_for_each_other_are_refused() -> None:
    """Items that need each other are refused, and none of them begins."""
    ran: list[str] = []
    items = [item("a", inputs=("b",)), item("b", inputs=("a",))]
    with pytest.raises(CycleError):
        run_graph(items, {"build": 1}, lambda one, _: ran.append(one.subject))
    assert ran == []


def test_an_item_that_is_begun_is_brought_to_its_end_before_the_next_is_begun() -> None:
    """Where one lane does everything, the order of the list decides among what could start."""
    done: list[str] = []
    items = [
        item(f"{stage} {cell}", "engine", (f"build {cell}",) if stage == "probe" else ())
        for cell in ("long", "short")
        for stage in ("build", "probe")
    ]
    run_graph(items, {"engine": 1}, lambda one, _: done.append(one.subject))
    assert done == ["build long", "probe long", "build short", "probe short"]
