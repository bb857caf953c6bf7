"""Evidence to a table, as rows and as Markdown.

`unknown` never looks like `works`, and a GPU that was not there is told beside the verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence, Reproducible
from envmatrix.model.expectations import Known, Standing, counts_said
from envmatrix.model.matrix import DEFAULT_ARCH
from envmatrix.model.probe_results import Outcome
from envmatrix.model.text import line
from envmatrix.model.verdicts import Verdict
from envmatrix.report.claims import WHAT, Comparison, contradicted, counted
from envmatrix.report.document import summary
from envmatrix.report.freshness import freshness

MARKS = {
    Verdict.WORKS: "✓",
    Verdict.PARTIAL: "~",
    Verdict.BROKEN: "✗",
    Verdict.IMPOSSIBLE: "-",
    Verdict.UNKNOWN: "?",
}
HEADINGS = (
    "verdict",
    "framework",
    "Python",
    "OS",
    "accelerator",
    "probes",
    "GPU",
    "image",
    "rebuilt",
    "why",
)
WHY_SHARED_MEMORY = (
    "`--shm-size`: the workers of a data loader share memory, of which Docker gives 64 MB."
)
FIELD_LIMIT = 600
"""The characters of a field of the Markdown table."""
_MARKUP = re.compile(r"[\\|<>`*_\[\]&~$#]")
# The beginnings of what a renderer makes a link of, and of names of emoji.
_LINKED = re.compile(
    r"://(?=\S)|(?i:\bwww)\.(?=\S)|(?i:\b(?:mailto|xmpp|tel)):(?=\S)|@(?=\w)|:(?=[\w+-]+:)"
)
_EMULATED = (
    "`emulated`: it ran on a processor of another architecture, so no time of it means anything. "
)
TABLE_BEGIN = "<!-- envmatrix table: begin (written by `envmatrix report`; do not edit) -->"
TABLE_END = "<!-- envmatrix table: end -->"
_REBUILT = {
    Reproducible.PROVEN: "the same",
    Reproducible.DIFFERS: "differs",
    Reproducible.NOT_CHECKED: "",
}


def row(cell: Evidence, known: Known | None = None) -> tuple[str, ...]:
    """Return the fields of one line of the table, under `HEADINGS`.

    `known` is what the matrix knows of the cell.
    """
    axes = cell.axes
    return (
        f"{MARKS[cell.verdict]} {cell.told}",
        f"{axes.framework} {axes.version}",
        axes.python,
        axes.os if axes.arch == DEFAULT_ARCH else f"{axes.os} {axes.arch}",
        axes.accelerator,
        _probes(cell),
        _gpu(cell),
        f"{cell.image.size / 1e9:.1f} GB" if cell.image else "",
        _REBUILT[cell.reproducibility.status],
        _why(cell, known),
    )


def _probes(cell: Evidence) -> str:
    ran = [probe.outcome for probe in cell.probes if probe.outcome is not Outcome.NOT_RUN]
    return f"{ran.count(Outcome.PASSED)}/{len(ran)}" if ran else ""


def _gpu(cell: Evidence) -> str:
    """Say how the probes that need a GPU ended. The accelerator cpu asks for none."""
    if cell.axes.accelerator == "cpu":
        return ""
    outcomes = {probe.outcome for probe in cell.probes if probe.needs == "gpu"}
    return ", ".join(sorted(outcomes)) or Outcome.NOT_RUN


def _why(cell: Evidence, known: Known | None) -> str:
    reason = (cell.stage, cell.class_, cell.cause) if cell.verdict is not Verdict.WORKS else ()
    told = ": ".join(text for text in reason if text)
    flaky = ", ".join(probe.probe for probe in cell.probes if probe.flaky)
    # What is known comes first: a long cause loses its end.
    beside = known.said if known and known.standing is not Standing.NOT_SEEN else ""
    parts = (beside, told, f"flaky beside other probes: {flaky}" if flaky else "")
    return "; ".join(filter(None, parts))


def markdown(
    cells: Sequence[Evidence],
    evidence: str = "cells",
    known: Mapping[str, Known] | None = None,
) -> str:
    """Return the table in Markdown. Each framework links to its file in the folder `evidence`.

    `known` is what the matrix knows of cells, by their ids.
    """
    rows = []
    for cell in cells:
        verdict, *others = row(cell, (known or {}).get(cell.id))
        fields = [verdict, *map(escaped, others)]
        fields[1] = f"[{fields[1]}]({quote(f'{evidence}/{cell.id}.json', safe='/+')})"
        rows.append(fields)
    # A column without an entry, such as why where every cell works, is left out.
    used = [index for index in range(len(HEADINGS)) if any(fields[index] for fields in rows)]
    lines = ["| " + " | ".join(HEADINGS[index] for index in used) + " |"]
    lines.append("|" + " --- |" * len(used))
    lines += ["| " + " | ".join(fields[index] for index in used) + " |" for fields in rows]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return untrusted text as one field of a Markdown table: plain text, and nothing else.

    No renderer finds a link, an image, HTML, code, a formula, emphasis or an end of the field in
    it. What GitHub makes a link, a mention or an emoji of without any mark (`https://x`, `@name`,
    `:100:`) is broken by a blank.
    """
    text = " ".join(line(text, FIELD_LIMIT).split())
    text = _LINKED.sub(r"\g<0> ", text)
    return _MARKUP.sub(r"\\\g<0>", text)


def page(
    cells: Sequence[Evidence],
    on_hosts: Sequence[Evidence] = (),
    known: Mapping[str, Known] | None = None,
    compared: Sequence[Comparison] = (),
) -> str:
    """Return table.md: the counts, the days, the table, and the table of hosts apart from it.

    `known` is what the matrix knows of cells; `compared` is what vendors declare of releases.
    """
    days = freshness(cells).said
    when = f" {days}." if days else ""
    counts = summary([cell.verdict for cell in cells])
    if standings := counts_said((known or {}).values()):
        counts = f"{counts} ({standings})"
    return (
        f"# Compatibility table\n\n{counts}.{when}\n\n{markdown(cells, known=known)}\n"
        "`works`: every required probe passed in the built image. A GPU that was not there "
        "is `not run`. "
        f"{_EMULATED if any(cell.emulated for cell in cells) else ''}"
        "Rebuilt: `envmatrix verify` built the image from nothing again and compared each layer.\n"
        + _claims(compared)
        + _start(cells)
        + (
            f"\n## On hosts, without a container\n\n{markdown(on_hosts, 'host')}"
            if on_hosts
            else ""
        )
    )


def _claims(compared: Sequence[Comparison]) -> str:
    """Return the part of table.md that tells where official tables disagree with what was seen."""
    disagreements = contradicted(compared)
    if not disagreements:
        return ""
    lines = [
        "| " + " | ".join((*_release(one), _declared(one), _observed(one))) + " |\n"
        for one in disagreements
    ]
    counts = ", ".join(f"{number} {result}" for result, number in counted(compared).items())
    return (
        "\n## Where official tables disagree with what was observed\n\n"
        "| release | what | declared | observed |\n| --- | --- | --- | --- |\n"
        + "".join(lines)
        + f"\nOf all that is declared of these releases (`claims.yaml`): {counts}.\n"
    )


def _release(one: Comparison) -> tuple[str, str]:
    return escaped(f"{one.framework} {one.version}"), WHAT[one.field]


def _declared(one: Comparison) -> str:
    source = f"[{escaped(one.source.title)}]({one.source.url}), read {escaped(one.source.read)}"
    return f"{escaped(one.declared)} ({source})"


def _observed(one: Comparison) -> str:
    more = f" and {len(one.cells) - 1} more" if len(one.cells) > 1 else ""
    return escaped(f"{one.observed} ({''.join(one.cells[:1])}{more})")


def commands(cells: Sequence[Evidence]) -> dict[str, str]:
    """Return the command that starts the image of each cell that can be used, by the cell's id."""
    usable = (cell for cell in cells if cell.verdict.is_usable)
    return {cell.id: cell.image.run for cell in usable if cell.image and cell.image.run}


def _start(cells: Sequence[Evidence]) -> str:
    """Return the part of table.md that tells how to start an image."""
    lines = [f"- {escaped(name)}: `{command}`\n" for name, command in commands(cells).items()]
    if not lines:
        return ""
    return (
        "\n## Start an image\n\n`envmatrix build CELL` makes the image of a cell on your machine. "
        f"{WHY_SHARED_MEMORY} Then:\n\n" + "".join(lines)
    )


def with_table(text: str, table: str, name: str) -> str:
    """Return a text with the table put between its markers.

    Raises:
        InputError: the text does not hold each marker once, in order.
    """
    if (
        text.count(TABLE_BEGIN) != 1
        or text.count(TABLE_END) != 1
        or (text.index(TABLE_END) < text.index(TABLE_BEGIN))
    ):
        raise InputError(
            "the two markers of the table must stand there once each, in order",
            where=name,
            next_step=f"put in the lines {TABLE_BEGIN} and {TABLE_END}",
        )
    head, _, rest = text.partition(TABLE_BEGIN)
    _, _, tail = rest.partition(TABLE_END)
    return f"{head}{TABLE_BEGIN}\n{table}{TABLE_END}{tail}"
