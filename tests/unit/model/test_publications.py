"""Published images: names, the rules of tags, and the file that holds them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import the_evidence

from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import CellImage
from envmatrix.model.publications import (
    NOTHING_PUBLISHED,
    MovingTag,
    Publication,
    Publications,
    cell_tag_of,
    check_names,
    immutable_tag_of,
    layers_digest,
    read_publications,
    repository_of,
    split_registry,
    version_tag_of,
)
from envmatrix.model.verdicts import Verdict

LAYERS = (f"sha256:{'1' * 64}", f"sha256:{'2' * 64}")
CELL = Cell(
    id="torch+vision-2.13.0-py3.11-debian12-cu130",
    framework="torch+vision",
    version="2.13.0",
    python="3.11",
    os="debian12",
    accelerator="cu130",
    arch="amd64",
    requires=(),
    index=None,
    constraints=(),
    excluded=None,
    own_python=True,
)


def image(day: int = 20, version: str = "2.13.0", cell: str = CELL.id) -> Publication:
    """Return an image that was published from evidence of a day."""
    return Publication(
        cell=cell,
        version=version,
        registry="registry.example:5000",
        repository="team/torch-vision",
        digest=f"sha256:{day:064}",
        tag="x",
        verdict="works",
        cuda=True,
        layers=layers_digest(LAYERS),
        evidence_at=datetime(2026, 11, day, tzinfo=UTC),
        published_at=datetime(2026, 11, day, tzinfo=UTC),
        pushed=1,
    )


@pytest.mark.parametrize(
    ("given", "host", "path"),
    [
        ("localhost", "localhost", ""),
        ("localhost:5000/", "localhost:5000", ""),
        ("registry.example.org/team/ml", "registry.example.org", "team/ml"),
        ("box:5000/a_b", "box:5000", "a_b"),
    ],
)
def test_a_registry_is_a_host_and_a_path(given: str, host: str, path: str) -> None:
    """The path may be left out."""
    assert split_registry(given) == (host, path)


@pytest.mark.parametrize(
    "given", ["", "team", "a/b", "http://a.b", "a.b/Team", "user@a.b", "a.b//c", "-a.b", "a.b:x"]
)
def test_what_names_no_registry_is_refused(given: str) -> None:
    """Without a host, an engine would take the registry of Docker."""
    with pytest.raises(InputError, match="names no registry"):
        split_registry(given)


def test_names_of_a_stack() -> None:
    """A plus is no letter of a repository, nor of a tag."""
    assert repository_of(CELL.framework, "team") == "team/torch-vision"
    place = "2.13.0-py3.11-debian12-cu130"
    assert cell_tag_of(CELL, Verdict.WORKS) == place
    short = layers_digest(LAYERS)[:12]
    assert immutable_tag_of(CELL, Verdict.WORKS, LAYERS) == f"{place}-{short}"
    assert immutable_tag_of(CELL, Verdict.PARTIAL, LAYERS) == f"{place}-partial-{short}"
    local = replace(CELL, id="torch-2.1+a-py3.11-debian12-cpu", framework="torch")
    assert cell_tag_of(local, Verdict.WORKS) == "2.1_a-py3.11-debian12-cpu"
    assert version_tag_of("2.1+a") == "2.1_a"


def test_two_frameworks_of_one_name_are_refused() -> None:
    """Their tags would be mixed."""
    check_names(["torch", "torch+vision"], "")
    with pytest.raises(InputError, match=r"torch\+vision and torch-vision would be one"):
        check_names(["torch+vision", "torch-vision"], "")
    with pytest.raises(InputError, match="no registry allows"):
        check_names(["Torch"], "")


def test_a_tag_moves_forward_only() -> None:
    """Never to older evidence of the same cell, and latest never to an older version."""
    held = MovingTag.on("2.13.0", image(day=20))
    assert held.hindrance(image(day=21)) == ""
    assert "newer evidence, of 2026-11-20" in held.hindrance(image(day=19))
    assert held.hindrance(image(day=19, cell="other")) == ""
    latest = MovingTag.on("latest", image(day=20))
    assert "a newer version, 2.13.0" in latest.hindrance(image(21, "2.9.1", "other"))
    assert latest.hindrance(image(19, "2.14.0", "other")) == ""


def test_the_command_is_that_of_current_evidence_only() -> None:
    """It pulls by digest, and gives the GPUs to a CUDA build."""
    found = Publications(images=(image(),))
    evidence = the_evidence().model_copy(
        update={
            "id": CELL.id,
            "image": CellImage(name="x", layers=LAYERS, size=1),
        }
    )
    assert found.pull_command(evidence) == (
        "docker run --rm -it --gpus all --shm-size 1g "
        f"registry.example:5000/team/torch-vision@sha256:{20:064}"
    )
    other = evidence.model_copy(update={"image": CellImage(name="x", layers=LAYERS[:1], size=1)})
    assert found.pull_command(other) == ""
    assert found.pull_command(evidence.model_copy(update={"image": None})) == ""
    assert found.of(evidence, "elsewhere.example") is None


def test_an_image_takes_the_place_of_the_earlier_one() -> None:
    """There is one for each cell and repository, and one of each tag."""
    found = NOTHING_PUBLISHED.with_image(image(20)).with_image(image(21))
    assert [one.digest for one in found.images] == [image(21).digest]
    found = found.with_tag(MovingTag.on("t", image(20))).with_tag(MovingTag.on("t", image(21)))
    assert [one.digest for one in found.tags] == [image(21).digest]


def test_whose_a_tag_is() -> None:
    """A tag on any image of ours is ours, also where the move was not noted."""
    found = NOTHING_PUBLISHED.with_image(image(21)).with_tag(MovingTag.on("t", image(20)))
    place = ("registry.example:5000", "team/torch-vision")
    noted = found.holder(*place, "t", image(20).digest)
    unnoted = found.holder(*place, "t", image(21).digest)
    assert (noted and noted.evidence_at, unnoted and unnoted.evidence_at) == (
        image(20).evidence_at,
        image(21).evidence_at,
    )
    assert found.holder(*place, "t", image(22).digest) is None
    assert found.holder("other.example", place[1], "t", image(21).digest) is None


def test_the_file_reads_back(tmp_path: Path) -> None:
    """What was written is what is read, and nothing else passes."""
    path = tmp_path / "published.json"
    found = NOTHING_PUBLISHED.with_image(image()).with_tag(MovingTag.on("latest", image()))
    text = found.model_dump_json(by_alias=True)
    path.write_text(text, encoding="utf-8")
    assert read_publications(path) == found
    for before, after in (
        ('"schema":1', '"schema":2'),
        ("registry.example:5000", "registry.example:5000/$(id)"),
        ('"latest"', '"-latest"'),
        ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00"),
    ):
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")
        with pytest.raises(InputError, match="damaged at"):
            read_publications(path)
    twice = found.model_dump(mode="json", by_alias=True)
    twice["images"] *= 2
    with pytest.raises(ValueError, match="two images"):
        Publications.model_validate(twice)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_publications(path)
