"""Judging: what a container said of a probe, and the verdict of a cell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envmatrix.engine.process import Ran
from envmatrix.model.evidence import Declared
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import (
    CAUSE_LIMIT,
    TAIL_LINES,
    find_report,
    judge,
    judge_cell,
    not_run,
)

NONCE = "0123456789abcdef"
PROBE = Probe("torch-matmul", "torch", "A product is right.", required=True, timeout=60, source="")


# --- how a probe ended -----------------------------------------------------------------------


def line(probe: str = PROBE.name, nonce: str = NONCE, **outcome: Any) -> str:
    """Return the line that a probe prints."""
    return json.dumps({"probe": probe, "nonce": nonce, **outcome}) + "\n"


RIGHT = line(observed={"error": 1e-7})


@pytest.mark.parametrize(
    ("ran", "outcome", "kind"),
    [
        (Ran(0, RIGHT, "", 1), Outcome.PASSED, ""),
        (Ran(0, "noise\n" + RIGHT + "more\n", "W0000 a warning", 1), Outcome.PASSED, ""),
        (Ran(77, line(not_run="no GPU"), "", 1), Outcome.NOT_RUN, ""),
        # Text alone never passes.
        (Ran(1, RIGHT, "", 1), Outcome.FAILED, "other"),
        (Ran(0, "", "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, "passed\n", "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(nonce="f" * 16, observed={}), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(probe="torch-import", observed={}), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(nonce="", observed={"n": NONCE}), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(observed=True), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, line(not_run="no GPU"), "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(0, "", RIGHT, 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(77, RIGHT, "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(77, "", "", 1), Outcome.BAD_REPORT, "bad-report"),
        (Ran(77, line(not_run=["no GPU"]), "", 1), Outcome.BAD_REPORT, "bad-report"),
        # Only the output says how the probe failed.
        (Ran(2, "", "no known words", 1), Outcome.FAILED, "other"),
        # These probes did not come to an end of their own.
        (Ran(1, "", "E\nAssertionError: 3 is not 4\n", 1), Outcome.FAILED, "assertion"),
        (Ran(139, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(134, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(255, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(125, "", "the program's own", 1), Outcome.FAILED, "other"),
        (Ran(126, "", "permission denied", 1), Outcome.COULD_NOT_START, "could-not-start"),
        (Ran(127, "", "python: not found", 1), Outcome.COULD_NOT_START, "could-not-start"),
        (Ran(137, RIGHT, "", 1, out_of_memory=True), Outcome.OUT_OF_MEMORY, "out-of-memory"),
        (Ran(0, RIGHT, "", 1, out_of_memory=True), Outcome.OUT_OF_MEMORY, "out-of-memory"),
        (Ran(None, RIGHT, "", 60, timed_out=True), Outcome.TIMED_OUT, "timeout"),
        (Ran(0, RIGHT, "", 60, timed_out=True), Outcome.TIMED_OUT, "timeout"),
        (Ran(None, RIGHT, "", 1), Outcome.TIMED_OUT, "timeout"),
        (Ran(None, RIGHT, "", 1, flooded=True), Outcome.FLOODED, "output-flood"),
        (Ran(0, RIGHT, "", 1, flooded=True), Outcome.FLOODED, "output-flood"),
        (Ran(137, RIGHT, "", 1), Outcome.CRASHED, "crash"),
    ],
)
def test_exit_code_and_report_must_agree(ran: Ran, outcome: Outcome, kind: str) -> None:
    """A probe passed only if it ended by itself, with 0, and with its own report of this run."""
    result = judge(PROBE, ran, NONCE)
    assert (outcome, kind) == (result.outcome, result.kind)
    assert (outcome is Outcome.PASSED) == bool(result.observed.to_json())
    assert (PROBE.name, True, ran.seconds, ran.exit_code) == (
        result.probe,
        result.required,
        result.seconds,
        result.exit_code,
    )
    quiet = outcome in (Outcome.PASSED, Outcome.NOT_RUN)
    assert ("" if quiet else (ran.stdout + ran.stderr).rstrip("\n")) == result.log_tail
    assert (outcome is Outcome.PASSED) == (result.cause == "")
    assert quiet != bool(result.remedy)
    assert result == ProbeResult.model_validate_json(json.dumps(result.to_json()))


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (139, "crash", "ended by SIGSEGV"),
        (132, "cpu-too-old", "an illegal instruction (SIGILL)"),
        (255, "crash", "ended by signal 127"),
    ],
)
def test_a_crash_names_the_signal(code: int, kind: str, said: str) -> None:
    """An illegal instruction reads differently from a fault of memory."""
    found = judge(PROBE, Ran(code, "", "", 1), NONCE)
    assert (Outcome.CRASHED, kind) == (found.outcome, found.kind)
    assert found.cause.startswith(said)


def test_a_crash_is_read() -> None:
    """The last words of a program that aborted say more than the signal."""
    words = "Unable to load any of {libcudnn_cnn.so.9.1.0, libcudnn_cnn.so.9}\nInvalid handle.\n"
    assert judge(PROBE, Ran(134, "", words, 1), NONCE).kind == "cuda-mismatch"


@pytest.mark.parametrize(
    ("ran", "cause"),
    [
        (Ran(77, line(not_run="no GPU here"), "", 1), "no GPU here"),
        (Ran(2, "", "no known words", 1), "exit code 2"),
        (Ran(1, "", "AssertionError: 3 is not 4\n", 1), "3 is not 4"),
        (Ran(127, "", " python: not found\n", 1), "Python did not start: python: not found"),
        (Ran(None, "", "", 60, timed_out=True), "not done after 60 s"),
        (Ran(0, "", "", 1), "exit code 0 without the report that belongs to it"),
        (Ran(77, "", "", 1), "exit code 77 without the report that belongs to it"),
    ],
)
def test_the_cause_is_a_sentence_about_this_run(ran: Ran, cause: str) -> None:
    """It has the words of the probe or of the engine, or the number that matters."""
    assert cause == judge(PROBE, ran, NONCE).cause


def test_a_long_reason_is_cut() -> None:
    """A probe may give a reason of any length, and evidence stays readable."""
    result = judge(PROBE, Ran(77, line(not_run="x" * 500_000), "", 1), NONCE)
    assert (result.outcome, result.cause) == (Outcome.NOT_RUN, "x" * CAUSE_LIMIT)


def test_the_log_tail_is_bounded() -> None:
    """Evidence stays readable, whatever a probe prints."""
    ran = Ran(1, "x" * 10_000 + "\n", "y\n" * 10_000 + "the last line", 1)
    tail = judge(PROBE, ran, NONCE).log_tail
    assert tail.endswith("the last line")
    assert len(tail) < 20_000
    assert len(tail.splitlines()) == TAIL_LINES


@given(st.text())
@example(f'["{NONCE}"]')
@example(f'{{"nonce": "{NONCE}"}}')
@example(f'"{NONCE}')
def test_no_output_breaks_the_judge(text: str) -> None:
    """Everything that an image prints is data."""
    ran = Ran(0, f"{text}\n{NONCE}{text}", text, 1)
    assert judge(PROBE, ran, NONCE).outcome == Outcome.BAD_REPORT


@pytest.mark.parametrize(
    "observed",
    [
        "5",
        "null",
        '"text"',
        "[]",
        '{"architectures": "sm_90"}',
        '{"architectures": 90}',
        '{"losses": ["high"]}',
        '{"losses": [null]}',
        '{"losses": {"first": 1}}',
        '{"losses": [NaN]}',
        '{"losses": [1e999]}',
        '{"losses": [1' + "0" * 400 + "]}",
        '{"error": NaN}',
        '{"error": -Infinity}',
        '{"deep": {"error": [NaN]}}',
        '{"text": "\\ud800"}',
        '{"version": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"deep": {"\\udfff": 1}}',
        '{"number": ' + "1" * 5_000 + "}",
        '{"deep": ' + "[" * 300 + "]" * 300 + "}",
        '{"deep": ' + '{"a":' * 900 + "1" + "}" * 901,
        '{"deep": ' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
)
def test_a_report_that_evidence_cannot_hold_is_a_bad_one(observed: str) -> None:
    """Wrong types, numbers and texts that JSON does not have, and deep nesting end in words."""
    report = f'{{"probe": "{PROBE.name}", "nonce": "{NONCE}", "observed": {observed}}}\n'
    result = judge(PROBE, Ran(0, report, "", 1), NONCE)
    assert (result.outcome, result.kind) == (Outcome.BAD_REPORT, "bad-report")
    assert result.observed == Observed()
    assert result == ProbeResult.model_validate_json(json.dumps(result.to_json()))


@pytest.mark.parametrize(
    "observed",
    [
        {"version": "2.13.0", "architectures": ["sm_90"], "losses": [1, 0.1, 1e-300, 1e300]},
        {"deep": [[[[{"a": [None, True, -0.0]}]]]]},
        {"text": "ä \N{SNOWMAN} \N{GRINNING FACE}", "": ""},
        {"number": 10**100},
        {"to_json": 1, "items": 2, "model_fields": 3},
        {"long": "x" * 10_000},
    ],
)
def test_a_probe_may_observe_anything_that_json_can_say(observed: dict[str, Any]) -> None:
    """Each fact comes back from the evidence as the probe reported it."""
    result = judge(PROBE, Ran(0, line(observed=observed), "", 1), NONCE)
    assert result.outcome is Outcome.PASSED
    text = json.dumps(result.to_json(), ensure_ascii=False).encode()
    assert json.loads(text)["observed"] == observed


@pytest.mark.parametrize(
    ("observed", "kept"),
    [
        ({"\x1b[31mtext": "\x00a\x1b[31mb\u202ec"}, {"text": "abc"}),
        ({"deep": [{"a": "https://me:word@x/"}]}, {"deep": [{"a": "https://***@x/"}]}),
        ({"long": "x" * 900_000}, {"long": "x" * 9_996 + " ..."}),
    ],
    ids=["escapes", "password", "long"],
)
def test_what_a_probe_observes_is_kept_inert(
    observed: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Escapes and passwords are taken out of facts and their names, and a long text is cut."""
    result = judge(PROBE, Ran(0, line(observed=observed), "", 1), NONCE)
    assert result.outcome is Outcome.PASSED
    assert kept == dict(result.observed.items())


def test_more_facts_than_evidence_keeps_are_a_bad_report() -> None:
    """A probe that reports a flood of facts gives a bad report."""
    result = judge(PROBE, Ran(0, line(observed={"n": [1] * 200_000}), "", 1), NONCE)
    assert result.outcome == Outcome.BAD_REPORT


def test_an_axis_that_a_probe_reports_as_a_number_is_a_text() -> None:
    """JSON has no other way to tell that Python 3.1 and 3.10 differ."""
    result = judge(PROBE, Ran(0, line(observed={"python": 3.11, "glibc": None}), "", 1), NONCE)
    assert (result.observed.python, result.observed.glibc) == ("3.11", None)


@pytest.mark.parametrize("reason", ['"\\ud800"', "null", "1", '["no GPU"]', "{}"])
def test_a_reason_that_is_no_text_is_a_bad_report(reason: str) -> None:
    """A probe that does not run has to say why in words."""
    report = f'{{"probe": "{PROBE.name}", "nonce": "{NONCE}", "not_run": {reason}}}\n'
    result = judge(PROBE, Ran(77, report, "", 1), NONCE)
    assert (result.outcome, result.kind) == (Outcome.BAD_REPORT, "bad-report")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "x" * 990_000])
def test_a_long_or_deep_line_is_a_bad_report(text: str) -> None:
    """The line does not exhaust the stack of its reader."""
    ran = Ran(0, f'["{NONCE}", {text}', "", 1)
    assert judge(PROBE, ran, NONCE).outcome == Outcome.BAD_REPORT


def test_a_bad_line_does_not_hide_an_earlier_report() -> None:
    """A library may print our nonce, for example with the whole environment, at its exit."""
    stdout = line(observed={"n": 1}) + f"ENVMATRIX_NONCE={NONCE}\n" + '{"nonce": "' + NONCE
    assert judge(PROBE, Ran(0, stdout, "", 1), NONCE).outcome is Outcome.PASSED


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_only_the_end_of_a_line_ends_a_report(end: str) -> None:
    """JSON may hold characters that Python also takes for the end of a line."""
    report = line(observed={"text": "a\u2028b\x85c"}).strip()
    text = json.dumps(json.loads(report), ensure_ascii=False)
    result = judge(PROBE, Ran(0, f"begun{end or chr(10)}{text}{end}", "", 1), NONCE)
    assert dict(result.observed.items()) == {"text": "a\nb\nc"}


def test_the_last_report_counts() -> None:
    """A probe that reports twice means the second report."""
    stdout = line(observed={"n": 1}) + line(observed={"n": 2})
    assert (find_report(stdout, PROBE.name, NONCE) or {})["observed"] == {"n": 2}


# --- the verdict of a cell -------------------------------------------------------------------

AXES = {
    "version": "2.13.0",
    "python": "3.11",
    "distribution": "debian",
    "codename": "bookworm",
    "glibc": "2.36",
    "accelerator": "cpu",
    "arch": "amd64",
}
DECLARED = Declared(**AXES)
GPU = Probe(
    "torch-matmul-gpu", "torch", "On GPU.", required=True, timeout=60, source="", needs="gpu"
)


def result(
    probe: str, outcome: Outcome = Outcome.PASSED, *, required: bool = True, **fields: Any
) -> ProbeResult:
    """Return the result of a probe."""
    return ProbeResult(probe=probe, required=required, outcome=outcome, **fields)


IMPORTED = result("torch-import", observed=Observed(**AXES))
MULTIPLIED = result("torch-matmul", observed=Observed.model_validate({"error": 0}))


def test_a_cell_works_when_every_required_probe_passed() -> None:
    """A GPU that is not there, and a probe that is not required, do not count against it."""
    optional = result(
        "torch-compile", Outcome.FAILED, required=False, kind="other", cause="no compiler"
    )
    results = [IMPORTED, MULTIPLIED, not_run(GPU, "no GPU"), optional]
    assert judge_cell(DECLARED, results) == Judgement(Verdict.WORKS, "probe")


def test_a_probe_that_was_not_started_says_why() -> None:
    """It has neither an exit code nor a time."""
    found = not_run(GPU, "no GPU")
    assert (found.probe, found.required, found.outcome) == (GPU.name, True, Outcome.NOT_RUN)
    assert (found.cause, found.exit_code, found.seconds) == ("no GPU", None, 0.0)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.PASSED, Outcome.NOT_RUN}))
def test_a_required_probe_that_did_not_pass_breaks_the_cell(outcome: Outcome) -> None:
    """The judgement has the class, the cause and the remedy of the first such probe."""
    failed = result(
        "torch-nn", outcome, kind="some-class", cause="some cause", remedy="some remedy"
    )
    later = result("torch-vae", Outcome.CRASHED, kind="crash", cause="later")
    assert judge_cell(DECLARED, [IMPORTED, failed, later]) == Judgement(
        Verdict.BROKEN, "probe", "some-class", "torch-nn: some cause", "some remedy"
    )


def test_an_import_that_fails_is_its_own_stage() -> None:
    """It says more than the probes that fail for the same reason."""
    failed = result("torch-import", Outcome.FAILED, kind="missing-library", cause="no libx.so")
    judgement = judge_cell(DECLARED, [failed])
    assert (judgement.stage, judgement.kind) == ("import", "missing-library")


@pytest.mark.parametrize("axis", AXES)
def test_an_image_that_holds_something_else_is_broken(axis: str) -> None:
    """Every axis counts, although every probe passed in the image."""
    other = result("torch-import", observed=Observed(**(AXES | {axis: "another"})))
    judgement = judge_cell(DECLARED, [other, MULTIPLIED])
    assert (judgement.verdict, judgement.stage) == (Verdict.BROKEN, "mismatch")
    assert judgement.cause == f"{axis}: declared {AXES[axis]}, observed another"


def test_every_axis_that_differs_is_named() -> None:
    """The accelerator comes after the version."""
    other = result("torch-import", observed=Observed(**(AXES | {"accelerator": "cu130"})))
    declared = Declared(**(AXES | {"version": "2.12.0"}))
    assert judge_cell(declared, [other]).cause == (
        "version: declared 2.12.0, observed 2.13.0; accelerator: declared cpu, observed cu130"
    )


def test_an_axis_that_was_not_observed_is_no_mismatch_and_no_proof() -> None:
    """A cell of which only the version was observed is partial, and the other axes are named."""
    some = result("torch-import", observed=Observed(version="2.13.0"))
    found = judge_cell(DECLARED, [some])
    assert (found.verdict, found.kind) == (Verdict.PARTIAL, "not-observed")
    assert found.cause == "not observed: python, distribution, codename, glibc, accelerator, arch"


CUDA = Declared(**{**AXES, "accelerator": "cu130"})
CUDA_IMPORTED = result("torch-import", observed=Observed(**{**AXES, "accelerator": "cu130"}))
ON_GPU = result("torch-matmul-gpu", needs="gpu")
OTHER = Probe("torch-js", "torch", "In Node.", required=True, timeout=60, source="")


@pytest.mark.parametrize(
    ("declared", "results", "kind", "said"),
    [
        (CUDA, [CUDA_IMPORTED, not_run(GPU, "no GPU")], "gpu-not-run", "torch-matmul-gpu: no GPU"),
        (CUDA, [CUDA_IMPORTED, MULTIPLIED], "gpu-not-run", "no probe of the framework uses one"),
        (None, [CUDA_IMPORTED, not_run(GPU, "no GPU")], "gpu-not-run", "no GPU"),
        (
            DECLARED,
            [IMPORTED, not_run(OTHER, "no Node")],
            "not-run",
            "torch-js did not run: no Nod",
        ),
        (
            CUDA,
            [CUDA_IMPORTED, not_run(GPU, "no GPU"), not_run(OTHER, "no Node")],
            "gpu-not-run",
            "; torch-js did not run: no Node",
        ),
    ],
)
def test_what_could_not_be_run_makes_a_cell_partial(
    declared: Declared | None, results: list[ProbeResult], kind: str, said: str
) -> None:
    """A required probe that did not run, or a GPU that no probe used, is named in the cause."""
    found = judge_cell(declared, results)
    assert (Verdict.PARTIAL, kind) == (found.verdict, found.kind)
    assert said in found.cause
    assert found.remedy


def test_a_cuda_cell_works_when_a_probe_passed_on_a_gpu() -> None:
    """A GPU probe that did not run beside it still leaves the cell partial only if required."""
    assert judge_cell(CUDA, [CUDA_IMPORTED, ON_GPU]).verdict is Verdict.WORKS
    optional = replace(GPU, required=False)
    both = [CUDA_IMPORTED, ON_GPU, not_run(optional, "one GPU only")]
    assert judge_cell(CUDA, both).verdict is Verdict.WORKS


def test_probes_that_all_did_not_run_prove_nothing() -> None:
    """A cell whose required probes all end with 77 is unknown: nothing of it was seen."""
    importing = replace(OTHER, name="torch-import")
    found = judge_cell(DECLARED, [not_run(importing, "not here"), not_run(OTHER, "not here")])
    assert (found.verdict, found.kind) == (Verdict.UNKNOWN, "no-probes")


def test_a_failure_counts_more_than_a_gap() -> None:
    """A cell that failed is broken, whatever else could not be run."""
    failed = result("torch-nn", Outcome.FAILED, kind="assertion", cause="two is not three")
    found = judge_cell(CUDA, [CUDA_IMPORTED, not_run(GPU, "no GPU"), failed])
    assert (found.verdict, found.kind) == (Verdict.BROKEN, "assertion")


def test_a_host_declares_nothing() -> None:
    """Whatever its interpreter has, it works if the probes passed."""
    assert judge_cell(None, [IMPORTED, MULTIPLIED]).verdict is Verdict.WORKS


@pytest.mark.parametrize(
    "results",
    [
        [],
        [not_run(GPU, "no GPU")],
        [MULTIPLIED],
        [result("torch-compile", required=False, observed=Observed.model_validate({"n": 1}))],
        [result("torch-import", observed=Observed(python="3.11"))],
        [not_run(PROBE, "it cannot be run here")],
    ],
)
def test_a_cell_of_which_nothing_was_shown_is_unknown(results: list[ProbeResult]) -> None:
    """A probe that was not run never counts as passed."""
    judgement = judge_cell(DECLARED, results)
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "no-probes")
