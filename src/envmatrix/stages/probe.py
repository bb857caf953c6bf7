"""The probe stage: it runs the probes of a cell in its image, each once for the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

from envmatrix.engine.client import Engine
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.evidence import Outcome, ProbeResult
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
        gpu = engine.has_gpu and self.matrix.axes.accelerator[cell.accelerator].cuda is not None
        results = []
        ran = 0
        for probe in self.probes.of(cell):
            key = digest("probe", probe.sha256, list(built.image.layers), gpu)
            result = None if fresh else self.records.get("probe", key, ProbeResult)
            if result is None:
                result = self._run_one(probe, built, engine, key, gpu=gpu)
                ran += 1
            results.append(result)
        return Probed(tuple(results), ran)

    def _run_one(
        self, probe: Probe, built: Built, engine: Engine, key: str, *, gpu: bool
    ) -> ProbeResult:
        result = run_probe(engine.containers, built.image.id, probe, gpu=gpu)
        self.records.put("probe", key, result)
        return result
