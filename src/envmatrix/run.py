"""The stages in order: lock, build, probe, for many cells at once."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.filesize import decimal

from envmatrix import __version__
from envmatrix.build import Builder, Built, Origin
from envmatrix.cells import Cell
from envmatrix.engine import Cancelled, Engine
from envmatrix.errors import DiskError, EnvmatrixError
from envmatrix.evidence import Judgement, Verdict, digest
from envmatrix.gpu import generations
from envmatrix.graph import Task, run_graph
from envmatrix.lock import Lock, Problem, Resolution, Resolver
from envmatrix.probe import Outcome, Probe, Result, judge_cell, merged_observations, run_probe
from envmatrix.project import LOCKED, Beginning, Project
from envmatrix.wheelhouse import Wheelhouse

STAGES = ("base", "fetch", "layer", "build", "probe")

# An installed cell takes this many times the bytes of its wheels (measured: 2.5 to 3.5).
UNPACKED = 3.5
BASE_BYTES = 400_000_000
MEMORY_FOR_A_CELL = 6 * 2**30


class Progress(Protocol):
    """Is told what starts and what ended."""

    def expect(self, stage: str, count: int) -> None:
        """`count` pieces of work of a stage are ahead."""

    def started(self, stage: str, subject: str) -> None:
        """Work on a subject has begun."""

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Work on a subject is done; `said` is its outcome in a few words."""

    def tell(self, text: str) -> None:
        """Something happened that the user should know, whatever else is not shown."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose for a run."""

    jobs: int | None = None
    fresh: bool = False
    origin: Origin = Origin.AUTO
    probing: bool = True
    prune: bool = False


def default_jobs() -> int:
    """Return how many cells fit side by side: one a core, and memory for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 2 * MEMORY_FOR_A_CELL
    return max(1, min(cores or 1, memory // MEMORY_FOR_A_CELL))


# --- lock ------------------------------------------------------------------------------------


def lock_cells(
    project: Project,
    cells: Sequence[Cell],
    progress: Progress,
    *,
    jobs: int | None,
    fresh: bool = False,
    bases: bool = True,
) -> dict[str, Resolution]:
    """Resolve every cell that has no lock yet, and the bases below; return by problem key."""
    found: dict[str, Resolution] = {}
    ahead: dict[str, Problem] = {}
    for cell in cells:
        if cell.excluded:
            continue
        asked = [(project.problem(cell), project.cell_resolution)]
        if bases:
            asked.append((project.base_problem(cell), project.base_resolution))
        for problem, known in asked:
            if problem.key in found:
                continue
            resolution = None if fresh else known(cell)
            if resolution is not None:
                found[problem.key] = resolution
            else:
                ahead[problem.key] = problem
    progress.expect("lock", len(ahead))

    def done(problem: Problem, resolution: Resolution) -> None:
        said = resolution.judgement.kind if resolution.judgement else "locked"
        name = f"{problem.requires[0]} py{problem.python} glibc {problem.glibc}"
        progress.finished("lock", name, said, reused=False)

    if ahead:
        # uv waits for indexes most of its time, and takes little memory.
        side_by_side = jobs or min(16, 4 * default_jobs())
        found |= Resolver(project.store).resolve_all(ahead.values(), side_by_side, done)
    return found


# --- build and probe -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What a run gave: the evidence of each cell, and how much had to be done for it."""

    reports: Sequence[dict[str, Any]]
    built: int = 0
    probed: int = 0
    failed: int = 0

    @property
    def said(self) -> str:
        """What was done, in a sentence."""
        if not self.built and not self.probed and not self.failed:
            return "nothing built, nothing probed: no input has changed"
        return f"{self.built} images built, {self.probed} probes run"


@dataclass(frozen=True, slots=True)
class Locked:
    """A cell that can be built, with its lock."""

    cell: Cell
    lock: Lock


def run_cells(project: Project, cells: Sequence[Cell], options: Options, progress: Progress) -> Run:
    """Lock, build and probe cells; their evidence comes in their order.

    Raises:
        EnvmatrixError: the surroundings fail before any cell can be judged.
    """
    project.probes  # noqa: B018  (a bad header is told before anything is built)
    resolutions = lock_cells(project, cells, progress, jobs=options.jobs)
    ahead = list(locked_cells(project, cells, resolutions))
    reports = _current(project, ahead) if options.prune and not options.fresh else {}
    ahead = [one for one in ahead if one.cell.id not in reports]
    found = Run(())
    if ahead:
        with building(project, options, progress) as builder:
            unbuilt = [one for one in ahead if not builder.is_built(one.cell, one.lock)]
            check_disk(builder, unbuilt, options)
            work = _Work(project, builder, options, progress)
            new, found = work.run(ahead, unbuilt)
            reports |= new
    for cell in cells:
        if cell.id not in reports:
            reports[cell.id] = _unbuilt(project, cell, resolutions)
        # What probes gave earlier is worth more than that it was built.
        if options.probing or not project.current_evidence(cell):
            project.keep_evidence(reports[cell.id])
    return replace(found, reports=[reports[cell.id] for cell in cells])


def locked_cells(
    project: Project, cells: Iterable[Cell], resolutions: Mapping[str, Resolution]
) -> Iterator[Locked]:
    """Yield the cells that no rule excludes and that have a lock."""
    for cell in cells:
        resolution = resolutions.get(project.problem(cell).key)
        if not cell.excluded and resolution is not None and resolution.lock is not None:
            yield Locked(cell, resolution.lock)


def _current(project: Project, cells: Iterable[Locked]) -> dict[str, dict[str, Any]]:
    """Return the evidence of cells that were run and whose inputs are the same, by cell id."""
    found = {one.cell.id: project.current_evidence(one.cell) for one in cells}
    return {
        cell_id: evidence
        for cell_id, evidence in found.items()
        if evidence and evidence["verdict"] in (Verdict.WORKS, Verdict.BROKEN)
    }


@contextmanager
def building(project: Project, options: Options, progress: Progress) -> Iterator[Builder]:
    """Connect to the engine, and serve it the wheelhouse where it is on this machine."""
    wheelhouse = Wheelhouse(project.store.root / "wheelhouse", progress.tell)
    with ExitStack() as stack:
        engine = stack.enter_context(Engine.connect())
        served = stack.enter_context(wheelhouse.serve()) if engine.is_local else None
        builder = Builder(
            project, engine, wheelhouse, served, progress.tell, options.origin, options.fresh
        )
        stack.callback(builder.drop_layers)
        yield builder


def check_disk(builder: Builder, ahead: Sequence[Locked], options: Options) -> None:
    """Refuse a plan that cannot fit on the disk; `ahead` are the cells to build.

    Raises:
        DiskError: with how much is needed and how much there is.
    """
    missing = {w.sha256: w.size for one in ahead for w in builder.wheelhouse.missing(one.lock)}
    if options.prune:
        sizes = sorted((one.lock.size for one in ahead), reverse=True)
        wheels = sum(sizes[: options.jobs or default_jobs()])
    else:
        steps = {step for one in ahead for step in builder.project.beginnings(one.cell, one.lock)}
        wheels = sum(wheel.size for _, beginning in steps for wheel in beginning[-1])
    images = UNPACKED * wheels + BASE_BYTES * len({one.cell.base_id for one in ahead})
    _check_space(
        [(builder.wheelhouse.root, sum(missing.values())), (builder.engine.root, images)],
        "free some disk, or select fewer cells"
        + ("" if options.prune else ", or give --prune: each image is removed after its probes"),
    )


def _check_space(needs: Iterable[tuple[Path | None, float]], remedy: str) -> None:
    by_device: dict[int, tuple[Path, float]] = {}
    for folder, size in needs:
        if folder is not None and folder.exists():
            device = folder.stat().st_dev
            by_device[device] = (folder, by_device.get(device, (folder, 0.0))[1] + size)
    for folder, size in by_device.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DiskError(
                f"this needs about {decimal(int(size))} of disk and {decimal(free)} are free",
                where=str(folder),
                next_step=remedy,
            )


class _Said(Protocol):
    @property
    def reused(self) -> bool: ...
    @property
    def said(self) -> str: ...


Work = TypeVar("Work", bound=_Said)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes that a lock's wheels took from the network."""

    size: int

    @property
    def reused(self) -> bool:
        """Whether every wheel was here."""
        return self.size == 0

    @property
    def said(self) -> str:
        """How much came, in words."""
        return f"{self.size / 1e6:.0f} MB"


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes of a cell gave, and how many of them had to run for it."""

    results: tuple[Result, ...]
    ran: int

    @property
    def reused(self) -> bool:
        """Whether all of it is evidence of an earlier run."""
        return self.ran == 0

    @property
    def said(self) -> str:
        """How many of those that could be run passed."""
        outcomes = [result.outcome for result in self.results]
        runnable = len(outcomes) - outcomes.count(Outcome.NOT_RUN)
        return f"{outcomes.count(Outcome.PASSED)} of {runnable} passed"


@dataclass(frozen=True, slots=True)
class _Work:
    """The graph of one run: wheels and base, shared layers, then the cell, then its probes."""

    project: Project
    builder: Builder
    options: Options
    progress: Progress

    def run(
        self, cells: Sequence[Locked], unbuilt: Sequence[Locked]
    ) -> tuple[dict[str, dict[str, Any]], Run]:
        shared = self._shared(unbuilt)
        tasks: dict[str, Task] = {}
        # The most bytes first: a long cell that starts last is what the others wait for.
        for one in sorted(cells, key=lambda one: -one.lock.size):
            for task in self._tasks(one, shared):
                tasks.setdefault(task.key, task)
        stages = Counter(key.partition(":")[0] for key in tasks)
        for stage in STAGES:
            if stages[stage]:
                self.progress.expect(stage, stages[stage])
        lanes = {"download": 1, "engine": self.options.jobs or default_jobs()}
        results = run_graph(
            [*self._drops(tasks), *tasks.values()], lanes, self.builder.engine.cancelled.set
        )
        done = list(results.values())
        return {one.cell.id: self._report(one.cell, results) for one in cells}, Run(
            (),
            built=sum(isinstance(result, Built) and not result.reused for result in done),
            probed=sum(result.ran for result in done if isinstance(result, Probed)),
            failed=sum(isinstance(result, Judgement) for result in done),
        )

    def _shared(self, unbuilt: Sequence[Locked]) -> frozenset[Beginning]:
        """Return what several of the cells to build begin with."""
        if self.options.fresh:  # each step is done anew for each cell then
            return frozenset()
        counts = Counter(
            beginning
            for one in unbuilt
            for beginning in self.project.beginnings(one.cell, one.lock)
        )
        return frozenset(beginning for beginning, count in counts.items() if count > 1)

    def _tasks(self, one: Locked, shared: frozenset[Beginning]) -> Iterator[Task]:
        yield self._base(one.cell)
        yield self._fetch(one)
        below = f"base:{one.cell.base_id}"
        for beginning in self.project.beginnings(one.cell, one.lock):
            if beginning in shared:
                task = self._layer(one, beginning, below)
                below = task.key
                yield task
        yield self._build(one, below)
        if self.options.probing:
            yield self._probe(one)

    def _layer(self, one: Locked, beginning: Beginning, below: str) -> Task:
        """Build what several cells begin with; should it fail, each of them tells so itself."""
        place, steps = beginning
        more = sum(map(len, steps)) - 1
        name = steps[-1][0].name + (f" and {more} more" if more else "")

        def work(results: Mapping[str, Any]) -> Callable[[], None] | None:
            base, fetched = results[f"base:{one.cell.base_id}"], results[f"fetch:{one.cell.id}"]
            if isinstance(base, Judgement) or isinstance(fetched, Judgement):
                return None
            count = len(steps)
            self._told("layer", name, lambda: self.builder.layer(one.cell, one.lock, base, count))
            return lambda: self.builder.drop_layer(one.cell, one.lock, base, count)

        key = f"layer:{digest(place, [wheel.sha256 for step in steps for wheel in step])}"
        return Task(key, (below, f"fetch:{one.cell.id}"), "engine", work)

    def _drops(self, tasks: Mapping[str, Task]) -> Iterator[Task]:
        """Yield the tasks that let go of a layer once all that stands on it is done."""
        for layer in [key for key in tasks if key.startswith("layer:")]:
            above = [key for key, task in tasks.items() if layer in task.after]
            above += [f"probe:{key.removeprefix('build:')}" for key in above]

            def work(results: Mapping[str, Any], layer: str = layer) -> None:
                if drop := results[layer]:
                    drop()

            yield Task(f"drop:{layer}", [key for key in above if key in tasks], "engine", work)

    def _base(self, cell: Cell) -> Task:
        def work(_: Mapping[str, Any]) -> Built | Judgement:
            return self._told("base", cell.base_id, lambda: self.builder.base(cell))

        return Task(f"base:{cell.base_id}", (), "engine", work)

    def _fetch(self, one: Locked) -> Task:
        def work(_: Mapping[str, Any]) -> Fetched | Judgement:
            return self._told(
                "fetch", one.cell.id, lambda: Fetched(self.builder.fetch(one.cell, one.lock))
            )

        return Task(f"fetch:{one.cell.id}", (), "download", work)

    def _build(self, one: Locked, below: str) -> Task:
        cell = one.cell

        def work(results: Mapping[str, Any]) -> Built | Judgement:
            base, fetched = results[f"base:{cell.base_id}"], results[f"fetch:{cell.id}"]
            for earlier in (base, fetched):
                if isinstance(earlier, Judgement):
                    self.progress.finished("build", cell.id, earlier.kind, reused=False)
                    return earlier
            return self._told("build", cell.id, lambda: self.builder.cell(cell, one.lock, base))

        return Task(f"build:{cell.id}", (below, f"fetch:{cell.id}"), "engine", work)

    def _probe(self, one: Locked) -> Task:
        cell = one.cell

        def work(results: Mapping[str, Any]) -> Probed | Judgement:
            built = results[f"build:{cell.id}"]
            if isinstance(built, Judgement):
                self.progress.finished("probe", cell.id, "not run", reused=False)
                return built
            probed = self._told("probe", cell.id, lambda: self._run_probes(cell, built))
            if self.options.prune and not built.reused:
                self.builder.engine.remove_image(built.image.id)
            return probed

        return Task(f"probe:{cell.id}", (f"build:{cell.id}",), "engine", work)

    def _run_probes(self, cell: Cell, built: Built) -> Probed:
        accelerator = self.project.matrix.axes.accelerator[cell.accelerator]
        gpu = self.builder.engine.has_gpu and accelerator.cuda is not None
        results = []
        ran = 0
        for probe in self.project.probes_of(cell):
            result, reused = self._run_probe(probe, built, gpu=gpu)
            results.append(result)
            ran += not reused
        return Probed(tuple(results), ran)

    def _run_probe(self, probe: Probe, built: Built, *, gpu: bool) -> tuple[Result, bool]:
        store = self.project.store
        key = digest("probe", probe.sha256, list(built.image.layers), gpu)
        record = None if self.options.fresh else store.get("probe", key)
        if record is not None:
            return Result.from_json(record), True
        result = run_probe(self.builder.engine, built.image.id, probe, gpu=gpu)
        store.put("probe", key, result.to_json())
        return result, False

    def _told(
        self, stage: str, subject: str, work: Callable[[], Work | Judgement]
    ) -> Work | Judgement:
        self.progress.started(stage, subject)
        result = _caught(stage, work)
        if isinstance(result, Judgement):
            self.progress.finished(stage, subject, result.kind, reused=False)
        else:
            self.progress.finished(stage, subject, result.said, reused=result.reused)
        return result

    def _report(self, cell: Cell, results: Mapping[str, Any]) -> dict[str, Any]:
        base, built = results[f"base:{cell.base_id}"], results[f"build:{cell.id}"]
        probed = results.get(f"probe:{cell.id}")
        if isinstance(built, Judgement):
            judgement = built
        elif isinstance(probed, Probed):
            judgement = judge_cell(_declared(self.project, cell), probed.results)
        else:
            judgement = probed or Judgement(
                Verdict.UNKNOWN, "build", "not-attempted", "it was built, and not probed", "run it"
            )
        return evidence_of(
            self.project,
            cell,
            judgement,
            base=base,
            built=built,
            probed=probed,
            engine=self.builder.engine,
        )


def _caught(stage: str, work: Callable[[], Work | Judgement]) -> Work | Judgement:
    """Do the work; failing surroundings become a judgement that says nothing about the cell."""
    try:
        return work()
    except Cancelled:
        raise KeyboardInterrupt from None
    except EnvmatrixError as error:
        return Judgement(Verdict.UNKNOWN, stage, error.kind, error.what[:400], error.next_step)


def _declared(project: Project, cell: Cell) -> dict[str, str]:
    """What a cell says of itself, under the names that probes observe it by."""
    os = project.matrix.axes.os[cell.os]
    return {
        "version": cell.version,
        "python": cell.python,
        "distribution": os.distribution,
        "codename": os.codename,
        "glibc": os.glibc,
        "accelerator": cell.accelerator,
        "arch": cell.arch,
    }


# --- evidence --------------------------------------------------------------------------------


def _unbuilt(project: Project, cell: Cell, resolutions: Mapping[str, Resolution]) -> dict[str, Any]:
    if cell.excluded:
        judgement = Judgement(Verdict.IMPOSSIBLE, "rule", "rule", cell.excluded)
    else:
        judgement = resolutions[project.problem(cell).key].judgement or LOCKED
    return evidence_of(project, cell, judgement)


def evidence_of(
    project: Project,
    cell: Cell,
    judgement: Judgement,
    *,
    base: Built | Judgement | None = None,
    built: Built | Judgement | None = None,
    probed: Probed | Judgement | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Return everything that is known of a cell, as the report holds it."""
    resolution = project.cell_resolution(cell)
    lock = resolution.lock if resolution else None
    results = probed.results if isinstance(probed, Probed) else ()
    seconds = {
        name: step.seconds
        for name, step in (("base", base), ("build", built))
        if isinstance(step, Built)
    }
    if results:
        seconds["probe"] = round(sum(result.seconds for result in results), 1)
    image = built.image if isinstance(built, Built) else None
    logs = project.store.log_path(
        "base" if judgement.stage == "base" else "build",
        cell.base_id if judgement.stage == "base" else cell.id,
    )
    return {
        "schema": 1,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool": f"envmatrix {__version__}",
        "host": host(engine),
        "kind": "container",
        "id": cell.id,
        "axes": cell.axes,
        **judgement.to_json(),
        "declared": _declared(project, cell),
        "observed": dict(merged_observations(results)),
        "serves": _serves(project, cell, results),
        "lock": lock.sha256 if lock else None,
        "wheels": {wheel.name: wheel.version for wheel in lock.wheels} if lock else {},
        "base": cell.base_id,
        "base_origin": base.origin if isinstance(base, Built) else None,
        "dockerfile": digest(project.cell_files(cell, lock)["Dockerfile"]) if lock else None,
        "fingerprint": project.fingerprint(cell),
        "layers": list(image.layers) if image else [],
        **project.verification(image.layers if image else ()),
        "size": image.size if image else None,
        "seconds": seconds,
        "probes": [result.to_json() for result in results],
        "log": str(logs.relative_to(project.root)) if logs.exists() else None,
    }


def _serves(project: Project, cell: Cell, results: Sequence[Result]) -> dict[str, Any] | None:
    """Return the lowest driver and the GPU generations that a CUDA build serves, GPU or not."""
    accelerator = project.matrix.axes.accelerator[cell.accelerator]
    if accelerator.cuda is None:
        return None
    architectures = merged_observations(results).get("architectures", [])
    return {"driver": accelerator.driver, "generations": generations(architectures)}


def host(engine: Engine | None) -> dict[str, str]:
    """Return what evidence says of the machine: nothing that names it."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "engine": engine.version if engine else "",
    }
