"""Choosing cells: by id, by glob, by axis, by profile, and by what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

from packaging.specifiers import InvalidSpecifier

from envmatrix.model.cells import Cell, named
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.gpus import serves
from envmatrix.model.matrix import (
    AXES,
    DEFAULT_ARCH,
    NATIVE_ARCH,
    OWN_PYTHON,
    Matrix,
    ProfileEntry,
    Where,
    meant,
    nearest,
    value_matches,
)
from envmatrix.model.meanings import axis_of, meaning
from envmatrix.model.served import (
    architectures_known,
    build_of,
    driver_branch,
    floor_branch,
    the_gpu,
)
from envmatrix.model.verdicts import Judgement, Verdict

PUBLISHED = "published"
"""The profile whose folders and evidence are committed."""
FACTS = ("verdict", "driver", "gpu")
"""What a selector may ask of cells beside their axes."""


class NothingKnownError(InputError):
    """The selectors are right, and of no cell that they leave is that known which they ask."""


class Known(Protocol):
    """What is known of cells now."""

    def judgement(self, cell: Cell) -> Judgement:
        """Return what is known of a cell."""

    def current(self, cell: Cell) -> Evidence | None:
        """Return the evidence of a cell, if it holds now."""


def choose(
    matrix: Matrix,
    cells: Sequence[Cell],
    selectors: Iterable[str],
    profile: str | None,
    native: str = DEFAULT_ARCH,
    *,
    known: Known | None = None,
) -> list[Cell]:
    """Return the cells that the selectors and the profile leave.

    `native` is the architecture of this machine. One that the matrix does not have counts as amd64.

    A selector is a cell id, a glob on ids, or `axis=value` (value: exact, glob or specifier).
    Several narrow down; exact ids, and values of one axis, are alternatives of each other.
    Without a profile, selectors choose from all cells; without either it is the `quick` profile.

    `verdict=works`, `driver=570` and `gpu=RTX 4090` choose by what is `known` of the cells. A
    driver chooses the CUDA lines that it serves. A GPU chooses the cells whose build is known to
    serve it: by the evidence of the cell, or of any cell with that build.

    Raises:
        InputError: an unknown profile or axis, a selector that matches nothing, or one that asks
            for what is known where nothing is.
    """
    selectors = list(selectors)
    if profile is None and not selectors:
        profile = "quick" if "quick" in matrix.profiles else next(iter(matrix.profiles))
    if native not in matrix.axes.arch or profile == PUBLISHED:  # what is committed is one thing
        native = DEFAULT_ARCH
    chosen = list(cells) if profile is None else in_profile(matrix, cells, profile, native)
    narrowed = _by_ids(matrix, chosen, selectors, profile)
    for selector in filter(_is_glob, selectors):
        kept = [cell for cell in narrowed if fnmatchcase(cell.id, selector)]
        if not kept:
            raise _nothing(selector, [cell.id for cell in narrowed], profile)
        narrowed = kept
    asked = _by_axis(selectors)
    for axis in (axis for axis in asked if axis in AXES):
        values = asked[axis]
        names = sorted({getattr(cell, axis) for cell in narrowed})
        for value in values:
            if not any(_axis_matches(cell, axis, value) for cell in narrowed):
                raise _no_value(matrix, axis, value, names, profile)
        narrowed = [
            cell for cell in narrowed if any(_axis_matches(cell, axis, value) for value in values)
        ]
    facts = {fact: values for fact, values in asked.items() if fact in FACTS}
    return _by_facts(matrix, cells, narrowed, facts, known=known) if facts else narrowed


def _by_facts(
    matrix: Matrix,
    cells: Sequence[Cell],
    narrowed: Sequence[Cell],
    facts: Mapping[str, Sequence[str]],
    *,
    known: Known | None,
) -> list[Cell]:
    """Return the cells of which one of the values of each fact is known."""
    for fact, values in facts.items():
        if known is None:
            raise InputError(
                f"{fact}= asks what is known of cells, and nothing is known here",
                where=f"selector {fact}={values[0]}",
                next_step="choose by ids and axes: " + ", ".join(AXES),
            )
        fits = [_fact(matrix, cells, fact, value, known) for value in values]
        for value, one in zip(values, fits, strict=True):
            if not any(map(one, narrowed)):
                raise NothingKnownError(
                    f"no cell of those that the other selectors leave has {fact}={value}",
                    where=f"selector {fact}={value}",
                    next_step="see what is known of them: `envmatrix plan` with the other "
                    "selectors",
                )
        narrowed = [cell for cell in narrowed if any(one(cell) for one in fits)]
    return list(narrowed)


def _fact(
    matrix: Matrix, cells: Sequence[Cell], fact: str, value: str, known: Known
) -> Callable[[Cell], bool]:
    """Return what tells whether a value of a fact is known of a cell.

    Raises:
        InputError: there is no such verdict, driver or GPU.
    """
    where = f"selector {fact}={value}"
    if fact == "verdict":
        if value not in list(Verdict):
            raise InputError(
                f'there is no verdict "{value}"',
                where=where,
                next_step=nearest(value, list(Verdict)),
                instead=_same_axis(fact, value, meant(value, list(Verdict))),
            )
        return lambda cell: known.judgement(cell).verdict == value
    if fact == "driver":
        branch = driver_branch(value, where)
        floors = {name: floor_branch(one.driver) for name, one in matrix.axes.accelerator.items()}
        served = {name for name, floor in floors.items() if floor and floor <= branch}
        return lambda cell: cell.accelerator in served
    capability = the_gpu(value, where).capability
    evidence = (known.current(cell) for cell in cells)
    architectures = architectures_known(one for one in evidence if one)
    lines = {name for name, one in matrix.axes.accelerator.items() if one.cuda}
    return lambda cell: (
        cell.accelerator in lines and serves(architectures.get(build_of(cell.axes), ()), capability)
    )


def _by_ids(
    matrix: Matrix, cells: Sequence[Cell], selectors: Sequence[str], profile: str | None
) -> list[Cell]:
    ids = {one for one in selectors if not _is_axis(one) and not _is_glob(one)}
    known = {cell.id for cell in cells}
    for selector in selectors:
        if selector in ids and selector not in known:
            raise _nothing(
                selector, [cell.id for cell in cells], profile, axis_of(matrix, selector)
            )
    return [cell for cell in cells if cell.id in ids] if ids else list(cells)


def in_profile(
    matrix: Matrix, cells: Sequence[Cell], profile: str, native: str = DEFAULT_ARCH
) -> list[Cell]:
    """Return the cells of a profile, in matrix order. `native` is what its word native stands for.

    Raises:
        InputError: no such profile.
    """
    if profile not in matrix.profiles:
        raise InputError(
            f'there is no profile "{profile}"',
            where="--profile",
            next_step=nearest(profile, list(matrix.profiles)),
            instead=meant(profile, matrix.profiles),
        )
    wheres = [_on(native, entry) for entry in _flat(matrix, profile)]
    return named(wheres, cells)


def published(matrix: Matrix, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells whose folders and evidence are committed; none without that profile.

    They are the same on every machine.
    """
    return in_profile(matrix, cells, PUBLISHED) if PUBLISHED in matrix.profiles else []


def _on(native: str, entry: ProfileEntry) -> Where:
    """Return an entry with the architecture of this machine in place of the word for it."""
    if NATIVE_ARCH not in (entry.arch or ()):
        return entry
    named = {axis: patterns for axis, patterns in entry.patterns if axis != "arch"}
    arch = [native if pattern == NATIVE_ARCH else pattern for pattern in entry.arch or ()]
    return Where(**named, arch=arch)


def _flat(matrix: Matrix, profile: str) -> Iterator[ProfileEntry]:
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
            if axis not in (*AXES, *FACTS):
                raise InputError(
                    f'there is no axis "{axis}"',
                    where=f"selector {selector}",
                    next_step=nearest(axis, (*AXES, *FACTS)),
                    instead=_same_value(value, axis),
                )
            found.setdefault(axis, []).append(value)
    return found


_CALLED = {
    "cuda": "accelerator",
    "distro": "os",
    "py": "python",
    "system": "os",
    "status": "verdict",
}
"""What people call axes that have another name here."""


def _same_value(value: str, axis: str) -> tuple[str, str] | None:
    near = _CALLED.get(axis.lower()) or (meant(axis.lower(), (*AXES, *FACTS)) or ("", ""))[1]
    return (f"{axis}={value}", f"{near}={value}") if near else None


def _same_axis(axis: str, value: str, near: tuple[str, str] | None) -> tuple[str, str] | None:
    return (f"{axis}={value}", f"{axis}={near[1]}") if near else None


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


def _no_value(
    matrix: Matrix, axis: str, value: str, names: Sequence[str], profile: str | None
) -> InputError:
    """Return the error of a value that no cell has, with the one that it may stand for."""
    stands_for = meaning(matrix, axis, value)
    has = stands_for and any(value_matches(axis, one, stands_for) for one in names)
    near = [stands_for] if has and stands_for != value else get_close_matches(value, names)
    told = [f"{axis}={one}" for one in near]
    return InputError(
        f"no cell{_among(profile)} matches {f'{axis}={value}'!r}",
        where=f"selector {axis}={value}",
        next_step=f"did you mean {' or '.join(told)}?" if told else nearest(value, names),
        instead=(f"{axis}={value}", told[0]) if told else None,
    )


def _among(profile: str | None) -> str:
    return f" in the profile {profile}" if profile else ""


def _nothing(
    selector: str, known: Sequence[str], profile: str | None, stands_for: str = ""
) -> InputError:
    part = selector and any(selector in name for name in known)
    if part:
        right, hint = f"*{selector}*", f'did you mean "*{selector}*"?'
    elif stands_for and stands_for != selector:
        right, hint = stands_for, f"did you mean {stands_for}?"
    else:
        right, hint = (meant(selector, known) or ("", ""))[1], nearest(selector, known)
    if hint.startswith("known:"):
        hint = "`envmatrix plan '*'` lists every id"
    return InputError(
        f"no cell{_among(profile)} matches {selector!r}",
        where=f"selector {selector}",
        next_step=hint,
        instead=(selector, right) if right else None,
    )
