"""What the image of a cell is made of: the roles and sizes of layers, and packages."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from samples import the_cell

from envmatrix.engine.image import Image
from envmatrix.engine.process import Ran
from envmatrix.model.matrix import Matrix
from envmatrix.model.part import LARGEST
from envmatrix.stages.inspection import MOST_PACKAGES, packages_of, sizes_of

STAMP = "RUN touch /dev/shm/envmatrix && "
HISTORY = [
    ("import", 225),
    ("ADD etc.tar /", 0),
    (STAMP + "apt-get install python3", 40),
    (STAMP + "pip install uv", 20),
    ("ENV PATH=/opt/venv/bin", 0),
    (STAMP + "apt-get install g++ > /opt/envmatrix/packages-framework", 286),
    (STAMP + "uv pip install torch", 750),
    (STAMP + "uv pip install numpy", 190),
    (STAMP + "printf > /opt/envmatrix/constraints.txt", 1),
    ("CMD", 0),
]
LINE = f"g++ 4:12.2.0-3 amd64 {'a' * 64}"


def test_each_layer_that_holds_bytes_has_a_role() -> None:
    """The system is what lies below our first step; the others are known by their step."""
    assert [(one.role, one.size) for one in sizes_of(HISTORY)] == [
        ("os", 225),
        ("base", 40),
        ("base", 20),
        ("packages", 286),
        ("wheels", 750),
        ("wheels", 190),
        ("settings", 1),
    ]


@pytest.mark.parametrize("size", [-1, 0, LARGEST + 1])
def test_a_size_that_no_layer_has_is_left_out(size: int) -> None:
    """An engine that counts nothing, or nonsense, gives no size."""
    assert list(sizes_of([("import", size)])) == []


def engine_that_says(stdout: str, asked: list[Any]) -> Any:
    """Return an engine whose containers all print this."""

    def run(image: str, command: list[str], **_: object) -> Ran:
        asked.append((image, command))
        return Ran(0, stdout, "", 0.1)

    return SimpleNamespace(containers=SimpleNamespace(run=run))


def test_only_lines_of_a_list_of_packages_are_kept(small: Matrix) -> None:
    """What an image prints is not trusted: other lines are left out, and so are too many."""
    cell = the_cell(small, "tensorflow-2.21.0-py3.11-debian12-cpu")
    lines = [LINE, LINE, "cat: no", f"g++ 1 amd64 {'a' * 63}", f"--x 1 amd64 {'a' * 64}", ""]
    many = [f"p{number:05} 1 amd64 {'b' * 64}" for number in range(MOST_PACKAGES + 5)]
    asked: list[Any] = []
    image = Image("sha256:1", (), 1)
    assert packages_of(engine_that_says("\n".join(lines), asked), image, cell) == (LINE,)
    assert asked[0][0] == "sha256:1"
    found = packages_of(engine_that_says("\n".join(many), asked), image, cell)
    assert found == tuple(many[:MOST_PACKAGES])


def test_a_cell_without_packages_is_not_asked(small: Matrix) -> None:
    """No container runs for a cell that has none; the packages of a stack count."""
    cell = the_cell(small, "torch-2.10.0-py3.11-debian12-cpu")
    asked: list[Any] = []
    image = Image("sha256:1", (), 1)
    assert packages_of(engine_that_says(LINE, asked), image, cell) == ()
    assert asked == []
    stacked = replace(cell, stack_packages=("libgl1",))
    assert packages_of(engine_that_says(LINE, asked), image, stacked) == (LINE,)
