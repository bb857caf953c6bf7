"""The probe stage: it runs the probes of a cell in its image, each once for the same inputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from packaging.requirements import Requirement

from envmatrix.engine.client import Engine
from envmatrix.engine.containers import isolation
from envmatrix.engine.process import Limits, Ran
from envmatrix.model.amendments import NO_AMENDMENTS, Amendments
from envmatrix.model.cells import Cell, declared
from envmatrix.model.digests import digest
from envmatrix.model.emulation import SLOWDOWN, under_emulation
from envmatrix.model.image_names import USER
from envmatrix.model.matrix import Matrix
from envmatrix.model.probe_results import Outcome, ProbeResult, Way
from envmatrix.probes.headers import Probe, Probes
from envmatrix.probes.running import run_probe
from envmatrix.probes.sharing import Group, after, group_of, preload_of, run_shared
from envmatrix.stages.options import Options
from envmatrix.stages.recipes import Built
from envmatrix.store.files import remove, write_log
from envmatrix.store.records import Records


@dataclass(frozen=True, slots=True)
class Probed:
    """The results of the probes of a cell. `ran` counts the probes that had to run for them."""

    results: tuple[ProbeResult, ...]
    ran: int

    @property
    def reused(self) -> bool:
        """Whether every result comes from an earlier run."""
        return self.ran == 0

    @property
    def said(self) -> str:
        """How many probes passed, of those that could run."""
        outcomes = [result.outcome for result in self.results]
        runnable = len(outcomes) - outcomes.count(Outcome.NOT_RUN)
        flaky = sum(result.flaky for result in self.results)
        return f"{outcomes.count(Outcome.PASSED)} of {runnable} passed" + (
            f", {flaky} flaky" if flaky else ""
        )


@dataclass(frozen=True, slots=True)
class Probing:
    """Runs the probes of cells, and records the result of each.

    `runner` is the source of the program that runs the probes of a cell in one container. What was
    recorded of a cell before the end of one of its `amendments` is not taken again.
    """

    matrix: Matrix
    records: Records
    probes: Probes
    runner: str
    amendments: Amendments = NO_AMENDMENTS
    _gpus: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one cell that uses the GPUs. A run holds its state folder, and so the GPUs."""

    def run(self, cell: Cell, built: Built, engine: Engine, options: Options) -> Probed:
        """Run the probes of a cell in its image. A fresh run takes no earlier result.

        They share a container, unless the run is isolated. What does not pass there is run again
        alone, and that result counts.

        Raises:
            EngineError: the engine failed.
            Cancelled: the user asked to stop.
        """
        cuda = self.matrix.axes.accelerator[cell.accelerator].cuda is not None
        emulated = engine.emulates(cell.arch)
        # The libraries of a driver are of the host's own architecture.
        cuda = cuda and not emulated
        gpu = cuda and engine.has_gpu
        probes = self.probes.of(cell)
        place = _Place(
            image=built.image.id,
            layers=built.image.layers,
            config=built.image.config,
            declared=declared(self.matrix, cell).to_json(),
            gpu=engine.gpu if gpu else "",
            stack=self._stack(cell),
            sharing=(digest(self.runner), *preload_of(probes)),
            emulated=emulated,
        )
        probes = [place.in_time(probe) for probe in probes]
        results = {} if options.fresh else self._known(cell, place, probes, options)
        missing = [probe for probe in probes if probe.name not in results]
        group = None if options.isolated else group_of(probes, {probe.name for probe in missing})
        with self._gpus if gpu else nullcontext():
            outputs: dict[str, Ran] = {}
            shared = self._shared(place, group, engine, outputs, gpu=gpu) if group else {}
            passed = {name: result for name, result in shared.items() if result.passed}
            results |= passed
            for name, result in passed.items():
                self._log(cell, result, [outputs[name]])
            for probe in missing:
                if probe.name in results:
                    continue
                ends: list[Ran] = []
                alone = run_probe(
                    engine.containers,
                    place.image,
                    probe,
                    gpu=gpu,
                    stack=place.stack,
                    unseen_gpu=engine.unseen_gpu if cuda else "",
                    heard=ends.append,
                )
                self._log(cell, alone, ends)
                alone = under_emulation(alone) if emulated else alone
                results[probe.name] = after(shared.get(probe.name), alone)
                self._keep(place, probe, results[probe.name])
        return Probed(tuple(results[probe.name] for probe in probes), len(missing))

    def _known(
        self, cell: Cell, place: _Place, probes: Sequence[Probe], options: Options
    ) -> dict[str, ProbeResult]:
        """Return the recorded results by name. An isolated run takes those of probes alone."""
        ways = (Way.ALONE,) if options.isolated else (Way.ALONE, Way.SHARED)
        invalid = self.amendments.until(cell.id)
        found: dict[str, ProbeResult] = {}
        for probe in probes:
            for key in (place.key(probe, way) for way in ways):
                result = self.records.get("probe", key, ProbeResult) if key else None
                if result is not None and not self._is_older(key, invalid):
                    found[probe.name] = result
                    break
        return found

    def _is_older(self, key: str, invalid: datetime | None) -> bool:
        """Return whether a record was written up to the last moment of what is invalid."""
        if invalid is None:
            return False
        written = self.records.written("probe", key)
        return written is None or written.replace(microsecond=0) <= invalid

    def _shared(
        self, place: _Place, group: Group, engine: Engine, outputs: dict[str, Ran], *, gpu: bool
    ) -> Mapping[str, ProbeResult]:
        """Run in one container those that may share one; keep what passed there."""
        found = run_shared(
            engine.containers,
            place.image,
            group,
            self.runner,
            gpu=gpu,
            stack=place.stack,
            heard=outputs.__setitem__,
        )
        for probe in group.probes:
            result = found.get(probe.name)
            if result and result.passed:
                self._keep(place, probe, result)
        return found

    def _keep(self, place: _Place, probe: Probe, result: ProbeResult) -> None:
        if key := place.key(probe, result.ran):
            self.records.put("probe", key, result)

    def _log(self, cell: Cell, result: ProbeResult, ends: Sequence[Ran]) -> None:
        """Write the whole output of a probe; forget that of an earlier run."""
        path = self.records.probe_logs(cell.id) / f"{result.probe}.log"
        if ends:
            write_log(path, result.ended, ends[-1].stdout, ends[-1].stderr)
        elif path.exists():
            remove(path)

    def _stack(self, cell: Cell) -> tuple[str, ...]:
        """Return the names of the distributions that the stack of a cell requires."""
        if not cell.stack:
            return ()
        requires = self.matrix.stacks[cell.stack].requires
        return tuple(Requirement(text).name for text in requires)


@dataclass(frozen=True)
class _Place:
    """What decides the result of a probe, beside the probe itself.

    `config` is the configuration of the image, `gpu` what is known of the GPUs and the driver:
    empty where there is none, None where there is one that nothing is known of. `sharing` decides
    the results of probes that share a container: the runner, and the modules of the one import.
    """

    image: str
    layers: tuple[str, ...]
    config: Mapping[str, Any]
    declared: Mapping[str, str]
    gpu: str | None
    stack: tuple[str, ...]
    sharing: tuple[str, ...]
    emulated: bool

    def in_time(self, probe: Probe) -> Probe:
        """Return a probe with the time limit that it has here."""
        return replace(probe, timeout=probe.timeout * SLOWDOWN) if self.emulated else probe

    def key(self, probe: Probe, way: Way) -> str:
        """Return the key of a probe's record; empty where no two runs are known to be equal."""
        if self.gpu is None:
            return ""
        shared = way is Way.SHARED
        return digest(
            "probe",
            probe.sha256,
            self._surroundings,
            isolation(Limits(seconds=probe.timeout), first=True),
            *(self.sharing if shared else ()),
        )

    @cached_property
    def _surroundings(self) -> str:
        """The hash of what decides the results of all probes: an image's configuration is long."""
        return digest(
            self.layers,
            self.config,
            self.declared,
            self.gpu,
            self.stack,
            USER,
            self.emulated,
        )
