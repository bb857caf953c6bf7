"""Cell and lock to the files of a folder that `docker build` takes. No file is written here.

Decisions are made here and in the matrix. Templates only lay values out.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from packaging.utils import canonicalize_name

from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError
from envmatrix.model.image_names import USER, base_tag, cell_tag
from envmatrix.model.locks import Lock, Wheel, requirement_name
from envmatrix.model.matrix import DEFAULT_ARCH, Matrix
from envmatrix.render.sharing import Step


def packages(python: str) -> tuple[str, ...]:
    """Return the distribution packages of a base whose own Python is `python`.

    Wheels that embed Python (torch-xla is one) need its shared library, which Debian packages
    apart.
    """
    return ("ca-certificates", f"libpython{python}", "python3", "python3-venv")


CONSTRAINING = "constraints.py"
"""The program of a base that completes the constraints of its cells."""

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
        found = (*ours.rglob("*.j2"), ours / CONSTRAINING)
        names = sorted(str(path.relative_to(ours)) for path in found)
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
            platform=_platform(cell),
            os=self._matrix.axes.os[cell.os],
            packages=packages(self._matrix.axes.os[cell.os].python),
            python=cell.python,
            own_python=cell.own_python,
            interpreter=lock.interpreter,
            user=USER,
            accelerator=accelerator,
            wheels=lock.wheels,
            constraining=self._rendered(CONSTRAINING),
            seeded=_seeded(self._matrix.axes.os[cell.os].python),
            seeded_python=_seeded(cell.python),
            epoch=self._matrix.resolve.epoch,
        )
        return {
            "Dockerfile": dockerfile,
            "etc.tar": mounted_files(self._matrix.resolve.epoch),
            "requirements.lock": lock.text,
        }

    def cell(self, cell: Cell, lock: Lock, steps: Sequence[Step], base: str = "") -> Files:
        """Return the files of the image of `cell`, whose wheels are installed in `steps`.

        `base` is the hash of the files of the base.
        """
        framework = self._matrix.frameworks[cell.family]
        companions = framework.companions_of(cell.version)
        constraining = constraints(cell.requires, lock, companions, framework.excludes)
        return {
            "Dockerfile": self._dockerfile(cell, lock, steps, constraining, base),
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
        base: str = "",
    ) -> str:
        return self._rendered(
            "cell.Dockerfile.j2",
            cell=cell,
            lock=lock,
            steps=steps,
            constraints=constraining,
            named=requirement_names(cell.requires),
            greeting=self._greeting(cell),
            labels=self._labels(cell, lock, base),
            user=USER,
            seeded=_seeded(cell.python),
            seeded_os=_seeded(self._matrix.axes.os[cell.os].python),
            tag=cell_tag(cell),
            base_tag=base_tag(cell),
            platform=_platform(cell),
            title=self._matrix.frameworks[cell.family].title,
            os=self._matrix.axes.os[cell.os],
            epoch=self._matrix.resolve.epoch,
        )

    def _greeting(self, cell: Cell) -> str:
        """Return what an image says of itself in one line."""
        return (
            f"{cell.id}: {self._described(cell)}. Start Python with docker run -it IMAGE, or a "
            "program with docker run IMAGE python FILE."
        )

    def _described(self, cell: Cell) -> str:
        os = self._matrix.axes.os[cell.os]
        stack = f" with {self._matrix.stacks[cell.stack].title}" if cell.stack else ""
        return (
            f"{self._matrix.frameworks[cell.family].title} {cell.version}{stack} on "
            f"{os.distribution} {os.codename}, Python {cell.python}, {cell.accelerator}"
        )

    def _labels(self, cell: Cell, lock: Lock, base: str) -> Mapping[str, str]:
        """Return the labels of an image: those that OCI names, then ours."""
        epoch = self._matrix.resolve.epoch
        oci = {
            "title": cell.id,
            "description": self._described(cell),
            "version": cell.version,
            "created": f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "licenses": self._matrix.frameworks[cell.family].license,
            **self._matrix.labels.model_dump(),
            "base.name": base_tag(cell),
        }
        return {f"org.opencontainers.image.{name}": text for name, text in oci.items() if text} | {
            "io.envmatrix.cell": cell.id,
            "io.envmatrix.lock": lock.sha256,
            "io.envmatrix.base": base,
        }


def _platform(cell: Cell) -> str:
    """Return the option of `docker build` for a cell that is not amd64: most machines are."""
    return "" if cell.arch == DEFAULT_ARCH else f" --platform linux/{cell.arch}"


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


def constraints(
    requires: Sequence[str],
    lock: Lock,
    companions: Mapping[str, str] | None = None,
    excludes: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the lines of a pip constraints file: what the variant pins, companions, exclusions.

    A companion is pinned to the build that belongs to the framework's. What is excluded is pinned
    to a version that no index has. It holds the reason, which pip and uv then print. Three equal
    signs, since two would let the build for another accelerator pass.
    """
    pinned_wheels = _pinned(requires, lock)
    taken = {wheel.name for wheel in pinned_wheels}
    held = {wheel.name for wheel in lock.wheels}
    local = next((wheel.version.partition("+")[2] for wheel in pinned_wheels), "")
    build = f"+{local}" if local else ""
    beside = {
        name: f"{version}{build}"
        for name, version in (companions or {}).items()
        if canonicalize_name(name) not in taken
    } | {
        name: f"0+{_local_version(reason)}"
        for name, reason in (excludes or {}).items()
        if canonicalize_name(name) not in held
    }
    pins = sorted(f"{wheel.name}==={wheel.version}" for wheel in pinned_wheels)
    return pins + [f"{name}==={version}" for name, version in beside.items()]


def _local_version(reason: str) -> str:
    """Return a reason as a local version (PEP 440) can hold it: words of ASCII between dots."""
    return ".".join(re.findall("[a-z0-9]+", reason.lower())) or "excluded"


def requirement_names(requires: Sequence[str]) -> list[str]:
    """Return the names of the packages of requirements, each once, in their order."""
    return list(dict.fromkeys(map(requirement_name, requires)))


def _pinned(requires: Sequence[str], lock: Lock) -> list[Wheel]:
    """Return the wheels that requirements pin, in the order of the requirements."""
    names = requirement_names([text for text in requires if "==" in text])
    wheels = {wheel.name: wheel for wheel in lock.wheels}
    return [wheels[name] for name in names if name in wheels]


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
