"""Cells: the points of the matrix, their ids, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from envmatrix.model.evidence import Axes, Declared
from envmatrix.model.matrix import (
    DEFAULT_ARCH,
    OWN_PYTHON,
    STACKED,
    Matrix,
    Rule,
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
    own_python: bool
    constraints: tuple[str, ...] = ()
    excluded: str | None = None
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
    declared_cells = list(_expand(matrix))
    rules = _rules_of(matrix, declared_cells)
    plain = [_obeying(rules[cell.id], cell) for cell in declared_cells]
    return [*plain, *_stacked(matrix, plain, rules)]


def named(wheres: Iterable[Where], cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that one of `wheres` names, in their order."""
    ids = {cell.id for where in wheres for cell in _named(where, cells)}
    return [cell for cell in cells if cell.id in ids]


def _named(where: Where, cells: Sequence[Cell]) -> Sequence[Cell]:
    # Axis by axis and by the few values of each: there are thousands of cells.
    for axis, patterns in where.patterns:
        values = list(map(attrgetter(axis), cells))
        own = axis == "python" and OWN_PYTHON in patterns
        fitting = {
            value
            for value in set(values)
            if any(value_matches(axis, value, pattern) for pattern in patterns)
        }
        cells = [
            cell
            for cell, value in zip(cells, values, strict=True)
            if value in fitting or (own and cell.own_python)
        ]
    return cells


def _expand(matrix: Matrix) -> Iterator[Cell]:
    """Yield the cells without a stack, as if there were no rules."""
    for name, framework in matrix.frameworks.items():
        places = [
            (os_name, python, own, _packages(framework.packages, python, own=own))
            for os_name, os in matrix.axes.os.items()
            for python in matrix.axes.python
            for own in [python == os.python]
        ]
        for arch in matrix.axes.arch:
            for (version, accelerator), variant in framework.offers(arch).items():
                requires = tuple(
                    _fill(text, version, accelerator)
                    for text in (*variant.requires, *matrix.base.venv)
                )
                index = _fill(variant.index, version, accelerator) if variant.index else None
                for os_name, python, own, packages in places:
                    yield Cell(
                        id=f"{name}-{version}-py{python}-{os_name}-{accelerator}"
                        + _arch_suffix(arch),
                        framework=name,
                        version=version,
                        python=python,
                        os=os_name,
                        accelerator=accelerator,
                        arch=arch,
                        requires=requires,
                        index=index,
                        own_python=own,
                        packages=packages,
                    )


def _stacked(
    matrix: Matrix, plain: Sequence[Cell], rules: Mapping[str, Sequence[Rule]]
) -> Iterator[Cell]:
    """Yield the cells with a stack. `rules` are those about the plain cells, by cell id."""
    for name, stack in matrix.stacks.items():
        below = named(stack.cells, plain)
        stacked = [
            replace(
                cell,
                id=f"{cell.framework}{STACKED}{name}" + cell.id.removeprefix(cell.framework),
                framework=f"{cell.framework}{STACKED}{name}",
                requires=(*cell.requires, *stack.requires),
                stack_packages=_packages(stack.packages, cell.python, own=cell.own_python),
            )
            for cell in below
        ]
        about = _rules_of(matrix, stacked)
        for cell, lower in zip(stacked, below, strict=True):
            yield _obeying([rule for rule in about[cell.id] if rule not in rules[lower.id]], cell)


def _rules_of(matrix: Matrix, cells: Sequence[Cell]) -> Mapping[str, Sequence[Rule]]:
    """Return the rules about each cell, by its id."""
    found: dict[str, list[Rule]] = {cell.id: [] for cell in cells}
    for rule in matrix.rules:
        for cell in _named(rule.when, cells):
            found[cell.id].append(rule)
    return found


def _obeying(rules: Sequence[Rule], cell: Cell) -> Cell:
    """Return a cell with what rules about it add to what it has."""
    if not rules:
        return cell
    reasons = (rule.reason for rule in rules if rule.exclude)
    constraints = (text for rule in rules for text in rule.constrain)
    return replace(
        cell,
        constraints=(*cell.constraints, *constraints),
        excluded=cell.excluded or next(reasons, None),
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
