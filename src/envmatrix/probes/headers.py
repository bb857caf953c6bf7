"""The headers of probes: what each is called, proves and needs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import nearest

_HEADER = re.compile(r"(?m)^# /// probe$\n(?P<body>(?:^#(?:| .*)$\n)+?)^# ///$")
_FIELDS = {"name": str, "framework": str, "proves": str, "required": bool, "timeout": int}
_OPTIONAL = {"needs": str, "stack": str, "preload": list, "alone": bool}
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_MARK = b"# /// probe"
ANY = "*"
"""In a header: every framework, or every stack."""


@cache
def _hash(source: str) -> str:
    # The inputs of a hundred cells ask for it a thousand times.
    return digest(source)


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe file. `timeout` is in seconds; `needs` is empty or "gpu".

    A probe with a `stack` belongs only to cells with that stack. A `*` stands for every framework,
    or for every stack.

    `preload` are the modules that the probes of the framework may share one import of; only the
    probe that imports it names some. A probe that is `alone` shares nothing.
    """

    name: str
    framework: str
    proves: str
    required: bool
    timeout: int
    source: str
    needs: Literal["", "gpu"] = ""
    stack: str = ""
    preload: tuple[str, ...] = ()
    alone: bool = False

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return _hash(self.source)

    @property
    def is_import(self) -> bool:
        """Whether this is the probe that imports the framework and observes the axes."""
        return self.name == f"{self.framework}-import"


def load_probes(folders: Iterable[Path], known: Mapping[str, Probe] | None = None) -> list[Probe]:
    """Read the probes of some folders, the one that imports a framework first.

    They are added to those that are `known` already, by name.

    Raises:
        InputError: a folder or a file cannot be read, a header is wrong, or two probes have one
            name.
    """
    found = dict(known or {})
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                "there is no such folder of probes",
                where=str(folder),
                next_step="give a folder that holds probe files",
            )
        for path in sorted(folder.glob("*.py")):
            _add(found, _read_probe(path), path)
    return _in_order(found)


def _add(found: dict[str, Probe], probe: Probe, path: Path) -> None:
    if probe.name in found:
        raise InputError(
            f"two probes are named {probe.name}",
            where=str(path),
            next_step="rename one: names are the handles of evidence",
        )
    found[probe.name] = probe


def _read_probe(path: Path) -> Probe:
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "the file is not UTF-8 text", where=str(path), next_step="save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(
            f"this probe cannot be read: {error.strerror}",
            where=str(path),
            next_step="remove the file, or make it readable",
        ) from error
    return parse_probe(source, path)


def _claims_to_be_one(path: Path) -> bool:
    """Return whether a file has the line with which the header of a probe begins."""
    try:
        return any(line.strip() == _MARK for line in path.read_bytes().splitlines())
    except OSError:
        return False


def _in_order(found: Mapping[str, Probe]) -> list[Probe]:
    return sorted(
        found.values(),
        key=lambda probe: (
            probe.framework == ANY,
            probe.framework,
            not probe.is_import,
            probe.needs,
            probe.name,
        ),
    )


def parse_probe(source: str, path: Path) -> Probe:
    """Read the header of a probe file.

    Raises:
        InputError: the file has no header, or a field of it is missing or wrong.
    """
    match = _HEADER.search(source)
    if match is None:
        raise InputError(
            "this probe has no header",
            where=str(path),
            next_step="begin it with `# /// probe`; docs/probes.md shows one",
        )
    body = "".join(line[2:] + "\n" for line in match["body"].splitlines())
    try:
        header = tomllib.loads(body)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"the header is not TOML: {error}",
            where=str(path),
            next_step="correct the header between the `# ///` lines",
        ) from error
    known = _FIELDS | _OPTIONAL
    for name, value in header.items():
        if name not in known:
            raise InputError(
                f'the header has an unknown field "{name}"',
                where=str(path),
                next_step=nearest(name, list(known)),
            )
        if type(value) is not known[name]:
            raise InputError(
                f'"{name}" must be of type {known[name].__name__}, found {value!r}',
                where=str(path),
                next_step="correct the header",
            )
    if missing := [name for name in _FIELDS if name not in header]:
        raise InputError(
            f"the header lacks {', '.join(missing)}",
            where=str(path),
            next_step="docs/probes.md says what each field means",
        )
    if not re.fullmatch(r"[a-z0-9-]+", header["name"]):
        raise InputError(
            f"{header['name']!r} cannot be the name of a probe",
            where=str(path),
            next_step="use small letters, digits and -",
        )
    if header["timeout"] < 1 or header.get("needs", "") not in ("", "gpu"):
        raise InputError(
            "timeout must be at least 1, and needs can only be gpu",
            where=str(path),
            next_step="docs/probes.md says what each field means",
        )
    probe = Probe(source=source, **header | {"preload": tuple(header.get("preload", ()))})
    if wrong := _wrong_preload(probe):
        raise InputError(
            wrong,
            where=str(path),
            next_step='name modules, such as preload = ["package.module"], in the probe that '
            "imports the framework",
        )
    return probe


def _wrong_preload(probe: Probe) -> str:
    if probe.preload and not probe.is_import:
        return f"only the probe {probe.framework}-import can name modules to preload"
    for module in probe.preload:
        if not _MODULE.fullmatch(str(module)):
            return f"{module!r} in preload cannot be the name of a module"
    return ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where probes come from, beside the folders that the user names.

    `ours` are those of envmatrix; of them, only those of `frameworks` (None: all) are taken. `own`
    are those of the user's project. `tell` gets what the user should know.
    """

    ours: Path
    own: Path | None
    frameworks: Collection[str] | None
    tell: Callable[[str], None]

    def load(self) -> dict[str, Probe]:
        """Read these probes: those of the project are added, or replace those of the same name.

        A file in the folder of the project that does not begin as a probe is passed over: the
        folder has a common name, and may hold other programs of the user.

        Raises:
            InputError: a file cannot be read, a header is wrong, or two probes have one name.
        """
        found = {
            probe.name: probe
            for probe in load_probes([self.ours])
            if self.frameworks is None or probe.framework in (ANY, *self.frameworks)
        }
        added: dict[str, Probe] = {}
        for path in sorted(self.own.glob("*.py")) if self.own else ():
            if not _claims_to_be_one(path):
                self.tell(
                    f"{path}: passed over, for it is no probe: it has no line `{_MARK.decode()}`"
                )
                continue
            probe = _read_probe(path)
            _add(added, probe, path)
            if probe.name in found and found[probe.name].source != probe.source:
                self.tell(f"{path}: replaces the probe {probe.name} of envmatrix")
        return found | added


def idle_probes(
    found: Iterable[Probe], apart: Iterable[Probe], cells: Iterable[Cell]
) -> Iterator[tuple[Probe, str]]:
    """Yield the probes that belong to no cell, each with what it is for; those `apart` left out."""
    stacks = {(cell.family, cell.stack) for cell in cells}
    left_out = {one.sha256 for one in apart}
    for one in found:
        is_used = any(
            one.framework in (ANY, family) and one.stack in ("", ANY, stack)
            for family, stack in stacks
        )
        if not is_used and one.sha256 not in left_out:
            yield one, f"{one.framework}+{one.stack}" if one.stack else one.framework


class Probes:
    """The probes of some folders, read when they are first needed.

    A probe in a folder that the user names replaces no other: two of one name are refused.
    """

    def __init__(self, folders: Sequence[Path], sources: Sources | None = None) -> None:
        self._folders = folders
        self._sources = sources

    @cached_property
    def all(self) -> Sequence[Probe]:
        """Every probe.

        Raises:
            InputError: a file has no proper header, or two probes have one name.
        """
        return load_probes(self._folders, self._sources.load() if self._sources else {})

    def of(self, cell: Cell) -> list[Probe]:
        """Return the probes of the framework of a cell, and of its stack; general ones come last.

        A failure of the framework itself is told before one that follows from it.
        """
        frameworks = (cell.family, ANY)
        stacks = ("", cell.stack, ANY) if cell.stack else ("",)
        ours = [
            probe for probe in self.all if probe.framework in frameworks and probe.stack in stacks
        ]
        return sorted(ours, key=lambda probe: probe.framework == ANY)

    def hashes(self, cell: Cell) -> Mapping[str, str]:
        """Return the hash of each probe of a cell, by name."""
        return {probe.name: probe.sha256 for probe in self.of(cell)}
