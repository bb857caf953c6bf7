"""Cell and lock to the files of a folder that `docker build` takes. No file is written here.

Decisions are made here and in the matrix. Templates only lay values out.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from packaging.utils import canonicalize_name

from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.image_names import USER, base_tag, cell_tag
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.matrix import Matrix
from envmatrix.render.sharing import Step


def packages(python: str) -> tuple[str, ...]:
    """Return the distribution packages of a base whose own Python is `python`.

    Wheels that embed Python (torch-xla is one) need its shared library, which Debian packages
    apart.
    """
    return ("ca-certificates", f"libpython{python}", "python3", "python3-venv")


Files = Mapping[str, str]


class Renderer:
    """Renders with templates, each from the first of some folders that holds a file of its name."""

    def __init__(self, matrix: Matrix, *templates: Path) -> None:
        self._matrix = matrix
        self._templates = templates
        self._jinja = Environment(
            loader=FileSystemLoader(templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            # Dockerfiles, not HTML: the matrix refuses what could break out of a line.
            autoescape=False,  # noqa: S701
        )
        self._jinja.filters["pinned"] = pinned

    @property
    def replaced(self) -> list[str]:
        """The templates of the last folder that another file of an earlier folder replaces."""
        *before, ours = self._templates
        names = sorted(str(path.relative_to(ours)) for path in ours.rglob("*.j2"))
        return [
            name for name in names if any(_differs(folder / name, ours / name) for folder in before)
        ]

    def _rendered(self, template: str, **values: object) -> str:
        """Return the text that a template gives.

        Raises:
            InputError: a template cannot be read, or is wrong.
        """
        try:
            return self._jinja.get_template(template).render(template=template, **values)
        except (TemplateError, TypeError, OSError, UnicodeDecodeError) as error:
            folder = next((one for one in self._templates if (one / template).exists()), None)
            raise InputError(
                f"the template {template} cannot be used: {type(error).__name__}: {error}",
                where=str((folder or self._templates[-1]) / template),
                next_step="correct that file; where it is your own, `mv` it away, and the template "
                "of envmatrix is used",
            ) from error

    def base(self, cell: Cell, lock: Lock) -> Files:
        """Return the files of the base that `cell` stands on, by name."""
        accelerator = self._matrix.axes.accelerator[cell.accelerator]
        template = "base-cuda.Dockerfile.j2" if accelerator.cuda else "base.Dockerfile.j2"
        dockerfile = self._rendered(
            template,
            base_id=cell.base_id,
            tag=base_tag(cell),
            os=self._matrix.axes.os[cell.os],
            packages=packages(self._matrix.axes.os[cell.os].python),
            python=cell.python,
            own_python=cell.own_python,
            interpreter=lock.interpreter,
            user=USER,
            accelerator=accelerator,
            wheels=lock.wheels,
            seeded=_seeded(self._matrix.axes.os[cell.os].python),
            seeded_python=_seeded(cell.python),
            epoch=self._matrix.resolve.epoch,
        )
        return {
            "Dockerfile": dockerfile,
            "etc.tar": mounted_files(self._matrix.resolve.epoch),
            "requirements.lock": lock.text,
        }

    def cell(self, cell: Cell, lock: Lock, steps: Sequence[Step]) -> Files:
        """Return the files of the image of `cell`, whose wheels are installed in `steps`."""
        constraining = constraints(cell.requires, lock)
        return {
            "Dockerfile": self._dockerfile(cell, lock, steps, constraining),
            "requirements.lock": lock.text,
            "constraints.txt": "".join(f"{line}\n" for line in constraining),
        }

    def beginning(self, cell: Cell, lock: Lock, steps: Sequence[Step]) -> Files:
        """Return a Dockerfile that ends after `steps`, the first of a cell.

        Its instructions are those that `cell` begins with, so the engine has them done already
        when the cell itself is built.
        """
        return {"Dockerfile": self._dockerfile(cell, lock, steps)}

    def _dockerfile(
        self,
        cell: Cell,
        lock: Lock,
        steps: Sequence[Step],
        constraining: Sequence[str] | None = None,
    ) -> str:
        return self._rendered(
            "cell.Dockerfile.j2",
            cell=cell,
            lock=lock,
            steps=steps,
            constraints=constraining,
            seeded=_seeded(cell.python),
            tag=cell_tag(cell),
            base_tag=base_tag(cell),
            title=self._matrix.frameworks[cell.family].title,
            os=self._matrix.axes.os[cell.os],
            epoch=self._matrix.resolve.epoch,
        )


def _differs(path: Path, other: Path) -> bool:
    """Return whether there is a file at `path` that is not equal to the other one."""
    try:
        return path.read_bytes() != other.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # It takes the place of the other one; to use it fails with its path.


def _seeded(python: str) -> bool:
    """Return whether a Python's bytecode depends on the hash seed (bpo-37596)."""
    return tuple(map(int, python.split("."))) < (3, 11)


def mounted_files(epoch: int) -> str:
    """Return a tar of the files that an engine mounts its own over, empty; it is all ASCII.

    Where one is missing the engine makes it for each RUN and takes it away again, which changes
    the time of /etc (moby/buildkit#3148). Unlike a COPY, what ADD unpacks has the times of the tar.
    """
    folder = tarfile.TarInfo("etc")
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, epoch
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(folder)
        for name in ("hostname", "hosts", "resolv.conf"):
            file = tarfile.TarInfo(f"etc/{name}")
            file.mtime = epoch
            tar.addfile(file)
    return buffer.getvalue().decode("ascii")


def constraints(requires: Sequence[str], lock: Lock) -> list[str]:
    """Return the lines of a pip constraints file: what the variant itself pins, as locked."""
    pinned_names = {
        canonicalize_name(re.split(r"[\[<>=!~]", text)[0]) for text in requires if "==" in text
    }
    return [f"{wheel.name}=={wheel.version}" for wheel in lock.wheels if wheel.name in pinned_names]


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*===[A-Za-z0-9._+!-]+ --hash=sha256:[0-9a-f]{64}")


def pinned(wheel: Wheel) -> str:
    """Return the requirement that only this wheel meets.

    Three equal signs: two would let a local version such as 2.13.0+cpu pass for 2.13.0.

    Raises:
        InputError: it holds what could break out of a quoted word of a shell.
    """
    text = f"{wheel.name}==={wheel.version} --hash=sha256:{wheel.sha256}"
    if not _PLAIN.fullmatch(text):
        raise InputError(
            f"a lock names a wheel that no index would: {text!r}",
            where=wheel.filename,
            next_step="lock the cell again",
        )
    return text
