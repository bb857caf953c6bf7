"""The work of a run: which items there are, and the one function that does an item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from envmatrix.engine.process import Cancelled
from envmatrix.model.digests import digest
from envmatrix.model.errors import EnvmatrixError
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.render.sharing import Beginning, Sharing
from envmatrix.stages.build import Builder
from envmatrix.stages.disk import Gate
from envmatrix.stages.graph import Item
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import DOWNLOAD, ENGINE, Options
from envmatrix.stages.overlaps import look_for_overlaps
from envmatrix.stages.probe import Probed, Probing
from envmatrix.stages.progress import Progress
from envmatrix.stages.recipes import BYTES_A_SECOND, Built
from envmatrix.store.files import refusal


class Kind(StrEnum):
    """The kinds of items of a run, in the order in which a cell goes through them."""

    BASE = "base"
    FETCH = "fetch"
    LAYER = "layer"
    BUILD = "build"
    PROBE = "probe"
    DROP = "drop"
    DISCARD = "discard"


UNTOLD = (Kind.DROP, Kind.DISCARD)
"""The kinds that only tidy up. Nobody is told of them."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes that the wheels of a lock took from the network."""

    size: int

    @property
    def reused(self) -> bool:
        """Whether every wheel was here."""
        return self.size == 0

    @property
    def said(self) -> str:
        """How much came, in words."""
        return f"{self.size / 1e6:.0f} MB"


Result = Built | Fetched | Probed | Judgement | None
"""The result of an item. A judgement says why there is no other result."""


class _Said(Protocol):
    @property
    def reused(self) -> bool: ...
    @property
    def said(self) -> str: ...


Done = TypeVar("Done", bound=_Said)


# --- which items there are -------------------------------------------------------------------


def in_order(
    cells: Iterable[Locked], options: Options, seconds: Mapping[str, float] = MappingProxyType({})
) -> list[Locked]:
    """Return cells in the order in which a run begins them.

    The cell that takes longest comes first: the others would wait for it if it started last.
    Its build takes as long as its bytes say; `seconds` says how long the probes of cells took
    before, by id. In a run that prunes, cells with the same layers follow each other, and then
    those with the same wheels, so that these can be removed early.
    """
    if not options.prune:
        return sorted(
            cells,
            key=lambda one: -(one.lock.size / BYTES_A_SECOND + seconds.get(one.cell.id, 0.0)),
        )

    def place(one: Locked) -> tuple[str, ...]:
        cell = one.cell
        return cell.arch, cell.family, cell.accelerator, cell.base_id, cell.version, cell.id

    return sorted(cells, key=place)


def items_of(
    cells: Sequence[Locked],
    unbuilt: Sequence[Locked],
    sharing: Sharing,
    options: Options,
    ahead: int | None = None,
    *,
    pulled: Collection[str] = (),
    beside: int = 1,
) -> list[Item]:
    """Return the items of a run over `cells`, which are in the order in which they are begun.

    The cells in `unbuilt` have no image yet. Those whose id is in `pulled` come from a registry:
    they need no base and no wheels. With `ahead`, there are wheels for that many cells at the same
    time: the wheels of a cell are downloaded once the cell so many places before it is built, and
    each wheel is discarded once no cell needs it.

    A cell that is begun is finished first, so that its evidence is kept early. The last cells,
    one more than are done `beside` each other, are all built before one of them is probed: else
    the last one is built and probed while nothing else is left to do. A run that prunes has no
    room for that.
    """
    shared = frozenset() if options.fresh else _shared(unbuilt, sharing)
    first_of_last = len(cells) if ahead else len(cells) - beside - 1
    items: dict[str, Item] = {}
    last: dict[str, Item] = {}
    for place, one in enumerate(cells):
        begun = cells[place - ahead].cell.id if ahead and place >= ahead else None
        source = _pulled if one.cell.id in pulled else _built
        for item in source(one, shared, sharing, begun):
            items.setdefault(item.key, item)
        if options.probing:
            build = f"{Kind.BUILD}:{one.cell.id}"
            probe = Item(Kind.PROBE, one.cell.id, one.cell.id, ENGINE, (build,))
            (items if place < first_of_last else last).setdefault(probe.key, probe)
    items |= last
    discards = _discards(cells) if ahead else ()
    return [*_drops(items.values()), *discards, *items.values()]


def _shared(unbuilt: Sequence[Locked], sharing: Sharing) -> frozenset[Beginning]:
    """Return the first steps that at least two of the cells to build have in common."""
    counts = Counter(
        beginning for one in unbuilt for beginning in sharing.beginnings(one.cell, one.lock)
    )
    return frozenset(beginning for beginning, count in counts.items() if count > 1)


def _pulled(one: Locked, _: frozenset[Beginning], __: Sharing, after: str | None) -> Iterator[Item]:
    """Yield the item that pulls a cell in the place of its build, once `after` is built."""
    waits = (f"{Kind.BUILD}:{after}",) if after else ()
    yield Item(Kind.BUILD, one.cell.id, one.cell.id, DOWNLOAD, waits)


def _built(
    one: Locked, shared: frozenset[Beginning], sharing: Sharing, after: str | None
) -> Iterator[Item]:
    """Yield the items that build a cell. Its wheels are fetched once the cell `after` is built."""
    cell = one.cell
    base = Item(Kind.BASE, cell.base_id, cell.id, ENGINE)
    waits = (f"{Kind.BUILD}:{after}",) if after else ()
    fetch = Item(Kind.FETCH, cell.id, cell.id, DOWNLOAD, waits)
    yield base
    yield fetch
    below: tuple[str, ...] = (base.key, fetch.key)
    for beginning in sharing.beginnings(cell, one.lock):
        if beginning in shared:
            place, steps = beginning
            name = digest(place, [wheel.sha256 for step in steps for wheel in step])
            layer = Item(Kind.LAYER, name, cell.id, ENGINE, below, len(steps))
            yield layer
            below = (base.key, fetch.key, layer.key)
    yield Item(Kind.BUILD, cell.id, cell.id, ENGINE, below)


def _drops(items: Collection[Item]) -> Iterator[Item]:
    """Yield the items that drop a layer after everything that stands on it is done."""
    for layer in items:
        if layer.kind == Kind.LAYER:
            above = [item for item in items if layer.key in item.inputs]
            builds = {item.key for item in above}
            probes = [
                item
                for item in items
                if builds.intersection(item.inputs) and item.kind == Kind.PROBE
            ]
            inputs = (*layer.inputs, layer.key, *(item.key for item in (*above, *probes)))
            yield replace(layer, kind=Kind.DROP, inputs=inputs)


def _discards(ordered: Sequence[Locked]) -> Iterator[Item]:
    """Yield the items that discard wheels, one for each cell that is the last to need some."""
    needing = _cells_needing(ordered)
    for one in ordered:
        last = [wheel for wheel in one.lock.wheels if needing[wheel.sha256][-1] == one.cell.id]
        cells = dict.fromkeys(cell_id for wheel in last for cell_id in needing[wheel.sha256])
        if cells:
            builds = tuple(f"{Kind.BUILD}:{cell_id}" for cell_id in cells)
            yield Item(Kind.DISCARD, one.cell.id, one.cell.id, DOWNLOAD, builds)


def _cells_needing(ordered: Sequence[Locked]) -> Mapping[str, Sequence[str]]:
    """Return the ids of the cells that need a wheel, in their order, by the hash of the wheel."""
    found: dict[str, list[str]] = {}
    for one in ordered:
        for wheel in one.lock.wheels:
            found.setdefault(wheel.sha256, []).append(one.cell.id)
    return found


# --- doing one -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worker:
    """Does the items of a run, with one engine. `cells` are those of the run, by id.

    The cells whose id is in `pulled` come from a registry. `gate` lets work begin.
    """

    cells: Mapping[str, Locked]
    builder: Builder
    probing: Probing
    options: Options
    progress: Progress
    gate: Gate
    pulled: Collection[str] = ()

    def do(self, item: Item, results: Mapping[str, Result]) -> Result:
        """Do an item, from the results of its inputs.

        A failure of the surroundings becomes a judgement that says nothing about the cell.
        """
        one = self.cells[item.cell_id]
        inputs = [results[key] for key in item.inputs]
        match Kind(item.kind):
            case Kind.BASE:
                return self._made(item, one, lambda: self.builder.base(one.cell))
            case Kind.FETCH:
                return self._made(item, one, lambda: self._fetch(one))
            case Kind.LAYER:
                return self._layer(item, one, inputs)
            case Kind.BUILD:
                return self._build(item, one, inputs)
            case Kind.PROBE:
                return self._probe(item, one, inputs)
            case Kind.DROP:
                self._drop(item, one, inputs)
            case Kind.DISCARD:
                self._discard(item, one)
        return None

    def _fetch(self, one: Locked) -> Fetched:
        fetched = Fetched(self.builder.fetch(one.cell, one.lock))
        records, wheelhouse = self.builder.building.records, self.builder.wheelhouse
        look_for_overlaps(records, wheelhouse, one.lock, self.progress.tell)
        return fetched

    def _layer(self, item: Item, one: Locked, inputs: Sequence[Result]) -> Built | None:
        """Build a layer that several cells begin with. If it fails, each of the cells says why."""
        base, fetched, *_ = inputs
        if not isinstance(base, Built) or isinstance(fetched, Judgement):
            return None
        steps = self.builder.building.sharing.steps(one.cell, one.lock)[: item.steps]
        names = [wheel.name for wheel in steps[-1]] if steps else one.cell.packages
        more = sum(map(len, steps or [names])) - 1
        name = names[0] + (f" and {more} more" if more else "")
        built = self._made(
            item,
            one,
            lambda: self.builder.layer(one.cell, one.lock, base, item.steps),
            name,
        )
        return built if isinstance(built, Built) else None

    def _drop(self, item: Item, one: Locked, inputs: Sequence[Result]) -> None:
        base = inputs[0]
        if isinstance(base, Built):
            self.builder.drop_layer(one.cell, one.lock, base, item.steps)

    def _discard(self, item: Item, one: Locked) -> None:
        """Remove the wheels that only cells needed whose builds are the inputs of this item."""
        done = {key.removeprefix(f"{Kind.BUILD}:") for key in item.inputs}
        needing = _cells_needing(list(self.cells.values()))
        wheels = [wheel for wheel in one.lock.wheels if done.issuperset(needing[wheel.sha256])]
        self.builder.wheelhouse.discard(wheels)

    def _build(self, item: Item, one: Locked, inputs: Sequence[Result]) -> Built | Judgement:
        if one.cell.id in self.pulled:
            return self._told(
                item.kind, item.subject, lambda: self.builder.pulled(one.cell, one.lock)
            )
        base, fetched, *_ = inputs
        for earlier in (base, fetched):
            if isinstance(earlier, Judgement):
                self.progress.finished(item.kind, item.subject, earlier.kind, reused=False)
                return earlier
        assert isinstance(base, Built)  # noqa: S101  (for the type checker: nothing else is left)
        return self._made(item, one, lambda: self.builder.cell(one.cell, one.lock, base))

    def _probe(self, item: Item, one: Locked, inputs: Sequence[Result]) -> Probed | Judgement:
        built = inputs[0]
        if isinstance(built, Judgement):
            self.progress.finished(item.kind, item.subject, "not run", reused=False)
            return built
        assert isinstance(built, Built)  # noqa: S101  (for the type checker: nothing else is left)
        engine = self.builder.engine
        probed = self._told(
            item.kind,
            item.subject,
            lambda: self.probing.run(one.cell, built, engine, self.options),
        )
        if self.options.prune and not built.reused:
            engine.images.remove(built.image.id)
        return probed

    def _made(
        self, item: Item, one: Locked, work: Callable[[], Done | Judgement], name: str = ""
    ) -> Done | Judgement:
        """Do work that fills the disk, where there is room for it."""

        def within_room() -> Done | Judgement:
            self.gate.check(one)
            return work()

        return self._told(item.kind, name or item.subject, within_room)

    def _told(
        self, stage: str, subject: str, work: Callable[[], Done | Judgement]
    ) -> Done | Judgement:
        self.progress.started(stage, subject)
        result = _caught(stage, work)
        if isinstance(result, Judgement):
            self.gate.hear(result.kind)
            self.progress.finished(stage, subject, result.kind, reused=False)
        else:
            self.progress.finished(stage, subject, result.said, reused=result.reused)
        return result


def _caught(stage: str, work: Callable[[], Done | Judgement]) -> Done | Judgement:
    try:
        return work()
    except Cancelled:
        raise KeyboardInterrupt from None
    except EnvmatrixError as error:
        return _unknown(stage, error)
    except OSError as error:
        return _unknown(stage, refusal(error, "the operating system refused"))


def _unknown(stage: str, error: EnvmatrixError) -> Judgement:
    return Judgement(Verdict.UNKNOWN, stage, error.kind, error.what[:400], error.next_step)
