"""Builds on one engine: recipes, records, names, and where a build finds its wheels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
from fake_engine import Facts, FakeEngine, FakeImage, StepFails
from small_project import BASE, GOOD, OLD, Folder, Told

from envmatrix.engine.image import Image
from envmatrix.model.errors import EngineError
from envmatrix.model.verdicts import Judgement
from envmatrix.resolve.wheel_server import HOST, INDEX
from envmatrix.stages.build import Builder
from envmatrix.stages.lock import Locked
from envmatrix.stages.options import Options
from envmatrix.stages.recipes import Built, Recipe, Step

Opened = Callable[..., AbstractContextManager[Builder]]


@pytest.fixture
def opened(project: Folder) -> Opened:
    """A function that gives the builder of a new command."""

    @contextmanager
    def open_(*, fresh: bool = False) -> Iterator[Builder]:
        building = project.workspace().runner.building
        with building.open(Options(jobs=1, fresh=fresh), Told()) as builder:
            yield builder

    return open_


def locked(project: Folder, cell_id: str) -> Locked:
    """Return a cell with its lock."""
    (cell,) = project.cells(cell_id)
    resolution = project.workspace().resolutions.of_cell(cell)
    assert resolution is not None
    assert resolution.lock is not None
    return Locked(cell, resolution.lock)


@pytest.fixture
def good(project: Folder) -> Locked:
    """A cell with its lock."""
    return locked(project, GOOD)


def built(found: Built | Judgement) -> Built:
    """Return what was built, where nothing else may be."""
    assert isinstance(found, Built), found
    return found


def build(builder: Builder, one: Locked) -> Built:
    """Build a cell on its base."""
    return built(builder.cell(one.cell, one.lock, built(builder.base(one.cell))))


def cell_name(cell_id: str) -> str:
    """Return the name of the image of a cell."""
    return f"envmatrix/cell:{cell_id}"


# --- records and names -----------------------------------------------------------------------


def test_an_image_is_built_once(opened: Opened, good: Locked, fake: FakeEngine) -> None:
    """What was built is taken again by the hash of its files and of the layers below."""
    with opened() as builder:
        assert not builder.is_built(good.cell, good.lock)
        first = build(builder, good)
        assert builder.is_built(good.cell, good.lock)
    with opened() as builder:
        second = build(builder, good)
    assert (first.reused, second.reused) == (False, True)
    assert (first.image, first.seconds, first.origin, first.log) == (
        second.image,
        second.seconds,
        second.origin,
        second.log,
    )
    assert first.log == f".envmatrix/logs/build/{GOOD}.log"
    assert [one.labels["io.envmatrix.step"] for one in fake.build_records] == ["base", "build"]
    assert (cell_name(GOOD),) == second.image.names


def test_a_fresh_builder_has_nothing_built(opened: Opened, good: Locked) -> None:
    """For a fresh run no cell is built yet, whatever is there."""
    with opened() as builder:
        build(builder, good)
    with opened(fresh=True) as builder:
        assert not builder.is_built(good.cell, good.lock)


def test_a_cell_whose_base_is_gone_is_not_built(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A cell counts as built only on the base that it would be built on now."""
    with opened() as builder:
        build(builder, good)
        fake.lose_image("envmatrix/base:*")
        assert not builder.is_built(good.cell, good.lock)


def test_a_cell_whose_base_has_no_lock_is_not_built(
    opened: Opened, good: Locked, project: Folder
) -> None:
    """Without a lock of its base a cell is not built, and its base tells that."""
    base_key = project.workspace().resolutions.base_problem(good.cell).key
    (project.root / f".envmatrix/records/lock/{base_key}.json").unlink()
    with opened() as builder:
        assert not builder.is_built(good.cell, good.lock)
        found = builder.base(good.cell)
        assert isinstance(found, Judgement)
        assert (
            found.stage,
            found.kind,
            found.cause,
        ) == ("base", "blocked", "the base has no lock")
        assert found == builder.rebuild_cell(good.cell, good.lock)
        assert found == builder.rebuild_base(good.cell)


def test_a_name_that_another_checkout_took_comes_back(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """An image that is reused gets its name again, and the image of the other one stays."""
    with opened() as builder:
        first = build(builder, good)
    other = fake.add_image(cell_name(GOOD))
    with opened() as builder:
        second = build(builder, good)
    assert second.reused
    assert first.image.id == second.image.id
    named = fake.images.find(cell_name(GOOD))
    assert named is not None
    assert first.image.id == named.id
    assert fake.images.find(other.id) is not None


def test_an_image_of_another_checkout_is_never_removed(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A build removes the image that this checkout made before, and no other of that name."""
    with opened() as builder:
        first = build(builder, good)
    other = fake.add_image(cell_name(GOOD))
    with opened(fresh=True) as builder:
        build(builder, good)
    assert fake.images.find(other.id) is not None
    assert fake.images.find(first.image.id) is None


def test_an_image_on_another_base_than_its_own_is_refused(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A build whose base lost its name to another image meanwhile is an error, and not kept."""
    with opened() as builder:
        base = built(builder.base(good.cell))
        other = fake.add_image()
        fake.builds.base = lambda _: other
        with pytest.raises(EngineError, match="was built on another image than its own") as caught:
            builder.cell(good.cell, good.lock, base)
    assert "envmatrix/below:" in caught.value.what
    assert "nothing else builds here" in caught.value.next_step


def test_a_base_gets_the_name_of_its_system_back_before_it_builds(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """The image below keeps its usual name, whatever another checkout gave that name to."""
    with opened() as builder:
        system = built(builder.systems.get(good.cell))
        fake.add_image("envmatrix/os:debian12")
        base = built(builder.base(good.cell))
    assert system.image.layers == base.image.layers[: len(system.image.layers)]
    named = fake.images.find("envmatrix/os:debian12")
    assert named is not None
    assert system.image.id == named.id


def test_a_build_knows_the_image_below_by_a_name_of_its_own(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """No two builds share that name, and it is gone afterwards."""
    with opened() as builder:
        build(builder, good)
    names = [(one.arguments.get("OS_IMAGE") or one.arguments["BASE"]) for one in fake.build_records]
    assert all(name.startswith("envmatrix/below:") for name in names)
    assert len(names) == len(set(names)) == 2
    assert [name for name in fake.images.names if name.startswith("envmatrix/below")] == []


def test_another_checkout_that_takes_the_name_of_a_base_breaks_no_cell(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """While a cell is built, another checkout gives the name of its base to an image of its own."""
    with opened() as builder:
        base = built(builder.base(good.cell))
        before = fake.builds.base

        def steal(name: str) -> FakeImage | None:
            fake.add_image(f"envmatrix/base:{BASE}")
            return before(name)

        fake.builds.base = steal
        cell = built(builder.cell(good.cell, good.lock, base))
    assert base.image.layers == cell.image.layers[: len(base.image.layers)]
    assert fake.images.find(base.image.id) is not None


# --- layers ----------------------------------------------------------------------------------


def test_a_layer_has_a_name_until_it_is_dropped(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A layer that cells share has a name of its own, which it loses when it is dropped."""
    with opened() as builder:
        base = built(builder.base(good.cell))
        layer = built(builder.layer(good.cell, good.lock, base, 1))
        (name,) = layer.image.names
        assert name.startswith("envmatrix/layer:")
        builder.drop_layer(good.cell, good.lock, base, 1)
        assert name not in fake.images.names


def test_a_builder_leaves_no_name_of_a_layer(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A builder that ends before it dropped a layer, as after Ctrl-C, takes its name away."""
    with opened() as builder:
        base = built(builder.base(good.cell))
        built(builder.layer(good.cell, good.lock, base, 1))
    assert [name for name in fake.images.names if name.startswith("envmatrix/layer")] == []


# --- twins -----------------------------------------------------------------------------------


def test_a_twin_has_a_name_of_its_own_and_takes_nothing_from_the_cache(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """A twin is built beside the image, for this run only, by steps that really run again."""
    with opened() as builder:
        found = builder.rebuild_cell(good.cell, good.lock)
    assert not isinstance(found, Judgement)
    first, twin = found
    assert first.image.layers == twin.layers
    assert first.image.id != twin.id
    (name,) = twin.names
    assert name.startswith("envmatrix/made:")
    assert (fake.build_records[-1].no_cache, fake.build_records[-1].tag) == (True, "")


def test_a_twin_that_fails_is_judged_by_its_own_log(
    opened: Opened, good: Locked, fake: FakeEngine, project: Folder
) -> None:
    """A twin whose build fails gives a judgement, and the log of the first build stays."""
    with opened() as builder:
        first = build(builder, good)
        fake.fail(StepFails("jinja2===3.1.6", output="the mirror is gone\n"))
        found = builder.rebuild_cell(good.cell, good.lock)
    assert isinstance(found, Judgement)
    assert "the mirror is gone" in found.cause
    assert "the mirror is gone" not in project.read(first.log)


def test_an_image_that_fails_has_no_twin(opened: Opened, good: Locked, fake: FakeEngine) -> None:
    """Where the first build fails there is nothing to compare."""
    fake.fail(StepFails("jinja2===3.1.6", output="no\n"))
    with opened() as builder:
        found = builder.rebuild_cell(good.cell, good.lock)
    assert isinstance(found, Judgement)
    assert (found.stage, found.kind) == ("build", "build-step")


# --- where wheels come from ------------------------------------------------------------------


def test_a_local_engine_finds_wheels_in_the_wheelhouse(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """Builds on this machine get the address of this machine's server."""
    with opened() as builder:
        build(builder, good)
    base, cell = fake.build_records
    assert base.hosts == cell.hosts
    assert base.hosts[0].startswith(f"{HOST}:127.")
    assert {"PIP_INDEX_URL": INDEX, "PIP_TRUSTED_HOST": HOST}.items() <= base.arguments.items()
    assert {"UV_DEFAULT_INDEX": INDEX, "UV_INDEX": ""}.items() <= cell.arguments.items()
    assert fake.runs == []


def test_builds_are_asked_the_same_wherever_the_engine_is(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """An image has the same history on every engine: neither an index nor a password is in it."""
    with opened() as builder:
        build(builder, good)
    fake.facts = Facts(reaches=False)
    with opened(fresh=True) as builder:
        build(builder, good)
    base, cell, base_elsewhere, cell_elsewhere = fake.build_records
    for here, elsewhere in ((base, base_elsewhere), (cell, cell_elsewhere)):
        assert set(here.arguments) == set(elsewhere.arguments)
        assert here.hosts == elsewhere.hosts


def test_an_engine_of_another_architecture_builds_and_pulls_nothing(
    opened: Opened, good: Locked, fake: FakeEngine
) -> None:
    """The judgement names both architectures, and nothing is downloaded."""
    fake.facts = Facts(architecture="aarch64")
    with opened() as builder:
        found = builder.base(good.cell)
        assert builder.fetch(good.cell, good.lock) == 0
    assert isinstance(found, Judgement)
    assert (found.verdict, found.kind) == ("unknown", "engine")
    assert found.cause.startswith("this engine is arm64, the cell is amd64, and nothing there")
    assert "arch=arm64" in found.remedy
    assert fake.asked("POST /images/create") == []
    assert fake.build_records == []


def test_wheels_are_fetched_only_for_what_is_not_built(
    opened: Opened, good: Locked, project: Folder
) -> None:
    """The wheels of a cell whose image is there are not needed, so they may be gone."""
    with opened() as builder:
        build(builder, good)
    for wheel in (project.root / ".envmatrix/wheelhouse/wheels").glob("*/*.whl"):
        wheel.unlink()
    with opened() as builder:
        assert builder.fetch(good.cell, good.lock) == 0


# --- recipes ---------------------------------------------------------------------------------


def recipe(good: Locked, step: Step) -> Recipe:
    """Return a recipe of a step on some image."""
    below = Built(Image("sha256:id", ("sha256:one",), 1), 1.0, "pull", reused=False)
    return Recipe(step, "name", good.cell, {"Dockerfile": "FROM x\n"}, below, good.lock, "run")


def test_a_recipe_names_its_image_and_the_one_below(good: Locked) -> None:
    """A base stands on its system, and a cell and a layer stand on their base."""
    recipes = [recipe(good, step) for step in Step]
    names = {one.step: (one.tag, one.below_tag, one.argument) for one in recipes}
    base = f"envmatrix/base:{BASE}"
    assert {
        Step.BASE: (base, "envmatrix/os:debian12", "OS_IMAGE"),
        Step.LAYER: ("envmatrix/layer:run-name", base, "BASE"),
        Step.CELL: (cell_name(GOOD), base, "BASE"),
    } == names


def test_a_recipe_is_known_by_its_files_and_the_layers_below(good: Locked) -> None:
    """Another file or another layer below makes another recipe; a name does not."""
    one = recipe(good, Step.CELL)
    other_image = replace(one.below, image=replace(one.below.image, layers=("sha256:two",)))
    other_id = replace(one.below, image=replace(one.below.image, id="sha256:other", size=2))
    assert one.key != replace(one, files={"Dockerfile": "FROM y\n"}).key
    assert one.key != replace(one, below=other_image).key
    assert one.key == replace(one, below=other_id, name="other").key


def test_cells_with_other_wheels_have_other_layers(project: Folder, opened: Opened) -> None:
    """The name of a layer follows from its base and its wheels."""
    with opened() as builder:
        base = built(builder.base(project.cells(GOOD)[0]))
        tags = {
            built(builder.layer(one.cell, one.lock, base, 1)).image.names
            for one in (locked(project, GOOD), locked(project, OLD))
        }
    assert len(tags) == 2
