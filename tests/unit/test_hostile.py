"""Hostile text stays inert: whoever wrote it, and wherever it is shown, kept or used.

Each string here would do something if a terminal, a browser or GitHub acted upon it. They are
planted in what images print, in what the engine says, in evidence that others made, in headers of
probes and in the matrix, and then everything that came out of the commands is searched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml
from fake_engine import Exit, FakeEngine, PullRefused, Refuses, RunRequest, StepFails
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import replaced, scalars, the_evidence
from shown import Commands, Shown
from small_fixtures import command, fake, locked, offline, project
from small_project import GOOD, IMPORT_PROBE, MATRIX, NEWER, OLD, Folder, run_one

from envmatrix.model.evidence_file import UnreadableEvidenceError, read_evidence
from envmatrix.model.text import UNSEEN
from envmatrix.model.verdicts import Verdict
from envmatrix.report.table import HEADINGS, TABLE_BEGIN, TABLE_END, escaped, markdown, with_table

__all__ = ["command", "fake", "locked", "offline", "project"]

ESCAPES = "\x1b[2K\x1b[1A\x1b[32mworks\x1b[0m\x9b31m\x1b]8;;https://evil.example\x07x\x1b]8;;\x07"
TURNS = "\u202eskrow\u202c\u2066a\u2069\u200e\u200f\u061c"
BREAKS = "one\rtwo\x0bthree\x85four\u2028five\u2029six\x00"
MARKDOWN = (
    f"| a \\| b \\\\| `c` [d](https://evil.example) ![e](x) <!-- {TABLE_END} {TABLE_BEGIN} -->"
)
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt;"
LINKS = "https://evil.example www.evil.example me@evil.example @nobody :skull: mailto:a@b.example"
MARKUP = "[red]x[/] [/] [link=https://evil.example]y[/link] file:100:16 :100:"
HOSTILE = f"{ESCAPES} {TURNS} {BREAKS} {MARKDOWN} {HTML} {LINKS} {MARKUP}"
UNSAFE = re.compile(f"[{UNSEEN}]")
"""What acts upon a terminal. A line ends with a line feed and nothing else."""


def unsafe(text: str) -> list[str]:
    """Return what in a text would act upon a terminal."""
    return UNSAFE.findall(text)


def written(folder: Folder) -> Iterator[tuple[str, str]]:
    """Yield each file that envmatrix wrote into a project, with its text."""
    for top in (".envmatrix", "images", "out"):
        for path in sorted((folder.root / top).rglob("*")):
            if path.is_file() and path.suffix not in (".whl", ".tar", ".zip"):
                yield str(path.relative_to(folder.root)), path.read_text(encoding="utf-8")


def rows(table: str) -> list[list[str]]:
    """Return the fields of the rows of the tables of a Markdown text, as a browser shows them."""
    html = MarkdownIt("gfm-like", {"linkify": False}).render(table)
    body = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL) for row in body]


def check(shown: Shown, folder: Folder) -> None:
    """Assert that nothing shown or written acts upon a terminal or a page."""
    assert unsafe(shown.out) == []
    assert unsafe(shown.err) == []
    assert {name: unsafe(text) for name, text in written(folder) if unsafe(text)} == {}
    table = folder.root / ".envmatrix/report/table.md"
    if table.exists():
        check_table(table.read_text(encoding="utf-8"))


def check_table(table: str) -> None:
    """Assert that a table has as many fields in each row, no HTML, and its own links only."""
    assert (TABLE_BEGIN in table, TABLE_END in table) == (False, False)
    found = rows(table)
    assert len({len(fields) for fields in found}) == 1
    for field in (field for fields in found for field in fields):
        plain = re.sub(r'^<a href="cells/[\w.+-]+\.json">([^<]*)</a>$', r"\1", field)
        assert "<" not in plain
        assert not re.search(r"(?i)https?://\w|www\.\w|@\w|:[\w+-]+:", plain)


# --- what images and the engine say ----------------------------------------------------------


def lies(request: RunRequest) -> Exit:
    """Observe hostile facts under hostile names."""
    passed = {"version": "3.1.6", "python": "3.11", HOSTILE: HOSTILE, "n": [{"a": HOSTILE}]}
    return Exit(0, stdout=f"{HOSTILE}\n{request.report(passed)}", stderr=HOSTILE)


TRACEBACK = f'Traceback (most recent call last):\n  File "x"\n{HOSTILE}\nImportError: {HOSTILE}\n'


def reasons(request: RunRequest) -> Exit:
    """Say why the probe cannot run."""
    data = {"probe": request.probe, "nonce": request.nonce, "not_run": HOSTILE}
    return Exit(77, stdout=json.dumps(data))


def another(request: RunRequest) -> Exit:
    """Observe other axes than those of the cell."""
    return Exit(0, request.report({"version": HOSTILE, "python": HOSTILE}))


ENDS = {
    "exception": lambda _: Exit(1, stderr=TRACEBACK),
    "no words": lambda _: Exit(3, stdout=HOSTILE, stderr=HOSTILE),
    "crash": lambda _: Exit(139, stderr=f"Fatal Python error: {HOSTILE}"),
    "not run": reasons,
    "could not start": lambda _: Exit(127, stderr=HOSTILE),
    "other axes": another,
    "hostile facts": lies,
}


@pytest.mark.parametrize("end", ENDS)
def test_what_an_image_prints_is_inert(
    project: Folder, command: Commands, fake: FakeEngine, end: str
) -> None:
    """Output, exceptions, reasons and facts of a probe act upon nothing, in every command."""
    fake.on_run = ENDS[end]
    check(command(project, "run", GOOD), project)
    commands = (
        "plan",
        "plan --grid",
        f"explain {GOOD} -v",
        f"explain {GOOD}",
        "report",
        "recommend",
    )
    for arguments in (*map(str.split, commands), ["run", GOOD], ["verify", GOOD]):
        check(command(project, *arguments), project)
        check(command(project, *arguments, "--json"), project)


def test_what_a_build_prints_is_inert(project: Folder, command: Commands, fake: FakeEngine) -> None:
    """The output of a build that fails acts upon nothing, nor does the log that keeps it."""
    fake.fail(StepFails("jinja2===3.1.6", output=f"{HOSTILE}\nValueError: {HOSTILE}\n"), times=None)
    check(command(project, "run", GOOD), project)
    check(command(project, "plan"), project)
    assert "ValueError" in project.read(f".envmatrix/logs/build/{GOOD}.log")


@pytest.mark.parametrize("fault", ["pull", "start"])
def test_what_an_engine_says_is_inert(
    project: Folder, command: Commands, fake: FakeEngine, fault: str
) -> None:
    """Errors of the engine and of a registry act upon nothing."""
    text = HOSTILE.replace("\x00", "")
    faults = {
        "pull": PullRefused(500, message=text),
        "start": Refuses("POST /containers/create", 500, text),
    }
    fake.fail(faults[fault], times=None)
    check(command(project, "run", NEWER, "--base", "pull"), project)
    check(command(project, "plan"), project)


def test_a_cause_is_one_line_of_a_plan(
    project: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cause of several lines stays in its row, and the columns stay columns."""
    fake.on_run = lambda _: Exit(1, stderr="ValueError: one\n  ✓ works  two\nthree\n")
    command(project, "run", GOOD)
    *lines, last = command(project, "plan", GOOD, OLD).out.splitlines()
    assert len(lines) == 2
    assert [GOOD in lines[1] or GOOD in lines[0], last[:8]] == [True, "2 cells:"]
    assert {line.index("jinja2-") for line in lines} == {14}


def flooded(text: str, _: RunRequest) -> Exit:
    """Fail with a flood of output."""
    return Exit(1, stderr=text)


def test_a_flood_of_output_is_bounded_before_it_is_kept(
    project: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A line of a megabyte, ten thousand lines and deep nesting leave small evidence."""
    floods = [
        "a.a." * 240_000,
        "x\n" * 100_000,
        "[" * 900_000,
        ("Error: " + "y" * 400 + "\n") * 2000,
    ]
    for flood in floods:
        fake.on_run = partial(flooded, flood)
        shown = command(project, "run", GOOD, "--fresh")
        assert len(shown.out) < 20_000
        assert len(project.read(f".envmatrix/cells/{GOOD}.json")) < 60_000


# --- evidence that others made ---------------------------------------------------------------


def publish(folder: Folder, data: dict[str, Any], name: str = GOOD) -> None:
    """Publish evidence of a cell."""
    folder.write(f"reports/cells/{name}.json", json.dumps(data))


def test_evidence_of_others_is_inert_in_every_field(project: Folder, command: Commands) -> None:
    """Whatever text of published evidence is hostile, nothing that is shown or written acts."""
    data = run_one(project, GOOD).to_json()
    (project.root / f".envmatrix/cells/{GOOD}.json").unlink()
    for place, _ in scalars(data):
        publish(project, replaced(data, place, HOSTILE))
        for arguments in (["explain", GOOD, "-v"], ["recommend"], ["report", GOOD]):
            check(command(project, *arguments), project)


PATHS = ["../../../out/x", "/tmp/x", "..", "a/b", "a\\b", "", ".hidden", "-x", "a\nb"]  # noqa: S108


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", [("id",), ("axes", "os"), ("base", "id"), ("image", "layers", 0)])
def test_no_name_of_a_file_comes_from_evidence_of_others(
    path: str, place: tuple[str | int, ...]
) -> None:
    """An id, an axis or a layer that holds a part of a path is refused when it is read."""
    data = the_evidence().to_json() | {"base": {"id": "debian12-py3.11-cpu", "origin": None}}
    with pytest.raises(UnreadableEvidenceError, match="damaged"):
        read_evidence(json.dumps(replaced(data, place, path)), "reports/cells/x.json")


def test_evidence_is_of_the_cell_that_its_file_names(project: Folder, command: Commands) -> None:
    """Evidence under the name of another cell speaks for neither of them."""
    data = run_one(project, GOOD).to_json()
    publish(project, data, OLD)
    shown = command(project, "plan", OLD)
    assert f"it is the evidence of {GOOD}" in shown.out
    assert "works" not in shown.out.splitlines()[0]


@pytest.mark.parametrize(
    ("place", "number"),
    [
        (("image", "size"), 10**4000),
        (("image", "size"), -1),
        (("probes", 0, "seconds"), 1e308),
        (("seconds", "build"), 1e308),
    ],
)
def test_numbers_beyond_all_reason_are_refused(
    project: Folder, command: Commands, place: tuple[str | int, ...], number: float
) -> None:
    """A number that cannot be shown makes a file damaged, and ends no command."""
    data = run_one(project, GOOD).to_json()
    (project.root / f".envmatrix/cells/{GOOD}.json").unlink()
    publish(project, replaced(data, place, number))
    assert "damaged" in command(project, "plan", GOOD).out
    assert command(project, "report", GOOD).code == 0


# --- probes, names of files, the matrix ------------------------------------------------------


def test_headers_of_probes_are_inert(offline: Folder, command: Commands) -> None:
    """What a probe says that it proves is text, in the table and in JSON."""
    proves = json.dumps(HOSTILE.replace("\x7f", ""))
    source = IMPORT_PROBE.replace('"Jinja imports and says its version."', proves)
    offline.write("scripts/probes/jinja2_import.py", source)
    for more in ([], ["--json"]):
        shown = command(offline, "probes", *more)
        assert (shown.code, unsafe(shown.out), unsafe(shown.err)) == (0, [], [])
    assert "file:100:16 :100:" in shown.out


@pytest.mark.parametrize(
    "name", ["\x1b[31mx", "a\nnext:  rm", "\u202ex", "[red]", ":100:", b"\xff"]
)
def test_names_of_files_are_inert(offline: Folder, command: Commands, name: str | bytes) -> None:
    """A hostile name of a probe or of a folder acts upon nothing where it is told."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    folder = offline.root / text
    folder.mkdir()
    (folder / f"{text}.py").write_text("print()\n", encoding="utf-8")
    shown = command(offline, "--probes", str(folder), "probes")
    assert (shown.code, unsafe(shown.err)) == (2, [])
    assert len(shown.err.splitlines()) == 3
    shown = command(offline, "report", GOOD, "--out", str(folder))
    assert (shown.code, unsafe(shown.out)) == (0, [])


@pytest.mark.parametrize("text", [HOSTILE, ESCAPES, TURNS, "a\u2028b", "--privileged", "x\ny"])
def test_no_field_of_the_matrix_acts(offline: Folder, command: Commands, text: str) -> None:
    """Hostile text in any field of the matrix is refused or shown, and acts upon nothing."""
    data = yaml.safe_load(MATRIX)
    for place, _ in scalars(data):
        offline.write(
            "matrix.yaml", yaml.safe_dump(replaced(data, place, text), allow_unicode=True)
        )
        shown = command(offline, "plan")
        assert shown.code in {0, 2}
        check(shown, offline)
        for line in shown.err.splitlines():
            assert line.startswith(("error: ", "  where: ", "  next:  "))


# --- the table -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [HOSTILE, MARKDOWN, HTML, LINKS, MARKUP, "\\", "\\|", "\\\\|", "`", "``|``", "a\n\nb"]
)
def test_a_cause_is_plain_text_in_markdown(text: str) -> None:
    """A field shows its text and nothing else, and the markers of the README stay alone."""
    cells = [the_evidence(), the_evidence(Verdict.BROKEN, cause=text, class_=text, stage=text)]
    table = markdown(cells)
    check_table(table)
    assert [len(fields) for fields in rows(table)] == [len(rows(table)[0])] * 3
    page = f"{TABLE_BEGIN}\n{TABLE_END}\n"
    once = with_table(page, table, "README.md")
    assert with_table(once, table, "README.md") == once


@given(st.text(st.sampled_from("ab1 \\|`*_[]()<>!&~$#@:/.-\n\x1b")))
def test_no_text_leaves_its_field(text: str) -> None:
    """A row has as many fields as there are headings, whatever stands in them."""
    table = f"| {' | '.join(HEADINGS[:2])} |\n| --- | --- |\n| {escaped(text)} | end |\n"
    check_table(table)
    assert rows(table)[1][1] == "end"
