"""What came of rebuilding images."""

from envmatrix.model.evidence import Difference, Reproducibility, Reproducible
from envmatrix.store.rebuilds import Rebuilds
from envmatrix.store.records import Records

DIFFERS = Reproducibility(
    status=Reproducible.DIFFERS,
    differences=(Difference(path="/a", what="time", cause="a clock"),),
    notes=("a note",),
)


def test_images_of_equal_layers_share_the_answer(records: Records) -> None:
    """The answer is found by all layers in their order, whatever image has them."""
    rebuilds = Rebuilds(records)
    rebuilds.keep(["sha256:1", "sha256:2"], DIFFERS)
    assert rebuilds.of(("sha256:1", "sha256:2")) == DIFFERS
    assert rebuilds.of(["sha256:2", "sha256:1"]) == Reproducibility()
    assert rebuilds.of(["sha256:1"]) == Reproducibility()


def test_an_image_that_is_not_there_was_not_checked(records: Records) -> None:
    """No answer is kept for, or found by, an image without layers."""
    rebuilds = Rebuilds(records)
    rebuilds.keep([], DIFFERS)
    assert rebuilds.of([]) == Reproducibility(status=Reproducible.NOT_CHECKED)
    assert records.keys("verify") == frozenset()


def test_what_was_not_checked_replaces_no_answer(records: Records) -> None:
    """An answer of an earlier day stays where the image could not be checked today."""
    rebuilds = Rebuilds(records)
    not_checked = Reproducibility(notes=("no network",))
    rebuilds.keep(["sha256:1"], not_checked)
    assert rebuilds.of(["sha256:1"]) == not_checked
    rebuilds.keep(["sha256:1"], Reproducibility(notes=("no disk",)))
    assert rebuilds.of(["sha256:1"]).notes == ("no disk",)
    rebuilds.keep(["sha256:1"], DIFFERS)
    rebuilds.keep(["sha256:1"], not_checked)
    assert rebuilds.of(["sha256:1"]) == DIFFERS
