"""Judging: how a probe ended, and what the probes of a cell say of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from envmatrix.engine.process import Ran
from envmatrix.model.causes import Cause, classify
from envmatrix.model.evidence import (
    NOTHING_OBSERVED,
    Declared,
    Observed,
    Outcome,
    ProbeResult,
    import_observations,
)
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.probes.headers import Probe

CANNOT_START = (125, 126, 127)
"""The exit codes of `docker run` for a command that was never executed."""

SIGNALLED = 128
"""An exit code above this is this number plus that of the signal which ended the process."""

NOT_RUN = 77
"""The exit code of a probe that cannot be run here, as in Automake."""

TAIL_LINES = 30

CAUSE_LIMIT = 300
"""The number of characters that a result repeats of the reason why a probe did not run."""


def not_run(probe: Probe, why: str) -> ProbeResult:
    """Return the result of a probe that was not started."""
    return ProbeResult(
        probe=probe.name, required=probe.required, outcome=Outcome.NOT_RUN, cause=why
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


def _why(probe: Probe, ran: Ran, outcome: Outcome, report: Mapping[str, Any]) -> Cause:
    match outcome:
        case Outcome.PASSED:
            return Cause("", "", "")
        case Outcome.NOT_RUN:
            return Cause("", report["not_run"][:CAUSE_LIMIT], "")
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
        Outcome.FLOODED: Cause(
            "output-flood", "it wrote more output than envmatrix keeps", "let the probe print less"
        ),
        Outcome.TIMED_OUT: Cause(
            "timeout",
            f"not done after {probe.timeout} s",
            "raise the timeout in the header of the probe if the machine is slow",
        ),
        Outcome.COULD_NOT_START: Cause(
            "could-not-start",
            f"Python did not start: {ran.stderr.strip()[:200]}",
            "check that the image has a Python that starts",
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
    """Judge a cell from what its probes gave. The first required probe that failed decides.

    A host declares nothing; `declared` is None there.
    """
    failed = [result for result in results if result.required and result.failed]
    if failed:
        first = failed[0]
        stage = "import" if first.is_import else "probe"
        return Judgement(
            Verdict.BROKEN, stage, first.kind, f"{first.probe}: {first.cause}", first.remedy
        )
    observed = import_observations(results)
    differing = list(_mismatches(declared, observed)) if declared else []
    if differing:
        return Judgement(
            Verdict.BROKEN,
            "mismatch",
            "mismatch",
            "; ".join(differing),
            "the image does not hold what its name says: see the lock",
        )
    if observed.version is None:
        return Judgement(
            Verdict.UNKNOWN,
            "probe",
            "no-probes",
            "no required probe imported the framework and observed its version",
            "add a probe <framework>-import to scripts/probes",
        )
    return Judgement(Verdict.WORKS, "probe")


def _mismatches(declared: Declared, observed: Observed) -> Iterator[str]:
    for name, value in declared.items():
        found = getattr(observed, name)
        if found is not None and found != value:
            yield f"{name}: declared {value}, observed {found}"
