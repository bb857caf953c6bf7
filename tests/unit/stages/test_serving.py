"""Where builds find wheels: on this machine, or on the engine if that is elsewhere."""

from __future__ import annotations

import pytest
from fake_engine import Facts, FakeEngine
from small_project import GOOD, NEWER, Folder, Told, inside

from envmatrix.model.cells import Cell
from envmatrix.model.locks import Lock
from envmatrix.resolve.wheel_server import HOST, PORT, addresses
from envmatrix.stages.build import Builder
from envmatrix.stages.options import Options
from envmatrix.stages.recipes import Built


@pytest.fixture(autouse=True)
def elsewhere(fake: FakeEngine) -> None:
    """An engine that does not share the loopback network of this machine."""
    fake.facts = Facts(reaches=False)


def lock_of(project: Folder, cell: Cell) -> Lock:
    """Return the lock of a cell."""
    resolution = project.workspace().resolutions.of_cell(cell)
    assert resolution is not None
    assert resolution.lock is not None
    return resolution.lock


def build(builder: Builder, project: Folder, name: str) -> None:
    """Build a cell as a run does."""
    (cell,) = project.cells(name)
    lock = lock_of(project, cell)
    base = builder.base(cell)
    assert isinstance(base, Built)
    builder.fetch(cell, lock)
    assert isinstance(builder.cell(cell, lock, base), Built)


def test_an_engine_elsewhere_gets_the_wheels_of_each_lock_once(
    project: Folder, fake: FakeEngine
) -> None:
    """One container serves all builds of a run, and goes away at its end."""
    with project.workspace().runner.building.open(Options(jobs=1), Told()) as builder:
        build(builder, project, GOOD)
        wheels = {
            f"{wheel.sha256}/{wheel.filename}"
            for wheel in lock_of(project, project.cells(GOOD)[0]).wheels
        }
        assert wheels < set(fake.served)
        copies = len(fake.asked("PUT /containers/*"))
        build(builder, project, NEWER)
        assert len(fake.asked("PUT /containers/*")) == copies + 1
        (service,) = fake.runs
    address = addresses(builder.wheelhouse.root)[0]
    assert service.command[-3:-1] == (address, str(PORT))
    assert {record.hosts for record in fake.build_records} == {((f"{HOST}:{address}"),)}
    assert fake.served == {}


def test_the_users_pip_settings_serve_an_engine_elsewhere(
    project: Folder, fake: FakeEngine
) -> None:
    """Wheels come to this machine by the user's settings, and no setting goes to the engine."""
    secret = project.environment["PIP_INDEX_URL"].replace("://", "://me:secret@")
    with (
        inside({**project.environment, "PIP_INDEX_URL": secret}),
        project.workspace().runner.building.open(Options(jobs=1), Told()) as builder,
    ):
        build(builder, project, GOOD)
    assert "secret" not in str([record.arguments for record in fake.build_records])
