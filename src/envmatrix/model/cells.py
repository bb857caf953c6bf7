"""Cells: the points of the matrix, their ids, and what each says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from envmatrix.model.evidence import Axes, Declared
from envmatrix.model.matrix import (
    DEFAULT_ARCH,
    OWN_PYTHON,
    STACKED,
    Matrix,
    OperatingSystem,
    Variant,
    Where,
    value_matches,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the matrix, with what the rules and variants say of it.

    `excluded` is the reason of the rule that excludes it, if one does. `packages` are those of the
    operating system that the framework needs, and `stack_packages` those that its stack needs.
    """

    id: str
    framework: str
    version: str
    python: str
    os: str
    accelerator: str
    arch: str
    requires: tuple[str, ...]
    index: str | None
    constraints: tuple[str, ...]
    excluded: str | None
    own_python: bool
    packages: tuple[str, ...] = ()
    stack_packages: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The framework without its stack."""
        return self.framework.partition(STACKED)[0]

    @property
    def stack(self) -> str:
        """The name of the stack, empty where there is none."""
        return self.framework.partition(STACKED)[2]

    @property
    def axes(self) -> Axes:
        """The value on each axis."""
        return Axes(
            os=self.os,
            python=self.python,
            accelerator=self.accelerator,
            framework=self.framework,
            version=self.version,
            arch=self.arch,
        )

    @property
    def system_id(self) -> str:
        """The id of the operating system image below the base."""
        return system_id(self.os, self.arch)

    @property
    def base_id(self) -> str:
        """The id of the base image the cell stands on."""
        return f"{self.os}-py{self.python}-{self.accelerator}{_arch_suffix(self.arch)}"


def system_id(os: str, arch: str) -> str:
    """Return the id of an operating system for an architecture, such as debian12-arm64."""
    return f"{os}{_arch_suffix(arch)}"


def expand(matrix: Matrix) -> list[Cell]:
    """Return every declared cell: framework, version, OS, Python, accelerator, in file order.

    Cells with a stack follow those without. A cell with a stack obeys the rules of the cell that
    it is made of, and those that name its stack, such as `framework: torch+vision`.
    """
    plain = list(_expand(matrix))
    return [*plain, *_stacked(matrix, plain)]


def _stacked(matrix: Matrix, plain: Sequence[Cell]) -> Iterator[Cell]:
    for name, stack in matrix.stacks.items():
        for cell in plain:
            if any(contains(where, cell) for where in stack.cells):
                stacked = replace(
                    cell,
                    id=f"{cell.framework}{STACKED}{name}" + cell.id.removeprefix(cell.framework),
                    framework=f"{cell.framework}{STACKED}{name}",
                    requires=(*cell.requires, *stack.requires),
                    stack_packages=_packages(stack.packages, cell.python, own=cell.own_python),
                )
                yield _with_own_rules(matrix, stacked, cell)


def _with_own_rules(matrix: Matrix, stacked: Cell, plain: Cell) -> Cell:
    """Return a cell with a stack, with the rules that are about it and not about the plain cell."""
    own = [
        rule
        for rule in matrix.rules
        if contains(rule.when, stacked) and not contains(rule.when, plain)
    ]
    reasons = [rule.reason for rule in own if rule.exclude]
    constraints = tuple(text for rule in own for text in rule.constrain)
    return replace(
        stacked,
        constraints=(*stacked.constraints, *constraints),
        excluded=stacked.excluded or next(iter(reasons), None),
    )


def contains(where: Where, cell: Cell) -> bool:
    """Return whether a cell is one of those that `where` names."""
    return _matches(where, partial(getattr, cell), own_python=cell.own_python)


def _expand(matrix: Matrix) -> Iterator[Cell]:
    for name, framework in matrix.frameworks.items():
        for arch in matrix.axes.arch:
            for (version, accelerator), variant in framework.offers(arch).items():
                for os_name, os in matrix.axes.os.items():
                    for python in matrix.axes.python:
                        axes = {
                            "framework": name,
                            "version": version,
                            "python": python,
                            "os": os_name,
                            "accelerator": accelerator,
                            "arch": arch,
                        }
                        yield _cell(matrix, axes, variant, os)


def _cell(matrix: Matrix, axes: dict[str, str], variant: Variant, os: OperatingSystem) -> Cell:
    own_python = axes["python"] == os.python
    applying = [
        rule
        for rule in matrix.rules
        if _matches(rule.when, axes.__getitem__, own_python=own_python)
    ]
    excluding = [rule.reason for rule in applying if rule.exclude]
    version, accelerator = axes["version"], axes["accelerator"]
    return Cell(
        id=(
            f"{axes['framework']}-{version}-py{axes['python']}-{axes['os']}-{accelerator}"
            + _arch_suffix(axes["arch"])
        ),
        **axes,
        requires=tuple(
            _fill(text, version, accelerator) for text in (*variant.requires, *matrix.base.venv)
        ),
        index=_fill(variant.index, version, accelerator) if variant.index else None,
        constraints=tuple(text for rule in applying for text in rule.constrain),
        excluded=excluding[0] if excluding else None,
        own_python=own_python,
        packages=_packages(
            matrix.frameworks[axes["framework"]].packages, axes["python"], own=own_python
        ),
        stack_packages=(),
    )


def _packages(packages: Sequence[str], python: str, *, own: bool) -> tuple[str, ...]:
    """Return packages of the operating system, filled in.

    One that names a Python belongs to the system's own. A standalone CPython brings its headers.
    """
    return tuple(
        package.replace("{python}", python) for package in packages if own or "{" not in package
    )


def _fill(text: str, version: str, accelerator: str) -> str:
    return text.replace("{version}", version).replace("{accelerator}", accelerator)


def _arch_suffix(arch: str) -> str:
    return "" if arch == DEFAULT_ARCH else f"-{arch}"


def _matches(where: Where, value_of: Callable[[str], str], *, own_python: bool) -> bool:
    # Loops, because `plan` over all cells does this 120 000 times.
    for axis, patterns, known in where.checks:
        value = value_of(axis)
        fits = known.get(value)
        if fits is None:
            fits = known[value] = any(value_matches(axis, value, one) for one in patterns)
        if not fits and not (own_python and axis == "python" and OWN_PYTHON in patterns):
            return False
    return True


def declared(matrix: Matrix, cell: Cell) -> Declared:
    """Return what a cell says of itself, under the names by which probes observe it."""
    os = matrix.axes.os[cell.os]
    return Declared(
        version=cell.version,
        python=cell.python,
        distribution=os.distribution,
        codename=os.codename,
        glibc=os.glibc,
        accelerator=cell.accelerator,
        arch=cell.arch,
    )
