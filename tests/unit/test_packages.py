"""The packages of a bootstrapped operating system: its lock, and drift against it."""

from pathlib import Path

import pytest

from envmatrix.project import Project

HELD = ["apt 2.6.1 amd64 aaaaaaaaaa", "bash 5.2 amd64 bbbbbbbbbb", "dash 0.5 amd64 cccccccccc"]


def project(folder: Path, *published: str) -> Project:
    """Return a project that has published these packages of debian12."""
    found = Project(folder / "matrix.yaml")
    if published:
        path = found.packages_path("debian12")
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{line}\n" for line in published), encoding="utf-8")
    return found


def test_the_same_packages_do_not_drift(tmp_path: Path) -> None:
    """Nor does what was never published."""
    assert project(tmp_path / "a", *HELD).packages_drift("debian12", HELD) == ""
    assert project(tmp_path / "b").packages_drift("debian12", HELD) == ""


def test_drift_names_the_packages_and_both_versions(tmp_path: Path) -> None:
    """One that is newer, one that came, one that went, and one made anew under its version."""
    now = ["apt 2.6.2 amd64 aaaaaaaaaa", "bash 5.2 amd64 eeeeeeeeee", "zsh 5.9 amd64 dddddddddd"]
    said = project(tmp_path, *HELD).packages_drift("debian12", now)
    assert said.startswith("4 packages: ")
    for part in (
        "apt 2.6.1 (aaaaaaaa) -> 2.6.2",
        "bash 5.2 (bbbbbbbb) -> 5.2 (eeeeeeee)",
        "dash 0.5 (cccccccc) -> is gone",
        "zsh was not there -> 5.9",
    ):
        assert part in said


def test_the_packages_of_a_layer_are_kept_by_its_diff_id(tmp_path: Path) -> None:
    """A layer that this machine did not make has none."""
    found = project(tmp_path)
    found.keep_packages("sha256:1", HELD)
    assert found.packages("sha256:1") == HELD
    assert found.packages("sha256:2") == []


CELL = "tensorflow-2.21.0-py3.11-debian12-cpu"
APT_IS_NEWER = ["apt 2.6.2 amd64 eeeeeeeeee", *HELD[1:]]


@pytest.mark.parametrize(
    ("layers", "found", "said"),
    [
        (["sha256:new", "sha256:cell"], "not checked", "apt 2.6.1 (aaaaaaaa) -> 2.6.2"),
        (["sha256:old", "sha256:other"], "differs", "its inputs are the same"),
        (["sha256:old", "sha256:cell"], "proven", ""),
    ],
)
def test_drift_below_is_told_apart_from_an_image_that_differs(
    tmp_path: Path, small_text: str, layers: list[str], found: str, said: str
) -> None:
    """An image that was probed on packages that are gone cannot be made again to be compared."""
    its = project(tmp_path, *HELD)
    its.matrix_path.write_text(small_text, encoding="utf-8")
    its.keep_packages("sha256:old", HELD)
    its.keep_packages("sha256:new", APT_IS_NEWER)
    its.keep_evidence({"schema": 1, "id": CELL, "layers": ["sha256:old", "sha256:cell"]})
    its.keep_verification(layers, {"reproducible": "proven", "verified_at": "2026-11-25"})
    (cell,) = (cell for cell in its.cells if cell.id == CELL)

    evidence = its.keep_verified(cell, layers)

    assert evidence is not None
    assert evidence["reproducible"] == found
    assert said in " ".join(evidence["verify_notes"])
