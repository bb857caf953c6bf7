"""Cell and lock to the files of a folder that `docker build` takes. Pure: no file is written.

Decisions are made here and in the matrix; templates only lay values out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from packaging.utils import canonicalize_name

from envmatrix.cells import Cell
from envmatrix.matrix import STACKED, Matrix

if TYPE_CHECKING:  # a lock is only read here: rendering stays free of the network
    from envmatrix.lock import Lock

REPOSITORY = "envmatrix"


def packages(python: str) -> tuple[str, ...]:
    """Return the distribution packages of a base whose own Python is `python`.

    Wheels that embed Python (torch-xla is one) need its shared library, which Debian packages
    apart.
    """
    return ("ca-certificates", f"libpython{python}", "python3", "python3-venv")


Files = Mapping[str, str]


class Renderer:
    """Renders with the templates of a folder; an undefined name in one is an error."""

    def __init__(self, matrix: Matrix, templates: Path) -> None:
        self._matrix = matrix
        self._jinja = Environment(
            loader=FileSystemLoader(templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            # Dockerfiles, not HTML: the matrix refuses what could break out of a line.
            autoescape=False,  # noqa: S701
        )

    def base(self, cell: Cell, lock: Lock) -> Files:
        """Return the files of the base that `cell` stands on, by name."""
        accelerator = self._matrix.axes.accelerator[cell.accelerator]
        template = "base-cuda.Dockerfile.j2" if accelerator.cuda else "base.Dockerfile.j2"
        dockerfile = self._jinja.get_template(template).render(
            template=template,
            base_id=cell.base_id,
            tag=base_tag(cell),
            os=self._matrix.axes.os[cell.os],
            packages=packages(self._matrix.axes.os[cell.os].python),
            python=cell.python,
            own_python=cell.own_python,
            accelerator=accelerator,
        )
        return {"Dockerfile": dockerfile, "requirements.lock": lock.text}

    def cell(self, cell: Cell, lock: Lock) -> Files:
        """Return the files of the image of `cell`, by name."""
        template = "cell.Dockerfile.j2"
        dockerfile = self._jinja.get_template(template).render(
            template=template,
            cell=cell,
            lock=lock,
            tag=cell_tag(cell),
            base_tag=base_tag(cell),
            title=self._matrix.frameworks[cell.family].title,
            os=self._matrix.axes.os[cell.os],
        )
        return {
            "Dockerfile": dockerfile,
            "requirements.lock": lock.text,
            "constraints.txt": constraints(cell.requires, lock),
        }


def base_tag(cell: Cell) -> str:
    """Return the local name of the base of a cell."""
    return f"{REPOSITORY}/base:{cell.base_id}"


def cell_tag(cell: Cell) -> str:
    """Return the local name of the image of a cell; a tag cannot hold the plus of a stack."""
    return f"{REPOSITORY}/cell:{cell.id.replace(STACKED, '_')}"


def constraints(requires: Sequence[str], lock: Lock) -> str:
    """Return a pip constraints file that pins what the variant itself pins, as locked."""
    pinned = {
        canonicalize_name(re.split(r"[\[<>=!~]", text)[0]) for text in requires if "==" in text
    }
    return "".join(
        f"{wheel.name}=={wheel.version}\n" for wheel in lock.wheels if wheel.name in pinned
    )
