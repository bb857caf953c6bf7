"""The command that answers which environment to take: recommend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.printing import print_json, say
from envmatrix.cli.stories import print_answer
from envmatrix.cli.workspace import Workspace, arch_of, workspace_of
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import meant, nearest
from envmatrix.model.served import the_gpu
from envmatrix.report.questions import Prefer, Question, checked, spoken

if TYPE_CHECKING:
    from envmatrix.probes.this_host import ThisHost
    from envmatrix.report.answers import Answer

CPU = "cpu"


def recommend(
    context: typer.Context,
    *,
    framework: Annotated[
        str | None, typer.Option(help="Such as torch. Default: an answer for each framework.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="A version, or newest: the newest that has an answer.")
    ] = None,
    python: Annotated[str | None, typer.Option(help="A Python, such as 3.12.")] = None,
    os: Annotated[str | None, typer.Option("--os", help="An OS of the matrix: debian12.")] = None,
    arch: Annotated[
        str | None, typer.Option(help="amd64 or arm64. Default: that of this host.")
    ] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="cpu, or a CUDA line such as cu130.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help='A GPU by its name ("RTX 4090") or its compute capability (8.9). Several must '
            "all be served. Default: those of this host."
        ),
    ] = None,
    driver: Annotated[
        str | None,
        typer.Option(help="An NVIDIA driver: 570, or 570.86.10. Default: that of this host."),
    ] = None,
    prefer: Annotated[
        str,
        typer.Option(
            help="newest, or smallest: of the newest version that has an answer, the smallest "
            "image."
        ),
    ] = Prefer.NEWEST.value,
    no_host: Annotated[
        bool, typer.Option("--no-host", help="Take nothing from this host.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer which environment to take, and give the commands. It needs no Docker."""
    from envmatrix.probes.this_host import this_host
    from envmatrix.report.answers import Facts, answer

    workspace = workspace_of(context)
    if prefer not in list(Prefer):
        raise InputError(
            f'"{prefer}" is nothing to prefer',
            where="--prefer",
            next_step=nearest(prefer, list(Prefer)),
            instead=meant(prefer, list(Prefer)),
        )
    given = {
        "--framework": framework,
        "--version": version,
        "--python": python,
        "--os": os,
        "--arch": arch,
        "--accelerator": accelerator,
        "--driver": driver,
    }
    for option, value in given.items():
        if value is not None and not value.strip():
            raise InputError(
                f"{option} has no value",
                where=option,
                next_step=f"give one, or leave {option} out",
            )
    framework, version, python, os, arch, accelerator, driver = (
        (value or "").strip() for value in given.values()
    )
    named = tuple(the_gpu(name.strip(), "--gpu") for name in gpu or ())
    if not arch:
        arch = next((one.arch for one in named if one.arch in workspace.matrix.axes.arch), "")
    entries = workspace.reporting.entries(workspace.cells)
    asked = Question(
        framework=framework,
        version=version,
        python=python,
        os=os,
        arch=arch,
        accelerator=accelerator,
        gpus=named,
        driver=driver,
        prefer=Prefer(prefer),
    )
    asked = checked(asked, workspace.matrix, entries)
    host = None if no_host else this_host()
    question, taken = _with_host(workspace, asked, host) if host else (asked, [])
    facts = Facts(
        workspace.matrix,
        {cell.id: cell for cell in workspace.cells},
        workspace.committed_lock,
        workspace.publications.pull_command,
    )
    answers = [
        answer(replace(question, framework=name), entries, facts)
        for name in _frameworks(workspace, question)
    ]
    if as_json:
        print_json(_document(question, host, taken, answers))
        return
    say(*_host_told(host, taken, elsewhere=bool(named and driver)))
    for index, found in enumerate(answers):
        if index or host:
            say("")
        print_answer(found)


def _frameworks(workspace: Workspace, question: Question) -> Iterator[str]:
    """Yield the framework that was asked, or each that has the version that was asked."""
    if question.framework:
        yield question.framework
        return
    for name, one in workspace.matrix.frameworks.items():
        if question.version in ("", *one.versions):
            yield name


def _with_host(
    workspace: Workspace, question: Question, host: ThisHost
) -> tuple[Question, list[str]]:
    """Return a question with what it does not ask taken from a host, and what was taken."""
    taken = []
    arch, graphics = arch_of(host.machine), host.graphics
    elsewhere = question.gpus or question.arch not in ("", arch)
    if not question.arch and arch in workspace.matrix.axes.arch:
        question = replace(question, arch=arch)
        taken.append(f"the architecture {arch}")
    # Whoever asks for another GPU or architecture asks for another machine, with its own driver.
    if graphics is None or elsewhere or question.accelerator == CPU:
        return question, taken
    if graphics.gpus:
        question = replace(question, gpus=graphics.gpus)
        names = ", ".join(map(spoken, graphics.gpus))
        taken.append(f"the GPU {names}, as {graphics.told_by} tells")
    if not question.driver:
        question = replace(question, driver=graphics.driver)
        taken.append(f"the NVIDIA driver {graphics.driver}, as {graphics.told_by} tells")
    return question, taken


def _host_told(host: ThisHost | None, taken: list[str], *, elsewhere: bool) -> Iterator[str]:
    """Yield what was taken from this host, and what was not."""
    if host is None:
        return
    if taken:
        yield f"From this host: {'; '.join(taken)}. `--no-host` takes nothing from it."
    if host.graphics is None and not elsewhere:
        yield "No NVIDIA driver answers on this host, so any accelerator counts."
    elif host.graphics and host.graphics.unknown:
        names = ", ".join(host.graphics.unknown)
        yield f"Of these GPUs it is not known what they run: {names}. Give `--gpu` what they are."
    yield (
        f"Its {host.system} and its Python {host.python} narrow nothing: an image brings its own. "
        "`--os` and `--python` do."
    )


def _document(
    question: Question, host: ThisHost | None, taken: list[str], answers: list[Answer]
) -> dict[str, Any]:
    graphics = host.graphics if host else None
    told = host and {
        "machine": host.machine,
        "system": host.system,
        "python": host.python,
        "driver": graphics.driver if graphics else None,
        "gpus": [gpu.name for gpu in graphics.gpus] + list(graphics.unknown) if graphics else [],
        "told_by": graphics.told_by if graphics else None,
        "taken": taken,
    }
    return {
        "schema": 1,
        "question": question.to_json(),
        "host": told,
        "answers": [found.to_json() for found in answers],
    }
