"""The packages of a bootstrapped operating system: what is held, and drift against the list."""

import pytest
from samples import the_cell

from envmatrix.model.matrix import Matrix
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.records import Records

HELD = ["apt 2.6.1 amd64 aaaaaaaaaa", "bash 5.2 amd64 bbbbbbbbbb", "dash 0.5 amd64 cccccccccc"]
APT_IS_NEWER = ["apt 2.6.2 amd64 eeeeeeeeee", *HELD[1:]]


@pytest.fixture
def packages(layout: Layout, records: Records) -> SystemPackages:
    """The packages of a project that has published nothing."""
    return SystemPackages(layout, records)


def publish(layout: Layout, *lines: str) -> None:
    """Publish these packages of debian12."""
    path = layout.packages("debian12")
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_the_same_packages_do_not_drift(packages: SystemPackages, layout: Layout) -> None:
    """The published packages do not drift, and nothing drifts where no list is published."""
    assert packages.drift("debian12", HELD) == ""
    publish(layout, *HELD)
    assert packages.drift("debian12", HELD) == ""


def test_drift_names_the_packages_and_both_versions(
    packages: SystemPackages, layout: Layout
) -> None:
    """A newer, a new, a missing and a rebuilt package are each named with both versions."""
    publish(layout, *HELD)
    now = ["apt 2.6.2 amd64 aaaaaaaaaa", "bash 5.2 amd64 eeeeeeeeee", "zsh 5.9 amd64 dddddddddd"]
    said = packages.drift("debian12", now)
    assert said.startswith("4 packages: ")
    for part in (
        "apt 2.6.1 (aaaaaaaa) -> 2.6.2",
        "bash 5.2 (bbbbbbbb) -> 5.2 (eeeeeeee)",
        "dash 0.5 (cccccccc) -> is gone",
        "zsh was not there -> 5.9",
    ):
        assert part in said
    assert packages.drift("debian12", APT_IS_NEWER).startswith("1 package: ")


def test_only_some_packages_are_named(packages: SystemPackages, layout: Layout) -> None:
    """Where many packages differ, all are counted and the first five are named."""
    publish(layout, *(f"p{number} 1 amd64 aaaaaaaaaa" for number in range(9)))
    said = packages.drift("debian12", [f"p{number} 2 amd64 aaaaaaaaaa" for number in range(9)])
    assert said.startswith("9 packages: p0 ")
    assert said.count("->") == 5


def test_a_damaged_line_of_the_list_is_passed_over(
    packages: SystemPackages, layout: Layout
) -> None:
    """A line that is no package, such as a marker of a merge conflict, breaks nothing."""
    publish(layout, "<<<<<<< HEAD", "", *HELD)
    assert packages.drift("debian12", HELD) == ""


def test_a_list_that_is_not_text_is_as_absent(packages: SystemPackages, layout: Layout) -> None:
    """A list that is not UTF-8 tells nothing."""
    publish(layout)
    layout.packages("debian12").write_bytes(b"\xff\xfe")
    assert packages.drift("debian12", HELD) == ""


def test_the_packages_of_an_image_are_those_of_its_lowest_layer(packages: SystemPackages) -> None:
    """Packages are found by the lowest layer. A layer of another machine has none."""
    packages.keep("sha256:1", HELD)
    assert packages.held(["sha256:1", "sha256:2"]) == tuple(HELD)
    assert packages.held(["sha256:2", "sha256:1"]) == ()
    assert packages.held([]) == ()


def test_the_drift_below_an_image_is_that_of_its_system(
    packages: SystemPackages, layout: Layout, small: Matrix
) -> None:
    """The drift below an image compares its lowest layer with the published list of its OS."""
    cell = the_cell(small, "torch-2.10.0-py3.11-debian12-cpu")
    publish(layout, *HELD)
    packages.keep("sha256:new", APT_IS_NEWER)
    assert "apt 2.6.1 (aaaaaaaa) -> 2.6.2" in packages.drift_below(cell, ["sha256:new"])
    assert packages.drift_below(cell, ["sha256:of another machine"]) == ""
