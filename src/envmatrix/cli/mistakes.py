"""What is told of a command line that is wrong: what, where, and the command that was meant."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from envmatrix.model.errors import EnvmatrixError, InputError

PROGRAM = "envmatrix"

_SYNONYMS = {
    "cells": "plan",
    "check": "doctor",
    "compare": "diff",
    "enter": "shell",
    "list": "plan",
    "ls": "plan",
    "new": "init",
    "prune": "clean",
    "push": "publish",
    "sh": "shell",
    "show": "explain",
    "start": "run",
    "status": "plan",
    "test": "run",
    "why": "explain",
}
"""What people call commands that have another name here."""


def no_such_command(word: str, commands: Sequence[str]) -> InputError:
    """Return the error of a word that is no command, with the command that it may stand for."""
    if word in ("help", "version"):
        near = [f"--{word}"]
    else:
        synonym = _SYNONYMS.get(word, "")
        near = [synonym] if synonym in commands else get_close_matches(word, commands, n=1)
    return InputError(
        f"there is no command {word!r}",
        where=PROGRAM,
        next_step="`envmatrix --help` lists the commands",
        instead=(word, near[0]) if near else None,
    )


def misused(
    error: Any,  # noqa: ANN401
    given: Sequence[str],
    commands: Collection[str],
) -> InputError:
    """Return the error of options or arguments that are wrong, as typer found them."""
    context = error.ctx if hasattr(error, "ctx") else None
    # Typer does not tell the command of an option that has no value.
    command = next((one for one in given if one in commands), "")
    where = context.command_path if context else f"{PROGRAM} {command}".rstrip()
    next_step = f"`{where} --help` shows what it takes"
    option = getattr(error, "option_name", None)
    what = error.format_message().partition(" (Possible options")[0].rstrip(".")
    # The words of the library that reads numbers are for programmers.
    what = what.partition(", unable to parse")[0].replace("Input should be", "it must be")
    if option is None or not what.startswith("No such option"):
        return InputError(what[:1].lower() + what[1:], where=where, next_step=next_step)
    what = f"there is no option {option!r}"
    if context and context.parent and (early := _moved(option, context, given)):
        return InputError(
            what, where=where, next_step=f"it stands before the command: `{shlex.join(early)}`"
        )
    near = list(getattr(error, "possibilities", None) or ())
    return InputError(
        what, where=where, next_step=next_step, instead=(option, near[0]) if near else None
    )


def _moved(option: str, context: Any, given: Sequence[str]) -> list[str]:  # noqa: ANN401
    """Return the command with an option of the program before it; empty where it is none."""
    ours = [one for one in context.parent.command.params if option in one.opts]
    at = next((i for i, one in enumerate(given) if one.partition("=")[0] == option), None)
    if not ours or at is None:
        return []
    takes_value = not getattr(ours[0], "is_flag", False) and "=" not in given[at]
    end = at + (2 if takes_value else 1)
    return [PROGRAM, *given[at:end], *given[:at], *given[end:]]


def with_command(error: EnvmatrixError, given: Sequence[str]) -> EnvmatrixError:
    """Return an error that knows what was meant, with the command that says so."""
    if error.instead is None:
        return error
    wrong, right = error.instead
    meant = [_swapped(one, wrong, right) for one in given]
    if not error.next_step.startswith("did you mean"):
        error.next_step = f"did you mean {right}?"
    if list(given) != meant:
        error.next_step += f" `{shlex.join([PROGRAM, *meant])}`"
    return error


def _swapped(word: str, wrong: str, right: str) -> str:
    if word == wrong:
        return right
    # An option may hold the wrong value, as --profile=quik, or be wrong itself, as --profil=quick.
    name, mark, value = word.partition("=")
    if mark and name.startswith("-"):
        return f"{right if name == wrong else name}={right if value == wrong else value}"
    return word
