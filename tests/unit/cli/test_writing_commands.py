"""Commands that need no engine and write: lock, render, report; and shell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_index import FakeIndex
from shown import Commands
from small_project import (
    EXCLUDED,
    GOOD,
    IMPOSSIBLE,
    NEWER,
    OLD,
    Folder,
    environment,
    serve_wheels,
)

from envmatrix.report.table import TABLE_BEGIN, TABLE_END

# --- lock and render -------------------------------------------------------------------------


def test_lock(offline: Folder, command: Commands) -> None:
    """Locking writes the verdict of each cell, and the locks of published cells."""
    code, out, err = command(offline, "lock", GOOD, NEWER, IMPOSSIBLE, EXCLUDED)
    assert (code, err) == (0, "")
    assert out == "4 cells: 2 locked, 1 no-such-version, 1 rule\nverdicts: images/resolved.json\n"
    assert GOOD in offline.read("images/resolved.json")
    folders = {path.parent.name for path in (offline.root / "images").rglob("*.lock")}
    assert {GOOD, "debian12-py3.11-cpu"} == folders


def test_lock_as_json(offline: Folder, command: Commands) -> None:
    """The JSON tells of each cell whether it is locked, or why not."""
    found = command(offline, "lock", GOOD, IMPOSSIBLE, EXCLUDED, "--json").document()
    by_id = {cell["id"]: cell for cell in found["cells"]}
    assert by_id[GOOD] == {"id": GOOD, "locked": True}
    assert (by_id[IMPOSSIBLE]["locked"], by_id[IMPOSSIBLE]["class"]) == (False, "no-such-version")
    assert (by_id[EXCLUDED]["locked"], by_id[EXCLUDED]["class"]) == (False, "rule")


def test_lock_without_an_index(offline: Folder, command: Commands) -> None:
    """Cells that cannot be asked about stay unknown, which ends with 3 and says so."""
    code, out, err = command(offline, "lock", GOOD, "--fresh")
    assert code == 3
    assert out.startswith("1 cell: 0 locked, 1 blocked\n")
    assert "Some cells stay unknown" in err


@pytest.fixture
def online(offline: Folder) -> Iterator[tuple[Folder, FakeIndex]]:
    """The same project with an index that serves what it is locked to."""
    with FakeIndex() as index:
        serve_wheels(index)
        folder = Folder(offline.root, environment("unix:///nowhere", index.url))
        with folder.inside():
            yield folder, index


def test_lock_check(online: tuple[Folder, FakeIndex], command: Commands) -> None:
    """A check asks anew, tells what differs from what is committed, and writes nothing."""
    project, index = online
    command(project, "lock", GOOD)
    before = project.read("images/resolved.json")
    assert command(project, "lock", GOOD, "--check")[:2] == (0, "no difference\n")
    index.remove("jinja2", "3.1.6")
    code, out, err = command(project, "lock", GOOD, "--check")
    differences = [f"lock differs: images/{GOOD}/requirements.lock", f"verdict differs: {GOOD}"]
    assert (code, out.splitlines()) == (1, differences)
    assert "2 differences; run `envmatrix lock` and commit what it writes\n" in err
    found = command(project, "lock", GOOD, "--check", "--json").document(1)
    assert found == {"schema": 1, "differences": differences}
    assert before == project.read("images/resolved.json")


def test_lock_check_without_an_index(offline: Folder, command: Commands) -> None:
    """A check that could not ask finds no difference, and ends with 3: it proves nothing."""
    command(offline, "lock", GOOD)
    code, out, err = command(offline, "lock", GOOD, "--check")
    assert (code, out) == (3, "no difference\n")
    assert "Some cells stay unknown" in err


def test_render(offline: Folder, command: Commands) -> None:
    """Rendering writes the folders of published cells, and a second time changes nothing."""
    command(offline, "lock", "--profile", "published")
    code, out, err = command(offline, "render")
    assert (code, out, err) == (0, "9 files under images/, 6 of them changed\n", "")
    assert "FROM ${BASE}" in offline.read(f"images/{GOOD}/Dockerfile")
    assert command(offline, "render")[1] == "9 files under images/, 0 of them changed\n"
    assert command(offline, "render", "--check") == (0, "no difference\n", "")


def test_render_check_tells_every_difference(offline: Folder, command: Commands) -> None:
    """A check names files that are missing, that differ and that are too many, and writes none."""
    command(offline, "lock", "--profile", "published")
    command(offline, "render")
    offline.write(f"images/{GOOD}/Dockerfile", "FROM scratch\n")
    (offline.root / f"images/{OLD}/Dockerfile").unlink()
    offline.write("images/more.txt", "")
    code, out, err = command(offline, "render", "--check")
    assert code == 1
    assert {
        f"differs: images/{GOOD}/Dockerfile",
        f"missing: images/{OLD}/Dockerfile",
        "too many: images/more.txt",
    } == set(out.splitlines())
    assert err == "3 differences; run `envmatrix render` and commit what it writes\n"
    assert offline.read(f"images/{GOOD}/Dockerfile") == "FROM scratch\n"


def test_render_without_a_lock(offline: Folder, command: Commands) -> None:
    """A cell without a lock is left out, which ends with 3, or with 1 in a check."""
    code, out, err = command(offline, "render", GOOD, IMPOSSIBLE)
    assert code == 3
    assert out.startswith("6 files")
    assert f"{IMPOSSIBLE} has no lock and is left out: run `envmatrix lock {IMPOSSIBLE}`" in err
    code, out, _ = command(offline, "render", GOOD, IMPOSSIBLE, "--check")
    assert (1, f"no lock: {IMPOSSIBLE}\n") == (code, out)


# --- report and shell ------------------------------------------------------------------------


def test_report(project: Folder, command: Commands) -> None:
    """A report writes what is known into a folder, and the table into a page."""
    command(project, "run", GOOD)
    readme = project.write("docs/page.md", f"{TABLE_BEGIN}\nold\n{TABLE_END}\n")
    code, out, err = command(project, "report", "--out", "out", "--readme", "docs/page.md")
    assert (code, err) == (0, "")
    assert out.endswith("written to out/\n")
    assert {"report.json", "table.md"} <= {path.name for path in (project.root / "out").iterdir()}
    assert f"[jinja2 3.1.6](../out/cells/{GOOD}.json)" in readme.read_text()
    assert "old" not in readme.read_text()


def test_report_as_json(project: Folder, command: Commands) -> None:
    """The JSON of a report is the document that it wrote, with the hosts in it."""
    command(project, "run", GOOD)
    offline_host = command(project, "probe", "--host", "--json")
    host = json.loads(offline_host[1])["on_hosts"][0]["id"]
    found = command(project, "report", GOOD, "--json").document()
    written = json.loads(project.read(".envmatrix/report/report.json"))
    assert written["cells"] == found["cells"]
    assert [host] == [one["id"] for one in found["on_hosts"]]


def test_report_into_a_page_that_has_no_place_for_it(offline: Folder, command: Commands) -> None:
    """A page that is not there, is no text, or has no markers is told, and stays as it is."""
    assert command(offline, "report", "--readme", "no.md").is_refusal(2, "no.md")
    (offline.root / "page.md").write_bytes(b"\xff\xfe")
    assert command(offline, "report", "--readme", "page.md").is_refusal(2, "page.md")
    page = offline.write("page.md", "text\n")
    assert command(offline, "report", "--readme", "page.md").is_refusal(2, "page.md", "markers")
    assert page.read_text() == "text\n"


def test_report_into_a_folder_that_cannot_be(offline: Folder, command: Commands) -> None:
    """A file where the folder should be ends with 3."""
    offline.write("out", "")
    assert command(offline, "report", "--out", "out").is_refusal(3, "out")


def test_shell(
    offline: Folder, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell is that of the docker command, in the image of the cell."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    variables = {
        **offline.environment,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = Folder(offline.root, variables).run("shell", GOOD)
    assert (0, f"run --rm --interactive --tty envmatrix/cell:{GOOD} bash\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert command(offline, "shell", GOOD).is_refusal(3, "the docker command is not installed")
    assert command(offline, "shell", "no-such-cell").is_refusal(2, "no-such-cell")
