"""Commands that use the engine: build, probe, run, verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from envmatrix.cli.arguments import (
    AsJson,
    BaseOrigin,
    Fresh,
    Isolated,
    Jobs,
    Profile,
    Select,
    ShardText,
    Strict,
)
from envmatrix.cli.printing import (
    print_commands,
    print_failures,
    print_json,
    print_table,
    print_verified,
    say,
    tell_of_known,
)
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.cli.writing import Annotations, Junit, before, tell_ci
from envmatrix.model.cells import Cell
from envmatrix.model.errors import InputError, SurroundingsError
from envmatrix.model.evidence import Evidence, Reproducible
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.matrix import meant
from envmatrix.model.verdicts import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from envmatrix.engine.process import Ran
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
    shard: ShardText = None,
    as_json: AsJson = False,
) -> None:
    """Build the images of cells. Nothing is probed."""
    workspace = workspace_of(context)
    options = _options(base, jobs=jobs, fresh=fresh, probing=False)
    cells = _chosen(workspace, select, profile, as_json=as_json)
    done = _run(workspace, cells, options, shard)
    known = workspace.reporting.known(done.cells)
    if as_json:
        _print_report(workspace, done.cells)
    else:
        print_table(done.cells, known)
        print_commands(done.cells)
        say(done.said)
    tell_of_known(known)
    if exit_code(done.cells, known) == 1:
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
    done = _run(workspace, _chosen(workspace, select, profile, as_json=as_json), options)
    _finish(workspace, done, strict=strict, as_json=as_json)


def _probe_host(workspace: Workspace, python: str, *, strict: bool, as_json: bool) -> None:
    from envmatrix.probes.host import probe_host
    from envmatrix.stages.evidence import host_evidence, with_logs

    outputs: dict[str, tuple[str, str]] = {}

    def heard(name: str, ran: Ran) -> None:
        outputs[name] = (ran.stdout, ran.stderr)

    results = probe_host(python, workspace.probes.all, heard)
    if not results:
        raise SurroundingsError(
            "none of the frameworks is installed there",
            where=python,
            next_step="give the interpreter that has it with --python",
        )
    found = [
        with_logs(host_evidence(name, gave), outputs, workspace.records, workspace.layout)
        for name, gave in results.items()
    ]
    paths = [workspace.book.keep_host(evidence) for evidence in found]
    if as_json:
        print_json({"schema": 2, "on_hosts": [evidence.to_json() for evidence in found]})
    else:
        print_table(found)
        print_failures(found, shown=workspace.shown)
        for path in paths:
            say(f"evidence: {workspace.layout.shown(path)}")
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
    from_registry: Annotated[
        bool,
        typer.Option(
            "--from-registry",
            help="Pull what is published in reports/published.json, and only probe it.",
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove each image and wheel of this run that no cell ahead needs."
        ),
    ] = False,
    shard: ShardText = None,
    junit: Junit = None,
    annotations: Annotations = False,
    as_json: AsJson = False,
) -> None:
    """Lock, build, probe and report: all stages in order."""
    workspace = workspace_of(context)
    if fresh and from_registry:
        raise InputError(
            "--fresh builds everything anew, and --from-registry builds nothing that is published",
            where="--from-registry",
            next_step="leave one of the two out",
        )
    options = _options(
        base,
        jobs=jobs,
        fresh=fresh,
        prune=prune,
        isolated=isolated,
        from_registry=from_registry,
    )
    cells = _chosen(workspace, select, profile, as_json=as_json)
    done = _run(workspace, cells, options, shard)
    known = workspace.reporting.known(done.cells)
    old = before(workspace, None) if annotations else None
    tell_ci(done.cells, known, junit=junit, annotations=annotations, old=old)
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
    options = _options(base, jobs=jobs)
    cells = _chosen(workspace, select, profile, as_json=as_json)
    with at_work(workspace) as progress:
        found = workspace.verifier.verify(cells, options, progress)
    if as_json:
        _print_report(workspace, found)
    else:
        print_verified(found)
    statuses = {evidence.reproducibility.status for evidence in found}
    if Reproducible.DIFFERS in statuses:
        raise typer.Exit(1)
    if Reproducible.NOT_CHECKED in statuses:
        raise typer.Exit(3)


# --- what these commands share ---------------------------------------------------------------


def _options(
    base: str,
    *,
    jobs: int | None,
    fresh: bool = False,
    probing: bool = True,
    prune: bool = False,
    isolated: bool = False,
    from_registry: bool = False,
) -> Options:
    from envmatrix.stages.options import Options, Origin

    if base not in list(Origin):
        raise InputError(
            f"--base {base} is not known",
            where="--base",
            next_step="give auto, pull or bootstrap",
            instead=meant(base, list(Origin)),
        )
    return Options(
        jobs=jobs,
        fresh=fresh,
        origin=Origin(base),
        probing=probing,
        prune=prune,
        isolated=isolated,
        from_registry=from_registry,
    )


def _chosen(
    workspace: Workspace, select: Sequence[str] | None, profile: str | None, *, as_json: bool
) -> list[Cell]:
    """Return the cells that the user means. JSON tells claims, so wrong ones are refused here."""
    cells = workspace.choose(select, profile)
    if as_json:
        workspace.check_claims()
    return cells


def _run(
    workspace: Workspace, cells: Sequence[Cell], options: Options, shard: str | None = None
) -> Run:
    if not shard:  # A variable of CI may be empty.
        return _run_cells(workspace, cells, options)
    from envmatrix.stages.shards import shard_of, write_shard

    part = shard_of(shard)
    ours = workspace.cutter.cut(cells, part.count)[part.number - 1].cells

    def write_too(where: Path) -> None:
        write_shard(where, part, cells, ours)

    return _run_cells(workspace, ours, options, write_too)


def _run_cells(
    workspace: Workspace,
    cells: Sequence[Cell],
    options: Options,
    write_too: Callable[[Path], None] = lambda _: None,
) -> Run:
    from envmatrix.cli.at_work import at_work
    from envmatrix.stages.report import forget_shard

    workspace.tell_of_idle_probes()
    where = workspace.layout.report
    with at_work(workspace) as progress:
        if options.probing:
            forget_shard(where)  # A run that fails leaves no report that looks like its own.
        done = workspace.runner.run(cells, options, progress)
        if options.probing:
            workspace.reporting.write(done.cells, where, claims=False)
            write_too(where)
        return done


def _finish(workspace: Workspace, done: Run, *, strict: bool, as_json: bool) -> None:
    known = workspace.reporting.known(done.cells)
    if as_json:
        _print_report(workspace, done.cells)
    else:
        print_table(done.cells, known)
        print_failures(done.cells, known, workspace.shown)
        if not done.pruned:
            print_commands(done.cells)
        say(done.said)
        where = workspace.layout.shown(workspace.layout.report)
        say(f"evidence: {where}/ (report.json, table.md, cells/)")
    tell_of_known(known)
    raise typer.Exit(exit_code(done.cells, known, strict=strict))


def _print_report(workspace: Workspace, cells: Sequence[Evidence]) -> None:
    print_json(workspace.reporting.document(cells).to_json())


def exit_code(
    cells: Iterable[Evidence], known: Mapping[str, Known] | None = None, *, strict: bool = False
) -> int:
    """Return 1 where a cell is broken, 3 where a cell stays unknown, and else 0.

    A cell that is broken as the matrix knows it does not count. A `strict` run also returns 3 where
    a cell is only partial.
    """
    as_known = {
        cell_id for cell_id, one in (known or {}).items() if one.standing is Standing.AS_KNOWN
    }
    verdicts = {cell.verdict for cell in cells if cell.id not in as_known}
    if Verdict.BROKEN in verdicts:
        return 1
    return 3 if Verdict.UNKNOWN in verdicts or (strict and Verdict.PARTIAL in verdicts) else 0
