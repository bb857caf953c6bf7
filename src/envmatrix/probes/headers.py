"""The headers of probes: what each is called, proves and needs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import nearest

_HEADER = re.compile(r"(?m)^# /// probe$\n(?P<body>(?:^#(?:| .*)$\n)+?)^# ///$")
_FIELDS = {"name": str, "framework": str, "proves": str, "required": bool, "timeout": int}
_OPTIONAL = {"needs": str, "stack": str}


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe file. `timeout` is in seconds; `needs` is empty or "gpu".

    A probe with a `stack` belongs only to cells with that stack.
    """

    name: str
    framework: str
    proves: str
    required: bool
    timeout: int
    source: str
    needs: str = ""
    stack: str = ""

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return digest(self.source)

    @property
    def is_import(self) -> bool:
        """Whether this is the probe that imports the framework and observes the axes."""
        return self.name == f"{self.framework}-import"


def load_probes(folders: Iterable[Path]) -> list[Probe]:
    """Read the probes of some folders, the one that imports a framework first.

    Raises:
        InputError: a folder or a file cannot be read, a header is wrong, or two probes have one
            name.
    """
    found: dict[str, Probe] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                "there is no such folder of probes",
                where=str(folder),
                next_step="give a folder that holds probe files",
            )
        for path in sorted(folder.glob("*.py")):
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
            probe = parse_probe(source, path)
            if probe.name in found:
                raise InputError(
                    f"two probes are named {probe.name}",
                    where=str(path),
                    next_step="rename one: names are the handles of evidence",
                )
            found[probe.name] = probe
    return sorted(
        found.values(),
        key=lambda probe: (probe.framework, not probe.is_import, probe.needs, probe.name),
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
    return Probe(source=source, **header)


class Probes:
    """The probes of some folders, read when they are first needed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @cached_property
    def all(self) -> Sequence[Probe]:
        """Every probe.

        Raises:
            InputError: a file has no proper header, or two probes have one name.
        """
        return load_probes(self._folders)

    def of(self, cell: Cell) -> list[Probe]:
        """Return the probes of the framework of a cell, and of its stack."""
        return [
            probe
            for probe in self.all
            if probe.framework == cell.family and probe.stack in ("", cell.stack)
        ]

    def hashes(self, cell: Cell) -> Mapping[str, str]:
        """Return the hash of each probe of a cell, by name."""
        return {probe.name: probe.sha256 for probe in self.of(cell)}
