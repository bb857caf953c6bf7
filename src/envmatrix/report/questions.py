"""A question for an environment: what is asked on each axis, of GPUs, and of the driver."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from packaging.version import Version

from envmatrix.model.errors import InputError
from envmatrix.model.gpus import Gpu
from envmatrix.model.matrix import Matrix, meant, nearest, value_matches
from envmatrix.model.meanings import meaning
from envmatrix.model.served import driver_branch
from envmatrix.report.entries import Entry

NEWEST = "newest"
AXES = ("version", "python", "os", "arch", "accelerator")
"""The axes that a question may ask beside the framework."""
_PATCH = re.compile(r"(3\.[0-9]{1,2})\.[0-9]{1,3}\S{0,10}")


class Prefer(StrEnum):
    """What decides among answers of the same version."""

    NEWEST = "newest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. An empty field asks nothing; a version `newest` asks no certain one."""

    framework: str = ""
    version: str = ""
    python: str = ""
    os: str = ""
    arch: str = ""
    accelerator: str = ""
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    prefer: Prefer = Prefer.NEWEST

    @property
    def asks_cuda(self) -> bool:
        """Whether only a CUDA build is an answer."""
        return bool(self.gpus or self.driver)

    @property
    def asked(self) -> dict[str, str]:
        """What was asked beside the framework, by field, in words: Python 3.11."""
        words = {
            "os": self.os,
            "python": f"Python {self.python}",
            "accelerator": self.accelerator,
            "driver": f"the NVIDIA driver {self.driver}",
            "version": f"version {self.version}",
            "arch": self.arch,
            "gpus": ", ".join(map(spoken, self.gpus)),
        }
        return {name: text for name, text in words.items() if getattr(self, name)}

    def without(self, fields: Iterable[str]) -> Question:
        """Return this question without some of what it asks."""
        nothing = Question()
        emptied: dict[str, Any] = {name: getattr(nothing, name) for name in fields}
        return replace(self, **emptied)

    def to_json(self) -> dict[str, Any]:
        """Return what is asked, as JSON names it."""
        fields = ("framework", *AXES, "driver")
        return {
            **{name: getattr(self, name) or None for name in fields},
            "gpus": [{"name": gpu.name, "capability": gpu.capability} for gpu in self.gpus],
            "prefer": self.prefer.value,
        }


def spoken(gpu: Gpu) -> str:
    """Return a GPU by its name and its compute capability."""
    return f"{gpu.name} ({gpu.capability})" if gpu.name != gpu.capability else gpu.name


def checked(question: Question, matrix: Matrix, entries: Sequence[Entry]) -> Question:
    """Return a question in the words of the matrix: without `newest`, and Python 3.11 for 3.11.4.

    Raises:
        InputError: it asks what the matrix does not have, with what is near.
    """
    version = "" if question.version == NEWEST else question.version
    patch = _PATCH.fullmatch(question.python)
    question = replace(question, version=version, python=patch[1] if patch else question.python)
    frameworks = list(dict.fromkeys(entry.axes.framework for entry in entries))
    _check(matrix, "--framework", question.framework, frameworks)
    ours = [entry for entry in entries if question.framework in ("", entry.axes.framework)]
    versions = {entry.axes.version for entry in ours}
    _check(matrix, "--version", version, sorted(versions, key=Version, reverse=True))
    _check(matrix, "--python", question.python, matrix.axes.python)
    _check(matrix, "--os", question.os, list(matrix.axes.os))
    _check(matrix, "--arch", question.arch, matrix.axes.arch)
    lines = list(matrix.axes.accelerator)
    if question.accelerator in ("cuda", "gpu"):
        raise InputError(
            f'"{question.accelerator}" is no accelerator of the matrix',
            where="--accelerator",
            next_step=f"give a CUDA line, such as {lines[-1]}, or say what it must serve: `--gpu` "
            "or `--driver`",
        )
    _check(matrix, "--accelerator", question.accelerator, lines)
    if question.driver:
        driver_branch(question.driver, "--driver")
    return question


def _check(matrix: Matrix, option: str, value: str, known: Collection[str]) -> None:
    if value and value not in known:
        axis = option.removeprefix("--")
        found = meaning(matrix, axis, value)
        fits = [one for one in known if found and value_matches(axis, one, found)]
        near = (value, fits[0]) if fits else meant(value, known)
        raise InputError(
            f'the matrix has no {axis} "{value}"',
            where=option,
            next_step=f"did you mean {near[1]}?" if near else nearest(value, list(known)),
            instead=near,
        )
