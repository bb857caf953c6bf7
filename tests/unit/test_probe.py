"""Probes: their headers, what a container said, and the verdict of a cell."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envmatrix.engine import Ran
from envmatrix.errors import InputError
from envmatrix.evidence import Verdict
from envmatrix.matrix import Matrix
from envmatrix.probe import (
    Outcome,
    Probe,
    Result,
    find_report,
    judge,
    judge_cell,
    load_probes,
    not_run,
    parse_probe,
)

HEADER = """\
# /// probe
# name = "torch-matmul"
# framework = "torch"
# proves = "A product is right."
# required = true
# timeout = 60
# ///
"""
NONCE = "0123456789abcdef"
PROBE = Probe("torch-matmul", "torch", "A product is right.", True, 60, "")
PATH = Path("probes") / "torch_matmul.py"


# --- headers ---------------------------------------------------------------------------------


def test_a_header_is_read() -> None:
    """Between its marks, wherever they stand; `needs` is optional."""
    source = "#!/usr/bin/env python3\n" + HEADER + '"""Do it."""\n'
    probe = parse_probe(source, PATH)
    assert (
        probe.name,
        probe.framework,
        probe.required,
        probe.timeout,
        probe.needs,
    ) == ("torch-matmul", "torch", True, 60, "")
    assert source == probe.source
    assert parse_probe(HEADER.replace("# ///\n", '# needs = "gpu"\n# ///\n'), PATH).needs == "gpu"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("# /// probe", "# /// script", "no header"),
        ("# ///\n", "", "no header"),
        ("timeout = 60", "timeout = ", "not TOML"),
        ("# timeout = 60\n", "", "lacks timeout"),
        ("timeout = 60", 'timeout = "60"', '"timeout" must be of type int'),
        ("timeout = 60", "timeout = true", '"timeout" must be of type int'),
        ("timeout = 60", "timeout = 0", "timeout"),
        ("timeout = 60", "timeout = -1", "timeout"),
        ("required = true", "required = 1", '"required" must be of type bool'),
        ("# required", "# requird", 'unknown field "requird"'),
        ("# ///\n", '# needs = "tpu"\n# ///\n', "needs"),
        ('"torch-matmul"', '"../torch"', "'../torch' is no name"),
        ('"torch-matmul"', '"torch-matmul\\n"', "is no name"),
        ('"torch-matmul"', '""', "is no name"),
    ],
)
def test_a_bad_header_is_refused_with_the_file(old: str, new: str, what: str) -> None:
    """It is wrong input: each message names the file and a next step."""
    head, _, tail = HEADER.rpartition(old)
    with pytest.raises(InputError) as caught:
        parse_probe(head + new + tail, PATH)
    assert what in caught.value.what
    assert str(PATH) == caught.value.where
    assert caught.value.next_step


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The user's own probes may come from anywhere."""
    (tmp_path / "x.py").write_bytes(HEADER.encode() + b"# \xff\n")
    with pytest.raises(InputError):
        load_probes([tmp_path])


def test_two_probes_of_one_name_are_refused(tmp_path: Path) -> None:
    """Names are the handles of evidence."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(HEADER, encoding="utf-8")
    with pytest.raises(InputError, match="two probes are named torch-matmul"):
        load_probes([tmp_path])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A typing error must not leave the user's probes out."""
    with pytest.raises(InputError, match="no such folder"):
        load_probes([tmp_path / "gone"])


def test_every_probe_of_the_project_is_proper(root: Path, real: Matrix) -> None:
    """Named as its file, of a framework of the matrix, and with one that imports it first."""
    probes = load_probes([root / "scripts" / "probes"])
    files = {path.stem for path in (root / "scripts" / "probes").glob("*.py")}
    assert files == {probe.name.replace("-", "_") for probe in probes}
    for framework in real.frameworks:
        own = [probe for probe in probes if probe.framework == framework]
        assert f"{framework}-import" == own[0].name
        assert own[0].required
        assert all(probe.name.startswith(f"{framework}-") for probe in own)
        assert all(probe.proves.endswith(".") for probe in own)
    assert {probe.framework for probe in probes} == set(real.frameworks)


# --- how a probe ended -----------------------------------------------------------------------


def line(probe: str = PROBE.name, nonce: str = NONCE, **outcome: Any) -> str:
    """Return the line a probe prints."""
    return json.dumps({"probe": probe, "nonce": nonce, **outcome}) + "\n"


RIGHT = line(observed={"error": 1e-7})


@pytest.mark.parametrize(
    ("ran", "outcome", "kind"),
    [
        (Ran(0, RIGHT, "", 1), Outcome.PASSED, ""),
        (Ran(0, "noise\n" + RIGHT + "more\n", "W0000 a warning", 1), Outcome.PASSED, ""),
        (Ran(77, line(not_run="no GPU"), "", 1), Outcome.NOT_RUN, ""),
        # text alone never passes
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
        # it did not come to an end of its own
        (Ran(1, "", "E\nAssertionError: 3 is not 4\n", 1), Outcome.FAILED, "assertion"),
        (Ran(139, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(134, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(255, RIGHT, "", 1), Outcome.CRASHED, "crash"),
        (Ran(127, "", "python: not found", 1), Outcome.COULD_NOT_START, "could-not-start"),
        (Ran(137, RIGHT, "", 1, out_of_memory=True), Outcome.OUT_OF_MEMORY, "out-of-memory"),
        (Ran(0, RIGHT, "", 1, out_of_memory=True), Outcome.OUT_OF_MEMORY, "out-of-memory"),
        (Ran(None, RIGHT, "", 60, timed_out=True), Outcome.TIMED_OUT, "timeout"),
        (Ran(0, RIGHT, "", 60, timed_out=True), Outcome.TIMED_OUT, "timeout"),
        (Ran(None, RIGHT, "", 1), Outcome.TIMED_OUT, "timeout"),
        (Ran(None, RIGHT, "", 1, flooded=True), Outcome.FLOODED, "output-flood"),
    ],
)
def test_exit_code_and_report_must_agree(ran: Ran, outcome: Outcome, kind: str) -> None:
    """A probe passed only if it ended by itself, with 0, and with its own report of this run."""
    result = judge(PROBE, ran, NONCE)
    assert (outcome, kind) == (result.outcome, result.kind)
    assert (outcome is Outcome.PASSED) == bool(result.observed)
    quiet = outcome in (Outcome.PASSED, Outcome.NOT_RUN)
    assert ("" if quiet else (ran.stdout + ran.stderr).rstrip("\n")) == result.log_tail
    assert (outcome is Outcome.PASSED) == (result.cause == "")
    assert result == Result.from_json(json.loads(json.dumps(result.to_json())))


@pytest.mark.parametrize(
    ("code", "signal"), [(139, "SIGSEGV"), (132, "SIGILL"), (255, "signal 127")]
)
def test_a_crash_names_the_signal(code: int, signal: str) -> None:
    """An illegal instruction reads otherwise than a fault of memory."""
    assert f"ended by {signal}" == judge(PROBE, Ran(code, "", "", 1), NONCE).cause


def test_the_log_tail_is_bounded() -> None:
    """A report stays readable whatever a probe prints."""
    ran = Ran(1, "x" * 10_000 + "\n", "y\n" * 10_000 + "the last line", 1)
    tail = judge(PROBE, ran, NONCE).log_tail
    assert tail.endswith("the last line")
    assert len(tail) < 20_000


@given(st.text())
@example(f'["{NONCE}"]')
@example(f'{{"nonce": "{NONCE}"}}')
@example(f'"{NONCE}')
def test_no_output_breaks_the_judge(text: str) -> None:
    """Whatever an image prints is data."""
    ran = Ran(0, f"{text}\n{NONCE}{text}", text, 1)
    assert judge(PROBE, ran, NONCE).outcome == Outcome.BAD_REPORT


def test_a_report_that_is_nested_without_end_is_a_bad_one() -> None:
    """It does not exhaust the stack of the one who reads it."""
    ran = Ran(0, f'["{NONCE}", ' + "[" * 100_000, "", 1)
    assert judge(PROBE, ran, NONCE).outcome == Outcome.BAD_REPORT


def test_the_last_report_counts() -> None:
    """A probe that reports twice means the second."""
    stdout = line(observed={"n": 1}) + line(observed={"n": 2})
    assert (find_report(stdout, PROBE.name, NONCE) or {})["observed"] == {"n": 2}


# --- the verdict of a cell -------------------------------------------------------------------

DECLARED = {"version": "2.13.0", "python": "3.11", "accelerator": "cpu"}
IMPORTED = Result("torch-import", True, Outcome.PASSED, observed=DECLARED)
MULTIPLIED = Result("torch-matmul", True, Outcome.PASSED, observed={"error": 0})
GPU = Probe("torch-matmul-gpu", "torch", "On GPU.", True, 60, "", "gpu")


def test_a_cell_works_when_every_required_probe_passed() -> None:
    """A GPU that is not there, and a probe that is not required, do not stand against it."""
    optional = Result("torch-compile", False, Outcome.FAILED, "other", "no compiler")
    results = [IMPORTED, MULTIPLIED, not_run(GPU, "no GPU"), optional]
    assert judge_cell(DECLARED, results).verdict == Verdict.WORKS


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.PASSED, Outcome.NOT_RUN}))
def test_a_required_probe_that_ended_otherwise_breaks_the_cell(outcome: Outcome) -> None:
    """With the class and the cause of the first that did."""
    failed = Result("torch-nn", True, outcome, "some-class", "some cause", "some remedy")
    later = Result("torch-vae", True, Outcome.CRASHED, "crash", "later")
    judgement = judge_cell(DECLARED, [IMPORTED, failed, later])
    assert (
        judgement.verdict,
        judgement.stage,
        judgement.kind,
    ) == (Verdict.BROKEN, "probe", "some-class")
    assert (judgement.cause, judgement.remedy) == ("torch-nn: some cause", "some remedy")


def test_an_import_that_fails_is_its_own_stage() -> None:
    """It says more than the probes that fail for the same reason."""
    failed = Result("torch-import", True, Outcome.FAILED, "missing-library", "no libx.so")
    assert (
        (judged := judge_cell(DECLARED, [failed])).stage,
        judged.kind,
    ) == ("import", "missing-library")


def test_an_image_that_holds_something_else_is_broken() -> None:
    """Though every probe passed in it."""
    other = Result(
        "torch-import", True, Outcome.PASSED, observed=DECLARED | {"accelerator": "cu130"}
    )
    judgement = judge_cell(DECLARED, [other, MULTIPLIED])
    assert (judgement.verdict, judgement.stage) == (Verdict.BROKEN, "mismatch")
    assert judgement.cause == "accelerator: declared cpu, observed cu130"


@pytest.mark.parametrize(
    "results",
    [
        [],
        [not_run(GPU, "no GPU")],
        [Result("torch-compile", False, Outcome.PASSED, observed={"n": 1})],
        [not_run(PROBE, "it cannot be run here")],
    ],
)
def test_a_cell_of_which_nothing_was_shown_is_unknown(results: list[Result]) -> None:
    """What was not run never counts as passed."""
    assert judge_cell(DECLARED, results).verdict == Verdict.UNKNOWN
