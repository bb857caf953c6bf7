"""Judging: how a probe ended, and what the probes of a cell say of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from envmatrix.engine.process import Ran
from envmatrix.model.emulation import EMULATION
from envmatrix.model.evidence import Declared
from envmatrix.model.known import Ending
from envmatrix.model.probe_results import (
    NOTHING_OBSERVED,
    Observed,
    Outcome,
    ProbeResult,
    import_observations,
)
from envmatrix.model.verdicts import RUN, Judgement, Verdict
from envmatrix.probes.headers import Probe

CANNOT_START = (126, 127)
"""The exit codes for a command that is in the image and cannot be executed, or is not there."""

SIGNALLED = 128
"""An exit code above this is this number plus that of the signal which ended the process."""

KILLED = 137
"""The exit code of a process that SIGKILL ended."""

NOT_RUN = 77
"""The exit code of a probe that cannot be run here, as in Automake."""

TAIL_LINES = 30

CPU = "cpu"
"""The accelerator of builds that use no GPU."""
GPU = "gpu"
"""What a probe that needs a GPU says in its header."""

CAUSE_LIMIT = 300
"""The number of characters that a result repeats of the reason why a probe did not run."""


def not_run(probe: Probe, why: str) -> ProbeResult:
    """Return the result of a probe that was not started."""
    return ProbeResult(
        probe=probe.name,
        required=probe.required,
        needs=probe.needs,
        outcome=Outcome.NOT_RUN,
        cause=why,
    )


def judge(probe: Probe, ran: Ran, nonce: str) -> ProbeResult:
    """Judge how a probe ended. Exit code and report must agree; neither alone is enough."""
    report = find_report(ran.stdout, probe.name, nonce) or {}
    observed = _observed(report)
    outcome = _outcome(ran, report, observed)
    why = _why(probe, ran, outcome, report)
    passed = outcome is Outcome.PASSED
    return ProbeResult(
        probe=probe.name,
        required=probe.required,
        needs=probe.needs,
        outcome=outcome,
        kind=why.kind,
        cause=why.cause,
        remedy=why.remedy,
        seconds=ran.seconds,
        exit_code=ran.exit_code,
        observed=observed if observed and passed else NOTHING_OBSERVED,
        log_tail="" if passed or outcome is Outcome.NOT_RUN else _tail(ran.stdout, ran.stderr),
    )


def _observed(report: Mapping[str, Any]) -> Observed | None:
    """Return what a report says was observed; None if evidence cannot hold it."""
    try:
        return Observed.model_validate(report.get("observed"))
    except ValidationError:
        return None


def _outcome(ran: Ran, report: Mapping[str, Any], observed: Observed | None) -> Outcome:
    code = ran.exit_code
    signs = {
        Outcome.OUT_OF_MEMORY: ran.out_of_memory,
        Outcome.FLOODED: ran.flooded,
        Outcome.TIMED_OUT: ran.timed_out or code is None,
        Outcome.COULD_NOT_START: code in CANNOT_START,
        Outcome.CRASHED: code is not None and code > SIGNALLED,
        Outcome.NOT_RUN: code == NOT_RUN and isinstance(report.get("not_run"), str),
        Outcome.PASSED: code == 0 and observed is not None,
        Outcome.BAD_REPORT: code in (0, NOT_RUN),
    }
    return next((outcome for outcome, shown in signs.items() if shown), Outcome.FAILED)


def _why(probe: Probe, ran: Ran, outcome: Outcome, report: Mapping[str, Any]) -> Ending:
    match outcome:
        case Outcome.PASSED:
            return Ending("", "", "")
        case Outcome.NOT_RUN:
            return Ending("", report["not_run"][:CAUSE_LIMIT], "")
        case Outcome.FAILED | Outcome.CRASHED | Outcome.COULD_NOT_START:
            return _explained(ran) or _unexplained(ran, outcome)
    causes = {
        Outcome.OUT_OF_MEMORY: Ending(
            "out-of-memory",
            "the container ran out of memory",
            "give probes more memory, or the probe less to do",
        ),
        Outcome.FLOODED: Ending(
            "output-flood", "it wrote more output than envmatrix keeps", "let the probe print less"
        ),
        Outcome.TIMED_OUT: Ending(
            "timeout",
            f"not done after {probe.timeout} s",
            "raise the timeout in the header of the probe if the machine is slow",
        ),
        Outcome.BAD_REPORT: Ending(
            "bad-report",
            f"exit code {ran.exit_code} without the report that belongs to it",
            "a probe prints one JSON object with its name, its nonce and what it observed",
        ),
    }
    return causes[outcome]


def _explained(ran: Ran) -> Ending | None:
    """Return what the output or the exit code tells of a failure; None where it tells nothing.

    A kill tells nothing by itself: a probe that reached its limit of memory has an outcome of its
    own.
    """
    from envmatrix.model.causes import classify  # noqa: PLC0415  (loads slowly)

    code = None if ran.exit_code == KILLED else ran.exit_code
    found = classify(ran.stderr, exit_code=code)
    if found is None or found.kind in _GENERAL:
        return None
    return Ending(found.kind, found.cause, found.remedy)


_GENERAL = ("crash", "program-missing")
"""Classes that say no more than the outcome does."""


def _unexplained(ran: Ran, outcome: Outcome) -> Ending:
    """Return the cause of an end that the output does not explain."""
    code = ran.exit_code or 0
    if outcome is Outcome.COULD_NOT_START:
        return Ending(
            "could-not-start",
            f"Python did not start: {ran.stderr.strip()[:200]}",
            "check that the image has a Python that starts",
        )
    if outcome is Outcome.CRASHED:
        return Ending("crash", f"ended by {_signal_name(code - SIGNALLED)}", "read the log")
    return Ending("other", f"exit code {code}", "read the log")


def find_report(stdout: str, name: str, nonce: str) -> dict[str, Any] | None:
    """Return the last line that is a JSON object with this probe's name and nonce."""
    # Not `splitlines`: a text in JSON may hold U+2028 and other characters that it splits at.
    for line in reversed(stdout.split("\n")):
        if nonce in line:
            try:
                data = json.loads(line)
                json.dumps(data, ensure_ascii=False).encode()  # fails if a text is not Unicode
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


def judge_cell(declared: Declared | None, results: Sequence[ProbeResult]) -> Judgement:
    """Judge a cell from what its probes gave.

    The first required probe that failed makes it broken, unless emulation may be to blame. So does
    an axis on which the image is not what the cell declares. What was not run, or not observed,
    makes it partial: only a cell of which everything was seen works. A host declares nothing, and
    `declared` is None there.
    """
    observed = import_observations(results)
    return (
        _failure(results)
        or _mismatch(declared, observed)
        or _no_import(observed)
        or _gaps(declared, observed, results)
        or Judgement(Verdict.WORKS, "probe")
    )


def _failure(results: Sequence[ProbeResult]) -> Judgement | None:
    failed = [result for result in results if result.required and result.failed]
    if not failed:
        return None
    first = next((result for result in failed if result.kind != EMULATION), failed[0])
    verdict = Verdict.UNKNOWN if first.kind == EMULATION else Verdict.BROKEN
    stage = "import" if first.is_import else "probe"
    return Judgement(verdict, stage, first.kind, f"{first.probe}: {first.cause}", first.remedy)


def _mismatch(declared: Declared | None, observed: Observed) -> Judgement | None:
    differing = list(_mismatches(declared, observed)) if declared else []
    if not differing:
        return None
    return Judgement(
        Verdict.BROKEN,
        "mismatch",
        "mismatch",
        "; ".join(differing),
        "the image does not hold what its name says: see the lock",
    )


def _mismatches(declared: Declared, observed: Observed) -> Iterator[str]:
    for name, value in declared.items():
        found = getattr(observed, name)
        if found is not None and found != value:
            yield f"{name}: declared {value}, observed {found}"


def _no_import(observed: Observed) -> Judgement | None:
    """Return that nothing is known where no probe told the version of the framework."""
    if observed.version is not None:
        return None
    return Judgement(
        Verdict.UNKNOWN,
        "probe",
        "no-probes",
        "no probe imported the framework and observed its version",
        "add a probe <framework>-import to scripts/probes",
    )


def _gaps(
    declared: Declared | None, observed: Observed, results: Sequence[ProbeResult]
) -> Judgement | None:
    """Return what was not seen of a cell in which everything that was run passed."""
    accelerator = declared.accelerator if declared else observed.accelerator
    gpu = accelerator not in (None, CPU)
    idle = [
        result
        for result in results
        if result.required and result.outcome is Outcome.NOT_RUN and (gpu or result.needs != GPU)
    ]
    gaps = {
        "gpu-not-run": _gpu_gap(results) if gpu else "",
        "not-run": "; ".join(
            f"{result.probe} did not run: {result.cause}" for result in idle if result.needs != GPU
        ),
        "not-observed": _unobserved(declared, observed),
    }
    kind = next((kind for kind, text in gaps.items() if text), None)
    if kind is None:
        return None
    cause = "; ".join(text for text in gaps.values() if text)
    return Judgement(Verdict.PARTIAL, "probe", kind, cause, _GAP_REMEDIES[kind])


_GAP_REMEDIES = {
    "gpu-not-run": f"{RUN} on a machine whose engine has such a GPU",
    "not-run": f"{RUN} where the probe can run",
    "not-observed": "let the probe <framework>-import report these fields; docs/probes.md lists "
    "them",
}


def _gpu_gap(results: Sequence[ProbeResult]) -> str:
    """Say why no GPU was used; say nothing where a probe that needs one passed."""
    on_gpu = [result for result in results if result.needs == GPU]
    if any(result.outcome is Outcome.PASSED for result in on_gpu):
        return ""
    told = [f"{result.probe}: {result.cause}" for result in on_gpu]
    return "GPU not run: " + ("; ".join(told) or "no probe of the framework uses one")


def _unobserved(declared: Declared | None, observed: Observed) -> str:
    """Name the declared axes that no probe observed."""
    names = [name for name, _ in declared.items()] if declared else []
    missing = [name for name in names if getattr(observed, name) is None]
    return f"not observed: {', '.join(missing)}" if missing else ""
