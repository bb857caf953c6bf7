"""The probe stage: it runs the probes of a cell in its image, each once for the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from packaging.requirements import Requirement

from envmatrix.engine.client import Engine
from envmatrix.engine.containers import isolation
from envmatrix.engine.process import Limits
from envmatrix.model.cells import Cell, declared
from envmatrix.model.digests import digest
from envmatrix.model.emulation import SLOWDOWN, under_emulation
from envmatrix.model.evidence import Outcome, ProbeResult
from envmatrix.model.image_names import USER
from envmatrix.model.matrix import Matrix
from envmatrix.probes.headers import Probe, Probes
from envmatrix.probes.running import run_probe
from envmatrix.stages.recipes import Built
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
        return f"{outcomes.count(Outcome.PASSED)} of {runnable} passed"


@dataclass(frozen=True, slots=True)
class Probing:
    """Runs the probes of cells, and records the result of each."""

    matrix: Matrix
    records: Records
    probes: Probes

    def run(self, cell: Cell, built: Built, engine: Engine, *, fresh: bool) -> Probed:
        """Run the probes of a cell in its image. A `fresh` run takes no earlier result.

        Raises:
            EngineError: the engine failed.
            Cancelled: the user asked to stop.
        """
        cuda = self.matrix.axes.accelerator[cell.accelerator].cuda is not None
        emulated = engine.emulates(cell.arch)
        # The libraries of a driver are of the host's own architecture.
        cuda = cuda and not emulated
        gpu = cuda and engine.has_gpu
        place = _Place(
            image=built.image.id,
            layers=built.image.layers,
            config=engine.images.config(built.image.id),
            declared=declared(self.matrix, cell).to_json(),
            gpu=engine.gpu if gpu else "",
            stack=self._stack(cell),
            emulated=emulated,
        )
        results = []
        ran = 0
        for probe in map(place.in_time, self.probes.of(cell)):
            key = place.key(probe)
            result = None if fresh or not key else self.records.get("probe", key, ProbeResult)
            if result is None:
                result = run_probe(
                    engine.containers,
                    place.image,
                    probe,
                    gpu=gpu,
                    stack=place.stack,
                    unseen_gpu=engine.unseen_gpu if cuda else "",
                )
                result = under_emulation(result) if emulated else result
                ran += 1
                if key:
                    self.records.put("probe", key, result)
            results.append(result)
        return Probed(tuple(results), ran)

    def _stack(self, cell: Cell) -> tuple[str, ...]:
        """Return the names of the distributions that the stack of a cell requires."""
        if not cell.stack:
            return ()
        requires = self.matrix.stacks[cell.stack].requires
        return tuple(Requirement(text).name for text in requires)


@dataclass(frozen=True, slots=True)
class _Place:
    """What decides the result of a probe, beside the probe itself.

    `config` is the configuration of the image, `gpu` what is known of the GPUs and the driver:
    empty where there is none, None where there is one that nothing is known of.
    """

    image: str
    layers: tuple[str, ...]
    config: Mapping[str, Any]
    declared: Mapping[str, str]
    gpu: str | None
    stack: tuple[str, ...]
    emulated: bool

    def in_time(self, probe: Probe) -> Probe:
        """Return a probe with the time limit that it has here."""
        return replace(probe, timeout=probe.timeout * SLOWDOWN) if self.emulated else probe

    def key(self, probe: Probe) -> str:
        """Return the key of a probe's record; empty where no two runs are known to be equal."""
        if self.gpu is None:
            return ""
        return digest(
            "probe",
            probe.sha256,
            self.layers,
            self.config,
            self.declared,
            self.gpu,
            self.stack,
            isolation(Limits(seconds=probe.timeout)),
            USER,
            *(["emulated"] if self.emulated else []),
        )
