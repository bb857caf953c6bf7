"""The systems below bases: where they come from, what is recorded of them, and what is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from fake_engine import DiskFull, FakeEngine, PullRefused, Slow
from fake_mmdebstrap import PACKAGES, FakeMmdebstrap, fake_mmdebstrap, held
from small_project import GOOD, NEWER, Folder, Told

from envmatrix.model.cells import Cell
from envmatrix.model.digests import short
from envmatrix.model.verdicts import Judgement
from envmatrix.stages.options import Options, Origin
from envmatrix.stages.recipes import Built
from envmatrix.stages.systems import Systems

Opened = Callable[..., AbstractContextManager[Systems]]
NO_REGISTRY = PullRefused(500, "dial tcp: lookup registry.example: no such host")


@pytest.fixture
def told() -> Told:
    """What the user is told."""
    return Told()


@pytest.fixture
def opened(project: Folder, told: Told) -> Opened:
    """A function that gives the systems of a new command."""

    @contextmanager
    def open_(origin: Origin = Origin.AUTO, *, fresh: bool = False) -> Iterator[Systems]:
        building = project.workspace().runner.building
        with building.open(Options(jobs=1, origin=origin, fresh=fresh), told) as builder:
            yield builder.systems

    return open_


@pytest.fixture
def debian(opened: Opened, tmp_path: Path) -> Iterator[FakeMmdebstrap]:
    """A fake mmdebstrap on PATH."""
    with fake_mmdebstrap(tmp_path / "bin") as program:
        yield program


@pytest.fixture
def cell(project: Folder) -> Cell:
    """A cell whose system can be pulled and bootstrapped."""
    (found,) = project.cells(GOOD)
    return found


@pytest.fixture
def newer(project: Folder) -> Cell:
    """A cell whose system can only be pulled."""
    (found,) = project.cells(NEWER)
    return found


def pulls(fake: FakeEngine) -> int:
    """Return how often an image was asked of the registry."""
    return len([one for one in fake.asked("POST /images/create") if not one.one("fromSrc")])


def built(found: Built | Judgement) -> Built:
    """Return what was built, where nothing else may be."""
    assert isinstance(found, Built), found
    return found


def refused(found: Built | Judgement, kind: str = "blocked") -> Judgement:
    """Return a judgement, where nothing else may be."""
    assert isinstance(found, Judgement), found
    assert (found.verdict, found.stage, found.kind) == ("unknown", "base", kind)
    assert found.remedy
    return found


def test_a_system_is_pulled_once(opened: Opened, cell: Cell, fake: FakeEngine) -> None:
    """A system that a registry serves is pulled, and a later run takes what was recorded."""
    with opened() as systems:
        assert systems.recorded(cell) == []
        first = built(systems.get(cell))
    with opened() as systems:
        assert [first.image] == [one.image for one in systems.recorded(cell)]
        second = built(systems.get(cell))
    assert (first.origin, first.reused) == ("pull", False)
    assert (second.origin, second.reused) == ("pull", True)
    assert first.image == second.image
    assert pulls(fake) == 1


def test_an_image_that_the_engine_has_is_not_pulled(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """An image with the name that the matrix gives needs no registry."""
    image = fake.add_image("debian:12-slim")
    with opened() as systems:
        assert image.id == built(systems.get(cell)).image.id
    assert pulls(fake) == 0


def test_a_system_that_the_engine_lost_is_pulled_again(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """A record of an image that is gone is worth nothing."""
    with opened() as systems:
        systems.get(cell)
        fake.lose_image()
        assert systems.recorded(cell) == []
        assert not built(systems.get(cell)).reused
    assert pulls(fake) == 2


def test_a_system_is_bootstrapped_where_no_registry_answers(
    opened: Opened, cell: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """A system that cannot be pulled is made from its packages, and these are recorded."""
    fake.fail(NO_REGISTRY, times=None)
    with opened() as systems:
        first = built(systems.get(cell))
        assert held(*PACKAGES) == systems.packages.held(first.image.layers)
    with opened() as systems:
        second = built(systems.get(cell))
    assert (first.origin, first.reused) == ("bootstrap", False)
    assert (second.origin, second.reused) == ("bootstrap", True)
    assert first.image.names == ("envmatrix/os:debian12",)
    assert len(debian.calls) == 1
    assert debian.calls[0][-2] == "bookworm"


def test_nothing_is_left_of_a_bootstrap(
    opened: Opened, cell: Cell, project: Folder, debian: FakeMmdebstrap
) -> None:
    """The tar and the list of a bootstrap are removed, whether the engine takes it or not."""
    with opened(Origin.BOOTSTRAP) as systems:
        systems.get(cell)
    assert list((project.root / ".envmatrix/bootstrap").iterdir()) == []


def test_a_bootstrap_that_the_engine_does_not_take_leaves_nothing(
    opened: Opened, cell: Cell, fake: FakeEngine, project: Folder, debian: FakeMmdebstrap
) -> None:
    """An engine without space for the import is told in the cause, and the tar is removed."""
    fake.fail(DiskFull("import"))
    with opened(Origin.BOOTSTRAP) as systems:
        found = refused(systems.get(cell), "disk-full")
    assert "no space left on device" in found.cause
    assert list((project.root / ".envmatrix/bootstrap").iterdir()) == []


def test_a_registry_that_refuses_the_image_does_not_hinder_a_bootstrap(
    opened: Opened, cell: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """A registry that answers and does not give the image leads to a bootstrap too."""
    fake.fail(PullRefused(404), times=None)
    with opened() as systems:
        assert built(systems.get(cell)).origin == "bootstrap"


def test_a_bootstrap_that_fails_is_told_with_its_last_words(
    opened: Opened, cell: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """The cause holds why the image was not pulled, and why it could not be made."""
    fake.fail(PullRefused(404), times=None)
    debian.fail("E: no mirror answers")
    with opened() as systems:
        found = refused(systems.get(cell), "registry")
    assert "debian:12-slim cannot be pulled: manifest for debian:12-slim not found" in found.cause
    assert "mmdebstrap could not make bookworm: E: no mirror answers" in found.cause


def test_a_registry_that_does_not_answer_is_asked_once(
    opened: Opened, cell: Cell, newer: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """After one pull that reached no registry, no other is tried in this run."""
    fake.fail(NO_REGISTRY, times=None)
    with opened() as systems:
        built(systems.get(cell))
        found = refused(systems.get(newer))
    assert found.cause == "no image registry can be reached to pull debian:13-slim"
    assert pulls(fake) == 1


def test_a_full_disk_is_not_taken_for_a_registry_that_does_not_answer(
    opened: Opened, cell: Cell, newer: Cell, fake: FakeEngine
) -> None:
    """A pull that fails for want of disk says so, and the next pull is tried."""
    fake.fail(DiskFull("pull"))
    with opened(Origin.PULL) as systems:
        found = refused(systems.get(cell), "disk-full")
        assert "no space left on device" in found.cause
        assert built(systems.get(newer)).origin == "pull"


def test_the_user_can_ask_for_pulls_only(
    opened: Opened, cell: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """With the origin pull nothing is bootstrapped."""
    fake.fail(NO_REGISTRY, times=None)
    with opened(Origin.PULL) as systems:
        found = refused(systems.get(cell))
    assert found.cause == "no image registry can be reached to pull debian:12-slim"
    assert debian.calls == []


def test_the_user_can_ask_for_a_bootstrap_only(
    opened: Opened, cell: Cell, newer: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """With the origin bootstrap no registry is asked, and a system without a suite is blocked."""
    with opened(Origin.BOOTSTRAP) as systems:
        assert built(systems.get(cell)).origin == "bootstrap"
        found = refused(systems.get(newer))
    assert found.cause == "debian13 cannot be bootstrapped: the matrix names no suite for it"
    assert pulls(fake) == 0


def test_a_pulled_system_does_not_stand_for_a_bootstrapped_one(
    opened: Opened, cell: Cell, debian: FakeMmdebstrap
) -> None:
    """The record of a pull is not taken where a bootstrap is asked for."""
    with opened() as systems:
        assert built(systems.get(cell)).origin == "pull"
    with opened(Origin.BOOTSTRAP) as systems:
        assert systems.recorded(cell) == []
        assert built(systems.get(cell)).origin == "bootstrap"


def test_a_system_that_is_made_again_replaces_the_one_before(
    opened: Opened, cell: Cell, project: Folder, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """The image that a bootstrap replaces is removed."""
    with opened(Origin.BOOTSTRAP) as systems:
        first = built(systems.get(cell))
    for record in (project.root / ".envmatrix/records/os").iterdir():
        record.unlink()
    debian.hold("libc6 2.36-10")
    with opened(Origin.BOOTSTRAP) as systems:
        second = built(systems.get(cell))
    assert fake.images.find(first.image.id) is None
    assert fake.images.find("envmatrix/os:debian12") is fake.images.find(second.image.id)


def test_a_system_that_differs_from_the_published_one_is_told(
    opened: Opened, cell: Cell, project: Folder, told: Told, debian: FakeMmdebstrap
) -> None:
    """The user is told which packages differ from the published list."""
    published = held("base-files 12.4", "libc6 2.36-8", "python3 3.11.2-1")
    project.write("reports/packages/debian12.txt", "\n".join(published) + "\n")
    with opened(Origin.BOOTSTRAP) as systems:
        systems.get(cell)
    (text,) = told.texts
    assert text.startswith("debian12 is not what was published: 1 package: libc6 2.36-8 (")
    assert "-> 2.36-9 (" in text


def test_a_system_is_made_once_for_cells_side_by_side(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """Two cells that need one system at the same time get it from one pull."""
    fake.fail(Slow("POST /images/create", 0.2))
    found: list[Built | Judgement] = []
    with opened() as systems:
        threads = [
            threading.Thread(target=lambda: found.append(systems.get(cell))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(built(one).reused for one in found) == [False, True]
    assert pulls(fake) == 1


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (PullRefused(401), ("credentials", "docker login")),
        (PullRefused(403), ("credentials", "docker login")),
        (PullRefused(407, "proxyconnect: Proxy Authentication Required"), ("credentials", "proxy")),
        (PullRefused(429), ("rate-limited", "docker login")),
        (PullRefused(404), ("registry", "name of the image")),
        (
            PullRefused(500, "x509: signed by unknown authority"),
            ("blocked", "registry"),
        ),
        (PullRefused(500, "dial tcp 1.2.3.4:443: i/o timeout"), ("blocked", "registry")),
    ],
)
def test_a_refused_pull_has_the_class_of_its_reason_and_is_asked_once(
    opened: Opened, cell: Cell, fake: FakeEngine, refusal: PullRefused, expected: tuple[str, str]
) -> None:
    """Nothing waits for a password that nobody can type."""
    fake.fail(refusal, times=None)
    kind, remedy = expected
    with opened(Origin.PULL) as systems:
        assert remedy in refused(systems.get(cell), kind).remedy
    assert pulls(fake) == 1


def test_a_registry_that_refuses_is_asked_for_the_next_system(
    opened: Opened, cell: Cell, newer: Cell, fake: FakeEngine
) -> None:
    """A refusal proves that the registry can be reached."""
    fake.fail(PullRefused(401))
    with opened(Origin.PULL) as systems:
        refused(systems.get(cell), "credentials")
        assert built(systems.get(newer)).origin == "pull"


def test_a_bootstrap_in_place_of_a_pull_is_told(
    opened: Opened, cell: Cell, fake: FakeEngine, told: Told, debian: FakeMmdebstrap
) -> None:
    """The user learns why the image of the registry was not taken."""
    fake.fail(PullRefused(401), times=None)
    with opened() as systems:
        built(systems.get(cell))
    (text,) = told.texts
    assert text.startswith("debian12 is bootstrapped: debian:12-slim cannot be pulled: ")


def test_a_fresh_run_pulls_once_what_a_tag_names_now(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """The tag was moved since: the new image is taken, though the engine has the old one."""
    with opened() as systems:
        old = systems.get(cell)
    fake.move_tag("debian:12-slim")
    with opened() as systems:
        kept = systems.get(cell)
    with opened(fresh=True) as systems:
        new, again = systems.get(cell), systems.get(cell)
    assert isinstance(old, Built)
    assert isinstance(kept, Built)
    assert isinstance(new, Built)
    assert isinstance(again, Built)
    assert kept.image.id == old.image.id != new.image.id == again.image.id
    assert len(fake.asked("POST /images/create*")) == 2


def test_a_fresh_run_takes_what_is_here_where_no_registry_answers(
    opened: Opened, cell: Cell, fake: FakeEngine, told: Told
) -> None:
    """An image that only the engine has is as fresh as it can be, and that is told."""
    here = fake.add_image("debian:12-slim")
    fake.fail(NO_REGISTRY, times=None)
    with opened(fresh=True) as systems:
        built = systems.get(cell)
    assert isinstance(built, Built)
    assert built.image.id == here.id
    assert any("debian:12-slim is taken as it is here" in text for text in told.texts)


def test_a_fresh_run_bootstraps_again(
    opened: Opened, cell: Cell, fake: FakeEngine, debian: FakeMmdebstrap
) -> None:
    """A system of an earlier run is not taken, and that of this run is."""
    for fresh in (False, True):
        with opened(Origin.BOOTSTRAP, fresh=fresh) as systems:
            systems.get(cell)
            systems.get(cell)
    assert len(debian.calls) == 2


def test_an_image_of_another_architecture_is_pulled_again(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """An image with the right name may have been pulled for another machine."""
    fake.add_image("debian:12-slim", architecture="arm64")
    with opened(Origin.PULL) as systems:
        found = built(systems.get(cell))
    (asked,) = [one for one in fake.asked("POST /images/create") if not one.one("fromSrc")]
    assert asked.one("platform") == "linux/amd64"
    assert fake.images.get(found.image.id).architecture == "amd64"


def test_a_registry_that_gives_another_architecture_is_no_fault_of_the_cell(
    opened: Opened, cell: Cell, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cause names both architectures."""
    monkeypatch.setattr("envmatrix.engine.images.Images.architecture", lambda *_: "arm64")
    with opened(Origin.PULL) as systems:
        found = refused(systems.get(cell), "registry")
    assert found.cause == "the image debian:12-slim is arm64, the cell is amd64"


# --- a pulled system is known by its digest --------------------------------------------------

DEBIAN = "debian:12-slim"


def test_a_pulled_system_is_known_by_its_digest(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """The digest of the registry is recorded with the image."""
    with opened() as systems:
        assert built(systems.get(cell)).digest == fake.digest_of(DEBIAN)
        assert built(systems.get(cell)).digest == fake.digest_of(DEBIAN)


def test_a_bootstrapped_system_has_no_digest(
    opened: Opened, cell: Cell, debian: FakeMmdebstrap
) -> None:
    """No registry knows what was made here."""
    with opened(Origin.BOOTSTRAP) as systems:
        assert built(systems.get(cell)).digest is None


def test_a_tag_that_names_another_image_is_told_once(
    opened: Opened, cell: Cell, fake: FakeEngine, told: Told
) -> None:
    """After somebody pulled the tag again the new image is taken, not the one of the record."""
    with opened() as systems:
        first = built(systems.get(cell))
    fake.move_tag(DEBIAN)
    with opened() as systems:
        systems.engine.images.pull(DEBIAN)
        assert systems.recorded(cell) == []
        second = built(systems.get(cell))
    with opened() as systems:
        assert second.image == built(systems.get(cell)).image
    assert first.digest is not None
    assert second.digest not in (None, first.digest)
    moved = f"debian:12-slim has moved: {short(first.digest)} -> {short(second.digest or '')}"
    assert [f"debian12 is not what was used here before: {moved}"] == told.texts


def test_an_image_that_two_digests_name_keeps_the_one_it_had(
    opened: Opened, cell: Cell, fake: FakeEngine, told: Told
) -> None:
    """A new list of platforms with the same image for this one is no other system."""
    with opened() as systems:
        first = built(systems.get(cell))
        fake.images.digests[f"debian@sha256:{'0' * 64}"] = first.image.id
    with opened() as systems:
        again = built(systems.get(cell))
    assert (again.reused, again.digest) == (True, first.digest)
    assert told.texts == []


def test_an_image_without_a_digest_is_known_by_its_id(
    opened: Opened, cell: Cell, fake: FakeEngine, told: Told
) -> None:
    """An image that was loaded by hand is recorded, and another one with its name is another."""
    fake.add_image(DEBIAN)
    with opened() as systems:
        first = built(systems.get(cell))
        assert (first.digest, built(systems.get(cell)).reused) == (None, True)
    fake.add_image(DEBIAN, files={"etc/other": b""})
    with opened() as systems:
        second = built(systems.get(cell))
    assert not second.reused
    assert first.image != second.image
    assert told.texts == []


def test_without_the_tag_the_image_it_last_named_serves(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """Somebody who removes the name of an image does not make envmatrix pull again."""
    with opened() as systems:
        first = built(systems.get(cell))
        systems.engine.images.tag(first.image, "debian:other")
        del fake.images.names[DEBIAN]
        fake.fail(NO_REGISTRY, times=None)
        again = built(systems.get(cell))
    assert (again.image.id, again.digest) == (first.image.id, first.digest)


def test_a_system_of_another_platform_is_not_taken(
    opened: Opened, cell: Cell, fake: FakeEngine
) -> None:
    """One digest may be a list of platforms. The image that the tag names counts."""
    with opened() as systems:
        systems.get(cell)
        other = fake.add_image(DEBIAN, files={"etc/other": b""})
        fake.images.digests[f"debian@{fake.digest_of(DEBIAN)}"] = other.id
        assert systems.recorded(cell) == []
        assert built(systems.get(cell)).image.id == other.id
