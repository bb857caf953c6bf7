"""What a word may stand for that is no value of an axis: `cuda`, `PyTorch`, `py3.11`, `debian-12`.

People bring words from other programs. A suggestion by spelling alone makes `cpu` of `gpu`. All
names come from the matrix: titles of frameworks, versions of CUDA lines, codenames of systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from envmatrix.model.matrix import AXES, Matrix, value_matches

_NOT_IN_VALUES = re.compile(r"[^a-z0-9.]")
_MACHINES = {"x86_64": "amd64", "x64": "amd64", "aarch64": "arm64", "armv8": "arm64"}
_ANY_GPU = ("cuda", "gpu", "nvidia", "cu")
_PREFIXES = {
    "python": ("cpython", "python", "py", "cp"),
    "accelerator": ("cuda", "cu"),
    "version": ("v",),
}


def meaning(matrix: Matrix, axis: str, value: str) -> str:
    """Return the value or pattern of an axis that a word stands for; empty where none is known."""
    word = value.strip().lower()
    known = _known(matrix, axis)
    for said in _said(matrix, axis, word):
        if said and any(value_matches(axis, one, said) for one in known):
            return said
    return ""


def axis_of(matrix: Matrix, word: str) -> str:
    """Return `axis=value` for a word that was given alone; empty where it stands for nothing."""
    for axis in AXES:
        if word in _known(matrix, axis):
            return f"{axis}={word}"
    for axis in ("framework", "os", "accelerator", "python", "arch"):
        if found := meaning(matrix, axis, word):
            return f"{axis}={found}"
    return ""


def _known(matrix: Matrix, axis: str) -> Sequence[str]:
    match axis:
        case "framework":
            return list(matrix.frameworks)
        case "version":
            return [version for one in matrix.frameworks.values() for version in one.versions]
        case "python":
            return matrix.axes.python
        case "os":
            return list(matrix.axes.os)
        case "accelerator":
            return list(matrix.axes.accelerator)
    return matrix.axes.arch


def _said(matrix: Matrix, axis: str, word: str) -> Iterator[str]:
    """Yield what a word may stand for, the likeliest first."""
    if not word:
        return
    bare = _NOT_IN_VALUES.sub("", word)
    digits = re.sub(r"[^0-9.]", "", _without_prefix(axis, word)).strip(".")
    match axis:
        case "framework":
            yield from _titled(matrix, bare)
        case "accelerator":
            yield from _lines_of_cuda(matrix, word, digits)
        case "os":
            yield from (name for name, one in matrix.axes.os.items() if one.codename == bare)
            yield from (f"{bare}*" for one in matrix.axes.os.values() if one.distribution == bare)
        case "python":
            yield ".".join(digits.split(".")[:2])
            yield f"{digits[:1]}.{digits[1:]}"
        case "version":
            yield from (digits, f"{digits}.*")
        case "arch":
            yield _MACHINES.get(word, "")
    yield bare


def _lines_of_cuda(matrix: Matrix, word: str, digits: str) -> Iterator[str]:
    if word in _ANY_GPU:
        yield "cu*"
    for name, one in matrix.axes.accelerator.items():
        if one.cuda and digits in (one.cuda, one.cuda.replace(".", "")):
            yield name


def _without_prefix(axis: str, word: str) -> str:
    return next((word[len(one) :] for one in _PREFIXES.get(axis, ()) if word.startswith(one)), word)


def _titled(matrix: Matrix, word: str) -> Iterator[str]:
    """Yield the frameworks whose title is the word, or of whose title it has the capitals."""
    for name, framework in matrix.frameworks.items():
        capitals = "".join(one for one in framework.title if one.isupper()).lower()
        title = _NOT_IN_VALUES.sub("", framework.title.lower())
        if word == title or (len(capitals) > 1 and word == capitals):
            yield name
