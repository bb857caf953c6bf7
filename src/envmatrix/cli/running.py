"""Commands that use the engine: build, probe, run, verify, shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from envmatrix.cli.arguments import (
    AsJson,
    BaseOrigin,
    Fresh,
    Isolated,
    Jobs,
    Profile,
    Select,
    Strict,
)
from envmatrix.cli.printing import (
    print_failures,
    print_json,
    print_table,
    print_verified,
    say,
)
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError, SurroundingsError, ToolError
from envmatrix.model.evidence import Evidence, Reproducible
from envmatrix.model.image_names import cell_tag
from envmatrix.model.verdicts import Verdict

if TYPE_CHECKING:
    from envmatrix.engine.client import Engine
    from envmatrix.stages.options import Options
    from envmatrix.stages.run import Run


def build(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
    base: BaseOrigin = "auto",
    as_json: AsJson = False,
) -> None:
    """Build the images of cells. Nothing is probed."""
    workspace = workspace_of(context)
    options = _options(base, jobs=jobs, fresh=fresh, probing=False)
    done = _run(workspace, workspace.choose(select, profile), options)
    if as_json:
        _print_report(done.cells)
    else:
        print_table(done.cells)
        say(done.said)
    if any(cell.verdict is Verdict.BROKEN for cell in done.cells):
        raise typer.Exit(1)
    if any(not cell.image and cell.verdict is Verdict.UNKNOWN for cell in done.cells):
        raise typer.Exit(3)


def probe(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
    strict: Strict = False,
    isolated: Isolated = False,
    host: Annotated[
        bool, typer.Option("--host", help="Probe an interpreter of this machine, no container.")
    ] = False,
    python: Annotated[
        str | None,
        typer.Option(help="With --host: the interpreter. Default: the one running this."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the probes in the images of cells; what is not built yet is built."""
    workspace = workspace_of(context)
    if host:
        if select or profile:
            raise InputError(
                "--host probes what an interpreter has, not cells",
                where="--host",
                next_step="leave SELECT and --profile out",
            )
        _probe_host(workspace, python or sys.executable, strict=strict, as_json=as_json)
        return
    options = _options("auto", jobs=jobs, fresh=fresh, isolated=isolated)
    done = _run(workspace, workspace.choose(select, profile), options)
    _finish(workspace, done, strict=strict, as_json=as_json)


def _probe_host(workspace: Workspace, python: str, *, strict: bool, as_json: bool) -> None:
    from envmatrix.probes.host import probe_host
    from envmatrix.stages.evidence import host_evidence

    results = probe_host(python, workspace.probes.all)
    if not results:
        raise SurroundingsError(
            "none of the frameworks is installed there",
            where=python,
            next_step="give the interpreter that has it with --python",
        )
    found = [host_evidence(framework, gave) for framework, gave in results.items()]
    paths = [workspace.book.keep_host(evidence) for evidence in found]
    if as_json:
        print_json({"schema": 2, "on_hosts": [evidence.to_json() for evidence in found]})
    else:
        print_table(found)
        print_failures(found)
        for path in paths:
            say(f"evidence: {workspace.layout.short(path)}")
    raise typer.Exit(exit_code(found, strict=strict))


def run(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
    base: BaseOrigin = "auto",
    strict: Strict = False,
    isolated: Isolated = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove each image once its evidence is taken."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lock, build, probe and report: all stages in order."""
    workspace = workspace_of(context)
    options = _options(base, jobs=jobs, fresh=fresh, prune=prune, isolated=isolated)
    done = _run(workspace, workspace.choose(select, profile), options)
    _finish(workspace, done, strict=strict, as_json=as_json)


def verify(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    base: BaseOrigin = "auto",
    as_json: AsJson = False,
) -> None:
    """Rebuild cells from nothing beside their images, and compare layer by layer."""
    from envmatrix.cli.at_work import at_work

    workspace = workspace_of(context)
    cells, options = workspace.choose(select, profile), _options(base, jobs=jobs)
    with at_work(workspace) as progress:
        found = workspace.verifier.verify(cells, options, progress)
    if as_json:
        _print_report(found)
    else:
        print_verified(found)
    statuses = {evidence.reproducibility.status for evidence in found}
    if Reproducible.DIFFERS in statuses:
        raise typer.Exit(1)
    if Reproducible.NOT_CHECKED in statuses:
        raise typer.Exit(3)


def shell(context: typer.Context, cell: str) -> None:
    """Open a shell in the image of a cell. Nothing is built, and nothing is pulled."""
    from envmatrix.engine.client import Engine

    workspace = workspace_of(context)
    one = workspace.only(cell)
    with Engine.connect() as engine:
        image = _image_of(workspace, engine, one)
    # The id is no name that a registry could serve, and no text of the matrix.
    terminal = ["--tty"] if _is_terminal(sys.stdin) and _is_terminal(sys.stdout) else []
    keys = ["--interactive"] if sys.stdin else []
    command = ["docker", "run", "--rm", "--pull", "never", *keys, *terminal, image, "bash"]
    try:
        os.execvp("docker", command)  # noqa: S606
    except OSError as error:
        raise ToolError(
            "the docker command is not installed, or cannot be started",
            where="docker run",
            next_step="install the Docker CLI",
        ) from error


def _image_of(workspace: Workspace, engine: Engine, cell: Cell) -> str:
    """Return the id of the image that this checkout made of a cell, or else of that of its name.

    Raises:
        SurroundingsError: there is none.
    """
    from envmatrix.model.digests import digest
    from envmatrix.stages.image_records import NameRecord

    tag = cell_tag(cell)
    record = workspace.records.get("name", digest(tag), NameRecord)
    ours = engine.images.find(record.id) if record else None
    if found := ours or engine.images.find(tag):
        return found.id
    raise SurroundingsError(
        f"there is no image of {cell.id} here",
        where=tag,
        next_step=f"build it with `envmatrix build {cell.id}`",
    )


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


# --- what these commands share ---------------------------------------------------------------


def _options(
    base: str,
    *,
    jobs: int | None,
    fresh: bool = False,
    probing: bool = True,
    prune: bool = False,
    isolated: bool = False,
) -> Options:
    from envmatrix.stages.options import Options, Origin

    if base not in list(Origin):
        raise InputError(
            f"--base {base} is not known", where="--base", next_step="give auto, pull or bootstrap"
        )
    return Options(
        jobs=jobs,
        fresh=fresh,
        origin=Origin(base),
        probing=probing,
        prune=prune,
        isolated=isolated,
    )


def _run(workspace: Workspace, cells: Sequence[Cell], options: Options) -> Run:
    from envmatrix.cli.at_work import at_work

    workspace.tell_of_idle_probes()
    with at_work(workspace) as progress:
        return workspace.runner.run(cells, options, progress)


def _finish(workspace: Workspace, done: Run, *, strict: bool, as_json: bool) -> None:
    where = workspace.layout.report
    workspace.reporting.write(done.cells, where)
    if as_json:
        _print_report(done.cells)
    else:
        print_table(done.cells)
        print_failures(done.cells)
        say(done.said)
        say(f"evidence: {workspace.layout.short(where)}/ (report.json, table.md, cells/)")
    raise typer.Exit(exit_code(done.cells, strict=strict))


def _print_report(cells: Sequence[Evidence]) -> None:
    from envmatrix.stages.report import report_of

    print_json(report_of(cells).to_json())


def exit_code(cells: Iterable[Evidence], *, strict: bool = False) -> int:
    """Return 1 where a cell is broken, 3 where a cell stays unknown, and else 0.

    A `strict` run also returns 3 where a cell is only partial.
    """
    verdicts = {cell.verdict for cell in cells}
    if Verdict.BROKEN in verdicts:
        return 1
    return 3 if Verdict.UNKNOWN in verdicts or (strict and Verdict.PARTIAL in verdicts) else 0
