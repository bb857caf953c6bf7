"""A Python that the operating system does not have: locked, built, told, or blocked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import Facts, FakeEngine
from fake_index import FakeIndex
from shown import Commands
from small_fixtures import command
from small_project import (
    MATRIX,
    Folder,
    Told,
    environment,
    inside,
    judged,
    make_project,
    run_one,
    serve_wheels,
)
from standalone_python import TINY, Mirror, download_list, pack_nothing, serve_mirror

from envmatrix.model.interpreters import Interpreter
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.stages.lock import PYTHON

__all__ = ["command"]

CELL = "jinja2-3.1.6-py3.12-debian12-cpu"
ON_ANOTHER_OS = "jinja2-3.1.6-py3.12-debian13-cpu"
BASE = "debian12-py3.12-cpu"
LOCK = f"images/base/{BASE}/requirements.lock"
CONTENT = pack_nothing()
PINNED = Interpreter(TINY, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
OF_THE_CELL = """  published: [{version: "3.1.6", python: "3.12", accelerator: cpu}]"""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror with the archive of Python 3.12."""
    with serve_mirror(tmp_path / "mirror") as found:
        found.put(TINY, CONTENT)
        yield found


@pytest.fixture
def project(tmp_path: Path, fake: FakeEngine, mirror: Mirror) -> Iterator[Folder]:
    """A new project with Python 3.12; the user has set a mirror and a list of downloads."""
    listed = tmp_path / "python.json"
    listed.write_text(download_list(TINY, PINNED.sha256), encoding="utf-8")
    settings = {
        "UV_PYTHON_INSTALL_MIRROR": mirror.url.replace("//", "//me:secret@"),
        "UV_PYTHON_DOWNLOADS_JSON_URL": str(listed),
    }
    matrix = MATRIX.replace('"3.11", "3.13"]', '"3.11", "3.12"]')
    matrix = matrix.replace("  published: [{profile: quick}]", OF_THE_CELL)
    with FakeIndex() as index:
        serve_wheels(index)
        index.add("markupsafe", "3.0.2", tags="cp312-cp312-manylinux_2_17_x86_64")
        folder = make_project(
            tmp_path / "project", environment(fake.url, index.url) | settings, matrix
        )
        with folder.inside():
            yield folder


@pytest.fixture
def blocked(project: Folder) -> Iterator[Folder]:
    """The project of a user without a mirror, whom nothing answers."""
    variables = dict(project.environment)
    variables["UV_PYTHON_INSTALL_MIRROR"] = "http://127.0.0.1:9"
    with inside(variables):
        yield Folder(project.root, variables)


def test_cells_on_two_systems_share_one_interpreter(
    project: Folder, mirror: Mirror, command: Commands
) -> None:
    """It is asked for once, and stands in the committed lock of each base. A lock is not asked."""
    assert command(project, "lock", CELL, ON_ANOTHER_OS).code == 0
    assert len(mirror.asked) == 1
    for base in (BASE, BASE.replace("12-", "13-", 1)):
        text = project.read(f"images/base/{base}/requirements.lock")
        assert PINNED.line in text.splitlines()
        assert not [word for word in ("http", "127.0.0.1", "secret") if word in text]
    (project.root / ".envmatrix/wheelhouse/python/20261110" / TINY).unlink()
    assert command(project, "lock", CELL).code == 0
    assert command(project, "render").code == 0
    assert PINNED.sha256 in project.read(f"images/base/{BASE}/Dockerfile")
    assert len(mirror.asked) == 1


def test_a_cell_on_a_standalone_python_works_and_tells_which(
    project: Folder, fake: FakeEngine, command: Commands
) -> None:
    """The build takes it from the wheelhouse, and the mirror of the user is in no image."""
    found = run_one(project, CELL)
    assert judged(found) == ("works", "probe", "")
    assert found.base is not None
    assert found.base.python is not None
    assert found.base.python.to_json() == {
        "version": "3.12.16",
        "build": "20261110",
        "sha256": PINNED.sha256,
    }
    of_base, *others = fake.build_records
    assert of_base.arguments["UV_PYTHON_INSTALL_MIRROR"] == "http://wheelhouse:8417/python"
    assert "UV_PYTHON_INSTALL_MIRROR" not in str([one.arguments for one in others])
    assert "secret" not in str([(one.arguments, one.steps) for one in fake.build_records])
    shown = command(project, "explain", CELL, "--verbose")
    assert f"python:  standalone CPython 3.12.16, build 20261110 ({PINNED.sha256[:12]})" in (
        shown.out
    )


def test_an_engine_elsewhere_gets_the_interpreter_too(project: Folder, fake: FakeEngine) -> None:
    """The container that serves wheels serves it, at the path of a mirror."""
    fake.facts = Facts(reaches=False)
    assert run_one(project, CELL).verdict is Verdict.WORKS
    put = [name for request in fake.asked("PUT /containers/*") for name in request.files()]
    assert put.count(f"python/20261110/{TINY}") == 1


def test_another_interpreter_makes_the_cell_stale(project: Folder, mirror: Mirror) -> None:
    """`--fresh` takes the newest of today; the base has changed then, and is built again."""
    run_one(project, CELL)
    assert project.main("lock", CELL) == 0
    newer = TINY.replace("3.12.16", "3.12.17")
    listed = Path(project.environment["UV_PYTHON_DOWNLOADS_JSON_URL"])
    sha256 = mirror.put(newer, pack_nothing("newer = True"))
    listed.write_text(download_list(newer, sha256), encoding="utf-8")
    (cell,) = project.cells(CELL)
    assert project.workspace().knowledge.current(cell) is not None
    assert project.main("lock", CELL, "--fresh") == 0
    assert "cpython-3.12.17+20261110" in project.read(LOCK)
    judgement = project.workspace().knowledge.judgement(cell)
    assert (judgement.kind, judgement.cause.rpartition(": ")[2]) == ("stale", "base")


# --- where there is none ---------------------------------------------------------------------


def test_without_a_mirror_the_wheels_are_locked_and_the_cell_is_blocked(
    blocked: Folder, command: Commands
) -> None:
    """The cause names the interpreter; nothing is built or downloaded for the cell."""
    shown = command(blocked, "lock", CELL)
    assert shown.code == 3
    assert "1 cell: 1 locked" in shown.out
    assert f"the interpreter {TINY} cannot be downloaded: Connection refused" in shown.err
    assert "UV_PYTHON_INSTALL_MIRROR" in shown.err
    assert not (blocked.root / LOCK).exists()
    assert json.loads(blocked.read("images/resolved.json"))[1][2] == "lock"

    found = run_one(blocked, CELL)
    assert judged(found) == ("unknown", "base", "blocked")
    assert TINY in found.cause
    assert "choose an OS whose own Python it is" in found.remedy
    assert found.base is not None
    assert found.base.python is None
    assert not list(blocked.root.glob(".envmatrix/wheelhouse/wheels/*/*arkup*"))


def test_a_mirror_of_later_unblocks_the_cell(blocked: Folder, project: Folder) -> None:
    """What was blocked is asked again by the next run."""
    assert run_one(blocked, CELL).verdict is Verdict.UNKNOWN
    with inside(project.environment):
        assert run_one(project, CELL).verdict is Verdict.WORKS


def test_a_python_that_the_list_lacks_is_unknown_and_never_impossible(
    project: Folder, mirror: Mirror
) -> None:
    """A list is no proof: another uv, or another list, may have it."""
    listed = Path(project.environment["UV_PYTHON_DOWNLOADS_JSON_URL"])
    listed.write_text("{}", encoding="utf-8")
    found = run_one(project, CELL)
    assert judged(found) == ("unknown", "base", "no-interpreter")
    assert mirror.asked == []


def test_a_run_goes_on_with_the_interpreter_that_it_knows(project: Folder, blocked: Folder) -> None:
    """Where no list answers `--fresh`, the known one is used, and the user is told."""
    listed = Path(blocked.environment["UV_PYTHON_DOWNLOADS_JSON_URL"])
    with inside(project.environment):
        project.main("lock", CELL)
    listed.unlink()
    cells, told = blocked.cells(CELL), Told()
    locking = blocked.workspace().locking
    found = locking.lock(cells, told, jobs=1, fresh=True, keeping=True)
    wanted = blocked.workspace().resolutions.wanted_interpreter(cells[0])
    assert wanted is not None
    lock = found[wanted.key].lock
    assert lock is not None
    assert lock.interpreter == PINNED
    assert "3.12.16 is used, which was known before" in told.texts[-1]
    assert list(told.said(PYTHON)) == ["blocked"]
    strict = locking.lock(cells, Told(), jobs=1, fresh=True)
    judgement = strict[wanted.key].judgement
    assert isinstance(judgement, Judgement)
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")
