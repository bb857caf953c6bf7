"""What commands tell of one cell and of one answer: the answer first, then the figures.

Text from outside is inert: `printing.say` cleans each line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from envmatrix.cli.printing import COLOURS, counted, logs_of, print_known, say
from envmatrix.model.cells import Cell
from envmatrix.model.digests import short
from envmatrix.model.evidence import CellImage, Evidence, LayerSize
from envmatrix.model.expectations import Known
from envmatrix.model.probe_results import Outcome
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import WHAT, Comparison
from envmatrix.report.entries import sentence
from envmatrix.report.table import MARKS, WHY_SHARED_MEMORY, commands

if TYPE_CHECKING:
    from envmatrix.model.audits import Audit
    from envmatrix.report.answers import Answer, Choice, Refused


def print_answer(found: Answer) -> None:
    """Print which cell answers a question, with its commands; or what would have to change."""
    if found.choice:
        _print_choice(found.choice)
    else:
        asked = f" with {found.asked}" if found.asked else ""
        say(f"no answer for {found.framework}{asked}: no such cell works or is partial")
    for passed in found.newer:
        remedy = f" ({passed.remedy})" if passed.remedy else ""
        say(
            f"  newer:   {found.framework} {passed.version} is {passed.verdict}: "
            f"{passed.cause or passed.id}{remedy}"
        )
    for change in found.changes:
        say(f"  without {change.said}: {MARKS[change.verdict]} {change.verdict}: {change.id}")
    _print_refused(found.refused)


def _print_refused(reasons: Sequence[Refused]) -> None:
    """Print a line for each class of reasons. The first of a class stands for all of it."""
    classes: dict[tuple[Verdict, str], list[Refused]] = {}
    for reason in reasons:
        classes.setdefault((reason.verdict, reason.class_), []).append(reason)
    for (verdict, kind), ours in classes.items():
        first, *others = ours
        cells = counted(sum(len(one.cells) for one in ours), "cell")
        name = f" ({kind})" if kind else ""
        say(f"  {MARKS[verdict]} {verdict}{name}: {cells}, such as {first.cells[0]}: {first.cause}")
        if first.remedy:
            say(f"      {first.remedy}")
        if others:
            say(f"      {counted(len(others), 'other cause')} of this class, which `--json` tells")


def _print_choice(choice: Choice) -> None:
    say(f"{MARKS[choice.verdict]} {choice.id}: {choice.verdict}", style=COLOURS[choice.verdict])
    say(f"  {choice.said}")
    for limit in choice.limits:
        say(f"  limit:   {limit}")
    for command in choice.commands:
        say(f"  {command.what + ':':9}{command.line}")


def print_story(
    cell: Cell,
    found: Evidence,
    drift: str,
    known: Known | None = None,
    disagreements: Iterable[Comparison] = (),
    *,
    pull: str = "",
    shown: Callable[[str], str] = str,
    verbose: bool = False,
) -> None:
    """Print the answer about one cell; if `verbose` is set, the whole story of it.

    `drift` says how its system differs from the published. `known` is what the matrix knows of it,
    and `disagreements` what vendors declare otherwise. `pull` starts its published image.
    `shown` makes a path that can be pasted of one that is relative to the matrix.
    """
    say(f"{MARKS[found.verdict]} {cell.id}: {found.told}", style=COLOURS[found.verdict])
    say(f"  {sentence(found.axes, found.judgement, found)}")
    _print_reason(found)
    print_known(known)
    _print_start(found, pull)
    if found.serves:
        gpus = f"; GPUs: {', '.join(found.serves.generations)}" if found.serves.generations else ""
        say(f"  serves:  NVIDIA driver {found.serves.driver} and newer{gpus}")
    if found.verdict in (Verdict.BROKEN, Verdict.IMPOSSIBLE):
        # What is impossible on one Python may be possible on another, and a broken release is
        # seldom the only one.
        axes = found.axes
        by_python = found.verdict is Verdict.IMPOSSIBLE
        kept = f"--version {axes.version}" if by_python else f"--python {axes.python}"
        say(f"  instead: envmatrix recommend --framework {cell.family} {kept} --no-host")
    if found.verdict is Verdict.BROKEN:
        say(*(f"  log:     {shown(path)}" for path in logs_of(found)))
    if drift:
        say(f"  drift:   {cell.system_id} is not what was published: {drift}")
    for one in disagreements:
        where = f"{one.source.title} (read {one.source.read})"
        say(f"  claim:   {WHAT[one.field]} {one.declared}; observed: {one.observed}; {where}")
    if not verbose:
        say(f"  more:    envmatrix explain {cell.id} --verbose")
        return
    say(f"  stage:   {found.stage}")
    _print_inputs(cell, found)
    _print_observed(found)
    if found.image:
        _print_image(found, found.image)
    _print_logs(found, shown)


def _print_logs(found: Evidence, shown: Callable[[str], str]) -> None:
    """Print where the output of each step and of each probe lies."""
    steps = {"resolve": found.logs.resolve, "base": found.logs.base, "build": found.logs.build}
    steps |= {probe.probe: probe.log for probe in found.probes}
    named = {step: path for step, path in steps.items() if path}
    if not named and found.verdict is not Verdict.BROKEN:  # Evidence of before names one log only.
        say(*(f"  log:     {shown(path)}" for path in logs_of(found)))
    say(*(f"  log of {step}: {shown(path)}" for step, path in named.items()))


def print_audit(audit: Audit, found: Evidence) -> None:
    """Print the known vulnerabilities of the wheels that evidence is about."""
    told = audit.told_of(found)
    say(f"  vulns:   {told}")
    if told == audit.told:
        say(*(f"           {text}" for text in audit.lines))


def _print_start(found: Evidence, pull: str) -> None:
    """Print the commands that give an image; `pull` starts the published one."""
    if pull:
        say(f"  pull:    {pull}")
    if command := commands([found]).get(found.id):
        say(f"  image:   envmatrix build {found.id}", f"  start:   {command}")
        say(f"           {WHY_SHARED_MEMORY}")


def _print_observed(found: Evidence) -> None:
    declared = dict(found.declared.items()) if found.declared else {}
    for name, value in found.observed.items():
        same = declared.get(name) in (None, str(value))
        say(f"  observed {name}: {value}" + ("" if same else f"   declared: {declared[name]}"))
    for probe in found.probes:
        note = f": {probe.cause}" if probe.cause else ""
        way = f", {probe.ran}" if probe.outcome is not Outcome.NOT_RUN else ""
        say(f"  probe    {probe.probe}: {probe.outcome}{note} ({probe.seconds:.1f} s{way})")
        if probe.flaky and probe.shared:
            say(f"           flaky: {probe.shared.outcome} beside others: {probe.shared.cause}")


def _print_image(found: Evidence, image: CellImage) -> None:
    size, layers = image.size / 1e9, len(image.layers)
    say(f"  built:   {found.generated_at.date()}, {size:.1f} GB, {layers} layers")
    if image.sizes:
        say(f"  layers:  {_shares(image.sizes)}")
    if image.packages:
        names = [text.partition(" ")[0] for text in image.packages]
        say(f"  apt:     {len(names)} packages: {', '.join(names)}")
    day = found.reproducibility.verified_at
    say(f"  rebuilt: {found.reproducibility.status}" + (f", {day}" if day else ""))
    for note in found.reproducibility.notes:
        say(f"           {note}")


def _shares(sizes: Iterable[LayerSize]) -> str:
    """Say how much of an image each role takes, from the largest to the smallest."""
    by_role: Counter[str] = Counter()
    for layer in sizes:
        by_role[layer.role] += layer.size
    return ", ".join(
        f"{role} {size / 1e6:.0f} MB ({size / by_role.total():.0%})"
        for role, size in by_role.most_common()
    )


def _print_reason(found: Evidence) -> None:
    reason = {
        "class": found.class_,
        "cause": found.cause,
        "remedy": found.remedy,
    }
    for name, text in reason.items():
        if text:
            say(f"  {name + ':':9}{text}")


def _print_inputs(cell: Cell, found: Evidence) -> None:
    constrained = f", with {', '.join(cell.constraints)}" if cell.constraints else ""
    index = f", from {cell.index}" if cell.index else ""
    say(f"  asked:   {', '.join(cell.requires)}{constrained}{index}")
    if found.lock:
        say(f"  lock:    {len(found.lock.wheels)} wheels, {found.lock.sha256[:12]}")
    if found.base:
        known = [found.base.origin or "", short(found.base.digest or "")]
        origin = f" ({', '.join(filter(None, known))})" if any(known) else ""
        say(f"  base:    {found.base.id}{origin}")
        if python := found.base.python:
            say(
                f"  python:  standalone CPython {python.version}, build {python.build} "
                f"({python.sha256[:12]})"
            )
