"""Verifying on the fake engine: what is proven, what differs, and what could not be checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import (
    Facts,
    FakeEngine,
    PullRefused,
    Refuses,
    Step,
    StepFails,
    UnstableLayer,
    VanishesMidBuild,
)
from fake_engine_images import FakeImage, make_tar
from fake_mmdebstrap import PACKAGES, FakeMmdebstrap, fake_mmdebstrap, held
from small_project import (
    BASE,
    EXCLUDED,
    GOOD,
    IMPOSSIBLE,
    OLD,
    ONE,
    Folder,
    Told,
    environment,
    run,
    run_one,
)

from envmatrix.engine import layer_content
from envmatrix.engine.images import Images, Saved
from envmatrix.model.causes import SURROUNDINGS, classify
from envmatrix.model.digests import short
from envmatrix.model.errors import EngineError
from envmatrix.model.evidence import Evidence, Reproducibility, Reproducible
from envmatrix.model.verdicts import Verdict
from envmatrix.stages.elsewhere import OTHER_LAYERS
from envmatrix.stages.options import Options, Origin
from envmatrix.stages.verify import SHOWN, _apart

NO_HOST = "no such host\n"
_CAUSE = classify(NO_HOST, SURROUNDINGS)
assert _CAUSE is not None
UNREACHABLE = _CAUSE.cause
BOOTSTRAP = Options(jobs=1, origin=Origin.BOOTSTRAP)
DEBIAN = "debian:12-slim"
BY_DIGEST = "debian12 is what the registry gave, by its digest {}"


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
    assert found.reproducibility.notes == (BY_DIGEST.format(short(fake.digest_of(DEBIAN))),)
    assert found == probed.with_contents(found.contents).with_reproducibility(found.reproducibility)
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


def test_each_step_is_told_as_it_ends(project: Folder, fake: FakeEngine) -> None:
    """The system, the base and the cell are told one by one, and a shared base once."""
    told = Told()
    verify(project, GOOD, OLD, told=told)
    assert told.expected["verify"] == 4
    said = {subject: said for stage, subject, said, _ in told.finished_items if stage == "verify"}
    assert said == {
        "debian12": f"the same ({BY_DIGEST.format(short(fake.digest_of(DEBIAN)))})",
        BASE: "the same",
        GOOD: "the same",
        OLD: "the same",
    }
    assert set(said) == {subject for stage, subject in told.started_items if stage == "verify"}


def test_a_path_that_differs_is_told_with_its_cause(project: Folder, fake: FakeEngine) -> None:
    """A layer that is another each time differs, with the path, what differs and why."""
    fake.fail(UnstableLayer("jinja2===3.1.6 --hash"), times=None)
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
        if "jinja2===3.1.6 --hash" not in step.text:
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
    base = find(f"envmatrix/base:{BASE}")
    fake.builds.base = lambda name: change if find(name) == base else find(name)


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
    assert not [name for name in fake.images.names if name.startswith("envmatrix/made")]


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
    assert not [name for name in fake.images.names if name.startswith("envmatrix/made")]


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
    fake.fail(StepFails("jinja2===3.1.6", output=NO_HOST))
    told = Told()
    (found,) = verify(project, told=told)
    assert (
        found.verdict,
        found.reproducibility.status,
    ) == (Verdict.WORKS, Reproducible.NOT_CHECKED)
    assert f"not checked: {UNREACHABLE}" in told.said("verify")


def test_a_cell_whose_base_was_not_checked_is_not_proven(project: Folder, fake: FakeEngine) -> None:
    """An image that comes out the same is not proven while the base below it was not compared."""
    run_one(project, GOOD)
    fake.fail(StepFails("groupadd", output=NO_HOST))
    told = Told()
    (found,) = verify(project, told=told)
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    assert told.said("verify")[-1] == "the same"
    assert UNREACHABLE in found.reproducibility.notes


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
    assert found.reproducibility.notes[-1] == OTHER_LAYERS
    first, *others = found.reproducibility.differences
    assert first.path == f"(layer 2 (ADD etc.tar /) of {len(probed.layers)})"
    assert first.what.startswith(f"diff id {short(probed.layers[1])} / sha256:")
    assert "depends on the time" in first.cause
    assert {one.cause for one in others} == {"a layer below it is not the same"}


OLD_PACKAGES = (f"cpp 1 amd64 {'a' * 64}", f"g++ 1 amd64 {'a' * 64}")
NEW_PACKAGES = (OLD_PACKAGES[0], f"g++ 2 amd64 {'b' * 64}")
PACKAGES_DRIFT = "1 package: g++ 1 (aaaaaaaa) -> 2 (bbbbbbbb)"


def mirrors(monkeypatch: pytest.MonkeyPatch, *lists: Sequence[str]) -> None:
    """Let each build of a cell get the packages of the next list, and the last list stay."""
    ahead = list(lists)

    def packages_of(*_: object) -> tuple[str, ...]:
        return tuple(ahead.pop(0) if len(ahead) > 1 else ahead[0])

    for module in ("build", "verify"):
        monkeypatch.setattr(f"envmatrix.stages.{module}.packages_of", packages_of)


def test_a_twin_with_other_packages_is_not_compared(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the mirror moved on between the image and its twin, nothing is proven or refuted."""
    mirrors(monkeypatch, OLD_PACKAGES, NEW_PACKAGES)
    assert run_one(project, GOOD).packages == OLD_PACKAGES
    found = verify_one(project).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    moved_on = f"{GOOD} cannot be made again: its mirror has moved on ({PACKAGES_DRIFT})"
    assert found.notes[-1] == moved_on
    assert twins_left(fake) == []


def test_an_image_with_packages_that_are_gone_is_not_checked(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the mirror moved on since the probes ran, the packages that differ are named."""
    mirrors(monkeypatch, OLD_PACKAGES, NEW_PACKAGES)
    run_one(project, GOOD)
    forget(fake, project)
    fake.on_layer = lambda step, files: {**files, "later": b""}
    found = verify_one(project).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert PACKAGES_DRIFT in found.notes[-1]
    assert found.notes[-1].endswith(f"`envmatrix run {GOOD}`, then `envmatrix verify {GOOD}`")


def test_an_image_on_a_system_that_can_no_longer_be_made_is_not_checked(
    project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """Where the mirror moved on since the probes ran, the image that was probed is not checked."""
    project.write("reports/packages/debian12.txt", "\n".join(held(*PACKAGES)) + "\n")
    probed = run_one(project, GOOD, BOOTSTRAP)
    forget(fake, project)
    debian.hold("libc6 2.36-10", *PACKAGES[::2])
    found = verify_one(project, BOOTSTRAP).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert found.verified_at is None
    (note,) = found.notes
    assert note.startswith(
        "layer 1 is not comparable: the image that was probed stands on another debian12 than can "
        "be made now: 1 package: libc6 2.36-9"
    )
    above = len(probed.layers) - 1
    assert f"; above, {above} of {above} layers are the same; " in note
    assert note.endswith(f"`envmatrix run {GOOD}`, then `envmatrix verify {GOOD}`")


def test_a_tag_that_moved_since_the_probes_ran_is_told(project: Folder, fake: FakeEngine) -> None:
    """A pulled system that the tag no longer names is not compared; both digests are told.

    The user is told of the move too, when the system is pulled.
    """
    before = fake.digest_of(DEBIAN)
    probed = run_one(project, GOOD)
    forget(fake, project)
    fake.move_tag(DEBIAN)
    told = Told()
    (found,) = verify(project, told=told)
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    assert probed.layers == found.layers
    moved = f"{DEBIAN} has moved: {short(before)} -> {short(fake.digest_of(DEBIAN))}"
    note = found.reproducibility.notes[-1]
    assert note.startswith(f"layer 1 is not comparable: {moved}; above, ")
    assert f"debian12 is not what was used here before: {moved}" in told.texts


# --- what layers contain ---------------------------------------------------------------------


def saves(fake: FakeEngine) -> int:
    """Return how often layers were read from the engine."""
    return len(fake.asked("GET /images/*/get"))


def test_a_run_reads_no_layer(project: Folder, fake: FakeEngine) -> None:
    """Neither a first run nor a run in which nothing changed takes digests of contents."""
    assert run_one(project, GOOD).contents == ()
    run_one(project, GOOD)
    assert saves(fake) == 0


def test_what_each_layer_contains_is_evidence(project: Folder) -> None:
    """Verifying adds one digest for each layer, in the form of decision 13. A run keeps it."""
    run_one(project, GOOD)
    found = verify_one(project)
    assert len(found.layers) == len(found.contents)
    assert {layer_content.SCHEME} == {one.partition(":")[0] for one in found.contents}
    assert found.contents == run_one(project, GOOD).contents


def test_a_layer_is_read_once(project: Folder, fake: FakeEngine) -> None:
    """A cell whose layers are all known needs no layer from the engine."""
    run(project, GOOD)
    verify(project)
    assert saves(fake) == 1
    verify(project)
    assert saves(fake) == 1
    verify(project, OLD)
    assert saves(fake) == 2


def test_digests_of_another_form_are_taken_again(project: Folder, fake: FakeEngine) -> None:
    """A record of a form that this envmatrix does not compare is as none."""
    found = verify_one(project)
    for record in (project.root / ".envmatrix/records/content").iterdir():
        data = json.loads(record.read_text())
        record.write_text(json.dumps({**data, "content": "envmatrix-content-0:aa"}))
    assert found.contents == verify_one(project).contents
    assert saves(fake) == 2


def test_layers_that_cannot_be_read_leave_a_note(project: Folder, fake: FakeEngine) -> None:
    """A cell is proven by its twin where what its layers contain cannot be read.

    What the engine says is told and not published: it may name places of its machine.
    """
    fake.fail(Refuses("GET /images/*/get", 500, "open /layer: input/output error"))
    told = Told()
    (found,) = verify(project, told=told)
    assert Reproducible.PROVEN is found.reproducibility.status
    assert found.contents == ()
    note = "what its layers contain could not be read: the engine failed"
    assert note == found.reproducibility.notes[-1]
    assert any("input/output error" in text for text in told.texts)


def test_a_user_can_stop_while_layers_are_read(
    project: Folder, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verifying ends between two layers, and no twin is left."""
    saved = Images.saved

    @contextmanager
    def stopping(images: Images, reference: str, folder: Path) -> Iterator[Saved]:
        with saved(images, reference, folder) as found:
            images.connection.cancelled.set()
            yield found

    monkeypatch.setattr(Images, "saved", stopping)
    with pytest.raises(KeyboardInterrupt):
        verify(project)
    assert twins_left(fake) == []


# --- evidence from another machine -----------------------------------------------------------

OLD_ENGINE = Facts(version="20.10.24")


@pytest.fixture
def published(project: Folder, fake: FakeEngine) -> Callable[..., Evidence]:
    """A function that publishes a cell, run and verified on an engine that writes old layers."""

    def publish(options: Options = ONE, *, verified: bool = True) -> Evidence:
        fake.facts = OLD_ENGINE
        fake.builds.owner = "root"
        (found,) = run(project, GOOD, options=options).cells
        if verified:
            (found,) = verify(project, options=options)
        workspace = project.workspace()
        workspace.reporting.write([found], workspace.layout.reports)
        return found

    return publish


@pytest.fixture
def there(project: Folder, tmp_path: Path) -> Iterator[Callable[[], tuple[Folder, FakeEngine]]]:
    """A function that clones the project for another machine, with an engine of its own."""
    with ExitStack() as stack:

        def clone() -> tuple[Folder, FakeEngine]:
            engine = stack.enter_context(FakeEngine(facts=Facts(version="28.5.2")))
            folder = project.copy(tmp_path / "clone", environment(engine.url))
            shutil.rmtree(folder.root / ".envmatrix/cells")
            for kind in ("os", "base", "build", "probe", "verify", "content", "packages", "tag"):
                shutil.rmtree(folder.root / ".envmatrix/records" / kind, ignore_errors=True)
            stack.enter_context(folder.inside())
            return folder, engine

        yield clone


Publish = Callable[..., Evidence]
Clone = Callable[[], tuple[Folder, FakeEngine]]


def test_the_same_content_by_another_engine_is_proven(published: Publish, there: Clone) -> None:
    """Layers with other diff ids and the same content are the same; the note names both engines."""
    evidence = published()
    clone, _ = there()
    found = verify_one(clone)
    assert Reproducible.PROVEN is found.reproducibility.status
    assert found.reproducibility.differences == ()
    count = len(evidence.layers)
    assert (
        "same content, written by another engine (20.10.24 / 28.5.2): "
        f"{count - 1} of {count} layers have other diff ids"
    ) == found.reproducibility.notes[-1]
    # The evidence is still that of the image that was probed.
    assert (evidence.layers, evidence.contents) == (found.layers, found.contents)
    assert clone.main("verify", GOOD) == 0


def test_another_content_elsewhere_differs(published: Publish, there: Clone) -> None:
    """A step that gives other files on another machine differs, with its number and instruction."""
    evidence = published()
    clone, engine = there()
    engine.on_layer = lambda step, files: (
        {**files, "later": b""} if "jinja2===3.1.6 --hash" in step.text else files
    )
    found = verify_one(clone)
    assert Reproducible.DIFFERS is found.reproducibility.status
    (difference,) = found.reproducibility.differences
    count = len(evidence.layers)
    assert difference.path.startswith("(layer ")
    assert "RUN " in difference.path
    assert difference.path.endswith(f" of {count})")
    assert difference.what.startswith("content envmatrix-content-1:")
    assert found.reproducibility.notes[-1] == OTHER_LAYERS
    assert clone.main("verify", GOOD) == 1


def test_evidence_without_digests_of_contents_is_not_checked_elsewhere(
    published: Publish, there: Clone
) -> None:
    """Diff ids of another engine settle nothing, so evidence without digests never differs."""
    published(verified=False)
    clone, _ = there()
    found = verify_one(clone)
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    assert found.reproducibility.verified_at is None
    note = found.reproducibility.notes[-1]
    assert "the evidence has no digests of what its layers contain" in note
    assert "(20.10.24 / 28.5.2)" in note
    assert note.endswith(f"`envmatrix run {GOOD}`, then `envmatrix verify {GOOD}`")
    assert clone.main("verify", GOOD) == 3


def test_another_origin_of_the_system_is_not_comparable(
    published: Publish, there: Clone, debian: FakeMmdebstrap
) -> None:
    """A bootstrapped system and a pulled one are not compared; the layers above are judged."""
    evidence = published(BOOTSTRAP)
    clone, _ = there()
    found = verify_one(clone)
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    above = len(evidence.layers) - 1
    assert found.reproducibility.notes[-1].startswith(
        "layer 1 is not comparable: the debian12 of the image that was probed came by bootstrap, "
        f"and the one here by pull; above, {above} of {above} layers are the same "
        "(same content, written by another engine (20.10.24 / 28.5.2)); to judge what is here: "
    )
    assert clone.main("verify", GOOD) == 3


def test_other_packages_elsewhere_are_not_comparable(
    published: Publish, there: Clone, debian: FakeMmdebstrap
) -> None:
    """The packages below published evidence are those of the published list."""
    published(BOOTSTRAP)
    clone, _ = there()
    debian.hold("libc6 2.36-10", *PACKAGES[::2])
    found = verify_one(clone, BOOTSTRAP)
    assert Reproducible.NOT_CHECKED is found.reproducibility.status
    assert "1 package: libc6 2.36-9" in found.reproducibility.notes[-1]


def test_the_same_packages_elsewhere_must_give_the_same_system(
    published: Publish, there: Clone, debian: FakeMmdebstrap
) -> None:
    """A system of the same packages with other files differs: nothing excuses that."""
    published(BOOTSTRAP)
    clone, _ = there()
    root = debian.folder / "root.tar"
    root.write_bytes(make_tar({"etc/more": b""}))
    found = verify_one(clone, BOOTSTRAP).reproducibility
    assert Reproducible.DIFFERS is found.status
    assert found.differences[0].path.startswith("(layer 1")


def test_packages_that_nobody_published_are_not_known(
    published: Publish, there: Clone, debian: FakeMmdebstrap
) -> None:
    """Without a published list nobody can say whether the mirror has moved on."""
    published(BOOTSTRAP)
    clone, _ = there()
    (clone.root / "reports/packages/debian12.txt").unlink()
    (debian.folder / "root.tar").write_bytes(make_tar({"etc/more": b""}))
    found = verify_one(clone, BOOTSTRAP).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert (
        "the packages of the debian12 of the image that was probed are not known"
        in (found.notes[-1])
    )


def test_a_tag_that_names_another_image_elsewhere_has_moved(
    published: Publish, there: Clone
) -> None:
    """The digest of published evidence and the digest here are told, and verify ends with 3."""
    evidence = published()
    assert evidence.base is not None
    assert evidence.base.digest is not None
    clone, engine = there()
    engine.move_tag(DEBIAN)
    told = Told()
    (found,) = verify(clone, told=told)
    moved = f"{DEBIAN} has moved: {short(evidence.base.digest)} -> "
    moved += short(engine.digest_of(DEBIAN))
    assert found.reproducibility.notes[-1].startswith(f"layer 1 is not comparable: {moved}; ")
    assert [f"debian12 is not what was published: {moved}"] == told.texts
    assert clone.main("verify", GOOD) == 3


def test_a_system_whose_digest_is_not_known_is_not_comparable(
    published: Publish, there: Clone
) -> None:
    """An image that came by hand has no digest, and is not taken for the one of the registry."""
    published()
    clone, engine = there()
    engine.add_image(DEBIAN, files={"etc/other": b""})
    found = verify_one(clone).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert found.notes[0] == (
        "debian12 is an image of this engine, and no registry's digest of it is known"
    )
    assert "the digest of the debian:12-slim here is not known" in found.notes[-1]


def edited(clone: Folder, edit: Callable[[dict[str, object]], object]) -> None:
    """Change the published evidence of a cell."""
    path = clone.root / f"reports/cells/{GOOD}.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (
            {"origin": None},
            "where the debian12 of the image that was probed came from is not known",
        ),
        ({"digest": None}, "the digest of the debian:12-slim of the image that was probed is not "),
    ],
)
def test_what_older_evidence_does_not_tell_is_not_known(
    published: Publish, there: Clone, base: Mapping[str, None], expected: str
) -> None:
    """Evidence that does not say what its image stands on is not comparable on another system."""
    published()
    clone, engine = there()
    engine.move_tag(DEBIAN)
    edited(clone, lambda data: data["base"].update(base))  # type: ignore[attr-defined]
    found = verify_one(clone).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert expected in found.notes[-1]


def test_digests_of_another_form_are_never_a_difference(published: Publish, there: Clone) -> None:
    """Digests that this envmatrix does not compare leave the cell not checked."""
    published()
    clone, _ = there()

    def another(data: dict[str, object]) -> None:
        data["image"]["contents"] = [  # type: ignore[index]
            f"envmatrix-content-0:{number}"
            for number in range(len(data["image"]["layers"]))  # type: ignore[index]
        ]

    edited(clone, another)
    found = verify_one(clone).reproducibility
    assert Reproducible.NOT_CHECKED is found.status
    assert "digests of another form (envmatrix-content-0)" in found.notes[-1]


# --- what is known from before ---------------------------------------------------------------


def test_what_cannot_be_checked_today_does_not_replace_a_proof(
    project: Folder, fake: FakeEngine
) -> None:
    """Verify says that nothing was checked, and the book keeps the proof of an earlier day."""
    run_one(project, GOOD)
    proven = verify_one(project).reproducibility
    fake.fail(StepFails("groupadd", output=NO_HOST))
    assert Reproducible.NOT_CHECKED is verify_one(project).reproducibility.status
    assert proven == run_one(project, GOOD).reproducibility
    fake.fail(StepFails("jinja2===3.1.6", output=NO_HOST))
    assert Reproducible.NOT_CHECKED is verify_one(project).reproducibility.status
    (cell,) = project.cells(GOOD)
    kept = project.workspace().knowledge.current(cell)
    assert kept is not None
    assert proven == kept.reproducibility


def test_a_difference_replaces_a_proof(project: Folder, fake: FakeEngine) -> None:
    """A cell that differs today is not shown as proven."""
    run_one(project, GOOD)
    assert verify_one(project).reproducibility != Reproducibility()
    fake.fail(UnstableLayer("jinja2===3.1.6 --hash"), times=None)
    verify_one(project)
    assert Reproducible.DIFFERS is run_one(project, GOOD).reproducibility.status
