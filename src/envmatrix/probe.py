"""Probes: reading their headers, running them in an image, and judging what came of it."""

from __future__ import annotations

import json
import re
import secrets
import signal
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from envmatrix.causes import Cause, classify
from envmatrix.engine import Engine, Limits, Ran
from envmatrix.errors import InputError
from envmatrix.evidence import Judgement, Verdict, digest
from envmatrix.matrix import nearest

CANNOT_START = (125, 126, 127)
"""The exit codes of `docker run` for a command that was never executed."""

SIGNALLED = 128
"""Above it, an exit code is this plus the number of the signal that ended the process."""

NOT_RUN = 77
"""The exit code of a probe that cannot be run here (as in Automake)."""

TAIL_LINES = 30
_HEADER = re.compile(r"(?m)^# /// probe$\n(?P<body>(?:^#(?:| .*)$\n)+?)^# ///$")
_FIELDS = {"name": str, "framework": str, "proves": str, "required": bool, "timeout": int}
_OPTIONAL = {"needs": str, "stack": str}
# Writes the probe where it can be read as a file (inspect.getsource works), and becomes it. Its
# folder comes first on the module path, so the file gets a name that no module has.
_START = (
    "import os,sys;p='/tmp/probe_'+sys.argv[1]+'.py';open(p,'w').write(sys.argv[2]);"
    "os.execv(sys.executable,[sys.executable,p])"
)


class Outcome(StrEnum):
    """How a probe ended."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    COULD_NOT_START = "could not start"
    BAD_REPORT = "bad report"
    FLOODED = "output flood"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe file; `timeout` in seconds, `needs` is empty or "gpu".

    One with a `stack` belongs to the cells with that stack only.
    """

    name: str
    framework: str
    proves: str
    required: bool
    timeout: int
    source: str
    needs: str = ""
    stack: str = ""

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return digest(self.source)

    @property
    def is_import(self) -> bool:
        """Whether this is the probe that imports the framework and observes the axes."""
        return self.name == f"{self.framework}-import"


@dataclass(frozen=True, slots=True)
class Result:
    """What one probe gave."""

    probe: str
    required: bool
    outcome: Outcome
    kind: str = ""
    cause: str = ""
    remedy: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    log_tail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as the report names them."""
        data = asdict(self)
        data["class"] = data.pop("kind")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        fields = dict(data)
        kind = fields.pop("class")
        return cls(**fields | {"kind": kind, "outcome": Outcome(data["outcome"])})


def load_probes(folders: Iterable[Path]) -> list[Probe]:
    """Read the probes of some folders, the one that imports a framework first.

    Raises:
        InputError: a file without a proper header, or two probes of one name.
    """
    found: dict[str, Probe] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                "there is no such folder of probes",
                where=str(folder),
                next_step="give a folder that holds probe files",
            )
        for path in sorted(folder.glob("*.py")):
            try:
                source = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    "the file is not UTF-8 text", where=str(path), next_step="save it as UTF-8"
                ) from error
            probe = parse_probe(source, path)
            if probe.name in found:
                raise InputError(
                    f"two probes are named {probe.name}",
                    where=str(path),
                    next_step="rename one: names are the handles of evidence",
                )
            found[probe.name] = probe
    return sorted(
        found.values(),
        key=lambda probe: (probe.framework, not probe.is_import, probe.needs, probe.name),
    )


def parse_probe(source: str, path: Path) -> Probe:
    """Read the header of a probe file.

    Raises:
        InputError: there is none, or it lacks or mistypes a field.
    """
    match = _HEADER.search(source)
    if match is None:
        raise InputError(
            "this probe has no header",
            where=str(path),
            next_step="begin it with `# /// probe`; docs/probes.md shows one",
        )
    body = "".join(line[2:] + "\n" for line in match["body"].splitlines())
    try:
        header = tomllib.loads(body)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"the header is not TOML: {error}",
            where=str(path),
            next_step="mend the header between the `# ///` lines",
        ) from error
    known = _FIELDS | _OPTIONAL
    for name, value in header.items():
        if name not in known:
            raise InputError(
                f'the header has an unknown field "{name}"',
                where=str(path),
                next_step=nearest(name, list(known)),
            )
        if type(value) is not known[name]:
            raise InputError(
                f'"{name}" must be of type {known[name].__name__}, found {value!r}',
                where=str(path),
                next_step="mend the header",
            )
    if missing := [name for name in _FIELDS if name not in header]:
        raise InputError(
            f"the header lacks {', '.join(missing)}",
            where=str(path),
            next_step="docs/probes.md says what each field means",
        )
    if not re.fullmatch(r"[a-z0-9-]+", header["name"]):
        raise InputError(
            f"{header['name']!r} is no name for a probe",
            where=str(path),
            next_step="use small letters, digits and -",
        )
    if header["timeout"] < 1 or header.get("needs", "") not in ("", "gpu"):
        raise InputError(
            "timeout must be at least 1, and needs can only be gpu",
            where=str(path),
            next_step="docs/probes.md says what each field means",
        )
    return Probe(source=source, **header)


def run_probe(engine: Engine, image: str, probe: Probe, *, gpu: bool) -> Result:
    """Run a probe in an image, isolated, and judge it."""
    if probe.needs == "gpu" and not gpu:
        return not_run(probe, "the engine has no GPU for this cell")
    nonce = secrets.token_hex(8)
    ran = engine.run(
        image,
        ["python", "-c", _START, probe.name.replace("-", "_"), probe.source],
        environment={"ENVMATRIX_NONCE": nonce, "HOME": "/tmp"},  # noqa: S108
        limits=Limits(seconds=probe.timeout),
        gpu=gpu,
    )
    return judge(probe, ran, nonce)


def not_run(probe: Probe, why: str) -> Result:
    """Return the result of a probe that was not started."""
    return Result(probe.name, probe.required, Outcome.NOT_RUN, cause=why)


def judge(probe: Probe, ran: Ran, nonce: str) -> Result:
    """Judge how a container ended. Exit code and report must agree; neither alone is enough."""
    report = find_report(ran.stdout, probe.name, nonce) or {}
    outcome = _outcome(ran, report)
    why = _why(probe, ran, outcome, report)
    passed = outcome is Outcome.PASSED
    return Result(
        probe.name,
        probe.required,
        outcome,
        why.kind,
        why.cause,
        why.remedy,
        ran.seconds,
        ran.exit_code,
        report["observed"] if passed else {},
        "" if passed or outcome is Outcome.NOT_RUN else _tail(ran.stdout, ran.stderr),
    )


def _outcome(ran: Ran, report: Mapping[str, Any]) -> Outcome:
    code = ran.exit_code
    signs = {
        Outcome.OUT_OF_MEMORY: ran.out_of_memory,
        Outcome.FLOODED: ran.flooded,
        Outcome.TIMED_OUT: ran.timed_out or code is None,
        Outcome.COULD_NOT_START: code in CANNOT_START,
        Outcome.CRASHED: code is not None and code > SIGNALLED,
        Outcome.NOT_RUN: code == NOT_RUN and isinstance(report.get("not_run"), str),
        Outcome.PASSED: code == 0 and isinstance(report.get("observed"), dict),
        Outcome.BAD_REPORT: code in (0, NOT_RUN),
    }
    return next((outcome for outcome, shown in signs.items() if shown), Outcome.FAILED)


def _why(probe: Probe, ran: Ran, outcome: Outcome, report: Mapping[str, Any]) -> Cause:
    match outcome:
        case Outcome.PASSED:
            return Cause("", "", "")
        case Outcome.NOT_RUN:
            return Cause("", report["not_run"], "")
        case Outcome.FAILED:
            unknown = Cause("other", f"exit code {ran.exit_code}", "read the log")
            return classify(ran.stderr) or unknown
    code = ran.exit_code or 0
    causes = {
        Outcome.OUT_OF_MEMORY: Cause(
            "out-of-memory",
            "the container ran out of memory",
            "give probes more memory, or the probe less to do",
        ),
        Outcome.FLOODED: Cause("output-flood", "it wrote more than is kept", "print less"),
        Outcome.TIMED_OUT: Cause(
            "timeout",
            f"not done after {probe.timeout} s",
            "raise the timeout in the header of the probe if the machine is slow",
        ),
        Outcome.COULD_NOT_START: Cause(
            "could-not-start", f"Python did not start: {ran.stderr.strip()[:200]}", "see the image"
        ),
        Outcome.CRASHED: Cause(
            "crash", f"ended by {_signal_name(code - SIGNALLED)}", "read the log"
        ),
        Outcome.BAD_REPORT: Cause(
            "bad-report",
            f"exit code {code} without the report that belongs to it",
            "a probe prints one JSON object with its name, its nonce and what it observed",
        ),
    }
    return causes[outcome]


def find_report(stdout: str, name: str, nonce: str) -> dict[str, Any] | None:
    """Return the last line that is a JSON object with this probe's name and nonce."""
    for line in reversed(stdout.splitlines()):
        if nonce in line:
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(data, dict) and data.get("nonce") == nonce and data.get("probe") == name:
                return data
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(*streams: str) -> str:
    lines = [line for stream in streams for line in stream.splitlines()]
    return "\n".join(line[:500] for line in lines[-TAIL_LINES:])


# --- the verdict of a cell -------------------------------------------------------------------


def judge_cell(declared: Mapping[str, str], results: Sequence[Result]) -> Judgement:
    """Judge a cell from what its probes gave: the first required one that failed decides."""
    failed = [
        result
        for result in results
        if result.required and result.outcome not in (Outcome.PASSED, Outcome.NOT_RUN)
    ]
    if failed:
        first = failed[0]
        stage = "import" if first.probe.endswith("-import") else "probe"
        return Judgement(
            Verdict.BROKEN, stage, first.kind, f"{first.probe}: {first.cause}", first.remedy
        )
    differing = list(_mismatches(declared, results))
    if differing:
        return Judgement(
            Verdict.BROKEN,
            "mismatch",
            "mismatch",
            "; ".join(differing),
            "the image does not hold what its name says: see the lock",
        )
    if "version" not in merged_observations(results):
        return Judgement(
            Verdict.UNKNOWN,
            "probe",
            "no-probes",
            "no required probe imported the framework and observed its version",
            "add a probe <framework>-import to scripts/probes",
        )
    return Judgement(Verdict.WORKS, "probe")


def _mismatches(declared: Mapping[str, str], results: Sequence[Result]) -> Iterator[str]:
    observed = merged_observations(results)
    for name, value in declared.items():
        if name in observed and str(observed[name]) != value:
            yield f"{name}: declared {value}, observed {observed[name]}"


def merged_observations(results: Sequence[Result]) -> Mapping[str, Any]:
    """Return what the probe that imports the framework observed."""
    return next(
        (
            result.observed
            for result in results
            if result.probe.endswith("-import") and result.observed
        ),
        {},
    )
