"""The command about known vulnerabilities: audit."""

from __future__ import annotations

from typing import Annotated, Any, cast, get_args

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.printing import print_json, say, warn
from envmatrix.cli.workspace import workspace_of
from envmatrix.model.errors import InputError, SurroundingsError


def audit(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    service: Annotated[
        str,
        typer.Option(
            metavar="[index|osv]",
            help="Who is asked. index: that of pip's settings. osv: the database OSV.",
        ),
    ] = "index",
    as_json: AsJson = False,
) -> None:
    """Ask which vulnerabilities of the locked wheels are known. Verdicts do not depend on it."""
    from envmatrix.resolve.pip_settings import pip_settings
    from envmatrix.resolve.vulnerabilities import Service, Vulnerabilities

    if service not in get_args(Service):
        raise InputError(
            f"{service!r:.80} is no service",
            where="--service",
            next_step=f"give one of {', '.join(get_args(Service))}",
        )
    workspace = workspace_of(context)
    cells = workspace.choose(select, profile)
    asking = Vulnerabilities(pip_settings(), cast("Service", service))
    found: list[dict[str, Any]] = []
    any_asked = False
    for cell in cells:
        one = workspace.auditing.audit(cell, asking.of, asking.told)
        if one is None:
            warn(f"{cell.id}: it has no lock, so there is nothing to ask about")
            continue
        any_asked = any_asked or bool(one.asked)
        found.append(one.to_json())
        if not as_json:
            say(f"{cell.id}: {one.told}", *(f"  {text}" for text in one.lines))
    if as_json:
        print_json({"schema": 1, "cells": found})
    elif found:
        say(f"written to {workspace.layout.short(workspace.layout.audit('CELL'))}")
    if not any_asked:
        raise SurroundingsError(
            "nothing was asked: whether vulnerabilities are known is not known",
            where=asking.told,
            next_step="check the network and pip's settings, or ask another service: "
            "`envmatrix audit --service osv`",
        )
