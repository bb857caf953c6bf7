"""What commands print: tables, stories and reasons. Text from outside is never markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from small_project import MATRIX

from envmatrix.cli import printing, stories
from envmatrix.model.cells import Cell, declared, expand
from envmatrix.model.evidence import (
    BaseImage,
    CellImage,
    Difference,
    Evidence,
    LayerSize,
    LockedWheels,
    Machine,
    Reproducibility,
    Reproducible,
    Role,
    Serves,
)
from envmatrix.model.matrix_file import load
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult, SharedRun, Way
from envmatrix.model.verdicts import NOT_ATTEMPTED, Judgement, Verdict
from envmatrix.report.answers import Answer, Refused
from envmatrix.report.entries import Entry
from envmatrix.report.grid import legend
from envmatrix.report.table import WHY_SHARED_MEMORY

SMALL = load(MATRIX, "matrix.yaml")
CELLS = {cell.id: cell for cell in expand(SMALL)}
CELL = CELLS["jinja2-3.1.6-py3.11-debian12-cpu"]
OLD = CELLS["jinja2-2.9.6-py3.11-debian12-cpu"]
CUDA = CELLS["jinja2-3.1.6-py3.11-debian12-cu130"]
MARKUP = "[red]stop[/] [link=x]here[/link] [/]"


def evidence(cell: Cell = CELL, verdict: Verdict = Verdict.WORKS, **fields: Any) -> Evidence:
    """Return the evidence of a cell."""
    return Evidence.model_validate(
        {
            "generated_at": datetime(2026, 11, 22, tzinfo=UTC),
            "tool": "envmatrix",
            "host": Machine(system="Linux", machine="x86_64"),
            "id": cell.id,
            "axes": cell.axes,
            "verdict": verdict,
            "stage": "probe",
        }
        | fields
    )


def probe(name: str = "jinja2-import", **fields: Any) -> ProbeResult:
    """Return what a probe gave."""
    given = {"probe": name, "required": True, "outcome": Outcome.PASSED, "seconds": 1.5} | fields
    return ProbeResult.model_validate(given)


IMAGE = CellImage(name="envmatrix/cell:x", layers=("sha256:a", "sha256:b"), size=1_500_000_000)


@dataclass
class Screen:
    """What is printed to stdout and stderr of one terminal."""

    out: StringIO
    err: StringIO

    @property
    def lines(self) -> list[str]:
        """The lines on stdout."""
        return self.out.getvalue().splitlines()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """A function that makes a terminal of a width, in colour or not."""

    def make(width: int = 120, *, colour: bool = False) -> Screen:
        made = Screen(StringIO(), StringIO())
        for name, file in (("out", made.out), ("err", made.err)):
            console = Console(
                file=file,
                width=width,
                highlight=False,
                force_terminal=colour,
                color_system="standard" if colour else None,
                _environ={},
            )
            monkeypatch.setattr(printing, name, console)
        monkeypatch.setattr("sys.stdout", made.out)
        return made

    return make


def test_text_is_printed_as_it_is(screen: Callable[..., Screen]) -> None:
    """Neither markup nor the width of the terminal changes a line of text."""
    shown = screen(20)
    printing.say(MARKUP)
    printing.warn(MARKUP)
    assert shown.lines == [MARKUP]
    assert f"{MARKUP}\n" == shown.err.getvalue()


def test_json_is_one_line_of_unicode(screen: Callable[..., Screen]) -> None:
    """A document is printed on one line, as it is, whatever the width of the terminal."""
    shown = screen(20)
    data = {"cause": f"größer {MARKUP}", "cells": list(range(30))}
    printing.print_json(data)
    (line,) = shown.lines
    assert data == json.loads(line)
    assert "größer" in line


# --- plan ------------------------------------------------------------------------------------


def test_a_plan_has_a_line_for_each_cell(screen: Callable[..., Screen]) -> None:
    """A line has the mark, the verdict, the id and the reason, in columns; the counts come last."""
    shown = screen(20)
    printing.print_plan(
        [
            (CELL, Judgement(Verdict.WORKS, "probe")),
            (CUDA, Judgement(Verdict.BROKEN, "import", "crash", MARKUP)),
        ]
    )
    one, other, summary = shown.lines
    assert one.split()[1:] == ["works", CELL.id]
    assert other.endswith(f"{CUDA.id}  crash: {MARKUP}")
    assert one.index(CELL.id) == other.index(CUDA.id)
    assert summary == "2 cells: 1 works, 1 broken"


def test_a_plan_is_in_colour_in_a_terminal_only(screen: Callable[..., Screen]) -> None:
    """The mark of a verdict has a colour in a terminal, and plain text elsewhere."""
    known = [(CELL, Judgement(Verdict.WORKS, "probe"))]
    plain, colour = screen(), screen(colour=True)
    printing.print_plan(known)
    assert "\x1b[32m" in colour.out.getvalue()
    plain = screen()
    printing.print_plan(known)
    assert "\x1b" not in plain.out.getvalue()


# --- tables ----------------------------------------------------------------------------------


def test_a_table_has_the_columns_that_are_used(screen: Callable[..., Screen]) -> None:
    """A column that no cell fills is left out, and reasons come below the table."""
    shown = screen()
    cells = [
        evidence(),
        evidence(OLD, Verdict.BROKEN, stage="import", cause=MARKUP, class_="crash"),
    ]
    printing.print_table(cells)
    heading, one, other, reason, summary = shown.lines
    assert "verdict" in heading
    assert "why" not in heading
    assert "GPU" not in heading
    assert "works" in one
    assert "broken" in other
    assert reason.endswith(f"{OLD.id}: import: crash: {MARKUP}")
    assert summary == "2 cells: 1 works, 1 broken"


def test_a_narrow_terminal_cuts_no_column(screen: Callable[..., Screen]) -> None:
    """In a narrow terminal the framework is broken into lines, and every other value is whole."""
    wide, narrow = screen(120), None
    printing.print_table([evidence(image=IMAGE, probes=[probe()])])
    values = wide.lines[1].split()
    narrow = screen(60)
    printing.print_table([evidence(image=IMAGE, probes=[probe()])])
    assert max(map(len, narrow.lines)) <= 60
    text = "\n".join(narrow.lines[:-1])
    assert "…" not in text
    framework = {"jinja2", "3.1.6"}
    assert [value for value in set(values) - framework if value not in text] == []


def test_what_a_host_says_of_itself_is_no_markup(screen: Callable[..., Screen]) -> None:
    """Observations of a host fill the columns of a table, and are shown as they are."""
    shown = screen()
    axes = CELL.axes.model_copy(update={"os": "[/]", "python": "[red]3[/red]"})
    printing.print_table([evidence(axes=axes)])
    assert "[/]" in shown.lines[1]
    assert "[red]3[/red]" in shown.lines[1]


# --- reasons and stories ---------------------------------------------------------------------


def test_only_broken_cells_are_told_as_failures(screen: Callable[..., Screen]) -> None:
    """A broken cell is told with its cause, its remedy, the end of its output and its log."""
    shown = screen()
    tail = "\n".join(f"line {number} [/]" for number in range(20))
    failed = probe(outcome=Outcome.FAILED, log_tail=tail)
    optional = probe("jinja2-more", required=False, log_tail="unimportant")
    broken = evidence(
        verdict=Verdict.BROKEN,
        stage="import",
        cause=MARKUP,
        remedy="pin it",
        probes=[failed, optional],
        log="logs/x.log",
        class_="crash",
    )
    printing.print_failures([evidence(), broken])
    text = shown.out.getvalue()
    assert text.startswith(f"\n{CELL.id}: broken at import (crash)\n  cause:  {MARKUP}\n")
    assert "  remedy: pin it\n" in text
    assert "  log:    logs/x.log\n" in text
    assert "line 19 [/]" in text
    assert "line 12 [/]" in text
    assert "line 11 [/]" not in text
    assert "unimportant" not in text


def test_layers_are_told_by_base(screen: Callable[..., Screen]) -> None:
    """Each base names the groups that its cells share, and the steps of each cell."""
    shown = screen(20)
    above = {"wheels": ["d"], "bytes": 1e6, "cells": 2, "above": []}
    group = {"wheels": list("abcdef"), "bytes": 2e6, "cells": 3, "above": [above]}
    cell = {"id": "x", "steps": [{"wheels": ["a", "b"], "bytes": 2e6}, {"wheels": [], "bytes": 0}]}
    printing.print_layers(
        [
            {"base": "one", "index": None, "groups": [group], "cells": [cell]},
            {"base": "two", "index": "https://x", "groups": [], "cells": []},
        ]
    )
    assert shown.lines[:5] == [
        "one",
        "  2 MB shared by 3 cells, saves 4 MB: a, b, c, d and 2 more",
        "    1 MB shared by 2 cells, saves 1 MB: d",
        "  x: 2 (2) + 0 (0)",
        "two, with https://x",
    ]


def test_what_came_of_rebuilding_is_told(screen: Callable[..., Screen]) -> None:
    """A verified cell is told with its differences and notes, and a cell without image says so."""
    shown = screen()
    differs = Reproducibility(
        status=Reproducible.DIFFERS,
        differences=(Difference(path="/x", what=MARKUP, cause="the time"),),
        notes=("a note",),
    )
    printing.print_verified(
        [evidence(image=IMAGE, reproducibility=differs), evidence(CUDA, cause="no base")]
    )
    assert [
        f"differs     {CELL.id}  2 layers",
        f"  /x: {MARKUP}",
        "      the time",
        "  note: a note",
        f"not checked {CUDA.id}  0 layers",
        "  there is no image: no base",
    ] == shown.lines


def test_the_story_of_a_cell_that_works(screen: Callable[..., Screen]) -> None:
    """A story tells the verdict, the inputs, what was observed, each probe, and the image."""
    shown = screen()
    found = evidence(
        CUDA,
        declared=declared(SMALL, CUDA),
        observed=Observed(version="3.1.6", python="3.12", codename="[/]"),
        serves=Serves(driver="580", generations=("Ampere", "Hopper")),
        lock=LockedWheels(sha256="0123456789abcdef", wheels={"a": "1", "b": "2"}),
        base=BaseImage(id="debian12-py3.11-cu130", origin="pull", digest=f"sha256:{'7' * 64}"),
        image=IMAGE,
        reproducibility=Reproducibility(
            status=Reproducible.PROVEN, verified_at=date(2026, 11, 24), notes=("same content",)
        ),
        probes=[
            probe(ran=Way.SHARED),
            probe(
                "jinja2-render",
                shared=SharedRun(outcome=Outcome.TIMED_OUT, cause="not done after 5 s"),
            ),
            probe("gpu", outcome=Outcome.NOT_RUN, cause="no GPU", seconds=0),
        ],
        log="logs/x.log",
    )
    stories.print_story(CUDA, found, "1 package: libc6", verbose=True)
    assert [
        f"✓ {CUDA.id}: works",
        "  jinja2 3.1.6 works on Python 3.11, debian12 and cu130: 2 probes ran and passed.",
        "  serves:  NVIDIA driver 580 and newer; GPUs: Ampere, Hopper",
        "  drift:   debian12 is not what was published: 1 package: libc6",
        "  stage:   probe",
        "  asked:   jinja2==3.1.6, pip",
        "  lock:    2 wheels, 0123456789ab",
        "  base:    debian12-py3.11-cu130 (pull, sha256:777777777777)",
        "  observed version: 3.1.6",
        "  observed python: 3.12   declared: 3.11",
        "  observed codename: [/]   declared: bookworm",
        "  probe    jinja2-import: passed (1.5 s, shared)",
        "  probe    jinja2-render: passed (1.5 s, alone)",
        "           flaky: timed out beside others: not done after 5 s",
        "  probe    gpu: not run: no GPU (0.0 s)",
        "  built:   2026-11-22, 1.5 GB, 2 layers",
        "  rebuilt: proven, 2026-11-24",
        "           same content",
        "  log:     logs/x.log",
    ] == shown.lines


def test_a_story_tells_what_takes_how_much_of_an_image(screen: Callable[..., Screen]) -> None:
    """The layers are told by their role, the largest first, and packages by their names."""
    shown = screen()
    roles: list[tuple[Role, int]] = [
        ("os", 100),
        ("wheels", 200),
        ("packages", 300),
        ("wheels", 400),
    ]
    sizes = tuple(LayerSize(role=role, size=size * 10**6) for role, size in roles)
    packages = tuple(f"{name} 1 amd64 {'a' * 64}" for name in ("cpp", "g++"))
    image = IMAGE.model_copy(update={"sizes": sizes, "packages": packages})
    stories.print_story(CUDA, evidence(CUDA, image=image), "", verbose=True)
    assert "  layers:  wheels 600 MB (60%), packages 300 MB (30%), os 100 MB (10%)" in shown.lines
    assert "  apt:     2 packages: cpp, g++" in shown.lines


def test_the_story_of_a_cell_without_evidence(screen: Callable[..., Screen]) -> None:
    """A story without an image tells the reason and what to do, and how to learn more."""
    shown = screen(30)
    found = evidence(
        verdict=Verdict.UNKNOWN,
        stage="lock",
        cause=MARKUP,
        remedy="lock it",
        base=BaseImage(id="debian12-py3.11-cpu", origin=None),
        class_="blocked",
    )
    stories.print_story(CELL, found, "")
    assert [
        f"? {CELL.id}: unknown",
        "  Whether jinja2 3.1.6 works on Python 3.11, debian12 and cpu is not known.",
        "  class:   blocked",
        f"  cause:   {MARKUP}",
        "  remedy:  lock it",
        f"  more:    envmatrix explain {CELL.id} --verbose",
    ] == shown.lines


def test_a_story_tells_constraints_and_the_index(screen: Callable[..., Screen]) -> None:
    """What a rule constrains, and the index of a variant, are part of what was asked."""
    shown = screen()
    cell = replace(CELL, constraints=("setuptools<82",), index="https://x")
    stories.print_story(cell, evidence(), "", verbose=True)
    asked = next(line for line in shown.lines if "asked" in line)
    assert asked == "  asked:   jinja2==3.1.6, pip, with setuptools<82, from https://x"


def test_a_story_leads_with_how_to_start_the_image(screen: Callable[..., Screen]) -> None:
    """Without --verbose there are the sentence and the commands, and none of the figures."""
    shown = screen()
    run = "docker run --rm -it --pull never --shm-size 1g envmatrix/cell:x"
    image = IMAGE.model_copy(update={"run": run})
    stories.print_story(CELL, evidence(image=image, probes=[probe()], log="logs/x.log"), "")
    assert [
        f"✓ {CELL.id}: works",
        "  jinja2 3.1.6 works on Python 3.11, debian12 and cpu: 1 probe ran and passed.",
        f"  image:   envmatrix build {CELL.id}",
        f"  start:   {run}",
        f"           {WHY_SHARED_MEMORY}",
        f"  more:    envmatrix explain {CELL.id} --verbose",
    ] == shown.lines


@pytest.mark.parametrize("verdict", [Verdict.BROKEN, Verdict.IMPOSSIBLE])
def test_a_story_of_what_does_not_work_tells_what_to_take(
    screen: Callable[..., Screen], verdict: Verdict
) -> None:
    """Cause and remedy come first, then the command that finds another cell."""
    shown = screen()
    found = evidence(
        verdict=verdict, class_="crash", cause="it crashed", remedy="read it", log="logs/x.log"
    )
    stories.print_story(CELL, found, "")
    _, _, *lines = shown.lines
    log = ["  log:     logs/x.log"] if verdict is Verdict.BROKEN else []
    kept = "--python 3.11" if verdict is Verdict.BROKEN else "--version 3.1.6"
    assert lines == [
        "  class:   crash",
        "  cause:   it crashed",
        "  remedy:  read it",
        f"  instead: envmatrix recommend --framework jinja2 {kept} --no-host",
        *log,
        f"  more:    envmatrix explain {CELL.id} --verbose",
    ]


def test_grids_are_told_with_their_legend(screen: Callable[..., Screen]) -> None:
    """Each framework has its grid, and the legend and the counts come last."""
    shown = screen(80)
    entries = [Entry(cell.id, cell.axes, NOT_ATTEMPTED) for cell in (CELL, OLD)]
    printing.print_grids(entries)
    assert shown.lines == [
        "jinja2  3.11",
        "3.1.6      ?",
        "2.9.6      ?",
        "",
        *legend(),
        "2 cells: 2 unknown",
    ]


def test_reasons_of_one_class_share_a_line(screen: Callable[..., Screen]) -> None:
    """The first cause of a class is told with what to do, and the others are counted."""
    shown = screen()
    refused = [
        Refused(verdict=verdict, class_=kind, cause=cause, remedy=remedy, cells=cells)
        for verdict, kind, cause, remedy, cells in (
            (Verdict.PARTIAL, "", "no code", "", ("a",)),
            (Verdict.UNKNOWN, "blocked", "no network", "lock it", ("b", "c")),
            (Verdict.UNKNOWN, "blocked", "no disk", "", ("d",)),
        )
    ]
    stories.print_answer(Answer(framework="jinja2", asked="", refused=tuple(refused)))
    assert shown.lines == [
        "no answer for jinja2: no such cell works or is partial",
        "  ~ partial: 1 cell, such as a: no code",
        "  ? unknown (blocked): 3 cells, such as b: no network",
        "      lock it",
        "      1 other cause of this class, which `--json` tells",
    ]
