"""Locks from what uv writes: which wheel is taken, its name and its size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import Lock, Problem, Wheel
from envmatrix.resolve.pylock import read_pylock

FILE = "https://index.example/files/"


def problem(glibc: str = "2.36") -> Problem:
    """A problem of Python 3.12."""
    return Problem(("x",), (), None, "3.12", glibc, "amd64", "2026-11-20")


def package(name: str, version: str, *wheels: str) -> str:
    """Return a package as uv writes it."""
    return f"""
[[packages]]
name = "{name}"
version = "{version}"
wheels = [{", ".join(wheels)}]
"""


def wheel(address: str, *, key: str = "url", extra: str = "") -> str:
    """Return a wheel as uv writes it."""
    sha256 = hashlib.sha256(address.encode()).hexdigest()
    return f'{{ {key} = "{address}", {extra} hashes = {{ sha256 = "{sha256}" }} }}'


def read(folder: Path, text: str, glibc: str = "2.36") -> Lock:
    """Read a file of these packages, with the head that uv writes."""
    file = folder / "pylock.toml"
    head = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.12"\n'
    file.write_text(head + text, encoding="utf-8")
    return read_pylock(file, problem(glibc))


def only_wheel(lock: Lock) -> Wheel:
    """Return the one wheel of a lock."""
    (found,) = lock.wheels
    return found


@pytest.mark.parametrize(
    ("glibc", "expected"),
    [
        ("2.36", "x-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("2.27", "x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
    ],
)
def test_the_wheel_is_the_one_that_an_installer_takes(
    tmp_path: Path, glibc: str, expected: str
) -> None:
    """The cell's own ABI wins over abi3, abi3 over pure, and a newer glibc over an older one.

    The order in the file does not count.
    """
    filenames = [
        "x-1-py3-none-any.whl",
        "x-1-cp310-abi3-manylinux_2_28_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_39_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1-cp312-cp312-win_amd64.whl",
        "x-1-cp312-cp312-manylinux_2_28_aarch64.whl",
    ]
    for order in (filenames, filenames[::-1]):
        text = package("x", "1", *(wheel(FILE + name) for name in order))
        assert expected == only_wheel(read(tmp_path, text, glibc)).filename


def test_a_lock_has_the_wheels_in_the_order_of_their_names(tmp_path: Path) -> None:
    """The lock says what it is for, and neither indexes nor folders of this machine."""
    text = package("b", "2", wheel(FILE + "b-2-py3-none-any.whl", extra="size = 9,")) + package(
        "a", "1", wheel(f"{tmp_path}/a-1-py3-none-any.whl", key="path")
    )
    lock = read(tmp_path, text)
    assert [(found.name, found.version) for found in lock.wheels] == [("a", "1"), ("b", "2")]
    assert lock.target == "Python 3.12, glibc 2.36, amd64"
    assert lock.problem_key == problem().key
    assert str(tmp_path) not in lock.text
    assert "index.example" not in lock.text


@pytest.mark.parametrize(
    ("address", "key", "extra"),
    [
        (FILE + "x-1+cpu-py3-none-any.whl", "url", ""),
        (FILE + "x-1%2Bcpu-py3-none-any.whl", "url", ""),
        (FILE + "x-1%2Bcpu-py3-none-any.whl?x=1&signature=a%2Fb", "url", ""),
        (FILE + "x-1%2Bcpu-py3-none-any.whl?file=other.whl#egg=y", "url", ""),
        (FILE + "4711", "url", 'name = "x-1+cpu-py3-none-any.whl",'),
        ("../folder/x-1+cpu-py3-none-any.whl", "path", ""),
        ("file:///a/folder/x-1+cpu-py3-none-any.whl", "url", ""),
    ],
)
def test_the_file_name_is_the_given_one_or_the_end_of_the_path(
    tmp_path: Path, address: str, key: str, extra: str
) -> None:
    """The query of a signed URL is no part of the name, and %2B is a plus."""
    lock = read(tmp_path, package("x", "1+cpu", wheel(address, key=key, extra=extra)))
    assert only_wheel(lock).filename == "x-1+cpu-py3-none-any.whl"
    assert only_wheel(lock).size == 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("file://{folder}/a%20b/x-1-py3-none-any.whl", "url"),
        ("{folder}/a b/x-1-py3-none-any.whl", "path"),
        ("a b/x-1-py3-none-any.whl", "path"),
    ],
)
def test_the_size_of_a_local_wheel_is_that_of_its_file(
    tmp_path: Path, address: str, key: str
) -> None:
    """Uv writes no size of it. A relative path starts at the folder of the lock (PEP 751)."""
    local = tmp_path / "a b" / "x-1-py3-none-any.whl"
    local.parent.mkdir()
    local.write_bytes(b"12345")
    text = package("x", "1", wheel(address.format(folder=tmp_path), key=key))
    assert only_wheel(read(tmp_path, text)).size == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[packages", "cannot be read"),
        (package("X_Y", "1", wheel(FILE + "x-1-py3-none-any.whl")), "cannot be read"),
        (package("x", "1", wheel(FILE + "x-2-py3-none-any.whl")), "cannot be read"),
        (package("x", "1", wheel(FILE + "x-1-cp39-cp39-win32.whl")), "no wheel of it for Python"),
        (
            f"""
[[packages]]
name = "x"
archive = {{ url = "{FILE}x-1.tar.gz", hashes = {{ sha256 = "0" }} }}
""",
            "no wheel of it for Python",
        ),
        (
            package(
                "x", "1", f'{{ url = "{FILE}x-1-py3-none-any.whl", hashes = {{ md5 = "0" }} }}'
            ),
            "no SHA-256 of x-1-py3-none-any.whl",
        ),
    ],
)
def test_a_file_that_cannot_become_a_lock_is_an_error(
    tmp_path: Path, text: str, expected: str
) -> None:
    """The error says why, and holds no address."""
    with pytest.raises(ToolError, match=expected) as caught:
        read(tmp_path, text)
    assert "index.example" not in str(caught.value)
