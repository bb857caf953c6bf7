"""Running the probes of a cell in one container, from one import of its framework.

A pass there is a pass. What does not pass there says nothing yet: it is run again alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from envmatrix.engine.containers import Containers
from envmatrix.engine.process import OUTPUT_LIMIT, Limits, Ran
from envmatrix.model.errors import EngineError
from envmatrix.model.part import LONGEST
from envmatrix.model.probe_results import ProbeResult, SharedRun, Way
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import judge
from envmatrix.probes.running import alarmed

PLAN = "ENVMATRIX_PLAN"
START = "import sys;exec(compile(sys.argv[1],'probe_runner.py','exec'))"
SCRATCH = ("/tmp", "/dev/shm", "/dev/mqueue")  # noqa: S108
"""Where a probe can write. The first is where its own file lies."""

FEWEST = 2
"""How many probes have to be forked before it saves anything: the import is one more."""
SOURCES_LIMIT = 1_000_000
"""The characters of all probes of a container: they are arguments, and the kernel bounds those."""
SECONDS_BESIDE = 60
"""What the container may take beside the probes: its start, and the cleaning between them."""
LONGEST_CONTAINER = 3600


@dataclass(frozen=True, slots=True)
class Group:
    """Probes that share a container.

    The probe that imports the framework is a new process there. The others are forked from a
    process that imported the modules of `preload`, in `import_seconds` at most.
    """

    preload: tuple[str, ...]
    import_seconds: int
    probes: tuple[Probe, ...]


def preload_of(probes: Sequence[Probe]) -> tuple[str, ...]:
    """Return the modules that the probes of a cell may share one import of; none: no sharing."""
    return next((probe.preload for probe in probes if probe.is_import), ())


def may_share(probe: Probe) -> bool:
    """Return whether a probe may run in one container with others."""
    return not probe.alone and not probe.needs


def group_of(probes: Sequence[Probe], missing: Collection[str]) -> Group | None:
    """Return the probes of a cell that share a container; None where that saves nothing.

    `missing` are the names of those that have no result yet.
    """
    ours = tuple(probe for probe in probes if probe.name in missing and may_share(probe))
    forked = sum(not probe.is_import for probe in ours)
    size = sum(len(probe.source) for probe in ours)
    importer = next((probe for probe in probes if probe.is_import), None)
    if importer is None or not importer.preload or forked < FEWEST or size > SOURCES_LIMIT:
        return None
    return Group(importer.preload, importer.timeout, ours)


def run_shared(
    containers: Containers,
    image: str,
    group: Group,
    runner: str,
    *,
    gpu: bool,
    stack: Sequence[str] = (),
) -> Mapping[str, ProbeResult]:
    """Run probes in one container; return the results of those that ended there, by name.

    `runner` is the source of the program that runs them (scripts/probes/runner/probe_runner.py).
    Where the engine fails there is no result: a probe may have caused it, and each runs alone next.

    Raises:
        Cancelled: the user asked to stop.
    """
    try:
        return _run_shared(containers, image, group, runner, stack, gpu=gpu)
    except EngineError:
        return {}


def _run_shared(
    containers: Containers,
    image: str,
    group: Group,
    runner: str,
    stack: Sequence[str],
    *,
    gpu: bool,
) -> Mapping[str, ProbeResult]:
    nonces = {probe.name: secrets.token_hex(8) for probe in group.probes}
    seconds = group.import_seconds + sum(probe.timeout for probe in group.probes) + SECONDS_BESIDE
    seconds = min(seconds, LONGEST_CONTAINER)
    sources = [probe.source for probe in group.probes]
    ran = containers.run(
        image,
        # Isolated and without site: no wheel of the image has code in the supervisor.
        ["python", "-I", "-S", "-c", alarmed(START, seconds), runner, "supervise", *sources],
        environment={
            # Other users of the process table read arguments, and not the environment.
            PLAN: _plan(group, nonces),
            "HOME": SCRATCH[0],
            **({"ENVMATRIX_STACK": " ".join(stack)} if stack else {}),
        },
        limits=Limits(seconds=seconds, output=2 * OUTPUT_LIMIT * len(group.probes)),
        gpu=gpu,
        first=True,
    )
    lines = _lines(ran.stdout)
    return {
        probe.name: judge(probe, lines[nonce].ran(ran), nonce).model_copy(
            update={"ran": Way.SHARED}
        )
        for probe in group.probes
        if (nonce := nonces[probe.name]) in lines
    }


def after(earlier: ProbeResult | None, alone: ProbeResult) -> ProbeResult:
    """Return the result of a probe that was run alone, with how it ended beside others before."""
    if earlier is None:
        return alone
    told = SharedRun(outcome=earlier.outcome, kind=earlier.kind, cause=earlier.cause)
    return alone.model_copy(update={"shared": told})


def _plan(group: Group, nonces: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "first": True,
            "scratch": SCRATCH,
            "preload": group.preload,
            "import_seconds": group.import_seconds,
            "output_limit": OUTPUT_LIMIT,
            "probes": [
                {
                    "file": f"probe_{probe.name.replace('-', '_')}.py",
                    "nonce": nonces[probe.name],
                    "timeout": probe.timeout,
                    "forked": not probe.is_import,
                }
                for probe in group.probes
            ],
        }
    )


class _Line(BaseModel):
    """What the runner says of one probe. It comes from an image, so anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nonce: str
    exit_code: int = Field(ge=0, le=255)
    seconds: float = Field(ge=0, le=LONGEST)
    timed_out: bool
    flooded: bool
    out_of_memory: bool | None
    stdout: Base64Bytes
    stderr: Base64Bytes

    def ran(self, container: Ran) -> Ran:
        """Return how the probe ended, in the words of a container of its own.

        Where the kernel does not tell which process it killed for want of memory, it may have been
        any of them.
        """
        killed = self.timed_out or self.flooded
        memory = container.out_of_memory if self.out_of_memory is None else self.out_of_memory
        return Ran(
            exit_code=None if killed else self.exit_code,
            stdout=self.stdout.decode("utf-8", "replace"),
            stderr=self.stderr.decode("utf-8", "replace"),
            seconds=self.seconds,
            out_of_memory=memory,
            timed_out=self.timed_out,
            flooded=self.flooded,
        )


def _lines(output: str) -> dict[str, _Line]:
    """Return the lines of the runner by nonce. Other output, and a line that is cut, is nothing."""
    found: dict[str, _Line] = {}
    for text in output.split("\n"):
        try:
            line = _Line.model_validate_json(text)
        except ValidationError:
            continue
        found.setdefault(line.nonce, line)
    return found
