"""diff: what changed between two reports, wherever they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from samples import the_evidence
from shown import Commands
from small_project import Folder

from envmatrix.model.evidence import Machine
from envmatrix.model.verdicts import Verdict
from envmatrix.report.document import document
from envmatrix.store.files import to_text

MACHINE = Machine(system="Linux", machine="x86_64")
EVENT = '{"at":"2026-01-02T00:00:00Z","id":"a","verdict":"works","class":""}\n'


def report(folder: Folder, where: str, **verdicts: Verdict) -> None:
    """Write a report of some cells."""
    cells = [the_evidence(verdict, id=name) for name, verdict in verdicts.items()]
    folder.write(f"{where}/report.json", to_text(document(cells, MACHINE).to_json()))


def git(folder: Path, *arguments: str) -> None:
    """Run git, which takes no setting of the user."""
    settings = ("user.name=x", "user.email=x@example.org", "commit.gpgsign=false")
    options = [part for setting in settings for part in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def reports(offline: Folder) -> Folder:
    """A project with an older report in old/ and the published one."""
    report(offline, "old", a=Verdict.WORKS, b=Verdict.WORKS, c=Verdict.BROKEN)
    report(offline, "reports", a=Verdict.BROKEN, b=Verdict.WORKS, c=Verdict.WORKS)
    return offline


HEADLINE = "3 cells: 1 newly broken, 1 newly works, 1 unchanged"


def test_two_folders(reports: Folder, command: Commands) -> None:
    """The counts come first. What is newly broken ends with 0 unless that is asked for."""
    code, out, err = command(reports, "diff", "old")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == HEADLINE
    assert "\nnewly broken: 1\n" in out
    assert "    a: works -> broken\n" in out
    assert "b:" not in out
    assert command(reports, "diff", "old", "reports/report.json") == (0, out, "")


def test_fail_on_regression(reports: Folder, command: Commands) -> None:
    """With --fail-on-regression a newly broken cell ends with 1, and nothing else does."""
    assert command(reports, "diff", "old", "--fail-on-regression").code == 1
    assert command(reports, "diff", "reports", "old", "--fail-on-regression").code == 1
    assert command(reports, "diff", "reports", "reports", "--fail-on-regression").code == 0
    report(reports, "reports", a=Verdict.UNKNOWN, b=Verdict.PARTIAL, d=Verdict.BROKEN)
    assert command(reports, "diff", "old", "--fail-on-regression").code == 0


def test_as_json(reports: Folder, command: Commands) -> None:
    """The JSON is one document, also where the exit code is 1."""
    found = command(reports, "diff", "old", "--json", "--fail-on-regression").document(1)
    assert found["schema"] == 1
    assert found["counts"]["newly-broken"] == 1
    assert sum(found["counts"].values()) == len(found["cells"]) == 3
    assert found["old"].startswith("old of ")


def test_as_markdown(reports: Folder, command: Commands) -> None:
    """Markdown is for the summary of a job."""
    code, out, _ = command(reports, "diff", "old", "--markdown")
    assert code == 0
    assert out.startswith(f"## What changed\n\n**{HEADLINE}**\n")
    assert command(reports, "diff", "old", "--markdown", "--json").is_refusal(2, "exclude")


def test_a_commit(reports: Folder, command: Commands) -> None:
    """A commit stands for the report that it holds, also where the project is not its top."""
    top = reports.root.parent
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "project/reports")
    git(top, "commit", "-q", "-m", "one")
    git(top, "tag", "v1.0")
    report(reports, "reports", a=Verdict.WORKS, b=Verdict.WORKS, c=Verdict.WORKS)
    git(top, "commit", "-q", "-a", "-m", "two")
    for name in ("HEAD~1", "HEAD^", "main~1", "v1.0"):
        out = command(reports, "diff", name).out
        assert out.startswith("3 cells: 1 newly works, 2 unchanged\n"), name
    assert f"from {name}:reports/report.json of " in out
    assert command(reports, "diff", "HEAD").out.startswith("3 cells: 3 unchanged\n")
    assert command(reports, "diff", "HEAD~7").is_refusal(2, "HEAD~7", "git fetch --unshallow")


@pytest.mark.parametrize(
    "name",
    [
        "HEAD:matrix.yaml",
        "--output=x",
        "a..b",
        ":/text",
        "HEAD^{/x}",
        "a b",
        "nowhere/report.json:",
        "",
    ],
)
def test_what_is_no_plain_name_never_reaches_git(
    reports: Folder, command: Commands, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range, a path, an option or a pattern is refused before git is started."""
    monkeypatch.setenv("PATH", "/nowhere")  # A start would end with 3.
    assert command(reports, "diff", "--", name).is_refusal(2, "plain name of a commit", "HEAD~3")


def test_a_folder_that_is_no_repository(reports: Folder, command: Commands) -> None:
    """Outside of a repository a commit is told as such, with what else there is."""
    assert command(reports, "diff", "HEAD").is_refusal(2, "HEAD", "a folder or a file of a report")


def test_git_that_is_not_there(
    reports: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without git the surroundings failed, and folders still compare."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert command(reports, "diff", "HEAD").is_refusal(3, "git cannot be run", "install git")
    assert command(reports, "diff", "old").code == 0


def test_a_time_of_the_history(reports: Folder, command: Commands) -> None:
    """A day or a word stands for the state of that time."""
    reports.write("reports/history.jsonl", EVENT)
    for named in ("week", "2026-01-02"):
        out = command(reports, "diff", named).out
        assert out.startswith("3 cells: 1 newly broken, 2 new\n"), named
        assert f"from {named}: " in out
    out = command(reports, "diff", "2026-01-02", "week").out
    assert out.startswith("1 cell: 1 unchanged\n")


def test_a_time_before_the_history(reports: Folder, command: Commands) -> None:
    """The first report stands for all times before it, and the title says so."""
    assert command(reports, "diff", "week").is_refusal(2, "no history of reports", "HEAD~1")
    reports.write("reports/history.jsonl", EVENT)
    code, out, _ = command(reports, "diff", "2026-01-01")
    assert code == 0
    assert "the first report, 2026-01-02" in out
    assert "since none is older" in out


def test_a_day_that_is_not_over(reports: Folder, command: Commands) -> None:
    """Nobody knows what will be known on a day of the future."""
    reports.write("reports/history.jsonl", EVENT)
    assert command(reports, "diff", "9999-01-01").is_refusal(2, "is not over yet")


def test_a_damaged_history_is_told_with_its_line(reports: Folder, command: Commands) -> None:
    """The error names the file and the line."""
    reports.write("reports/history.jsonl", EVENT + "{}\n")
    assert command(reports, "diff", "week").is_refusal(2, "reports/history.jsonl:2", "git checkout")


def test_no_report_at_hand(offline: Folder, command: Commands) -> None:
    """Without a published report, the command that makes one is told."""
    report(offline, "old", a=Verdict.WORKS)
    assert command(offline, "diff", "old").is_refusal(
        2, "no report to compare with", "`envmatrix report --profile published --out reports`"
    )


def test_a_file_that_is_no_report(reports: Folder, command: Commands) -> None:
    """A file that is no report, or no text, is told."""
    reports.write("old/report.json", "{}")
    assert command(reports, "diff", "old").is_refusal(2, "no report.json", "old")
    (reports.root / "old/report.json").write_bytes(b"\xff\xfe")
    assert command(reports, "diff", "old").is_refusal(2, "no text", "old/report.json")


def test_a_report_of_others_acts_upon_no_terminal(reports: Folder, command: Commands) -> None:
    """Escapes in a report that others made are not printed."""
    data = json.loads(reports.read("old/report.json"))
    data["cells"][0] |= {"verdict": "broken", "class": "\x1b[31mx", "cause": "\x1b]8;;x\x07why"}
    reports.write("new/report.json", json.dumps(data))
    for options in ((), ("--json",), ("--markdown",)):
        out = command(reports, "diff", "old", "new", *options).out
        assert "why" in out
        assert "\x1b" not in out
        assert "\\u001b" not in out
