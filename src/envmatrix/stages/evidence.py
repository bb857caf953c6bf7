"""The one place that makes evidence: of cells, and of the interpreters of hosts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from envmatrix import __version__
from envmatrix.model.cells import Cell, declared
from envmatrix.model.evidence import (
    HOST,
    Axes,
    BaseImage,
    CellImage,
    Evidence,
    Inputs,
    LockedWheels,
    Logs,
    Machine,
    Seconds,
    Serves,
    StandalonePython,
)
from envmatrix.model.gpus import generations
from envmatrix.model.image_names import cell_tag, run_command
from envmatrix.model.locks import Lock
from envmatrix.model.matrix import DEFAULT_ARCH, Matrix
from envmatrix.model.probe_results import Observed, ProbeResult, Way, import_observations
from envmatrix.model.text import name
from envmatrix.model.verdicts import RUN, Judgement
from envmatrix.probes.judging import judge_cell
from envmatrix.stages.recipes import Built
from envmatrix.store.contents import Contents
from envmatrix.store.files import write_log
from envmatrix.store.layout import Layout
from envmatrix.store.overlaps import overlaps_of
from envmatrix.store.rebuilds import Rebuilds
from envmatrix.store.records import RESOLVE_LOGS, Records
from envmatrix.store.resolutions import Resolutions


@dataclass(frozen=True, slots=True)
class EvidenceMaker:
    """Makes the evidence of cells from what is known of them and from the results of a run."""

    matrix: Matrix
    layout: Layout
    records: Records
    resolutions: Resolutions
    rebuilds: Rebuilds
    contents: Contents
    inputs_of: Callable[[Cell], Inputs | None]

    def of(
        self,
        cell: Cell,
        judgement: Judgement,
        *,
        base: Built | None = None,
        built: Built | None = None,
        results: Sequence[ProbeResult] = (),
        engine: str = "",
        emulated: bool = False,
    ) -> Evidence:
        """Return everything that is known of a cell.

        `engine` is the version of the engine; `emulated` says that it is of another architecture.
        """
        judgement = judgement.about(cell.id)
        resolution = self.resolutions.of_cell(cell)
        observed = import_observations(results)
        layers = built.image.layers if built else ()
        made = built if built and not built.pulled else None
        below = base or (built if built and built.pulled else None)
        return Evidence(
            generated_at=_now(),
            tool=_tool(),
            host=machine(engine),
            id=cell.id,
            axes=cell.axes,
            emulated=emulated,
            verdict=judgement.verdict,
            stage=judgement.stage,
            class_=judgement.kind,
            cause=judgement.cause,
            remedy=judgement.remedy,
            declared=declared(self.matrix, cell),
            observed=observed,
            serves=self._serves(cell, observed),
            lock=self._wheels(resolution.lock) if resolution and resolution.lock else None,
            base=BaseImage(
                id=cell.base_id,
                origin=below.origin or None if below else None,
                digest=below.digest if below else None,
                python=self._python(cell) if below else None,
            ),
            inputs=self._inputs(cell, results),
            image=self._image(cell, built) if built else None,
            reproducibility=self.rebuilds.of(layers),
            seconds=Seconds(
                base=base.seconds if base else None,
                build=made.seconds if made else None,
                probe=_total(results) if results else None,
            ),
            probes=tuple(self._with_logs(cell, results)),
            log=self._log(cell, judgement.stage, results),
            logs=self._logs(cell),
        )

    def _inputs(self, cell: Cell, results: Sequence[ProbeResult]) -> Inputs | None:
        inputs = self.inputs_of(cell)
        if inputs is None or any(result.ran is Way.SHARED for result in results):
            return inputs
        return inputs.model_copy(update={"runner": ""})

    def _image(self, cell: Cell, built: Built) -> CellImage:
        cuda = self.matrix.axes.accelerator[cell.accelerator].cuda
        return CellImage(
            name=cell_tag(cell),
            layers=built.image.layers,
            contents=self.contents.of(built.image.layers),
            size=built.image.size,
            run=run_command(cell_tag(cell), gpus=cuda is not None),
            sizes=built.sizes,
            packages=built.packages,
        )

    def _serves(self, cell: Cell, observed: Observed) -> Serves | None:
        """Return what a CUDA build serves; a wheel tells that without a GPU."""
        accelerator = self.matrix.axes.accelerator[cell.accelerator]
        if accelerator.cuda is None:
            return None
        return Serves(
            driver=accelerator.driver, generations=tuple(generations(observed.architectures))
        )

    def _wheels(self, lock: Lock) -> LockedWheels:
        return LockedWheels(
            sha256=lock.sha256,
            wheels={wheel.name: wheel.version for wheel in lock.wheels},
            overlaps=overlaps_of(self.records, lock),
        )

    def _python(self, cell: Cell) -> StandalonePython | None:
        wanted = self.resolutions.wanted_interpreter(cell)
        found = self.resolutions.interpreter(cell, wanted) if wanted else None
        if found is None:
            return None
        return StandalonePython(version=found.version, build=found.build, sha256=found.sha256)

    def _log(self, cell: Cell, stage: str, results: Sequence[ProbeResult]) -> str | None:
        """Return where the output of the stage lies: a folder where probes have failed."""
        folder = self.records.probe_logs(cell.id)
        if any(result.failed for result in results) and folder.is_dir():
            return self.layout.short(folder)
        logs = self._logs(cell)
        return {"base": logs.base, "lock": logs.resolve}.get(stage, logs.build)

    def _logs(self, cell: Cell) -> Logs:
        return Logs(
            resolve=self._there(RESOLVE_LOGS, self.resolutions.problem(cell).key),
            base=self._there("base", cell.base_id),
            build=self._there("build", cell.id),
        )

    def _there(self, kind: str, name: str) -> str | None:
        path = self.records.log_path(kind, name)
        return self.layout.short(path) if path.exists() else None

    def _with_logs(self, cell: Cell, results: Sequence[ProbeResult]) -> Iterator[ProbeResult]:
        """Yield results that name the logs of their probes, where there are any."""
        folder = self.records.probe_logs(cell.id)
        there = frozenset(path.stem for path in folder.glob("*.log"))
        short = self.layout.short(folder)
        for result in results:
            path = f"{short}/{result.probe}.log" if result.probe in there else None
            yield result.model_copy(update={"log": path})


def host_evidence(framework: str, results: Sequence[ProbeResult]) -> Evidence:
    """Return the evidence of an interpreter of this machine, for one framework."""
    observed = import_observations(results)
    judgement = judge_cell(None, results)
    remedy = judgement.remedy.replace(RUN, "`envmatrix probe --host`")
    axes = Axes(
        os=name(observed.codename or "unknown"),
        python=name(observed.python or "unknown"),
        accelerator=name(observed.accelerator or "unknown"),
        framework=name(framework),
        version=name(observed.version or "unknown"),
        arch=name(observed.arch or "unknown"),
    )
    # As in the ids of cells, the default architecture is not named.
    arch = f"-{axes.arch}" if observed.arch not in (None, DEFAULT_ARCH) else ""
    return Evidence(
        generated_at=_now(),
        tool=_tool(),
        host=machine(),
        kind=HOST,
        id=f"{HOST}-{axes.framework}-{axes.version}-py{axes.python}-{axes.os}-{axes.accelerator}"
        f"{arch}",
        axes=axes,
        verdict=judgement.verdict,
        stage=judgement.stage,
        class_=judgement.kind,
        cause=judgement.cause,
        remedy=remedy,
        observed=observed,
        seconds=Seconds(probe=_total(results)),
        probes=tuple(results),
    )


def with_logs(
    found: Evidence, outputs: Mapping[str, tuple[str, str]], records: Records, layout: Layout
) -> Evidence:
    """Write what each probe of a host printed, by its name; return evidence that names the logs.

    Raises:
        SurroundingsError: a log cannot be written.
    """
    logs = {name: records.probe_logs(found.id) / f"{name}.log" for name in outputs}
    results = [
        one.model_copy(update={"log": layout.short(logs[one.probe])}) if one.probe in logs else one
        for one in found.probes
    ]
    for one in results:
        if one.probe in logs:
            write_log(logs[one.probe], one.ended, *outputs[one.probe])
    return found.model_copy(update={"probes": tuple(results)})


def machine(engine: str = "") -> Machine:
    """Return what evidence says of this machine, and of the engine of that version."""
    return Machine(system=platform.system(), machine=platform.machine(), engine=engine)


def _total(results: Sequence[ProbeResult]) -> float:
    return round(sum(result.seconds for result in results), 1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _tool() -> str:
    return f"envmatrix {__version__}"
