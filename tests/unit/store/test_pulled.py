"""By which digest a tag is known here, and whether it has moved."""

from pathlib import Path

import pytest
from samples import the_evidence
from small_project import GOOD, Folder, environment, make_project

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import BaseImage, Evidence
from envmatrix.store.files import to_text
from envmatrix.store.pulled import PulledSystems

DEBIAN = "debian:12-slim"
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
MOVED = "debian:12-slim has moved: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb"


@pytest.fixture
def offline(tmp_path: Path) -> Folder:
    """The small project, without an engine and without locks."""
    return make_project(tmp_path, environment("unix:///nowhere"))


@pytest.fixture
def pulled(offline: Folder) -> PulledSystems:
    """What is known in a project."""
    return offline.workspace().pulled


@pytest.fixture
def cell(offline: Folder) -> Cell:
    """A cell of the project."""
    (found,) = offline.cells(GOOD)
    return found


def standing_on(digest: str | None) -> Evidence:
    """Return evidence of a cell on a pulled system with this digest."""
    base = BaseImage(id="debian12-py3.11-cpu", origin="pull", digest=digest)
    return the_evidence(id=GOOD, base=base)


def publish(project: Folder, found: Evidence) -> None:
    """Publish evidence in a project."""
    project.write(f"reports/cells/{GOOD}.json", to_text(found.to_json()))


def test_what_a_reference_named_last_is_kept(pulled: PulledSystems) -> None:
    """Each reference has one answer, the last one."""
    assert pulled.last(DEBIAN) == ""
    pulled.keep(DEBIAN, A)
    pulled.keep("debian:13-slim", C)
    pulled.keep(DEBIAN, B)
    assert (pulled.last(DEBIAN), pulled.last("debian:13-slim")) == (B, C)


def test_a_tag_that_moved_here_is_told(pulled: PulledSystems, cell: Cell) -> None:
    """Without published evidence the image that was used before counts."""
    assert pulled.drift(cell, [A]) == ""
    pulled.keep(DEBIAN, A)
    assert pulled.drift(cell, [B]) == f"debian12 is not what was used here before: {MOVED}"


def test_a_tag_that_moved_since_it_was_published_is_told(
    pulled: PulledSystems, cell: Cell, offline: Folder
) -> None:
    """The published image comes before the one that was used here."""
    publish(offline, standing_on(A))
    pulled.keep(DEBIAN, B)
    assert pulled.drift(cell, [B]) == f"debian12 is not what was published: {MOVED}"


def test_one_digest_of_several_is_enough(pulled: PulledSystems, cell: Cell) -> None:
    """A new list of platforms with the same image for this one is no drift."""
    pulled.keep(DEBIAN, A)
    assert pulled.drift(cell, [B, A]) == ""


@pytest.mark.parametrize("before", ["", f"image {A}"])
def test_an_image_whose_digest_is_not_known_has_not_moved(
    pulled: PulledSystems, cell: Cell, before: str
) -> None:
    """Nothing is told of what is not known: neither before, nor now."""
    pulled.keep(DEBIAN, before)
    assert pulled.drift(cell, [B]) == ""
    pulled.keep(DEBIAN, A)
    assert pulled.drift(cell, []) == ""


def test_evidence_is_held_against_what_is_published(
    pulled: PulledSystems, cell: Cell, offline: Folder
) -> None:
    """Evidence on another image than the published tells of the move. The same does not."""
    publish(offline, standing_on(A))
    assert pulled.drift_of(cell, standing_on(B)) == MOVED
    assert pulled.drift_of(cell, standing_on(A)) == ""
    assert pulled.drift_of(cell, standing_on(None)) == ""
    assert pulled.drift_of(cell, the_evidence(id=GOOD, base=None)) == ""


def test_published_evidence_that_cannot_be_read_tells_nothing(
    pulled: PulledSystems, cell: Cell, offline: Folder
) -> None:
    """A damaged file is told elsewhere. It is no drift."""
    offline.write(f"reports/cells/{GOOD}.json", "{")
    assert pulled.drift_of(cell, standing_on(B)) == ""
