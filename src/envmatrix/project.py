"""Where things lie: the matrix, its folders, the state, and what is already known of a cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from envmatrix.cells import Cell, expand, in_profile
from envmatrix.errors import InputError
from envmatrix.evidence import (
    Judgement,
    Reproducible,
    Store,
    Verdict,
    digest,
    names,
    to_text,
    write_text,
)
from envmatrix.layers import Group, Step, share, steps
from envmatrix.lock import Lock, Problem, Resolution, parse_lock, recall
from envmatrix.matrix import Matrix, load
from envmatrix.probe import Probe, load_probes
from envmatrix.render import Files, Renderer

STATE = ".envmatrix"
PUBLISHED = "published"
Place = tuple[str, str]
"""A base, by id, and the index that is named before the first step: both are below all layers."""
Beginning = tuple[Place, tuple[Step, ...]]
"""Where a cell begins, and its first steps."""
_PACKAGE_DATA = Path(__file__).parent / "_data"
_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A matrix file and the folders around it."""

    matrix_path: Path
    extra_probes: tuple[Path, ...] = ()

    @cached_property
    def root(self) -> Path:
        """The folder of the matrix file; all else lies beneath it."""
        return self.matrix_path.parent

    @property
    def images(self) -> Path:
        """The rendered and committed folders."""
        return self.root / "images"

    @property
    def verdicts_path(self) -> Path:
        """What the resolver said of every cell, committed."""
        return self.images / "resolved.json"

    @cached_property
    def reports(self) -> Path:
        """The published evidence."""
        return self.root / "reports"

    @cached_property
    def store(self) -> Store:
        """The state, which git ignores."""
        return Store(self.root / STATE)

    @cached_property
    def matrix(self) -> Matrix:
        """The checked matrix.

        Raises:
            InputError: it cannot be read, or is wrong.
        """
        name = self.matrix_path.name
        try:
            text = self.matrix_path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                "the file is not UTF-8 text", where=name, next_step="save it as UTF-8"
            ) from error
        except OSError as error:
            raise InputError(
                f"the matrix cannot be read: {error.strerror}",
                where=str(self.matrix_path),
                next_step="run in the folder that holds matrix.yaml, or give --matrix FILE",
            ) from error
        return load(text, name)

    @cached_property
    def cells(self) -> Sequence[Cell]:
        """Every declared cell."""
        return expand(self.matrix)

    @cached_property
    def renderer(self) -> Renderer:
        """Renders with the templates of this project, or else those of the package."""
        return Renderer(self.matrix, self._data("templates", "templates"))

    @cached_property
    def probes(self) -> Sequence[Probe]:
        """Every probe: the project's or the package's, and those of the user's own folders."""
        return load_probes([self._data("scripts/probes", "probes"), *self.extra_probes])

    def _data(self, in_checkout: str, in_package: str) -> Path:
        for folder in (
            self.root / in_checkout,
            _CHECKOUT / in_checkout,
            _PACKAGE_DATA / in_package,
        ):
            if folder.is_dir():
                return folder
        raise InputError(
            f"there is no folder {in_checkout}",
            where=str(self.root),
            next_step="run in a checkout of the project, or reinstall envmatrix",
        )

    def probes_of(self, cell: Cell) -> list[Probe]:
        """The probes that belong to the framework of a cell, and to its stack."""
        return [
            probe
            for probe in self.probes
            if probe.framework == cell.family and probe.stack in ("", cell.stack)
        ]

    def published(self) -> list[Cell]:
        """The cells whose folders and evidence are committed."""
        if PUBLISHED not in self.matrix.profiles:
            return []
        return in_profile(self.matrix, self.cells, PUBLISHED)

    # --- locks

    def problem(self, cell: Cell) -> Problem:
        """What is asked of the resolver for a cell."""
        os = self.matrix.axes.os[cell.os]
        return Problem(
            cell.requires,
            cell.constraints,
            cell.index,
            cell.python,
            os.glibc,
            cell.arch,
            self.matrix.resolve.as_of,
        )

    def base_problem(self, cell: Cell) -> Problem:
        """What is asked of the resolver for the base of a cell: the OS's Python installs uv."""
        os = self.matrix.axes.os[cell.os]
        return Problem(
            (self.matrix.base.installer,),
            (),
            None,
            os.python,
            os.glibc,
            cell.arch,
            self.matrix.resolve.as_of,
        )

    def resolution(self, problem: Problem, folder: str) -> Resolution | None:
        """What is known of a problem: the committed lock of `folder`, or else the record."""
        lock = self._committed_lock(folder)
        if lock is not None and lock.problem_key == problem.key:
            return Resolution(lock, None)
        return recall(self.store, problem)

    def _committed_lock(self, folder: str) -> Lock | None:
        try:
            text = (self.images / folder / "requirements.lock").read_text(encoding="utf-8")
        except OSError:
            return None
        return parse_lock(text)

    def cell_resolution(self, cell: Cell) -> Resolution | None:
        """What is known of the lock of a cell."""
        return self.resolution(self.problem(cell), cell.id)

    def base_resolution(self, cell: Cell) -> Resolution | None:
        """What is known of the lock of the base of a cell."""
        return self.resolution(self.base_problem(cell), f"base/{cell.base_id}")

    @cached_property
    def _verdicts(self) -> Mapping[str, Any]:
        try:
            data = json.loads(self.verdicts_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) and data.get("schema") == 1 else {}

    def committed_verdict(self, cell: Cell) -> Judgement | None:
        """What the committed file says the resolver said of a cell; stale entries do not count."""
        entry = self._verdicts.get("cells", {}).get(cell.id)
        if entry is None or entry[0] != self.problem(cell).key[:12]:
            return None
        if isinstance(entry[1], str):
            return LOCKED
        return Judgement(*_judgement_fields(self._verdicts["judgements"][entry[1]]))

    def write_verdicts(self, found: Mapping[str, Resolution], cells: Iterable[Cell]) -> None:
        """Write what the resolver said of `cells` into the committed file; keep the others."""
        kept = {
            cell.id: (self.problem(cell).key[:12], self.committed_verdict(cell))
            for cell in self.cells
        }
        for cell in cells:
            resolution = found[self.problem(cell).key]
            kept[cell.id] = (self.problem(cell).key[:12], resolution.judgement or LOCKED)
        judgements = sorted(
            {
                (j.verdict.value, j.kind, j.cause, j.remedy)
                for _, j in kept.values()
                if j is not None and j != LOCKED
            }
        )
        numbers = {fields: number for number, fields in enumerate(judgements)}
        lines = [
            f"  {json.dumps(cell_id)}: "
            + json.dumps(
                [
                    key,
                    "lock" if j == LOCKED else numbers[j.verdict.value, j.kind, j.cause, j.remedy],
                ]
            )
            for cell_id, (key, j) in kept.items()
            if j is not None
        ]
        listed = ",\n".join("  " + json.dumps(fields) for fields in judgements)
        write_text(
            self.verdicts_path,
            '{"schema": 1,\n "about": "GENERATED by `envmatrix lock`: the problem each cell '
            'poses, and lock or the number of a judgement",\n'
            f' "judgements": [\n{listed}],\n "cells": {{\n' + ",\n".join(lines) + "}}\n",
        )

    # --- folders and evidence

    def base_files(self, cell: Cell) -> Files | None:
        """The rendered base of a cell, where its lock is known."""
        resolution = self.base_resolution(cell)
        return self.renderer.base(cell, resolution.lock) if resolution and resolution.lock else None

    def cell_files(self, cell: Cell, lock: Lock) -> Files:
        """The rendered folder of a cell."""
        return self.renderer.cell(cell, lock, self.steps(cell, lock))

    def steps(self, cell: Cell, lock: Lock) -> Sequence[Step]:
        """The steps that install the wheels of a cell."""
        return steps(lock, self.groups_of(cell))

    def groups_of(self, cell: Cell) -> Sequence[Group]:
        """The groups of wheels that cells in the place of this one share."""
        return self._groups.get(_place(cell), ())

    def beginnings(self, cell: Cell, lock: Lock) -> list[Beginning]:
        """What a cell begins with, after each of its steps; equal ones are one layer."""
        all_steps = tuple(self.steps(cell, lock))
        return [(_place(cell), all_steps[: n + 1]) for n in range(len(all_steps))]

    @cached_property
    def _groups(self) -> Mapping[Place, Sequence[Group]]:
        """The wheels that cells on one base and with one index share.

        From the committed locks alone: what else is known on this machine must not change what a
        cell is rendered to.
        """
        locks: dict[Place, list[Lock]] = {}
        for cell in self.published():
            if lock := self._committed_lock(cell.id):
                locks.setdefault(_place(cell), []).append(lock)
        return {place: share(held) for place, held in locks.items()}

    def fingerprint(self, cell: Cell) -> str | None:
        """The hash of all inputs of a cell's evidence, or None while it has no lock."""
        resolution = self.cell_resolution(cell)
        base = self.base_files(cell)
        if resolution is None or resolution.lock is None or base is None:
            return None
        return digest(
            self.cell_files(cell, resolution.lock),
            base,
            [probe.sha256 for probe in self.probes_of(cell)],
        )

    def keep_packages(self, layer: str, held: Sequence[str]) -> None:
        """Keep the packages of an operating system's layer, given by diff id."""
        self.store.put("packages", layer, {"packages": list(held)})

    def packages(self, layer: str) -> list[str]:
        """The packages that a layer was made of; none where this machine did not make it."""
        return list((self.store.get("packages", layer) or {}).get("packages", ()))

    def packages_path(self, os: str) -> Path:
        """Where the published record of the packages of an operating system lies."""
        return self.reports / "packages" / f"{os}.txt"

    def packages_drift(self, os: str, held: Sequence[str]) -> str:
        """Say how packages differ from the published record; nothing where there is none."""
        try:
            published = self.packages_path(os).read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        before, now = dict(_named(published)), dict(_named(held))
        differing = [
            f"{name} {before.get(name, 'was not there')} -> {now.get(name, 'is gone')}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        return f"{len(differing)} packages: {', '.join(differing[:5])}" if differing else ""

    def system_drift(self, cell: Cell, layers: Sequence[str]) -> str:
        """Say how the system below an image of this machine differs from the published record."""
        held = self.packages(layers[0]) if layers else []
        return self.packages_drift(cell.os, held) if held else ""

    def verification(self, layers: Sequence[str]) -> dict[str, Any]:
        """What rebuilding an image gave, as evidence holds it: the same layers, the same answer."""
        found = self.store.get("verify", digest(list(layers))) if layers else None
        return {
            "reproducible": Reproducible.NOT_CHECKED.value,
            "verified_at": None,
            "differences": [],
            "verify_notes": [],
            **(found or {}),
        }

    def keep_verification(self, layers: Sequence[str], found: Mapping[str, Any]) -> None:
        """Keep what rebuilding an image gave."""
        if layers:
            self.store.put("verify", digest(list(layers)), found)

    def keep_verified(self, cell: Cell, layers: Sequence[str]) -> dict[str, Any] | None:
        """Put what rebuilding an image of these layers gave into a cell's evidence; return that."""
        evidence = self.evidence(cell)
        if evidence is None:
            return None
        evidence |= self.verification(layers)
        if layers and evidence["layers"] and evidence["layers"] != list(layers):
            evidence |= self._of_another_image(cell, evidence["layers"], layers)
        self.keep_evidence(evidence)
        return evidence

    def _of_another_image(
        self, cell: Cell, probed: Sequence[str], layers: Sequence[str]
    ) -> dict[str, Any]:
        """What is to be said where the image that was probed had other layers than that here."""
        drift = self.system_drift(cell, layers) if probed[0] != layers[0] else ""
        if not drift:
            note = "the image that was probed had other layers, though its inputs are the same"
            return {"reproducible": Reproducible.DIFFERS.value, "verify_notes": [note]}
        note = f"the image that was probed stands on another {cell.os} than is to be had: {drift}"
        return {
            "reproducible": Reproducible.NOT_CHECKED.value,
            "verified_at": None,
            "verify_notes": [f"{note}; run it again, then verify"],
        }

    def report_path(self, cell_id: str) -> Path:
        """Where the last evidence of a cell lies on this machine."""
        return self.store.root / "cells" / f"{cell_id}.json"

    @cached_property
    def _with_evidence(self) -> frozenset[str]:
        """The cells that have evidence: thousands have none, and are not looked up one by one."""
        return names(self.store.root / "cells") | names(self.reports / "cells")

    def evidence(self, cell: Cell) -> dict[str, Any] | None:
        """The last evidence of a cell: this machine's, or else the published."""
        for path in (self.report_path(cell.id), self.reports / "cells" / f"{cell.id}.json"):
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(data, dict) and data.get("schema") == 1:
                return data
        return None

    def current_evidence(self, cell: Cell) -> dict[str, Any] | None:
        """The evidence of a cell, where none of its inputs has changed since."""
        evidence = self.evidence(cell)
        return evidence if evidence is not None and self._is_current(cell, evidence) else None

    def _is_current(self, cell: Cell, evidence: Mapping[str, Any]) -> bool:
        return bool(evidence.get("fingerprint") == self.fingerprint(cell))

    def host_evidence(self) -> list[dict[str, Any]]:
        """Evidence of interpreters without a container: this machine's, and the published."""
        found: dict[str, dict[str, Any]] = {}
        for folder in (self.reports / "host", self.store.root / "host"):
            for path in sorted(folder.glob("*.json")):
                data = json.loads(path.read_text(encoding="utf-8"))
                if data.get("schema") == 1 and data.get("kind") == "host":
                    found[data["id"]] = data
        return list(found.values())

    def keep_host_evidence(self, evidence: Mapping[str, Any]) -> Path:
        """Keep host evidence; return where."""
        path = self.store.root / "host" / f"{evidence['id']}.json"
        write_text(path, to_text(evidence))
        return path

    def keep_evidence(self, report: Mapping[str, Any]) -> None:
        """Keep the evidence of a cell on this machine."""
        write_text(self.report_path(report["id"]), to_text(report))

    def judgement(self, cell: Cell) -> Judgement:
        """What is known of a cell, with nothing executed."""
        if cell.excluded:
            return Judgement(Verdict.IMPOSSIBLE, "rule", "rule", cell.excluded)
        evidence = self.evidence(cell) if cell.id in self._with_evidence else None
        if evidence is not None:
            if self._is_current(cell, evidence):
                return Judgement.from_json(evidence)
            return Judgement(
                Verdict.UNKNOWN,
                "plan",
                "stale",
                f"its inputs changed since it was {evidence['verdict']} on "
                f"{evidence['generated_at'][:10]}",
                "run it again",
            )
        known = self.committed_verdict(cell)
        if known is None or known.kind == "blocked":
            problem = self.problem(cell)
            recorded = problem.key in self._recorded_locks
            resolution = recall(self.store, problem) if recorded else None
            known = (resolution.judgement or LOCKED) if resolution else known
        return known or NOT_ATTEMPTED

    @cached_property
    def _recorded_locks(self) -> frozenset[str]:
        return self.store.keys("lock")


LOCKED = Judgement(
    Verdict.UNKNOWN, "lock", "not-attempted", "it has a lock, and was not built", "run it"
)
NOT_ATTEMPTED = Judgement(
    Verdict.UNKNOWN, "plan", "not-attempted", "nothing was tried yet", "lock it, or run it"
)


def _place(cell: Cell) -> Place:
    return cell.base_id, cell.index or ""


def _named(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in packages:
        name, version, *_, sha256 = line.split()
        yield name, f"{version} ({sha256[:8]})"


def _judgement_fields(fields: Sequence[str]) -> tuple[Verdict, str, str, str, str]:
    verdict, kind, cause, remedy = fields
    return Verdict(verdict), "lock", kind, cause, remedy
