"""Wheel tags of a Python and a glibc that are not those of this machine."""

import pytest
from packaging.tags import Tag

from envmatrix.resolve.tags import fits, platform_tags, supported_tags


def test_platform_tags_go_from_the_newest_glibc_to_the_oldest() -> None:
    """The older names stand beside the platforms that they mean (PEP 600)."""
    tags = platform_tags("2.18", "amd64")
    assert list(tags[:4]) == [
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    ]
    assert "manylinux1_x86_64" in tags
    assert tags[-1] == "linux_x86_64"
    assert "manylinux_2_19_x86_64" not in tags


def test_the_stable_abi_of_an_older_python_is_supported_and_that_of_a_newer_is_not() -> None:
    """PEP 425 says so."""
    tags = supported_tags("3.12", "2.36", "amd64")
    assert Tag("cp310", "abi3", "manylinux_2_28_x86_64") in tags
    assert Tag("cp313", "abi3", "manylinux_2_28_x86_64") not in tags
    assert Tag("py3", "none", "any") in tags


def test_arm64_has_names_of_its_own_and_none_before_glibc_2_17() -> None:
    """No older glibc ran on it in a form that PEP 599 knows."""
    assert platform_tags("2.18", "arm64") == [
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("x-1-cp312-cp312-manylinux_2_36_x86_64.whl", True),
        ("x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("x-1-cp312-cp312-manylinux_2_37_x86_64.whl", False),
        ("x-1-cp311-cp311-manylinux_2_36_x86_64.whl", False),
        ("x-1.tar.gz", False),
        ("no name of a file", False),
    ],
)
def test_a_wheel_fits_where_one_of_its_tags_is_supported(filename: str, *, expected: bool) -> None:
    """A file that is no wheel never fits."""
    assert expected == fits(filename, set(supported_tags("3.12", "2.36", "amd64")))
