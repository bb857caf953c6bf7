"""Known vulnerabilities: asked by audit, shown by explain, inspect and the page of a cell."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fake_advisories import FakeAdvisories
from shown import Commands
from small_project import GOOD, IMPOSSIBLE, Folder

from envmatrix.resolve.pip_settings import pip_settings

IMAGE = f"envmatrix/cell:{GOOD}"
FILE = f"reports/attestations/{GOOD}.vulnerabilities.json"
FOUND = {
    "id": "PYSEC-2025-1",
    "aliases": ["CVE-2025-1"],
    "fixed_in": ["3.1.7"],
    "summary": "<script>alert(1)</script>",
}
TOLD = "jinja2 3.1.6: PYSEC-2025-1 (CVE-2025-1): fixed in 3.1.7"


def point_pip_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let pip's settings name another index. A command reads them once."""
    monkeypatch.setenv("PIP_INDEX_URL", url)
    pip_settings.cache_clear()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdvisories]:
    """The index that pip's settings name."""
    with FakeAdvisories() as found:
        point_pip_at(monkeypatch, found.url)
        yield found
    pip_settings.cache_clear()
    assert found.errors == []


def test_what_is_known_is_told_everywhere_and_changes_no_verdict(
    project: Folder, command: Commands, index: FakeAdvisories
) -> None:
    """A wheel that the index does not know is told as not asked, beside what is known."""
    made(project, command)
    index.tell("jinja2", "3.1.6", [FOUND])
    shown = command(project, "audit", GOOD)
    assert shown.code == 0, shown
    assert f"{GOOD}: 1 known in 1 of 4 wheels (" in shown.out
    assert "; 3 not asked: the index has no JSON API, or does not know it (404)\n" in shown.out
    assert f"  {TOLD}\n" in shown.out
    assert "not-secret-1" not in shown.out + project.read(FILE)
    shown = command(project, "explain", GOOD, "--verbose")
    assert shown.out.startswith("✓ ")
    assert f"           {TOLD}\n" in shown.out
    assert "vulns:" not in command(project, "explain", GOOD).out
    shown = command(project, "inspect", IMAGE)
    assert (shown.code, f"           {TOLD}\n" in shown.out) == (0, True)
    found = command(project, "inspect", IMAGE, "--json").document()
    assert found["audit"]["wheels"][0]["vulnerabilities"][0]["id"] == "PYSEC-2025-1"
    assert command(project, "report", GOOD, "--out", "reports", "--site").code == 0
    page = project.read(f"reports/site/cells/{GOOD}.html")
    assert TOLD in page
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;" in page


def made(project: Folder, command: Commands) -> None:
    """Run the cell, so that there is evidence and an image of it."""
    assert command(project, "run", GOOD).code == 0


def test_nothing_known_is_told_with_the_day(
    project: Folder, command: Commands, index: FakeAdvisories
) -> None:
    """It says of how many wheels, and who was asked."""
    index.tell("jinja2", "3.1.6")
    index.tell("markupsafe", "3.0.1")
    index.tell("pip", "26.0")
    index.tell("uv", "0.13.9")
    found = command(project, "audit", GOOD, IMPOSSIBLE, "--json")
    (cell,) = found.document()["cells"]
    assert [one["not_asked"] for one in cell["wheels"]] == ["", "", "", ""]
    assert f"{IMPOSSIBLE}: it has no lock" in found.err
    shown = command(project, "audit", GOOD)
    assert f"{GOOD}: none known in 4 of 4 wheels (" in shown.out


def test_no_network_is_not_asked_and_keeps_what_was_told_before(
    project: Folder,
    command: Commands,
    index: FakeAdvisories,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code says it, too. An answer of an earlier day about the same lock stays."""
    point_pip_at(monkeypatch, "http://127.0.0.1:9/simple/")
    shown = command(project, "audit", GOOD)
    assert (shown.code, f"{GOOD}: not asked: the index does not answer" in shown.out) == (3, True)
    assert "none known" not in shown.out
    assert "nothing was asked" in shown.err
    point_pip_at(monkeypatch, index.url)
    index.tell("jinja2", "3.1.6", [FOUND])
    assert command(project, "audit", GOOD).code == 0
    before = project.read(FILE)
    point_pip_at(monkeypatch, "http://127.0.0.1:9/simple/")
    assert command(project, "audit", GOOD).code == 3
    assert project.read(FILE) == before


def test_an_answer_about_another_lock_is_not_shown(
    project: Folder, command: Commands, index: FakeAdvisories
) -> None:
    """What is known of other wheels says nothing about these."""
    assert command(project, "run", GOOD).code == 0
    index.tell("jinja2", "3.1.6", [FOUND])
    command(project, "audit", GOOD)
    fields = json.loads(project.read(FILE))
    project.write(FILE, json.dumps(fields | {"lock": "0" * 64}))
    shown = command(project, "explain", GOOD, "-v")
    assert "  vulns:   not asked: " in shown.out
    assert "another lock of the cell was asked about" in shown.out
    assert TOLD not in shown.out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "[" * 100_000])
def test_a_damaged_file_is_told(project: Folder, command: Commands, text: str) -> None:
    """It names the command that makes it again, and nothing of it is believed."""
    project.write(FILE, text)
    shown = command(project, "explain", GOOD, "-v")
    assert shown.is_refusal(2, "it is damaged at", f"`envmatrix audit {GOOD}`")
    assert command(project, "explain", GOOD).code == 0


def test_a_service_that_is_not_known(project: Folder, command: Commands) -> None:
    """Those that are known are told."""
    shown = command(project, "audit", GOOD, "--service", "rumours")
    assert shown.is_refusal(2, "'rumours' is no service", "index, osv")
