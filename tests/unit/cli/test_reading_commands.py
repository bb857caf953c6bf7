"""The program itself, and the commands that only read: exit codes, output, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from samples import the_evidence
from shown import Commands
from small_project import (
    BASE,
    EXCLUDED,
    GOOD,
    IMPORT_PROBE,
    IMPOSSIBLE,
    MATRIX,
    OLD,
    Folder,
)

from envmatrix import __version__
from envmatrix.model.evidence import BaseImage
from envmatrix.model.probe_results import Observed
from envmatrix.store.files import to_text

# --- the program -----------------------------------------------------------------------------


def test_the_version_is_printed(offline: Folder, command: Commands) -> None:
    """The version is one line on stdout, and no matrix is needed for it."""
    (offline.root / "matrix.yaml").unlink()
    assert (0, f"envmatrix {__version__}\n", "") == command(offline, "--version")


def test_help_names_every_command(offline: Folder, command: Commands) -> None:
    """The help tells what each command is for."""
    code, out, _ = command(offline, "--help")
    assert code == 0
    commands = (
        "plan lock render build probe run report verify explain recommend diff probes shell schema"
    )
    assert [name for name in commands.split() if f"  {name} " not in out] == []


@pytest.mark.parametrize("arguments", [["nonsense"], ["plan", "--nonsense"], ["explain"]])
def test_a_command_line_that_is_wrong_is_refused(
    offline: Folder, command: Commands, arguments: list[str]
) -> None:
    """A command or option that does not exist, or an argument that lacks, ends with 2."""
    code, out, err = command(offline, *arguments)
    assert (code, out) == (2, "")
    assert " --help`" in err


def test_a_matrix_that_is_not_there_is_an_error(offline: Folder, command: Commands) -> None:
    """A matrix file that cannot be read is told with its path and what to do."""
    shown = command(offline, "--matrix", "no.yaml", "plan")
    assert shown.is_refusal(2, "no.yaml")


def test_a_matrix_that_is_wrong_is_an_error(offline: Folder, command: Commands) -> None:
    """A mistake in the matrix is told with its line, and nothing else is done."""
    offline.write("matrix.yaml", MATRIX.replace("accelerator:", "akzelerator:", 1))
    assert command(offline, "plan").is_refusal(2, "matrix.yaml", "akzelerator")


@pytest.mark.parametrize(
    "name", ["plan", "lock", "render", "build", "probe", "run", "report", "verify"]
)
def test_a_profile_without_cells_is_an_error(offline: Folder, command: Commands, name: str) -> None:
    """A profile that matches no cell is told, so that nobody takes it for a run that went well."""
    offline.write("matrix.yaml", MATRIX + '  none: [{version: "9.9.9", accelerator: cu130}]\n')
    shown = command(offline, name, "--profile", "none")
    assert shown.is_refusal(2, "the profile none matches no cell", "matrix.yaml")


@pytest.mark.parametrize("arguments", [["plan", "--json"], ["schema", "evidence"]])
def test_a_reader_that_leaves_early_ends_the_program_quietly(
    offline: Folder, arguments: list[str]
) -> None:
    """A pipe that is closed, as head closes it, is no error."""
    with offline.start(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (0, "")


# --- plan, explain, probes, schema -----------------------------------------------------------


def test_plan(offline: Folder, command: Commands) -> None:
    """A plan lists the cells of the profile, or those that are selected, and what is known."""
    code, out, err = command(offline, "plan")
    assert (code, err) == (0, "")
    assert [GOOD in line for line in out.splitlines()] == [False, True, False]
    assert out.endswith("2 cells: 2 unknown\n")
    _, out, _ = command(offline, "plan", "version=3.1.6", "os=debian12", "accelerator=cpu")
    assert OLD not in out


def test_plan_as_json(offline: Folder, command: Commands) -> None:
    """The plan as JSON has the id, the axes and the judgement of each cell."""
    found = command(offline, "plan", IMPOSSIBLE, EXCLUDED, "--json").document()
    assert found["schema"] == 1
    by_id = {cell["id"]: cell for cell in found["cells"]}
    assert {IMPOSSIBLE, EXCLUDED} == set(by_id)
    assert (by_id[IMPOSSIBLE]["verdict"], by_id[IMPOSSIBLE]["stage"]) == ("impossible", "lock")
    assert by_id[EXCLUDED]["cause"] == "nobody asked for it"
    assert by_id[EXCLUDED]["axes"]["os"] == "debian13"


def test_plan_as_a_grid(offline: Folder, command: Commands) -> None:
    """The grid has a row a release and a column a Python, in a pipe and without colour."""
    code, out, err = command(offline, "plan", "*", "--grid")
    assert (code, err) == (0, "")
    assert out.splitlines()[:4] == [
        "jinja2  3.11  3.13",
        "9.9.9      ?     ?",
        "3.1.6      ?     ?",
        "2.9.6      ?     ?",
    ]
    assert "\x1b" not in out


def test_plan_of_what_is_known(offline: Folder, command: Commands) -> None:
    """A selector asks for the verdict, and one that fits nothing is an error."""
    _, out, _ = command(offline, "plan", "verdict=impossible")
    assert IMPOSSIBLE in out
    assert GOOD not in out
    assert command(offline, "plan", "verdict=works").is_refusal(2, "verdict=works")


def test_plan_of_layers(
    offline: Folder, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan of layers tells the groups that cells share, and the steps of each cell."""
    monkeypatch.setattr("envmatrix.render.sharing.HEAVY", 1)
    assert command(offline, "lock", "--profile", "published")[0] == 0
    _, out, _ = command(offline, "plan", "--layers")
    assert "shared by 2 cells" in out
    assert f"  {GOOD}: " in out
    found = command(offline, "plan", "--layers", "--json").document()
    (base,) = found["bases"]
    assert {GOOD, OLD} == {cell["id"] for cell in base["cells"]}
    assert base["groups"][0]["wheels"] == ["markupsafe", "pip"]
    assert base["cells"][0]["steps"][1]["wheels"] == ["jinja2"]


def test_plan_of_layers_leaves_out_what_has_no_lock(offline: Folder, command: Commands) -> None:
    """A base whose cells have no lock is not told."""
    found = command(offline, "plan", "--layers", IMPOSSIBLE, "--json").document()
    assert found == {"schema": 1, "bases": []}


@pytest.mark.parametrize("name", ["plan", "lock", "render", "build", "probe", "run", "verify"])
def test_a_selector_that_matches_nothing_is_an_error(
    offline: Folder, command: Commands, name: str
) -> None:
    """Every command that takes selectors tells which one matches nothing, and a near one."""
    assert command(offline, name, GOOD.replace("3.1.6", "3.1.7")).is_refusal(2, "3.1.7", GOOD)


@pytest.mark.parametrize("name", ["plan", "lock", "render", "build", "probe", "run", "verify"])
def test_a_profile_that_does_not_exist_is_an_error(
    offline: Folder, command: Commands, name: str
) -> None:
    """Every command that takes a profile tells the near ones."""
    assert command(offline, name, "--profile", "quik").is_refusal(2, 'no profile "quik"', "quick")


def test_explain(offline: Folder, command: Commands) -> None:
    """The story of a cell begins with its verdict, and all of it comes with --verbose."""
    code, out, err = command(offline, "explain", IMPOSSIBLE)
    assert (code, err) == (0, "")
    assert out.startswith(f"- {IMPOSSIBLE}: impossible\n  jinja2 9.9.9 on Python 3.11")
    assert "  class:   no-such-version\n" in out
    assert "  asked:" not in out
    assert "  asked:" in command(offline, "explain", IMPOSSIBLE, "-v").out
    found = command(offline, "explain", IMPOSSIBLE, "--json").document()
    assert (found["id"], found["class"], found["schema"]) == (IMPOSSIBLE, "no-such-version", 2)


def test_explain_tells_of_a_tag_that_moved(offline: Folder, command: Commands) -> None:
    """Evidence of this machine on another pulled image than the published tells both digests."""
    workspace = offline.workspace()
    (cell,) = offline.cells(GOOD)
    inputs = workspace.folders.inputs(cell, workspace.probes.hashes(cell), "")
    for letter, keep in (("a", None), ("b", workspace.book.keep)):
        base = BaseImage(id=BASE, origin="pull", digest=f"sha256:{letter * 64}")
        found = the_evidence(id=GOOD, base=base, inputs=inputs)
        if keep:
            keep(found)
        else:
            offline.write(f"reports/cells/{GOOD}.json", to_text(found.to_json()))
    code, out, _ = command(offline, "explain", GOOD)
    assert code == 0
    assert (
        "  drift:   debian12 is not what was published: debian:12-slim has moved: "
        "sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb\n"
    ) in out


def test_explain_is_about_one_cell(offline: Folder, command: Commands) -> None:
    """A selector of several cells, or of none, is an error that shows an id."""
    assert command(offline, "explain", "jinja2-3.1.6-*").is_refusal(
        2, "matches", "give one cell id", GOOD
    )
    assert command(offline, "explain", "jinja2").is_refusal(2, "jinja2", '"*jinja2*"')


def test_probes(offline: Folder, command: Commands) -> None:
    """Each probe is listed with what it proves, whether it is required, and its limit."""
    code, out, err = command(offline, "probes")
    assert (code, err) == (0, "")
    assert "jinja2-import" in out
    assert "A template is rendered." in out
    found = command(offline, "probes", "--json").document()
    assert found["probes"][0] == {
        "name": "jinja2-import",
        "framework": "jinja2",
        "proves": "Jinja imports and says its version.",
        "required": True,
        "timeout": 30,
        "needs": "",
    }


def test_probes_of_the_users_own(offline: Folder, command: Commands) -> None:
    """Further folders of probes are read beside those of the project."""
    probe = IMPORT_PROBE.replace("jinja2-import", "jinja2-mine").replace("= true", "= false")
    offline.write("mine/probe.py", probe)
    _, out, _ = command(offline, "--probes", "mine", "probes")
    line = next(line for line in out.splitlines() if line.startswith("jinja2-mine"))
    assert " no " in line


def test_probes_that_are_wrong_are_an_error(offline: Folder, command: Commands) -> None:
    """A folder that is not there, and a file without a header, are told by their paths."""
    assert command(offline, "--probes", "nowhere", "probes").is_refusal(2, "nowhere")
    offline.write("scripts/probes/bad.py", "# /// probe\nprint()\n")
    assert command(offline, "probes").is_refusal(2, "bad.py", "no header")


@pytest.mark.parametrize("name", ["matrix", "evidence", "amendments", "claims"])
def test_schema(offline: Folder, command: Commands, name: str) -> None:
    """The schema of a file is a JSON Schema, and that of the matrix is the default."""
    code, out, _ = command(offline, "schema", name)
    assert code == 0
    assert name in json.loads(out)["title"].lower()
    if name == "matrix":
        assert out == command(offline, "schema")[1]


def test_schema_of_something_else_is_an_error(offline: Folder, command: Commands) -> None:
    """A schema that does not exist is told with the names that do."""
    assert command(offline, "schema", "lock").is_refusal(
        2, "there is no schema of 'lock'", "evidence"
    )
    assert command(offline, "schema", "matrix", "evidence")[0] == 2


# --- amendments and claims -------------------------------------------------------------------

AMENDED = """\
schema: 1
amendments: [{cells: "jinja2-3.1.6-*", recorded: {until: "2026-11-22"}, reason: it ran nothing}]
"""
CLAIMS = """\
schema: 1
sources: {table: {title: The table, url: "https://example.org/t", read: "2026-11-22"}}
claims: [{source: table, framework: jinja2, versions: "3.1.6", pythons: ["3.11"], cuda: ["12.3"]}]
"""


def keep(project: Folder, **fields: Any) -> None:
    """Keep evidence of the good cell with the inputs of now."""
    workspace = project.workspace()
    (cell,) = project.cells(GOOD)
    inputs = workspace.folders.inputs(cell, workspace.probes.hashes(cell), "")
    given: dict[str, Any] = {"id": GOOD, "axes": cell.axes, "inputs": inputs}
    workspace.book.keep(the_evidence(**(given | fields)))


def test_amended_evidence_is_told_by_the_commands_that_read(
    offline: Folder, command: Commands
) -> None:
    """Plan and explain tell the reason, and the command that gives new evidence."""
    keep(offline)
    assert "✓ works" in command(offline, "plan", GOOD).out
    offline.write("amendments.yaml", AMENDED)
    out = command(offline, "plan", GOOD).out
    assert "? unknown" in out
    assert "amended: its evidence of 2026-11-22 (works) was marked invalid: it ran nothing" in out
    shown = command(offline, "explain", GOOD).out
    assert f"  remedy:  `envmatrix run {GOOD}`\n" in shown


def test_an_amendment_that_marks_nothing_is_noted(offline: Folder, command: Commands) -> None:
    """It is no error: the cell may have been run again."""
    keep(offline)
    offline.write("amendments.yaml", AMENDED)
    assert command(offline, "report", GOOD).err == ""
    offline.write("amendments.yaml", AMENDED.replace("jinja2-3", "jinja-3"))
    code, _, err = command(offline, "report", GOOD)
    assert code == 0
    assert err == (
        "note: the amendment of jinja-3.1.6-*, recorded until 2026-11-22, marks no evidence that "
        "is here\n"
    )


@pytest.mark.parametrize("arguments", [["plan"], ["explain", GOOD], ["report", GOOD]])
def test_amendments_that_are_wrong_are_an_error(
    offline: Folder, command: Commands, arguments: list[str]
) -> None:
    """A mistake is told with its line, and nothing else is done."""
    offline.write("amendments.yaml", AMENDED.replace("reason", "raeson"))
    assert command(offline, *arguments).is_refusal(2, "amendments.yaml:2", "raeson", "reason")


def test_what_vendors_declare_otherwise_is_told(offline: Folder, command: Commands) -> None:
    """The report has it in its document and its table, and explain tells it of its cell."""
    observed = Observed(version="3.1.6", accelerator="cu125")
    keep(offline, observed=observed)
    offline.write("claims.yaml", CLAIMS)
    found = command(offline, "report", GOOD, "--json").document()
    (one,) = found["disagreements"]
    assert (one["field"], one["declared"], one["observed"]) == ("cuda", "12.3", "12.5")
    assert (one["cells"], one["evidence"]) == ([GOOD], [GOOD])
    assert found["claims"] == {"confirmed": 1, "contradicted": 1, "unchecked": 0}
    table = offline.read(".envmatrix/report/table.md")
    assert "| jinja2 3.1.6 | CUDA | 12.3 (" in table
    told = "  claim:   CUDA 12.3; observed: 12.5; The table (read 2026-11-22)\n"
    assert told in command(offline, "explain", GOOD).out
    assert "claim:" not in command(offline, "explain", OLD).out


def test_the_glibc_of_a_claim_is_that_of_the_committed_lock(
    offline: Folder, command: Commands
) -> None:
    """The tag of the framework's wheel decides; that of jinja2 names none."""
    command(offline, "lock", "--profile", "published")
    offline.write("claims.yaml", CLAIMS.replace('cuda: ["12.3"]', 'glibc: "2.17"'))
    counts = command(offline, "report", GOOD, "--json").document()["claims"]
    assert counts == {"confirmed": 0, "contradicted": 0, "unchecked": 2}
    path = f"images/{GOOD}/requirements.lock"
    tagged = offline.read(path).replace("py3-none-any.whl", "py3-none-manylinux_2_28_x86_64.whl", 1)
    offline.write(path, tagged)
    (one,) = command(offline, "report", GOOD, "--json").document()["disagreements"]
    assert (one["observed"], one["cells"], one["evidence"]) == (
        "2.28, by the tag of the wheel",
        [GOOD],
        [],
    )


def test_claims_that_are_wrong_are_an_error(offline: Folder, command: Commands) -> None:
    """A mistake is told with its line."""
    offline.write("claims.yaml", CLAIMS.replace("source: table", "source: tabel"))
    assert command(offline, "report", GOOD).is_refusal(2, "claims.yaml:3", '"tabel"', "table")
