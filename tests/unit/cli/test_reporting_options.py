"""report with --site and --max-age, and the schemas of what it writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from shown import Commands
from small_project import GOOD, OLD, Folder

from envmatrix.cli.reporting import SCHEMAS
from envmatrix.store.files import to_text


def published(project: Folder, command: Commands, *cells: str) -> None:
    """Run cells, and write their report with a history."""
    command(project, "run", *cells)
    project.write("out/history.jsonl", "")
    assert command(project, "report", *cells, "--out", "out", "--site").code == 0


def of_good(project: Folder, folder: str) -> dict[str, object]:
    """Return what the API in a folder says of the good cell. It knows every cell of the matrix."""
    document = json.loads(project.read(f"{folder}/site/api/v1/jinja2/3.1.6.json"))
    return next(cell for cell in document["cells"] if cell["id"] == GOOD)


def aged(project: Folder, cell: str, days: int) -> None:
    """Let the evidence of a cell be some days old."""
    name = f".envmatrix/cells/{cell}.json"
    then = datetime.now(UTC) - timedelta(days=days, hours=1)
    data = json.loads(project.read(name)) | {"generated_at": then.isoformat()}
    project.write(name, to_text(data))


# --- history ---------------------------------------------------------------------------------


def test_the_published_report_has_a_history(project: Folder, command: Commands) -> None:
    """Each report adds what changed since the last, and one that changes nothing adds nothing."""
    command(project, "run", GOOD, OLD)
    command(project, "report", GOOD, "--out", "reports")
    first = project.read("reports/history.jsonl")
    assert [json.loads(line)["id"] for line in first.splitlines()] == [GOOD]
    command(project, "report", GOOD, "--out", "reports")
    assert project.read("reports/history.jsonl") == first
    project.write("reports/history.jsonl", first.rstrip("\n"))
    command(project, "report", OLD, "--out", "reports")
    told = project.read("reports/history.jsonl")
    assert told.startswith(first)
    added = [json.loads(line) for line in told.splitlines()[1:]]
    assert sorted((one["id"], one["verdict"]) for one in added) == [(OLD, "works"), (GOOD, "gone")]


def test_another_report_is_told_by_the_published_history(
    project: Folder, command: Commands
) -> None:
    """A folder elsewhere gets no history unless it has one, and its API knows the published one."""
    command(project, "run", GOOD)
    event = f'{{"at":"2026-01-02T00:00:00Z","id":"{GOOD}","verdict":"works","class":""}}\n'
    project.write("reports/history.jsonl", event)
    for folder, options in (("out", ("--out", "out")), (".envmatrix/report", ())):
        command(project, "report", GOOD, *options, "--site")
        assert not (project.root / folder / "history.jsonl").exists()
        cell = of_good(project, folder)
        assert cell["since"] == "2026-01-02T00:00:00Z"
    assert project.read("reports/history.jsonl") == event
    project.write("out/history.jsonl", "")
    command(project, "report", GOOD, "--out", "out")
    assert GOOD in project.read("out/history.jsonl")


def test_a_damaged_history_stops_a_report(project: Folder, command: Commands) -> None:
    """Nothing is written beside a history that cannot be read."""
    command(project, "run", GOOD)
    project.write("out/history.jsonl", "{}\n")
    assert command(project, "report", GOOD, "--out", "out").is_refusal(2, "out/history.jsonl:1")
    assert [path.name for path in (project.root / "out").iterdir()] == ["history.jsonl"]


# --- the API ---------------------------------------------------------------------------------


def test_a_report_for_programs(project: Folder, command: Commands) -> None:
    """--site writes documents, badges, the feed and llms.txt, and their evidence lies beside."""
    published(project, command, GOOD, OLD)
    cell = of_good(project, "out")
    assert cell["verdict"] == "works"
    assert cell["since"] is not None
    evidence = project.root / "out/site/api/v1/jinja2" / str(cell["evidence"])
    assert json.loads(evidence.read_text(encoding="utf-8"))["id"] == GOOD
    assert json.loads(project.read("out/site/badges/jinja2.json"))["message"] == "3.1.6 works"
    assert GOOD in project.read("out/site/feed.atom")
    assert "jinja2 3.1.6" in project.read("out/site/llms.txt")


def test_what_is_gone_leaves_the_api(project: Folder, command: Commands) -> None:
    """Documents and badges of releases that are gone are removed, and files of others stay."""
    published(project, command, GOOD, OLD)
    for folder in ("out/site/api/v1/jinja2", "out/site/badges/jinja2"):
        project.write(f"{folder}/1.0.json", project.read(f"{folder}/3.1.6.json"))
    project.write("out/site/cells/gone.html", project.read(f"out/site/cells/{GOOD}.html"))
    project.write("out/site/cells/mine.html", "<p>mine</p>")
    project.write("out/site/badges/mine.json", "{}")
    (project.root / "out/site/api/v1/jinja2/odd.json").write_bytes(b"\xff")
    command(project, "report", GOOD, "--out", "out", "--site", "--base-url", "https://example.org")
    left = {path.name for path in (project.root / "out/site/api/v1/jinja2").iterdir()}
    assert left == {"2.9.6.json", "3.1.6.json", "9.9.9.json", "odd.json"}
    left = {path.name for path in (project.root / "out/site/badges").rglob("*.json")}
    assert left == {"jinja2.json", "2.9.6.json", "3.1.6.json", "mine.json"}
    left = {path.name for path in (project.root / "out/site/cells").iterdir()}
    assert left == {f"{GOOD}.html", f"{OLD}.html", "mine.html"}
    assert "https://example.org/feed.atom" in project.read("out/site/feed.atom")


def test_an_address_that_is_none(offline: Folder, command: Commands) -> None:
    """An address that is none is refused before anything is written."""
    shown = command(offline, "report", "--out", "out", "--site", "--base-url", "example.org")
    assert shown.is_refusal(2, "--base-url")
    assert not (offline.root / "out").exists()


# --- freshness -------------------------------------------------------------------------------


def test_a_report_that_is_older_than_asked_fails(project: Folder, command: Commands) -> None:
    """The cells, their age and the command are told, the report is written, and it ends with 3."""
    command(project, "run", GOOD, OLD)
    aged(project, OLD, 100)
    code, out, err = command(project, "report", GOOD, OLD, "--out", "out", "--max-age", "90d")
    assert code == 3
    assert out.endswith("written to out/\n")
    assert f"{OLD}: 100 days old, of " in err
    assert "error: the evidence of 1 cell is older than 90d\n" in err
    assert f"`envmatrix run --fresh {OLD}`" in err
    assert GOOD not in err
    assert command(project, "report", GOOD, OLD, "--max-age", "15w").code == 0


def test_a_report_of_nothing_that_was_run_is_not_fresh(offline: Folder, command: Commands) -> None:
    """Where no cell was run, nothing is as new as asked."""
    code, _, err = command(offline, "report", GOOD, "--max-age", "90d")
    assert code == 3
    assert f"`envmatrix run {GOOD}`" in err


def test_an_age_that_is_none(offline: Folder, command: Commands) -> None:
    """An age that is none is refused before anything is written."""
    assert command(offline, "report", "--out", "out", "--max-age", "old").is_refusal(2, "90d")
    assert not (offline.root / "out").exists()


# --- schemas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one(offline: Folder, command: Commands, name: str) -> None:
    """Each name gives a JSON Schema."""
    code, out, err = command(offline, "schema", name)
    assert (code, err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


def test_reports_fit_their_schemas(project: Folder, command: Commands) -> None:
    """What `report` writes fits what `schema` prints."""
    published(project, command, GOOD)
    files = {
        "report": "report.json",
        "api-index": "site/api/v1/index.json",
        "api-release": "site/api/v1/jinja2/3.1.6.json",
        "api-python": "site/api/v1/python/3.11.json",
        "history": "history.jsonl",
    }
    for name, path in files.items():
        schema = json.loads(command(project, "schema", name).out)
        jsonschema.validate(json.loads(project.read(f"out/{path}")), schema)
