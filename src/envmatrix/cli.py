"""The command line: arguments, output, errors in one place, and the exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from envmatrix import __version__
from envmatrix.cells import Cell, choose
from envmatrix.errors import EnvmatrixError, InputError, SurroundingsError
from envmatrix.evidence import Judgement, Reproducible, Verdict, to_text, write_text
from envmatrix.matrix import json_schema
from envmatrix.project import Project

if TYPE_CHECKING:
    from envmatrix.lock import Resolution
    from envmatrix.run import Options, Progress, Run

NAMED = 4
"""The wheels of a group that are named; the others are counted."""

Done = TypeVar("Done")

# Commands import what talks to the engine or renders when they run: `plan` needs neither, and
# has a second.

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended (128 and the number of SIGINT)."""

app = typer.Typer(
    name="envmatrix",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which framework, Python, accelerator and OS combinations really work.",
)
# What is not a terminal has no width: lines are as long as a table needs.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

Select = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SELECT]...", help="Cell id, glob on ids, or axis=value. Several narrow down."
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", "-p", help="Cells of a profile. Default: quick, or all where SELECT is given."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=64,
        help="Cells at work side by side. Default: by cores and memory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Take nothing from earlier runs.")]
BaseOrigin = Annotated[str, typer.Option("--base", help="Base images: auto, pull or bootstrap.")]
Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail on any difference.")]


class _Chosen:
    """The options before the command."""

    matrix = Path("matrix.yaml")
    probes: tuple[Path, ...] = ()


@app.callback(invoke_without_command=True)
def _options(
    matrix: Annotated[Path, typer.Option(help="The matrix file.")] = Path("matrix.yaml"),
    probes: Annotated[list[Path] | None, typer.Option(help="A further folder of probes.")] = None,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    _Chosen.matrix, _Chosen.probes = matrix, tuple(probes or ())
    if version:
        out.print(f"envmatrix {__version__}")
        raise typer.Exit


def _project() -> Project:
    return Project(_Chosen.matrix.resolve(), _Chosen.probes)


def _choose(project: Project, select: Sequence[str] | None, profile: str | None) -> list[Cell]:
    return choose(project.matrix, project.cells, select or (), profile)


def _only(project: Project, selector: str) -> Cell:
    """Return the one cell that a selector names."""
    chosen = _choose(project, [selector], None)
    if len(chosen) != 1:
        raise InputError(
            f"{selector!r} matches {len(chosen)} cells",
            where="CELL",
            next_step="give one cell id, such as " + chosen[0].id,
        )
    return chosen[0]


def _print_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


# --- commands --------------------------------------------------------------------------------


@app.command()
def plan(
    select: Select = None,
    profile: Profile = None,
    *,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show which layers the cells install, and share.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every cell and what is known of it. Nothing is executed."""
    from envmatrix.report import MARKS

    project = _project()
    chosen = _choose(project, select, profile)
    if layers:
        _print_layers(project, chosen, as_json=as_json)
        return
    known = [(cell, project.judgement(cell)) for cell in chosen]
    if as_json:
        _print_json(
            {
                "schema": 1,
                "cells": [
                    {"id": cell.id, "axes": cell.axes, **judgement.to_json()}
                    for cell, judgement in known
                ],
            }
        )
        return
    width = max(len(cell.id) for cell in chosen)
    for cell, judgement in known:
        why = ": ".join(text for text in (judgement.kind, judgement.cause) if text)
        mark = f"{MARKS[judgement.verdict]} {judgement.verdict:<10}"
        # Not a rich table: thousands of rows take it a second, and it would cut the ids.
        sys.stdout.write(f"{_in_colour(mark, judgement.verdict)}  {cell.id:<{width}}  {why}\n")
    _say_counts(judgement for _, judgement in known)


@app.command()
def lock(
    select: Select = None,
    profile: Profile = None,
    *,
    check: Check = False,
    jobs: Jobs = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Resolve cells to hash-pinned wheels, or to the reason why there are none."""
    from envmatrix.progress import make_progress
    from envmatrix.run import lock_cells

    project = _project()
    chosen = _choose(project, select, profile)
    with project.store.exclusive(), make_progress(err) as progress:
        found = lock_cells(project, chosen, progress, jobs=jobs, fresh=fresh or check)
    judgements = [
        Judgement(Verdict.IMPOSSIBLE, "rule", "rule", cell.excluded)
        if cell.excluded
        else found[project.problem(cell).key].judgement
        for cell in chosen
    ]
    if check:
        _end_with_drift(_lock_drift(project, chosen, found), "envmatrix lock")
        return
    project.write_verdicts(found, [cell for cell in chosen if not cell.excluded])
    _write_locks(project, chosen, found)
    if as_json:
        _print_json(
            {
                "schema": 1,
                "cells": [
                    {
                        "id": cell.id,
                        "locked": judgement is None,
                        **(judgement.to_json() if judgement else {}),
                    }
                    for cell, judgement in zip(chosen, judgements, strict=True)
                ],
            }
        )
    else:
        locked = sum(judgement is None for judgement in judgements)
        counts = [(locked, "locked"), *((number, kind) for kind, number in _kinds(judgements))]
        named = ", ".join(f"{number} {what}" for number, what in counts)
        out.print(f"{len(chosen)} cells: {named}")
        out.print(f"verdicts: {project.verdicts_path.relative_to(project.root)}", soft_wrap=True)
    if any(judgement and judgement.verdict is Verdict.UNKNOWN for judgement in judgements):
        err.print(
            "Some cells stay unknown: an index could not be reached. `envmatrix plan` names it.",
            soft_wrap=True,
        )
        raise typer.Exit(3)


@app.command()
def render(select: Select = None, profile: Profile = None, *, check: Check = False) -> None:
    """Render the folders under images/ (default: those of the published profile)."""
    from envmatrix.images import difference, rendered, write

    project = _project()
    everything = not select and profile is None
    chosen = project.published() if everything else _choose(project, select, profile)
    files, unlocked = rendered(project, chosen)
    for cell in unlocked:
        err.print(
            f"{cell.id} has no lock and is left out: run `envmatrix lock {cell.id}`", soft_wrap=True
        )
    drift = difference(project, files, whole_tree=everything)
    if check:
        _end_with_drift([*drift, *(f"no lock: {cell.id}" for cell in unlocked)], "envmatrix render")
        return
    write(project, files, drift)
    out.print(
        f"{len(files)} files under {project.images.relative_to(project.root)}/, "
        f"{len(drift)} of them changed"
    )
    if unlocked:
        raise typer.Exit(3)


@app.command()
def build(
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
    base: BaseOrigin = "auto",
    as_json: AsJson = False,
) -> None:
    """Build the images of cells. Nothing is probed."""
    done = _run(select, profile, jobs=jobs, fresh=fresh, base=base, probing=False)
    reports = done.reports
    if as_json:
        _print_json(_document(reports))
    else:
        _print_table(reports)
        out.print(done.said)
    if any(report["verdict"] == Verdict.BROKEN for report in reports):
        raise typer.Exit(1)
    if any(not report["layers"] and report["verdict"] == Verdict.UNKNOWN for report in reports):
        raise typer.Exit(3)


@app.command()
def probe(
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
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
    if host:
        _probe_host(python or sys.executable, given=bool(select or profile), as_json=as_json)
    else:
        _finish(_run(select, profile, jobs=jobs, fresh=fresh), as_json=as_json)


def _probe_host(python: str, *, given: bool, as_json: bool) -> None:
    from envmatrix.host import probe_host

    if given:
        raise InputError(
            "--host probes what an interpreter has, not cells",
            where="--host",
            next_step="leave SELECT and --profile out",
        )
    project = _project()
    found = probe_host(python, project.probes)
    if not found:
        raise SurroundingsError(
            "none of the frameworks is installed there",
            where=python,
            next_step="give the interpreter that has it with --python",
        )
    paths = [project.keep_host_evidence(one) for one in found]
    if as_json:
        _print_json({"schema": 1, "on_hosts": found})
    else:
        _print_table(found)
        _print_failures(found)
        for path in paths:
            out.print(f"evidence: {_short(project, path)}", soft_wrap=True)
    raise typer.Exit(exit_code(found))


@app.command()
def run(
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    fresh: Fresh = False,
    base: BaseOrigin = "auto",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove each image once its evidence is taken."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lock, build, probe and report: all stages in order."""
    done = _run(select, profile, jobs=jobs, fresh=fresh, base=base, prune=prune)
    _finish(done, as_json=as_json)


@app.command()
def report(
    select: Select = None,
    profile: Profile = None,
    *,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to write.")] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Also put the table between the markers of this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.json, table.md and one JSON a cell from the evidence there is."""
    from envmatrix.report import markdown, with_table

    project = _project()
    chosen = _choose(project, select, profile)
    reports = [_evidence_now(project, cell) for cell in chosen]
    where = folder or project.store.root / "report"
    _write_report(project, reports, where, project.host_evidence())
    if readme:
        text = readme.read_text(encoding="utf-8")
        evidence = os.path.relpath(where / "cells", readme.parent)
        write_text(readme, with_table(text, markdown(reports, evidence), str(readme)))
    if as_json:
        _print_json(_document(reports))
    else:
        _print_table(reports)
        out.print(f"written to {_short(project, where)}/", soft_wrap=True)


@app.command()
def verify(
    select: Select = None,
    profile: Profile = None,
    *,
    jobs: Jobs = None,
    base: BaseOrigin = "auto",
    as_json: AsJson = False,
) -> None:
    """Rebuild cells from nothing beside their images, and compare layer by layer."""
    from envmatrix.verify import verify_cells

    reports = _at_work(verify_cells, select, profile, base, jobs=jobs)
    if as_json:
        _print_json(_document(reports))
    else:
        _print_verified(reports)
    found = {report["reproducible"] for report in reports}
    if Reproducible.DIFFERS in found:
        raise typer.Exit(1)
    if Reproducible.NOT_CHECKED in found:
        raise typer.Exit(3)


@app.command()
def explain(cell: str, *, as_json: AsJson = False) -> None:
    """Tell the whole story of one cell."""
    project = _project()
    one = _only(project, cell)
    found = _evidence_now(project, one)
    if as_json:
        _print_json(found)
        return
    _print_story(one, found)
    if drift := project.system_drift(one, found["layers"]):
        told = f"  drift:   {one.os} is not what was published: {drift}"
        out.print(told, markup=False, soft_wrap=True)


@app.command()
def probes(*, as_json: AsJson = False) -> None:
    """List the probes: what each proves."""
    project = _project()
    if as_json:
        _print_json(
            {
                "schema": 1,
                "probes": [
                    {
                        "name": one.name,
                        "framework": one.framework,
                        "proves": one.proves,
                        "required": one.required,
                        "timeout": one.timeout,
                        "needs": one.needs,
                    }
                    for one in project.probes
                ],
            }
        )
        return
    table = Table("probe", "required", "needs", "limit", "proves", box=None, pad_edge=False)
    for one in project.probes:
        table.add_row(
            one.name, "yes" if one.required else "no", one.needs, f"{one.timeout} s", one.proves
        )
    out.print(table)


@app.command()
def shell(cell: str) -> None:
    """Open a shell in the image of a cell."""
    from envmatrix.render import cell_tag

    project = _project()
    one = _only(project, cell)
    try:
        os.execvp(  # noqa: S606
            "docker",
            [
                "docker",
                "run",
                "--rm",
                "--interactive",
                "--tty",
                cell_tag(one),
                "bash",
            ],
        )
    except OSError as error:
        raise EnvmatrixError(
            "the docker command is not installed",
            where="docker run",
            next_step="install the Docker CLI",
        ) from error


@app.command()
def schema() -> None:
    """Print the JSON Schema of matrix.yaml."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


# --- what commands share ---------------------------------------------------------------------


def _run(
    select: Sequence[str] | None,
    profile: str | None,
    *,
    jobs: int | None,
    fresh: bool,
    base: str = "auto",
    probing: bool = True,
    prune: bool = False,
) -> Run:
    from envmatrix.run import run_cells

    return _at_work(
        run_cells, select, profile, base, jobs=jobs, fresh=fresh, probing=probing, prune=prune
    )


def _at_work(
    work: Callable[[Project, Sequence[Cell], Options, Progress], Done],
    select: Sequence[str] | None,
    profile: str | None,
    base: str,
    **chosen: Any,  # noqa: ANN401  (the fields of Options)
) -> Done:
    """Do something that changes the state, alone in it, with its progress shown."""
    from envmatrix.build import Origin
    from envmatrix.progress import make_progress
    from envmatrix.run import Options

    if base not in list(Origin):
        raise InputError(
            f"--base {base} is not known", where="--base", next_step="give auto, pull or bootstrap"
        )
    project = _project()
    cells = _choose(project, select, profile)
    options = Options(origin=Origin(base), **chosen)
    try:
        with project.store.exclusive(), make_progress(err) as progress:
            return work(project, cells, options, progress)
    except KeyboardInterrupt:
        err.print("stopped; what was done is kept")
        raise typer.Exit(INTERRUPTED) from None


def _finish(done: Run, *, as_json: bool) -> None:
    project = _project()
    reports = done.reports
    where = project.store.root / "report"
    _write_report(project, reports, where)
    if as_json:
        _print_json(_document(reports))
    else:
        _print_table(reports)
        _print_failures(reports)
        out.print(done.said)
        out.print(
            f"evidence: {_short(project, where)}/ (report.json, table.md, cells/)", soft_wrap=True
        )
    raise typer.Exit(exit_code(reports))


def exit_code(reports: Iterable[dict[str, Any]]) -> int:
    """Return 1 where a cell is broken, 3 where one stays unknown, else 0."""
    verdicts = {report["verdict"] for report in reports}
    if Verdict.BROKEN in verdicts:
        return 1
    return 3 if Verdict.UNKNOWN in verdicts else 0


def _evidence_now(project: Project, cell: Cell) -> dict[str, Any]:
    """Return the evidence of a cell if it is current; otherwise what is known without it."""
    from envmatrix.run import evidence_of

    judgement = project.judgement(cell)
    found = project.evidence(cell)
    if found is not None and judgement == Judgement.from_json(found):
        return found
    return evidence_of(project, cell, judgement)


def _document(
    reports: Sequence[dict[str, Any]], on_hosts: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    from envmatrix.report import document

    return document(reports, reports[0]["host"] if reports else {}, on_hosts)


def _write_report(
    project: Project,
    reports: Sequence[dict[str, Any]],
    where: Path,
    on_hosts: Sequence[dict[str, Any]] = (),
) -> None:
    from envmatrix.report import page

    write_text(where / "report.json", to_text(_document(reports, on_hosts)))
    write_text(where / "table.md", page(reports, on_hosts))
    for folder, evidence in (("cells", reports), ("host", on_hosts)):
        for found in evidence:
            write_text(where / folder / f"{found['id']}.json", to_text(found))
    for found in reports:
        held = project.packages(found["layers"][0]) if found["layers"] else []
        if held:
            lines = "".join(f"{line}\n" for line in held)
            write_text(where / "packages" / f"{found['axes']['os']}.txt", lines)


def _print_table(reports: Sequence[dict[str, Any]]) -> None:
    from envmatrix.report import HEADINGS, row, summary

    shown = [row(found) for found in reports]
    # Why a cell does not work needs whole lines: it follows the table.
    used = [
        index
        for index, name in enumerate(HEADINGS)
        if name != "why" and any(fields[index] for fields in shown)
    ]
    table = Table(
        # A narrow terminal breaks the longest column, and cuts none.
        *(
            Column(HEADINGS[index], no_wrap=HEADINGS[index] != "framework", overflow="fold")
            for index in used
        ),
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    for found, fields in zip(reports, shown, strict=True):
        styled = [fields[index] for index in used]
        styled[0] = f"[{_COLOURS[Verdict(found['verdict'])]}]{styled[0]}[/]"
        table.add_row(*styled)
    out.print(table)
    for found, fields in zip(reports, shown, strict=True):
        if fields[-1]:
            out.print(f"{fields[0]}: {found['id']}: {fields[-1]}", markup=False, soft_wrap=True)
    out.print(summary(reports))


def _print_failures(reports: Sequence[dict[str, Any]]) -> None:
    for found in reports:
        if found["verdict"] != Verdict.BROKEN:
            continue
        out.print(f"\n{found['id']}: broken at {found['stage']} ({found['class']})", markup=False)
        out.print(f"  cause:  {found['cause']}", markup=False, soft_wrap=True)
        out.print(f"  remedy: {found['remedy']}", markup=False, soft_wrap=True)
        for one in found["probes"]:
            if one["required"] and one["log_tail"]:
                tail = one["log_tail"].splitlines()[-8:]
                out.print("\n".join(f"  | {line}" for line in tail), markup=False, soft_wrap=True)
        if found["log"]:
            out.print(f"  log:    {found['log']}", markup=False, soft_wrap=True)


def _print_layers(project: Project, cells: Sequence[Cell], *, as_json: bool) -> None:
    """Print the groups of wheels that cells on a base share, and the steps of each cell."""
    bases: dict[tuple[str, str | None], dict[str, Any]] = {}
    for cell in cells:
        base = bases.setdefault(
            (cell.base_id, cell.index),
            {
                "base": cell.base_id,
                "index": cell.index,
                "groups": [group.to_json() for group in project.groups_of(cell)],
                "cells": [],
            },
        )
        resolution = project.cell_resolution(cell)
        if resolution and resolution.lock:
            steps = [
                {"wheels": [wheel.name for wheel in step], "bytes": sum(w.size for w in step)}
                for step in project.steps(cell, resolution.lock)
            ]
            base["cells"].append({"id": cell.id, "steps": steps})
    known = [base for base in bases.values() if base["cells"]]
    if as_json:
        _print_json({"schema": 1, "bases": known})
        return
    for base in known:
        out.print(base["base"] + (f", with {base['index']}" if base["index"] else ""))
        for group in base["groups"]:
            _print_group(group, 1)
        for cell_steps in base["cells"]:
            sizes = " + ".join(
                f"{step['bytes'] / 1e6:.0f} ({len(step['wheels'])})" for step in cell_steps["steps"]
            )
            out.print(f"  {cell_steps['id']}: {sizes}", soft_wrap=True)
    out.print(
        "Wheels in MB, and how many, for each step from the base up. Steps that are equal so far "
        "are one layer.\nCells without a lock are left out. What is shared follows from the "
        "committed locks of the published profile.",
        soft_wrap=True,
    )


def _print_group(group: Mapping[str, Any], depth: int) -> None:
    names = group["wheels"]
    more = len(names) - NAMED
    shown = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    megabytes, cells = group["bytes"] / 1e6, group["cells"]
    out.print(
        f"{'  ' * depth}{megabytes:.0f} MB shared by {cells} cells, "
        f"saves {megabytes * (cells - 1):.0f} MB: {shown}",
        soft_wrap=True,
    )
    for above in group["above"]:
        _print_group(above, depth + 1)


def _print_verified(reports: Sequence[dict[str, Any]]) -> None:
    for found in reports:
        out.print(
            f"{found['reproducible']:<12}{found['id']}  {len(found['layers'])} layers",
            markup=False,
            soft_wrap=True,
        )
        for one in found["differences"]:
            out.print(f"  {one['path']}: {one['what']}", markup=False, soft_wrap=True)
            out.print(f"      {one['cause']}", markup=False, soft_wrap=True)
        for note in found["verify_notes"]:
            out.print(f"  note: {note}", markup=False, soft_wrap=True)
        if not found["layers"]:
            out.print(f"  there is no image: {found['cause']}", markup=False, soft_wrap=True)


def _print_story(cell: Cell, found: dict[str, Any]) -> None:
    out.print(f"{cell.id}: {found['verdict']}", style=_COLOURS[Verdict(found["verdict"])])
    for name in ("stage", "class", "cause", "remedy"):
        if found[name]:
            out.print(f"  {name + ':':9}{found[name]}", markup=False, soft_wrap=True)
    out.print(
        f"  asked:   {', '.join(cell.requires)}"
        + (f", with {', '.join(cell.constraints)}" if cell.constraints else "")
        + (f", from {cell.index}" if cell.index else ""),
        markup=False,
        soft_wrap=True,
    )
    if found["lock"]:
        out.print(f"  lock:    {len(found['wheels'])} wheels, {found['lock'][:12]}", markup=False)
    out.print(
        f"  base:    {found['base']}"
        + (f" ({found['base_origin']})" if found["base_origin"] else ""),
        markup=False,
    )
    if serves := found.get("serves"):
        out.print(
            f"  serves:  NVIDIA driver {serves['driver']} and newer"
            + (f"; GPUs: {', '.join(serves['generations'])}" if serves["generations"] else ""),
            markup=False,
            soft_wrap=True,
        )
    for name, value in found["observed"].items():
        declared = found["declared"].get(name)
        note = "" if declared in (None, str(value)) else f"   declared: {declared}"
        out.print(f"  observed {name}: {value}{note}", markup=False, soft_wrap=True)
    for one in found["probes"]:
        note = f": {one['cause']}" if one["cause"] else ""
        out.print(
            f"  probe    {one['probe']}: {one['outcome']}{note} ({one['seconds']:.1f} s)",
            markup=False,
            soft_wrap=True,
        )
    if found["layers"]:
        out.print(
            f"  built:   {found['generated_at'][:10]}, {found['size'] / 1e9:.1f} GB, "
            f"{len(found['layers'])} layers",
            markup=False,
        )
        out.print(
            f"  rebuilt: {found['reproducible']}"
            + (f", {found['verified_at']}" if found["verified_at"] else ""),
            markup=False,
        )
    if found["log"]:
        out.print(f"  log:     {found['log']}", markup=False, soft_wrap=True)


def _lock_drift(
    project: Project, cells: Iterable[Cell], found: Mapping[str, Resolution]
) -> list[str]:
    published = {cell.id for cell in project.published()}
    drift = []
    for cell in cells:
        fresh = found.get(project.problem(cell).key)
        known = project.cell_resolution(cell)
        if fresh is None or (fresh.judgement and fresh.judgement.verdict is Verdict.UNKNOWN):
            continue
        if cell.id in published and (known is None or known.lock != fresh.lock):
            drift.append(f"lock differs: images/{cell.id}/requirements.lock")
        told = project.committed_verdict(cell)
        if (told is None or told.verdict is Verdict.IMPOSSIBLE) != bool(fresh.judgement):
            drift.append(f"verdict differs: {cell.id}")
    return drift


def _write_locks(project: Project, cells: Iterable[Cell], found: Mapping[str, Resolution]) -> None:
    """Refresh the committed locks of published cells and their bases."""
    published = {cell.id for cell in project.published()}
    for cell in cells:
        if cell.id not in published:
            continue
        for problem, folder in (
            (project.problem(cell), cell.id),
            (project.base_problem(cell), f"base/{cell.base_id}"),
        ):
            resolution = found.get(problem.key)
            if resolution and resolution.lock:
                write_text(project.images / folder / "requirements.lock", resolution.lock.text)


def _end_with_drift(drift: Sequence[str], remedy: str) -> None:
    for line in drift:
        out.print(line, markup=False, soft_wrap=True)
    if drift:
        err.print(f"{len(drift)} differences; run `{remedy}` and commit what it writes")
        raise typer.Exit(1)
    out.print("no difference")


def _kinds(judgements: Iterable[Judgement | None]) -> list[tuple[str, int]]:
    kinds = [judgement.kind for judgement in judgements if judgement]
    return sorted((kind, kinds.count(kind)) for kind in set(kinds))


def _say_counts(judgements: Iterable[Judgement]) -> None:
    verdicts = [judgement.verdict for judgement in judgements]
    named = [f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict if verdict in verdicts]
    out.print(f"{len(verdicts)} cells: {', '.join(named)}")


_COLOURS = {
    Verdict.WORKS: "green",
    Verdict.BROKEN: "red",
    Verdict.IMPOSSIBLE: "bright_black",
    Verdict.UNKNOWN: "yellow",
}


def _in_colour(text: str, verdict: Verdict) -> str:
    return typer.style(text, fg=_COLOURS[verdict]) if out.is_terminal else text


def _short(project: Project, path: Path) -> Path:
    return path.relative_to(project.root) if path.is_relative_to(project.root) else path


def main(arguments: Sequence[str] | None = None, end: Callable[[int], Any] = sys.exit) -> None:
    """Run the command line, print what goes wrong once, and end with the exit code."""
    try:
        app(args=arguments, standalone_mode=True)
    except EnvmatrixError as error:
        err.print(f"error: {error}", markup=False, soft_wrap=True, style="red")
        end(error.exit_code)
    except BrokenPipeError:
        # The reader of stdout (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        end(0)
