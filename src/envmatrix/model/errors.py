"""Errors for people: what happened, where, and what to do next.

A failing image is data (a `broken` cell), never an exception. These are for wrong input and for
surroundings that fail; the command line catches them once and picks the exit code.
"""

from __future__ import annotations

from typing import ClassVar

from envmatrix.model.text import line


class EnvmatrixError(Exception):
    """What happened, with `where` it was seen and what to do `next`.

    Each is one line, and what others said in it is inert. `instead` is a word that the user gave,
    and the one that they may have meant: the command line tells the whole command.
    """

    exit_code: ClassVar[int] = 3
    kind: str = "infrastructure"
    """The class of the judgement of a cell whose work ends with this error."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        next_step: str = "",
        kind: str = "",
        instead: tuple[str, str] | None = None,
    ) -> None:
        self.what, self.where, self.next_step = line(what), line(where), line(next_step)
        super().__init__(self.what)
        self.kind = kind or self.kind
        self.instead = instead

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.next_step:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)


class InputError(EnvmatrixError):
    """What the user gave is wrong; nothing was touched."""

    exit_code = 2


class SurroundingsError(EnvmatrixError):
    """The machine or the network cannot do what was asked."""


class EngineError(SurroundingsError):
    """No Docker engine answers, or it failed in a way that says nothing about the cell.

    A `transient` failure may be gone at the next try.
    """

    kind = "engine"

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        next_step: str = "",
        kind: str = "",
        transient: bool = False,
    ) -> None:
        super().__init__(what, where=where, next_step=next_step, kind=kind)
        self.transient = transient


class DiskError(SurroundingsError):
    """A disk is full, or what is planned does not fit on it."""

    kind = "disk-full"


class NetworkError(SurroundingsError):
    """Something that has to be downloaded cannot be reached."""

    kind = "blocked"


class ToolError(SurroundingsError):
    """A program that is needed is missing or failed."""
