"""Which environment answers a question, and the commands that give it.

The rules. The page follows the same.

1.  A cell is an answer only with current evidence whose verdict is `works` or `partial`.
2.  An answer has every value that was asked on its axes. `newest` asks for no certain version.
3.  If a GPU is asked, an answer is a CUDA cell whose observed architectures serve it
    (`model.gpus.serves`). If several are asked, it serves each of them. It is of the architecture
    of the GPU's machine, where every such machine has one.
4.  If a driver is asked, an answer is a CUDA cell, and the lowest driver that serves it is of the
    branch of that driver or of an older one (`model.served.driver_for`): that of its CUDA line, of
    the GPU that is asked, and of the toolkit where the build has PTX alone for that GPU.
5.  Without a GPU and a driver, any accelerator counts.
6.  Answers have an order. These decide, one after the other: native before emulated; `works`
    before `partial`; the newest version; if the smallest is preferred, the smaller image; cpu
    before CUDA where no GPU and no driver was asked; the newest CUDA line; the newest Python; the
    newest operating system, which is the one with the newest C library; the id.
7.  The first is the answer. Of the newer versions that it passes over the newest of each verdict
    is told, with the best cell of that version. Of several the one is told that has most axes in
    common with the answer. What was not run is told only if the driver would serve it.
8.  Where no cell is an answer, each value that was asked is left out in turn. If that does not
    help, two are, then three, and so on. Each that helps is told with the answer there is then.
9.  Beside that, the verdicts of the cells that have all values of their axes are told, with causes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import Field

from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Evidence
from envmatrix.model.gpus import Code, code_for
from envmatrix.model.image_names import cell_tag, run_command
from envmatrix.model.matrix import Matrix
from envmatrix.model.part import LARGEST, Part
from envmatrix.model.served import driver_branch, driver_for
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.entries import Entry, grouped
from envmatrix.report.questions import AXES, Prefer, Question, spoken

CHANGES = 5
"""How many ways to an answer are told."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer needs beside what is known of the cells.

    `lock_of` returns the path of the committed lock of a cell, and an empty text where none is.
    `pull_of` returns the command that starts the published image of some evidence, or none.
    """

    matrix: Matrix
    cells: Mapping[str, Cell]
    lock_of: Callable[[str], str] = lambda _: ""
    pull_of: Callable[[Evidence], str] = lambda _: ""


class Command(Part):
    """A command that can be pasted."""

    what: Annotated[str, Field(description="What it is for: pull, image, start, uv, pip or lock.")]
    line: Annotated[str, Field(description="The command.")]


class Choice(Part):
    """A cell that is an answer."""

    id: Annotated[str, Field(description="The id of the cell.")]
    verdict: Annotated[Verdict, Field(description="works or partial.")]
    said: Annotated[str, Field(description="What is known of it, in a sentence.")]
    limits: Annotated[tuple[str, ...], Field(description="What is limited.")] = ()
    commands: Annotated[tuple[Command, ...], Field(description="How to get it.")] = ()


class Passed(Part):
    """A newer version that is no answer."""

    version: Annotated[str, Field(description="The version.")]
    verdict: Annotated[Verdict, Field(description="The verdict of its best cell.")]
    cause: Annotated[str, Field(description="Why it is no answer.")]
    id: Annotated[str, Field(description="The id of its best cell.")]
    remedy: Annotated[str, Field(description="What can be done about it.")]


class Change(Part):
    """What would have to be asked otherwise, and the answer there is then."""

    fields: Annotated[tuple[str, ...], Field(description="The fields of the question.")]
    said: Annotated[str, Field(description="What was asked, in words.")]
    id: Annotated[str, Field(description="The cell that is the answer then.")]
    verdict: Annotated[Verdict, Field(description="Its verdict.")]


class Refused(Part):
    """Cells that have all values that were asked, and are no answer for one reason."""

    verdict: Annotated[Verdict, Field(description="The verdict of each.")]
    class_: Annotated[str, Field(alias="class", description="The class of the cause.")]
    cause: Annotated[str, Field(description="Why they are no answer.")]
    remedy: Annotated[str, Field(description="What can be done for the first of them.")]
    cells: Annotated[tuple[str, ...], Field(description="The ids of the cells.")]


class Answer(Part):
    """The answer to a question about one framework."""

    framework: Annotated[str, Field(description="The framework.")]
    asked: Annotated[str, Field(description="What was asked of it, in words.")]
    choice: Annotated[Choice | None, Field(description="The answer; null: there is none.")] = None
    newer: Annotated[tuple[Passed, ...], Field(description="Newer versions that are none.")] = ()
    changes: Annotated[tuple[Change, ...], Field(description="What would help.")] = ()
    refused: Annotated[tuple[Refused, ...], Field(description="Cells that fit and are none.")] = ()


def answer(question: Question, entries: Sequence[Entry], facts: Facts) -> Answer:
    """Return the answer to a question about one framework, which names it.

    The question must be in the words of the matrix (`questions.checked`).
    """
    ours = [entry for entry in entries if entry.axes.framework == question.framework]
    asked = ", ".join(question.asked.values())
    best = _best(question, ours, facts)
    if best is not None:
        return Answer(
            framework=question.framework,
            asked=asked,
            choice=_choice(best, question, facts),
            newer=() if question.version else tuple(_newer(best, question, ours, facts)),
        )
    return Answer(
        framework=question.framework,
        asked=asked,
        changes=tuple(_changes(question, ours, facts)),
        refused=tuple(_refused(question, ours, facts)),
    )


# --- rules 1 to 6 ----------------------------------------------------------------------------


def _best(question: Question, entries: Iterable[Entry], facts: Facts) -> Entry | None:
    """Return the first of the answers in their order."""
    fitting = (one for one in entries if _is_usable(one) and _fits_axes(one, question))
    found = [one for one in fitting if not _hindrance(one, question, facts)]
    # The last rule is applied first: a sort keeps the order of what it finds equal.
    for key, descending in reversed(_order(question, facts)):
        found.sort(key=key, reverse=descending)
    return next(iter(found), None)


def _is_usable(entry: Entry) -> bool:
    return entry.evidence is not None and entry.verdict.is_usable


def _fits_axes(entry: Entry, question: Question) -> bool:
    return all(getattr(question, name) in ("", getattr(entry.axes, name)) for name in AXES)


def _hindrance(  # noqa: PLR0911  (one line for each hindrance)
    entry: Entry, question: Question, facts: Facts
) -> str:
    """Return why a cell with all values of its axes is no answer; empty: it is one."""
    if entry.evidence is None or not _is_usable(entry):
        return entry.judgement.cause or "nobody ran it"
    line = facts.matrix.axes.accelerator[entry.axes.accelerator]
    if question.asks_cuda and line.cuda is None:
        return "it is a CPU build, which uses no GPU"
    architectures = entry.evidence.observed.architectures
    for gpu in question.gpus:
        if gpu.arch not in ("", entry.axes.arch):
            return f"{gpu.name} is in machines of {gpu.arch} only"
        if not architectures:
            return "which GPUs its build serves was not observed"
        if code_for(architectures, gpu.capability) is None:
            return f"its build has no code for {spoken(gpu)}"
    if not _serves(entry, question, facts):
        needed = _driver_needed(entry, question, facts)
        on = f" on {', '.join(map(spoken, question.gpus))}" if question.gpus else ""
        name = entry.axes.accelerator
        return f"{name}{on} needs the NVIDIA driver {needed} or newer, not {question.driver}"
    return ""


def _serves(entry: Entry, question: Question, facts: Facts) -> bool:
    """Return whether the driver that is asked, if one is, is new enough for a cell."""
    branch = driver_branch(question.driver, "--driver") if question.driver else None
    return branch is None or _driver_needed(entry, question, facts) <= branch


def _driver_needed(entry: Entry, question: Question, facts: Facts) -> int:
    """Return the branch of the lowest driver for a cell, with the GPUs that are asked."""
    line = facts.matrix.axes.accelerator[entry.axes.accelerator]
    built_for = entry.evidence.observed.architectures if entry.evidence else ()
    codes = ((gpu.capability, code_for(built_for, gpu.capability)) for gpu in question.gpus)
    return driver_for(line.cuda, line.driver, [(name, code) for name, code in codes if code])


def _order(question: Question, facts: Facts) -> list[tuple[Callable[[Entry], Any], bool]]:
    """Return what decides among answers: keys, and whether the greatest comes first."""
    axes = facts.matrix.axes

    def line(entry: Entry) -> tuple[bool, Version]:
        cuda = axes.accelerator[entry.axes.accelerator].cuda
        return (cuda is None and not question.asks_cuda, Version(cuda or "0"))

    smallest: list[tuple[Callable[[Entry], Any], bool]] = [(_size, False)]
    return [
        (lambda entry: entry.rank, False),
        (lambda entry: Version(entry.axes.version), True),
        *(smallest if question.prefer is Prefer.SMALLEST else []),
        (line, True),
        (lambda entry: Version(entry.axes.python), True),
        (lambda entry: Version(axes.os[entry.axes.os].glibc), True),
        (lambda entry: entry.id, False),
    ]


def _size(entry: Entry) -> int:
    image = entry.evidence.image if entry.evidence else None
    return image.size if image else LARGEST


# --- what is told of an answer ---------------------------------------------------------------


def _choice(entry: Entry, question: Question, facts: Facts) -> Choice:
    assert entry.evidence is not None  # noqa: S101  (for the type checker: rule 1)
    return Choice(
        id=entry.id,
        verdict=entry.verdict,
        said=entry.sentence,
        limits=tuple(_limits(entry, entry.evidence, question, facts)),
        commands=tuple(commands_of(entry.evidence, facts)),
    )


def _limits(entry: Entry, evidence: Evidence, question: Question, facts: Facts) -> list[str]:
    """Return what an answer does not promise."""
    axes = entry.axes
    found = [entry.judgement.cause] if entry.verdict is Verdict.PARTIAL else []
    if evidence.emulated:
        found.append(f"it ran under emulation, so it may differ on a real {axes.arch} machine")
    line = facts.matrix.axes.accelerator[axes.accelerator]
    for gpu in question.gpus:
        if code_for(evidence.observed.architectures, gpu.capability) is Code.PTX:
            found.append(
                f"for {spoken(gpu)} the build has PTX and no machine code: the driver compiles it, "
                f"and must be as new as CUDA {line.cuda}"
            )
        else:
            found.append(f"for {spoken(gpu)} the build has machine code; it was read, not run")
    if line.cuda and not question.asks_cuda:
        found.append(
            "it is a CUDA build, and no CPU build that was run fits; it ran on a CPU: without an "
            "NVIDIA GPU leave out `--gpus all`"
        )
    if needed := _driver_needed(entry, question, facts):
        found.append(
            f"{axes.accelerator} needs the NVIDIA driver {needed} or newer here: that is NVIDIA's "
            "rule, and no run with your driver"
        )
    return found


def commands_of(evidence: Evidence, facts: Facts) -> list[Command]:
    """Return the commands that give the image, and those that need no Docker."""
    cell = facts.cells[evidence.id]
    cuda = facts.matrix.axes.accelerator[cell.accelerator].cuda is not None
    run = evidence.image.run if evidence.image else ""
    packages = shlex.join(_requirements(cell, evidence, facts.matrix))
    venv = f"uv venv --python {cell.python}"
    # pip looks at all indexes alike, and the locks were resolved so.
    uv = f" --index {cell.index} --index-strategy unsafe-best-match" if cell.index else ""
    pip = f" --extra-index-url {cell.index}" if cell.index else ""
    pull = facts.pull_of(evidence)
    found = {
        **({"pull": pull} if pull else {}),
        "image": f"envmatrix build {cell.id}",
        "start": run or run_command(cell_tag(cell), gpus=cuda),
        "uv": f"{venv} && uv pip install{uv} {packages}",
        "pip": f"python{cell.python} -m venv .venv && .venv/bin/pip install{pip} {packages}",
    }
    if lock := facts.lock_of(cell.id):
        found["lock"] = f"{venv} && uv pip install{uv} --require-hashes -r {shlex.quote(lock)}"
    return [Command(what=what, line=line) for what, line in found.items()]


def _requirements(cell: Cell, evidence: Evidence, matrix: Matrix) -> list[str]:
    """Return what a cell requires, with the constraints on what its lock holds.

    The installer is left out: whoever runs the command has one.
    """
    locked = evidence.lock.wheels if evidence.lock else {}
    required = [text for text in cell.requires if text not in matrix.base.venv]
    applying = [
        text for text in cell.constraints if canonicalize_name(Requirement(text).name) in locked
    ]
    return [*required, *(text for text in applying if text not in required)]


def _newer(
    best: Entry, question: Question, entries: Iterable[Entry], facts: Facts
) -> Iterable[Passed]:
    """Yield, of the newer versions, the newest of each verdict."""
    by_version: dict[str, list[Entry]] = {}
    for entry in _asked_for(question, entries, facts):
        # Nobody should run a cell that the driver cannot serve anyway.
        if not _is_usable(entry) and not _serves(entry, question, facts):
            continue
        if Version(entry.axes.version) > Version(best.axes.version):
            by_version.setdefault(entry.axes.version, []).append(entry)
    told = set()
    for version in sorted(by_version, key=Version, reverse=True):
        first = min(
            by_version[version],
            key=lambda one: (one.rank, -_in_common(one, best)),
        )
        if first.verdict not in told:
            told.add(first.verdict)
            yield Passed(
                version=version,
                verdict=first.verdict,
                cause=_hindrance(first, question, facts) or first.judgement.cause,
                id=first.id,
                remedy=first.judgement.remedy,
            )


def _in_common(one: Entry, other: Entry) -> int:
    """Return on how many axes two cells have the same value."""
    return sum(getattr(one.axes, name) == getattr(other.axes, name) for name in AXES)


# --- where there is no answer ----------------------------------------------------------------


def _changes(question: Question, entries: Sequence[Entry], facts: Facts) -> Iterable[Change]:
    """Yield what must be asked otherwise: as few fields as will do."""
    asked = question.asked
    for count in range(1, len(asked) + 1):
        found = [
            (fields, best)
            for fields in combinations(asked, count)
            if (best := _best(question.without(fields), entries, facts))
        ]
        if found:
            for fields, best in found[:CHANGES]:
                said = " and ".join(asked[name] for name in fields)
                yield Change(fields=fields, said=said, id=best.id, verdict=best.verdict)
            return


def _refused(question: Question, entries: Iterable[Entry], facts: Facts) -> Iterable[Refused]:
    """Yield the cells that have all that was asked, in groups of one reason each."""
    fitting = _asked_for(question, entries, facts)
    hindered = [
        replace(one, judgement=Judgement(one.verdict, "", cause=_hindrance(one, question, facts)))
        for one in fitting
        if _is_usable(one)
    ]
    others = [one for one in fitting if not _is_usable(one)]
    for group in grouped([*hindered, *others]):
        known = group.judgement
        yield Refused(
            verdict=known.verdict,
            class_=known.kind,
            cause=known.cause,
            remedy=known.remedy,
            cells=tuple(one.id for one in group.entries),
        )


def _asked_for(question: Question, entries: Iterable[Entry], facts: Facts) -> list[Entry]:
    """Return the cells that have all that was asked on their axes, whatever is known of them."""
    lines = facts.matrix.axes.accelerator
    return [
        one
        for one in entries
        if _fits_axes(one, question)
        and (not question.asks_cuda or lines[one.axes.accelerator].cuda is not None)
    ]
