"""Verifying on the fake engine: what is proven, what differs, and what could not be checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine, PullRefused, Step, StepFails, UnstableLayer, VanishesMidBuild
from fake_engine_images import FakeImage, make_tar
from fake_mmdebstrap import PACKAGES, FakeMmdebstrap, fake_mmdebstrap, held
from small_project import BASE, EXCLUDED, GOOD, IMPOSSIBLE, OLD, ONE, Folder, Told, run_one

from envmatrix.model.errors import EngineError
from envmatrix.model.evidence import Evidence, Reproducible
from envmatrix.model.verdicts import Verdict
from envmatrix.stages.options import Options, Origin
from envmatrix.stages.verify import SHOWN, _apart

BOOTSTRAP = Options(jobs=1, origin=Origin.BOOTSTRAP)


def verify(
    project: Folder, *ids: str, options: Options = ONE, told: Told | None = None
) -> list[Evidence]:
    """Verify cells as a new command does."""
    cells = project.cells(*ids or (GOOD,))
    return project.workspace().verifier.verify(cells, options, told or Told())


def verify_one(project: Folder, options: Options = ONE) -> Evidence:
    """Verify one cell; return its evidence."""
    (found,) = verify(project, options=options)
    return found


def twins_left(fake: FakeEngine) -> list[FakeImage]:
    """Return the images that have no name."""
    return [image for image in fake.images.by_id.values() if not fake.images.names_of(image)]


def test_an_image_that_comes_out_the_same_is_proven(project: Folder, fake: FakeEngine) -> None:
    """A cell whose system, base and image are rebuilt to the same layers is proven today."""
    probed = run_one(project, GOOD)
    found = verify_one(project)
    assert Reproducible.PROVEN is found.reproducibility.status
    assert found.reproducibility.verified_at is not None
    assert found.reproducibility.differences == ()
    assert found.reproducibility.notes == ("debian12 is what the registry gave, by digest",)
    assert probed == found.with_reproducibility(probed.reproducibility)
    assert twins_left(fake) == []


def test_what_came_of_it_is_kept(project: Folder) -> None:
    """The evidence in the book says that the cell is proven, and a later run says so too."""
    run_one(project, GOOD)
    verify(project)
    assert Reproducible.PROVEN is run_one(project, GOOD).reproducibility.status
    (cell,) = project.cells(GOOD)
    kept = project.workspace().knowledge.current(cell)
    assert kept is not None
    assert Reproducible.PROVEN is kept.reproducibility.status


def test_what_is_not_built_is_built_first(project: Folder, fake: FakeEngine) -> None:
    """A cell that was never built is built, not probed, and proven."""
    found = verify_one(project)
    assert (found.verdict, found.reproducibility.status) == (Verdict.UNKNOWN, Reproducible.PROVEN)
    assert fake.runs == []


def test_each_step_is_told_as_it_ends(project: Folder) -> None:
    """The system, the base and the cell are told one by one, and a shared base once."""
    told = Told()
    verify(project, GOOD, OLD, told=told)
    assert told.expected["verify"] == 4
    said = {subject: said for stage, subject, said, _ in told.finished_items if stage == "verify"}
    assert said == {
        "debian12": "the same (debian12 is what the registry gave, by digest)",
        BASE: "the same",
        GOOD: "the same",
        OLD: "the same",
    }
    assert set(said) == {subject for stage, subject in told.started_items if stage == "verify"}


def test_a_path_that_differs_is_told_with_its_cause(project: Folder, fake: FakeEngine) -> None:
    """A layer that is another each time differs, with the path, what differs and why."""
    fake.fail(UnstableLayer("jinja2==="), times=None)
    run_one(project, GOOD)
    told = Told()
    (found,) = verify(project, told=told)
    assert Reproducible.DIFFERS is found.reproducibility.status
    (difference,) = found.reproducibility.differences
    assert difference.path == "/unstable"
    assert "content" in difference.what
    assert "depends on the time, on chance or on the network" in difference.cause
    assert "differs: /unstable" in told.said("verify")
    assert twins_left(fake) == []


def test_a_base_that_differs_is_told_of_each_cell_on_it(project: Folder, fake: FakeEngine) -> None:
    """A cell stands on its base, so it is not proven where its base differs."""
    fake.fail(UnstableLayer("groupadd"), times=None)
    found = verify(project, GOOD, OLD)
    assert {Reproducible.DIFFERS} == {one.reproducibility.status for one in found}
    assert [one.path for one in found[0].reproducibility.differences] == ["/unstable"]


def test_differences_are_kept_up_to_a_number(project: Folder, fake: FakeEngine) -> None:
    """One cause that touches many paths of a layer does not fill the evidence file."""
    builds = iter(range(256))

    def unstable(step: Step, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if "jinja2===" not in step.text:
            return files
        return {f"{number:02}": bytes([next(builds)]) for number in range(SHOWN + 1)}

    fake.on_layer = unstable
    found = verify_one(project)
    assert [f"/{number:02}" for number in range(SHOWN)] == [
        one.path for one in found.reproducibility.differences
    ]


def on_another_base(fake: FakeEngine, change: FakeImage) -> None:
    """Let builds of a cell stand on this image from now on, whatever name they ask for."""
    find = fake.builds.base
    fake.builds.base = lambda name: change if name == f"envmatrix/base:{BASE}" else find(name)


@pytest.fixture
def base(project: Folder, fake: FakeEngine) -> FakeImage:
    """The base of a cell that was run."""
    run_one(project, GOOD)
    found = fake.images.find(f"envmatrix/base:{BASE}")
    assert found is not None
    return found


def test_a_configuration_that_differs_is_told(
    project: Folder, fake: FakeEngine, base: FakeImage
) -> None:
    """Images with the same layers differ where they are not configured alike."""
    config = {**base.config, "Env": [*base.config["Env"], "WHEN=now"]}
    on_another_base(fake, replace(base, config=config))
    found = verify_one(project).reproducibility
    assert Reproducible.DIFFERS is found.status
    (difference,) = found.differences
    assert (
        difference.path,
        difference.what,
    ) == ("(Env of the configuration)", "[] / ['WHEN=now']")
    assert "is not the same in each build" in difference.cause


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (["a", "b"], ["b", "c"], (["a"], ["c"])),
        (["a", "b"], ["b", "a"], (["a", "b"], ["b", "a"])),
        ({"x": "1", "y": "2"}, {"y": "3"}, ({"x": "1", "y": "2"}, {"y": "3"})),
        ({"x": "1", "y": "2"}, {"y": "2"}, ({"x": "1"}, {})),
        (None, ["a"], (None, ["a"])),
        ("/home", "/", ("/home", "/")),
    ],
)
def test_of_two_settings_only_what_differs_is_shown(
    one: object, other: object, expected: tuple[object, object]
) -> None:
    """What both lists or both mappings hold is left out; the order of a list counts."""
    assert expected == _apart(one, other)


def test_a_number_of_layers_that_differs_is_told(
    project: Folder, fake: FakeEngine, base: FakeImage
) -> None:
    """An image with a layer more than its twin differs, whatever the layers hold."""
    on_another_base(fake, replace(base, layers=(*base.layers, make_tar({"more": b""}))))
    (difference,) = verify_one(project).reproducibility.differences
    count = len(base.layers) + 2
    assert ("(layers)", f"{count} / {count + 1} layers") == (difference.path, difference.what)
    assert difference.cause == "a step that changes nothing makes no layer"


def test_an_empty_layer_makes_no_difference(
    project: Folder, fake: FakeEngine, base: FakeImage
) -> None:
    """One builder makes an empty layer where the other makes none, and that is the same."""
    empty = bytes(1024)
    on_another_base(fake, replace(base, layers=(*base.layers, empty)))
    assert Reproducible.PROVEN is verify_one(project).reproducibility.status


# --- systems ---------------------------------------------------------------------------------


@pytest.fixture
def debian(project: Folder, tmp_path: Path) -> Iterator[FakeMmdebstrap]:
    """A fake mmdebstrap on PATH."""
    with fake_mmdebstrap(tmp_path / "bin") as program:
        yield program


def test_a_bootstrapped_system_that_comes_out_the_same_is_proven(
    project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """A bootstrapped system is bootstrapped again and compared, and the copy is removed."""
    run_one(project, GOOD, BOOTSTRAP)
    found = verify_one(project, BOOTSTRAP)
    assert (found.reproducibility.status, found.reproducibility.notes) == (Reproducible.PROVEN, ())
    assert len(debian.calls) == 2
    assert "envmatrix/verify:debian12" not in fake.images.names


def test_a_system_whose_paths_come_in_another_order_differs(
    project: Folder, debian: FakeMmdebstrap
) -> None:
    """A layer with the same paths in another order is another layer, and is told as such."""
    run_one(project, GOOD, BOOTSTRAP)
    debian.hold(*PACKAGES, backwards=True)
    found = verify_one(project, BOOTSTRAP)
    assert Reproducible.DIFFERS is found.reproducibility.status
    (difference,) = found.reproducibility.differences
    assert (difference.path, difference.what) == ("(layer 1)", "the order of its paths")
    assert "another order" in difference.cause


def test_a_mirror_that_moved_on_is_a_note(
    project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """A system whose packages are gone from the mirror is not compared, but what stands on it is.

    The cell is proven on the system that is here.
    """
    run_one(project, GOOD, BOOTSTRAP)
    debian.hold("libc6 2.36-10", *PACKAGES[2:])
    found = verify_one(project, BOOTSTRAP).reproducibility
    assert Reproducible.PROVEN is found.status
    assert found.notes == ("debian12 cannot be made again: its mirror has moved on (3 packages)",)
    assert "envmatrix/verify:debian12" not in fake.images.names


# --- not checked -----------------------------------------------------------------------------


def test_a_cell_whose_base_is_blocked_is_not_checked(project: Folder, fake: FakeEngine) -> None:
    """Without a system nothing is built and nothing is checked, and a note says why."""
    fake.fail(PullRefused(403), times=None)
    told = Told()
    (found,) = verify(project, options=Options(jobs=1, origin=Origin.PULL), told=told)
    assert (found.verdict, found.stage) == ("unknown", "base")
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    assert all(said.startswith("not checked: debian:12-slim") for said in told.said("verify"))
    assert len(told.said("verify")) == 3


def test_a_twin_that_cannot_be_built_is_not_checked(project: Folder, fake: FakeEngine) -> None:
    """An image whose twin fails is not checked; the failure says nothing about the image."""
    run_one(project, GOOD)
    fake.fail(StepFails("jinja2===3.1.6", output="no such host\n"))
    told = Told()
    (found,) = verify(project, told=told)
    assert (
        found.verdict,
        found.reproducibility.status,
    ) == (Verdict.WORKS, Reproducible.NOT_CHECKED)
    assert any("something that had to be downloaded" in said for said in told.said("verify"))


def test_an_engine_that_vanishes_leaves_the_cell_not_checked(
    project: Folder, fake: FakeEngine
) -> None:
    """A twin that is lost with its engine is not checked, and the evidence of the cell stays."""
    run_one(project, GOOD)
    fake.fail(VanishesMidBuild("jinja2===3.1.6"))
    told = Told()
    (found,) = verify(project, told=told)
    assert (
        found.verdict,
        found.reproducibility.status,
    ) == (Verdict.WORKS, Reproducible.NOT_CHECKED)
    assert any(said.startswith("not checked: ") for said in told.said("verify"))


def test_without_an_engine_nothing_is_verified(project: Folder, fake: FakeEngine) -> None:
    """Without an engine verify ends with an error and changes no evidence."""
    probed = run_one(project, GOOD)
    fake.vanish()
    with pytest.raises(EngineError):
        verify(project)
    (cell,) = project.cells(GOOD)
    assert probed == project.workspace().knowledge.current(cell)


def test_cells_without_an_image_are_not_checked(project: Folder, fake: FakeEngine) -> None:
    """Cells that are impossible need no engine, and there is nothing to check."""
    found = verify(project, IMPOSSIBLE, EXCLUDED)
    assert [one.id for one in found] == [IMPOSSIBLE, EXCLUDED]
    assert {Reproducible.NOT_CHECKED} == {one.reproducibility.status for one in found}
    assert fake.requests == []


# --- another image than was probed -----------------------------------------------------------


def forget(fake: FakeEngine, project: Folder) -> None:
    """Let the engine lose everything that it made."""
    fake.lose_image()
    fake.builds.cache.clear()
    shutil.rmtree(project.root / ".envmatrix/records/os")


def test_another_image_than_was_probed_is_not_proven(project: Folder, fake: FakeEngine) -> None:
    """Where the same inputs now give another image than was probed, the cell differs.

    The image that is built now comes out the same twice, and that proves nothing of the other.
    """
    probed = run_one(project, GOOD)
    forget(fake, project)
    fake.on_layer = lambda step, files: {**files, "later": b""}
    found = verify_one(project)
    assert Reproducible.DIFFERS is found.reproducibility.status
    assert probed.layers == found.layers
    assert found.reproducibility.notes == (
        "the image that was probed had other layers, though its inputs are the same",
    )


def test_an_image_on_a_system_that_can_no_longer_be_made_is_not_checked(
    project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """Where the mirror moved on since the probes ran, the image that was probed is not checked."""
    project.write("reports/packages/debian12.txt", "\n".join(held(*PACKAGES)) + "\n")
    run_one(project, GOOD, BOOTSTRAP)
    forget(fake, project)
    debian.hold("libc6 2.36-10", *PACKAGES[::2])
    found = verify_one(project, BOOTSTRAP).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert found.verified_at is None
    (note,) = found.notes
    assert "stands on another debian12 than can be made now: 1 package: libc6 2.36-9" in note
    assert note.endswith("; run it again, then verify")
