"""A run: the stages in order, for many cells at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from envmatrix.model.cells import Cell, declared
from envmatrix.model.evidence import Evidence
from envmatrix.model.evidence_file import UnreadableEvidenceError
from envmatrix.model.probe_results import Way
from envmatrix.model.verdicts import LOCKED, RUN, Judgement, Verdict, excluded_by_rule
from envmatrix.probes.judging import judge_cell
from envmatrix.stages.build import Builder, Building
from envmatrix.stages.disk import Gate, check_disk
from envmatrix.stages.evidence import EvidenceMaker
from envmatrix.stages.graph import Item, run_graph
from envmatrix.stages.lock import Found, Locked, Locking
from envmatrix.stages.options import ENGINE, Options
from envmatrix.stages.probe import Probed, Probing
from envmatrix.stages.progress import Progress
from envmatrix.stages.recipes import Built
from envmatrix.stages.work import UNTOLD, Kind, Result, Worker, in_order, items_of
from envmatrix.store.book import Book
from envmatrix.store.knowledge import Knowledge
from envmatrix.store.packages import between

NAMED_AT_MOST = 5
"""How many cells a note names."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a run: the evidence of each cell, and how much had to be done for it.

    A `pruned` run has removed the images that it built.
    """

    cells: Sequence[Evidence]
    built: int = 0
    pulled: int = 0
    probed: int = 0
    failed: int = 0
    pruned: bool = False

    @property
    def said(self) -> str:
        """What was done, in a sentence."""
        if not any((self.built, self.pulled, self.probed, self.failed)):
            return "nothing built, nothing probed: no input has changed"
        images, probes = ("s" if number != 1 else "" for number in (self.built, self.probed))
        pulled = f"{self.pulled} pulled, " if self.pulled else ""
        return f"{self.built} image{images} built, {pulled}{self.probed} probe{probes} run"


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs cells: locks, builds and probes them, and keeps their evidence."""

    locking: Locking
    building: Building
    probing: Probing
    maker: EvidenceMaker
    knowledge: Knowledge
    book: Book

    def run(self, cells: Sequence[Cell], options: Options, progress: Progress) -> Run:
        """Lock, build and probe cells. Their evidence is kept, and comes in their order.

        Raises:
            EnvmatrixError: the surroundings fail before any cell can be judged.
        """
        self.probing.probes.all  # noqa: B018  (a bad header ends the run before anything is built)
        resolutions = self.locking.lock(
            cells, progress, jobs=options.jobs, fresh=options.fresh, keeping=True
        )
        ahead = list(self.locking.locked(cells, resolutions))
        evidence = {}
        if options.prune and not options.fresh:
            evidence = self._current(ahead, isolated=options.isolated)
            for known in evidence.values():
                self.book.keep(known)
        ahead = [one for one in ahead if one.cell.id not in evidence]
        found = Run(())
        if ahead:
            new, found = self._work(ahead, options, progress)
            evidence |= new
        for cell in cells:
            if cell.id not in evidence:
                evidence[cell.id] = self._unbuilt(cell, resolutions)
                self._keep(cell, evidence[cell.id], options)
        return replace(found, cells=[evidence[cell.id] for cell in cells], pruned=options.prune)

    def _keep(self, cell: Cell, evidence: Evidence, options: Options) -> None:
        # Results of probes are worth more than the news that the image was built.
        if options.probing or not self.knowledge.current(cell):
            self.book.keep(evidence)

    def _current(self, cells: Iterable[Locked], *, isolated: bool) -> dict[str, Evidence]:
        """Return the evidence of cells that were run and whose inputs are the same, by cell id.

        With `isolated`, each of their probes ran alone.
        """
        found = {one.cell.id: self.knowledge.current(one.cell) for one in cells}
        return {
            cell_id: evidence
            for cell_id, evidence in found.items()
            if evidence
            and evidence.verdict.was_run
            and not (isolated and any(one.ran is Way.SHARED for one in evidence.probes))
        }

    def _work(
        self, cells: Sequence[Locked], options: Options, progress: Progress
    ) -> tuple[dict[str, Evidence], Run]:
        evidence: dict[str, Evidence] = {}
        with self.building.open(options, progress) as builder:
            before = self._before(cells)
            cells = in_order(cells, options, _seconds(before.values()))
            pulled = {
                one.cell.id
                for one in cells
                if builder.is_pulled(one.cell, one.lock, may_pull=options.from_registry)
            }
            unbuilt = [
                one
                for one in cells
                if one.cell.id not in pulled and not builder.is_built(one.cell, one.lock)
            ]
            if options.from_registry and unbuilt:
                progress.tell(_unpublished(unbuilt))
            check_disk(builder, unbuilt, options)
            if unbuilt:
                builder.server()  # A port that is in use ends the run before any work starts.
            capacity = builder.engine.capacity
            lanes = options.lanes(capacity)
            items = items_of(
                cells,
                unbuilt,
                self.building.sharing,
                options,
                options.ahead(capacity),
                pulled=pulled,
                beside=lanes[ENGINE],
            )
            _expect(items, progress)
            by_id = {one.cell.id: one for one in cells}
            gate = Gate(builder, options, {one.cell.id for one in unbuilt})
            worker = Worker(by_id, builder, self.probing, options, progress, gate, pulled)

            def do(item: Item, results: Mapping[str, Result]) -> Result:
                result = worker.do(item, results)
                if item.kind == Kind.PROBE:
                    # A run of hours that is stopped keeps what it has found.
                    cell = by_id[item.cell_id].cell
                    found = self._evidence(cell, {**results, item.key: result}, builder, before)
                    evidence[cell.id] = found
                    if found is not before.get(cell.id):
                        self.book.keep(found)
                return result

            results = run_graph(items, lanes, do, builder.engine.cancelled.set)
            for one in cells:
                if one.cell.id not in evidence:
                    evidence[one.cell.id] = self._evidence(one.cell, results, builder, before)
                    self._keep(one.cell, evidence[one.cell.id], options)
        self._tell_of_drift(
            (one for one in evidence.values() if one is not before.get(one.id)), progress
        )
        done = results.values()
        return evidence, Run(
            (),
            built=sum(_is_new(result) for result in done),
            pulled=sum(_is_new(result, pulled=True) for result in done),
            probed=sum(result.ran for result in done if isinstance(result, Probed)),
            failed=sum(isinstance(result, Judgement) for result in done),
        )

    def _before(self, cells: Iterable[Locked]) -> dict[str, Evidence]:
        """Return the evidence of cells before this run, where there is any, by cell id."""
        found = {}
        for one in cells:
            with suppress(UnreadableEvidenceError):
                if before := self.book.evidence(one.cell.id):
                    found[one.cell.id] = before
        return found

    def _tell_of_drift(self, new: Iterable[Evidence], progress: Progress) -> None:
        """Say of which cells other packages were published than new evidence tells."""
        for found in new:
            published = self.book.published(found.id)
            packages = published.packages if published else ()
            if packages and found.packages and (drift := between(packages, found.packages)):
                progress.tell(f"{found.id} has other packages than were published: {drift}")

    def _evidence(
        self,
        cell: Cell,
        results: Mapping[str, Result],
        builder: Builder,
        known: Mapping[str, Evidence],
    ) -> Evidence:
        """Return the evidence of a cell: the one that is `known` where nothing of it is new."""
        base = results.get(f"{Kind.BASE}:{cell.base_id}")
        built = results[f"{Kind.BUILD}:{cell.id}"]
        probed = results.get(f"{Kind.PROBE}:{cell.id}")
        pulled = isinstance(built, Built) and built.pulled
        if isinstance(built, Judgement):
            judgement = built
        elif isinstance(probed, Probed):
            judgement = judge_cell(declared(self.building.matrix, cell), probed.results)
        elif isinstance(probed, Judgement):
            judgement = probed
        else:
            judgement = Judgement(
                Verdict.UNKNOWN, "build", "not-attempted", "it was built, and not probed", RUN
            )
        found = self.maker.of(
            cell,
            judgement,
            base=base if isinstance(base, Built) and not pulled else None,
            built=built if isinstance(built, Built) else None,
            results=probed.results if isinstance(probed, Probed) else (),
            engine=builder.engine.version,
            emulated=(pulled or isinstance(base, Built)) and builder.engine.emulates(cell.arch),
        )
        before = known.get(cell.id)
        if before is None or not (isinstance(probed, Probed) and probed.reused):
            return found
        found = found.as_recorded(before)
        return before if found == before else found

    def _unbuilt(self, cell: Cell, resolutions: Found) -> Evidence:
        if cell.excluded:
            return self.maker.of(cell, excluded_by_rule(cell.excluded))
        problem = self.locking.resolutions.problem(cell)
        return self.maker.of(cell, resolutions[problem.key].judgement or LOCKED)


def _seconds(known: Iterable[Evidence]) -> dict[str, float]:
    """Return how long the probes of cells took, where evidence tells that, by cell id."""
    return {one.id: one.seconds.probe for one in known if one.seconds.probe}


def _is_new(result: Result, *, pulled: bool = False) -> bool:
    """Return whether an item made an image now: built it, or pulled it where that is asked."""
    return isinstance(result, Built) and not result.reused and result.pulled is pulled


def _expect(items: Sequence[Item], progress: Progress) -> None:
    """Say how many items of each stage there are."""
    told = Counter(item.kind for item in items if item.kind not in UNTOLD)
    for stage in Kind:
        if told[stage]:
            progress.expect(stage, told[stage])


def _unpublished(cells: Sequence[Locked]) -> str:
    names = ", ".join(one.cell.id for one in cells[:NAMED_AT_MOST])
    more = f" and {len(cells) - NAMED_AT_MOST} more" if len(cells) > NAMED_AT_MOST else ""
    return f"built, since no image as it would be now is published: {names}{more}"
