"""Shards from the plan to the merged report: plan --shards, run --shard, merge."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Exit, FakeEngine
from shown import Commands
from small_project import CUDA, EXCLUDED, GOOD, NEWER, OLD, Folder

CELLS = (GOOD, OLD, CUDA, NEWER, EXCLUDED)
SELECTED = [part for name in CELLS for part in ("--select", name)]
RUN = (GOOD, OLD, CUDA, NEWER)
"""The cells that are in shards."""

TIMES = re.compile(r'"(generated_at|at|base|build|probe|seconds)": ?("[^"]*"|[0-9.]+|null)')


@pytest.fixture
def locked_tree(project: Folder, command: Commands) -> Folder:
    """The project with its locks in images/, as it is committed."""
    assert command(project, "lock", *RUN).code == 0
    return project


@pytest.fixture
def sharded(locked_tree: Folder, command: Commands) -> Folder:
    """The project after its shards were run, whose reports lie in shards/; no state is left."""
    shards = json.loads(
        command(locked_tree, "plan", *CELLS, "--shards", "3", "--format", "github").out
    )
    for entry in shards["include"]:
        run_shard(locked_tree, command, entry["shard"])
    return locked_tree


def run_shard(project: Folder, command: Commands, shard: str, code: int = 0) -> None:
    """Run a shard as a machine of its own, and keep its report."""
    forget(project)
    shown = command(project, "run", *CELLS, "--shard", shard, "--jobs", "1")
    assert shown.code == code, shown
    target = project.root / "shards" / shard.replace("/", "-of-")
    shutil.copytree(project.root / ".envmatrix/report", target)
    forget(project)


def forget(project: Folder) -> None:
    """Remove what this machine knows of cells and of probes."""
    for name in ("cells", "report", "records/probe"):
        shutil.rmtree(project.root / ".envmatrix" / name, ignore_errors=True)


def without_times(folder: Path) -> dict[str, str]:
    """Return the files of a report, without times."""
    return {
        str(path.relative_to(folder)): TIMES.sub("", path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "shard.json"
    }


def report(project: Folder, name: str = "out") -> dict[str, dict[str, Any]]:
    """Return the cells of a report by id."""
    cells = json.loads(project.read(f"{name}/report.json"))["cells"]
    return {cell["id"]: cell for cell in cells}


def test_the_plan_is_a_matrix_of_a_workflow(locked_tree: Folder, command: Commands) -> None:
    """One line of JSON with an entry for each shard that has cells; all cells are counted."""
    shown = command(locked_tree, "plan", *CELLS, "--shards", "9", "--format", "github")
    found = shown.document()
    assert found.keys() == {"include"}
    assert [entry["shard"] for entry in found["include"]] == ["1/9", "2/9", "3/9", "4/9"]
    assert sum(entry["cells"] for entry in found["include"]) == len(RUN)
    assert {entry["arch"] for entry in found["include"]} == {"amd64"}
    whole = command(locked_tree, "plan", *CELLS, "--shards", "2", "--json").document()["shards"]
    assert sorted(name for shard in whole for name in shard["cells"]) == sorted(RUN)
    text = command(locked_tree, "plan", *CELLS, "--shards", "2").out
    assert "1/2: " in text
    assert EXCLUDED not in text


def test_a_plan_of_nothing(locked_tree: Folder, command: Commands) -> None:
    """Where no cell is stale there is no shard, and that is no error. A wrong word is one."""
    shown = command(
        locked_tree, "plan", GOOD, "verdict=broken", "--shards", "9", "--format", "github"
    )
    assert shown.document() == {"include": []}
    assert command(locked_tree, "plan", GOOD, "--format", "gitlab").is_refusal(2, "gitlab")
    assert command(locked_tree, "plan", "nosuch", "--shards", "2").code == 2


def test_only_what_a_change_touches(locked_tree: Folder, command: Commands) -> None:
    """The cells whose inputs differ from those of another commit; what has no lock is none."""
    shown = command(locked_tree, "plan", *CELLS, "--format", "fingerprints")
    assert shown.document()["fingerprints"].keys() == set(RUN)
    locked_tree.write("base.json", shown.out)
    since = ("plan", *CELLS, "--changed-from", "base.json")
    assert command(locked_tree, *since, "--format", "ids").out == "\n"
    assert "0 cells" in command(locked_tree, *since).out
    locked_tree.write("matrix.yaml", locked_tree.read("matrix.yaml").replace("trixie", "trixy"))
    assert command(locked_tree, *since, "--format", "ids").out == f"{NEWER}\n"
    matrix = command(locked_tree, *since, "--shards", "3", "--format", "github").document()
    assert [entry["cells"] for entry in matrix["include"]] == [1]
    for text in ("{", '{"schema":1,"fingerprints":{"../a":"x"}}', '{"schema":2}'):
        locked_tree.write("base.json", text)
        assert command(locked_tree, *since).is_refusal(2, "no fingerprints of cells")
    assert command(locked_tree, "plan", "--changed-from", "none").is_refusal(2, "No such file")


def test_the_merged_report_is_that_of_one_run(sharded: Folder, command: Commands) -> None:
    """Plan, three shards and the merge give what one run gives, but for times."""
    names = sorted(path.name for path in (sharded.root / "shards").iterdir())
    assert names == ["1-of-3", "2-of-3", "3-of-3"]
    shown = command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    assert shown.code == 0, shown
    assert "5 cells: 3 works, 1 partial, 1 impossible" in shown.out
    merged = without_times(sharded.root / "out")
    forget(sharded)
    assert command(sharded, "run", *CELLS, "--jobs", "1").code == 0
    assert merged == without_times(sharded.root / ".envmatrix/report")
    assert not (sharded.root / ".envmatrix/report/shard.json").exists()


def test_a_merge_is_known_on_this_machine(sharded: Folder, command: Commands) -> None:
    """Afterwards plan knows the evidence, and the report of the shards has their packages."""
    command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    found = command(sharded, "plan", *CELLS, "--json").document()["cells"]
    assert {cell["id"]: cell["verdict"] for cell in found}[GOOD] == "works"


def test_packages_of_systems_come_with_the_shards(sharded: Folder, command: Commands) -> None:
    """The report names the packages of a bootstrapped system that another machine made."""
    (path,) = (sharded.root / "shards").glob(f"*/cells/{GOOD}.json")
    path.write_text(path.read_text().replace('"origin": "pull"', '"origin": "bootstrap"'))
    packages = path.parents[1] / "packages"
    packages.mkdir()
    (packages / "debian12.txt").write_text(f"bash 5.2 amd64 {'0' * 64}\n")
    assert command(sharded, "merge", "shards", *SELECTED, "--out", "out").code == 0
    assert sharded.read("out/packages/debian12.txt") == f"bash 5.2 amd64 {'0' * 64}\n"


def test_a_later_report_is_of_no_shard(sharded: Folder, command: Commands) -> None:
    """Report and merge write over the report of a shard, and no file says that it is one."""
    shutil.copytree(sharded.root / "shards/1-of-3", sharded.root / ".envmatrix/report")
    assert command(sharded, "report", GOOD).code == 0
    assert not (sharded.root / ".envmatrix/report/shard.json").exists()
    assert command(sharded, "merge", ".envmatrix/report").is_refusal(2, "no shard.json")


def test_the_history_goes_on(sharded: Folder, command: Commands) -> None:
    """A merge adds to the history of its folder as report does."""
    sharded.write("out/history.jsonl", "")
    command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    lines = sharded.read("out/history.jsonl").splitlines()
    assert {json.loads(line)["id"] for line in lines} == set(CELLS)


def test_a_missing_shard_is_unknown(sharded: Folder, command: Commands) -> None:
    """Its cells stand in the report with a class of their own, and the exit code is 3."""
    told = json.loads(sharded.read("shards/2-of-3/shard.json"))
    shutil.rmtree(sharded.root / "shards/2-of-3")
    shown = command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    assert shown.code == 3
    assert "shard 2/3 is missing" in shown.err
    found = report(sharded)
    assert found.keys() == set(CELLS)
    gone = {name for name, cell in found.items() if cell["class"] == "shard-missing"}
    assert gone == set(told["cells"])
    assert {found[name]["verdict"] for name in gone} == {"unknown"}
    assert "shard 2/3 gave no report" in found[told["cells"][0]]["cause"]
    code = command(
        sharded, "merge", "shards", *SELECTED, "--out", "o2", "--fail-on-regression", "out"
    ).code
    assert code == 3


def test_a_missing_cell_is_unknown(sharded: Folder, command: Commands) -> None:
    """A report of a shard that lacks a cell leaves that cell unknown."""
    (path,) = (sharded.root / "shards").glob(f"*/cells/{GOOD}.json")
    path.unlink()
    shown = command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    assert shown.code == 3
    assert report(sharded)[GOOD]["class"] == "cell-missing"
    assert report(sharded)[OLD]["verdict"] == "works"


def test_published_evidence_of_a_missing_shard_is_not_lost(
    sharded: Folder, command: Commands
) -> None:
    """The report says unknown, and this machine keeps what was published."""
    assert command(sharded, "merge", "shards", *SELECTED, "--out", "reports").code == 0
    forget(sharded)
    shutil.rmtree(sharded.root / "shards/1-of-3")
    assert command(sharded, "merge", "shards", *SELECTED, "--out", "reports").code == 3
    (lost, *_) = (
        name for name, cell in report(sharded, "reports").items() if cell["verdict"] == "unknown"
    )
    kept = json.loads(sharded.read(f".envmatrix/cells/{lost}.json"))
    assert kept["verdict"] in ("works", "partial")


@pytest.mark.parametrize(
    "what", ["twice", "counts", "selection", "cell", "stale", "axes", "amended", "claims", "none"]
)
def test_what_does_not_belong_together_is_refused(
    sharded: Folder, command: Commands, what: str
) -> None:
    """The refusal names it, and nothing is written."""
    shards = sharded.root / "shards"
    arguments = ["merge", "shards", *SELECTED, "--out", "out"]
    told = json.loads(sharded.read("shards/1-of-3/shard.json"))
    match what:
        case "twice":
            shutil.copytree(shards / "1-of-3", shards / "again")
            words = "more than once: shards/1-of-3 (1/3), shards/again (1/3)"
        case "counts":
            sharded.write("shards/1-of-3/shard.json", json.dumps(told | {"of": 4}))
            words = "not the shards of one run: shards/1-of-3 (1/4), shards/2-of-3 (2/3)"
        case "selection":
            arguments = ["merge", "shards", "--select", GOOD, "--out", "out"]
            words = "of other cells than those that are merged"
        case "cell":
            (path,) = shards.glob(f"*/cells/{GOOD}.json")
            other = next(one for one in sorted(shards.iterdir()) if one != path.parents[1])
            shutil.copy(path, other / "cells")
            words = f"not of this shard: {GOOD}"
        case "stale":
            probe = "scripts/probes/jinja2_render.py"
            sharded.write(probe, sharded.read(probe) + "# another\n")
            words = "probe jinja2-render"
        case "axes":
            (path,) = shards.glob(f"*/cells/{GOOD}.json")
            path.write_text(path.read_text().replace('"os": "debian12"', '"os": "debian13"'))
            words = f"{GOOD} (axes)"
        case "amended":
            now = datetime.now(UTC)
            mark = {"cells": GOOD, "recorded": {"until": f"{now:%Y-%m-%dT%H:%M:%SZ}"}}
            marks = {"schema": 1, "amendments": [mark | {"reason": "the clock was wrong"}]}
            sharded.write("amendments.yaml", json.dumps(marks))
            words = f"{GOOD} (marked invalid by an amendment)"
        case "claims":
            sharded.write("claims.yaml", "schema: 2\n")
            words = "claims.yaml:1"
        case _:
            shutil.rmtree(shards)
            shards.mkdir()
            words = "no report of a shard here"
    assert command(sharded, *arguments).is_refusal(2, words)
    assert not (sharded.root / "out").exists()
    assert not (sharded.root / ".envmatrix/cells").exists()


def test_other_locks_are_cut_otherwise(sharded: Folder, command: Commands) -> None:
    """A shard that has other cells than here is refused with their names."""
    told = json.loads(sharded.read("shards/1-of-3/shard.json"))
    sharded.write("shards/1-of-3/shard.json", json.dumps(told | {"cells": ["other"]}))
    shown = command(sharded, "merge", "shards", *SELECTED, "--out", "out")
    assert shown.is_refusal(2, "has other cells", "other")


def test_a_shard_without_cells_is_a_report(locked_tree: Folder, command: Commands) -> None:
    """More shards than cells: the last ones do nothing, and end well."""
    shown = command(locked_tree, "run", GOOD, "--shard", "2/2")
    assert shown.code == 0, shown
    assert json.loads(locked_tree.read(".envmatrix/report/shard.json"))["cells"] == []
    assert command(locked_tree, "build", GOOD, "--shard", "2/2").code == 0
    assert command(locked_tree, "run", GOOD, "--shard", "3/2").is_refusal(2, "is no shard")
    # As where a variable of CI is empty: all cells.
    assert command(locked_tree, "run", GOOD, "--shard", "").code == 0
    assert not (locked_tree.root / ".envmatrix/report/shard.json").exists()


def test_only_a_regression_fails(sharded: Folder, command: Commands, fake: FakeEngine) -> None:
    """With --fail-on-regression, 1 tells of a cell that is newly broken, and an annotation too."""
    assert command(sharded, "merge", "shards", *SELECTED, "--out", "reports").code == 0
    fake.on_run = lambda _: Exit(1, stderr="AssertionError: 100%\n")
    shutil.rmtree(sharded.root / "shards")
    # The images are there; only the probes fail now.
    shards = [f"{number}/3" for number in (1, 2, 3)]
    for shard in shards:
        run_shard(sharded, command, shard, code=1)
    arguments = ("merge", "shards", *SELECTED, "--out", "out", "--annotations", "--junit", "j.xml")
    shown = command(sharded, *arguments, "--fail-on-regression", "reports")
    assert shown.code == 1
    assert f"::error title={GOOD} is broken; it was works::" in shown.err
    assert f'name="{GOOD}"' in sharded.read("j.xml")
    assert 'failures="4"' in sharded.read("j.xml")
    again = command(sharded, *arguments, "--fail-on-regression", "out")
    assert (again.code, "::error" in again.err) == (0, False)
    assert command(sharded, *arguments).code == 1


def test_run_and_report_write_for_ci(sharded: Folder, command: Commands, fake: FakeEngine) -> None:
    """Both compare with the published report. Without one, no cell is newly broken."""
    fake.on_run = lambda _: Exit(1, stderr="AssertionError: no\n")
    arguments = ("--junit", "j.xml", "--annotations")
    shown = command(sharded, "run", GOOD, *arguments)
    assert (shown.code, "::error" in shown.err) == (1, False)
    assert "<failure" in sharded.read("j.xml")
    assert command(sharded, "merge", "shards", *SELECTED, "--out", "reports").code == 0
    shown = command(sharded, "run", GOOD, "--json", *arguments)
    assert shown.document(1)
    assert "::error" in shown.err
    shown = command(sharded, "report", GOOD, *arguments)
    assert f"::error title={GOOD} is broken" in shown.err
    (log,) = (sharded.root / f".envmatrix/logs/probe/{GOOD}").glob("*import.log")
    assert "AssertionError: no" in log.read_text()
    told = command(sharded, "explain", GOOD).out
    assert f".envmatrix/logs/probe/{GOOD}/jinja2-import.log" in told
