"""Cells: the points of the matrix, their ids, and choosing some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial

from packaging.specifiers import InvalidSpecifier

from envmatrix.errors import InputError
from envmatrix.matrix import (
    AXES,
    OWN_PYTHON,
    STACKED,
    Matrix,
    OperatingSystem,
    Variant,
    Where,
    nearest,
    value_matches,
)

DEFAULT_ARCH = "amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the matrix, with what the rules and variants say of it.

    `excluded` is the reason of the rule that excludes it, if one does.
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

    @property
    def family(self) -> str:
        """The framework without its stack."""
        return self.framework.partition(STACKED)[0]

    @property
    def stack(self) -> str:
        """The name of the stack, empty where there is none."""
        return self.framework.partition(STACKED)[2]

    @property
    def axes(self) -> dict[str, str]:
        """The value on each axis, in the order the report prints them."""
        names = ("os", "python", "accelerator", "framework", "version", "arch")
        return {name: getattr(self, name) for name in names}

    @property
    def base_id(self) -> str:
        """The id of the base image the cell stands on."""
        return f"{self.os}-py{self.python}-{self.accelerator}{_arch_suffix(self.arch)}"


def expand(matrix: Matrix) -> list[Cell]:
    """Return every declared cell: framework, version, OS, Python, accelerator, in file order.

    Cells with a stack follow those without.
    """
    plain = list(_expand(matrix))
    return [*plain, *_stacked(matrix, plain)]


def _stacked(matrix: Matrix, plain: Sequence[Cell]) -> Iterator[Cell]:
    for name, stack in matrix.stacks.items():
        for cell in plain:
            if any(_contains(where, cell) for where in stack.cells):
                yield replace(
                    cell,
                    id=f"{cell.framework}{STACKED}{name}" + cell.id.removeprefix(cell.framework),
                    framework=f"{cell.framework}{STACKED}{name}",
                    requires=(*cell.requires, *stack.requires),
                )


def _contains(where: Where, cell: Cell) -> bool:
    return _matches(where, partial(getattr, cell), own_python=cell.own_python)


def _expand(matrix: Matrix) -> Iterator[Cell]:
    for name, framework in matrix.frameworks.items():
        for (version, accelerator), variant in framework.offers.items():
            for os_name, os in matrix.axes.os.items():
                for python in matrix.axes.python:
                    for arch in matrix.axes.arch:
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
    )


def _fill(text: str, version: str, accelerator: str) -> str:
    return text.replace("{version}", version).replace("{accelerator}", accelerator)


def _arch_suffix(arch: str) -> str:
    return "" if arch == DEFAULT_ARCH else f"-{arch}"


def _matches(where: Where, value_of: Callable[[str], str], *, own_python: bool) -> bool:
    return all(
        any(
            (axis == "python" and pattern == OWN_PYTHON and own_python)
            or value_matches(axis, value_of(axis), pattern)
            for pattern in patterns
        )
        for axis, patterns in where.patterns
    )


# --- choosing --------------------------------------------------------------------------------


def choose(
    matrix: Matrix, cells: Sequence[Cell], selectors: Iterable[str], profile: str | None
) -> list[Cell]:
    """Return the cells that the selectors and the profile leave.

    A selector is a cell id, a glob on ids, or `axis=value` (value: exact, glob or specifier).
    Several narrow down; exact ids, and values of one axis, are alternatives of each other.
    Without a profile, selectors choose from all cells; without either it is the `quick` profile.

    Raises:
        InputError: an unknown profile or axis, or a selector that matches nothing.
    """
    selectors = list(selectors)
    if profile is None and not selectors:
        profile = "quick" if "quick" in matrix.profiles else next(iter(matrix.profiles))
    chosen = list(cells) if profile is None else in_profile(matrix, cells, profile)
    narrowed = _by_ids(chosen, selectors, profile)
    for selector in filter(_is_glob, selectors):
        kept = [cell for cell in narrowed if fnmatchcase(cell.id, selector)]
        if not kept:
            raise _nothing(selector, [cell.id for cell in narrowed], profile)
        narrowed = kept
    for axis, values in _by_axis(selectors).items():
        known = sorted({cell.axes[axis] for cell in narrowed})
        for value in values:
            if not any(_axis_matches(cell, axis, value) for cell in narrowed):
                raise _nothing(f"{axis}={value}", [f"{axis}={name}" for name in known], profile)
        narrowed = [
            cell for cell in narrowed if any(_axis_matches(cell, axis, value) for value in values)
        ]
    return narrowed


def _by_ids(cells: Sequence[Cell], selectors: Sequence[str], profile: str | None) -> list[Cell]:
    ids = {one for one in selectors if not _is_axis(one) and not _is_glob(one)}
    known = {cell.id for cell in cells}
    for selector in selectors:
        if selector in ids and selector not in known:
            raise _nothing(selector, [cell.id for cell in cells], profile)
    return [cell for cell in cells if cell.id in ids] if ids else list(cells)


def in_profile(matrix: Matrix, cells: Sequence[Cell], profile: str) -> list[Cell]:
    """Return the cells of a profile, in matrix order.

    Raises:
        InputError: no such profile.
    """
    if profile not in matrix.profiles:
        raise InputError(
            f'there is no profile "{profile}"',
            where="--profile",
            next_step=nearest(profile, list(matrix.profiles)),
        )
    wheres = list(_flat(matrix, profile))
    return [cell for cell in cells if any(_contains(where, cell) for where in wheres)]


def _flat(matrix: Matrix, profile: str) -> Iterator[Where]:
    for entry in matrix.profiles[profile]:
        if entry.profile is not None:
            yield from _flat(matrix, entry.profile)
        else:
            yield entry


def _is_axis(selector: str) -> bool:
    return "=" in selector


def _is_glob(selector: str) -> bool:
    return not _is_axis(selector) and any(mark in selector for mark in "*?[")


def _by_axis(selectors: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for selector in selectors:
        if _is_axis(selector):
            axis, _, value = selector.partition("=")
            if axis not in AXES:
                raise InputError(
                    f'there is no axis "{axis}"',
                    where=f"selector {selector}",
                    next_step=nearest(axis, AXES),
                )
            found.setdefault(axis, []).append(value)
    return found


def _axis_matches(cell: Cell, axis: str, value: str) -> bool:
    if axis == "python" and value == OWN_PYTHON:
        return cell.own_python
    try:
        return bool(value) and value_matches(axis, getattr(cell, axis), value)
    except InvalidSpecifier as error:
        raise InputError(
            f"{value!r} is no version specifier",
            where=f"selector {axis}={value}",
            next_step='write it as pip does, for instance "version=>=2.4,<2.8"',
        ) from error


def _nothing(selector: str, known: Sequence[str], profile: str | None) -> InputError:
    among = f" in the profile {profile}" if profile else ""
    part = selector and not _is_axis(selector) and any(selector in name for name in known)
    hint = f'did you mean "*{selector}*"?' if part else nearest(selector, known)
    if hint.startswith("known:") and not _is_axis(selector):
        hint = "`envmatrix plan --profile all` lists every id"
    return InputError(
        f"no cell{among} matches {selector!r}", where=f"selector {selector}", next_step=hint
    )
