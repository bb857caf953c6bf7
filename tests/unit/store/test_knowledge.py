"""What is known of a cell now, and why."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from samples import INPUTS, the_cell, the_evidence, the_lock, the_wheel

from envmatrix.model.amendments import load
from envmatrix.model.cells import Cell
from envmatrix.model.evidence import Inputs
from envmatrix.model.locks import Resolution
from envmatrix.model.matrix import Matrix
from envmatrix.model.verdicts import (
    LOCKED,
    NOT_ATTEMPTED,
    Judgement,
    Verdict,
    excluded_by_rule,
)
from envmatrix.store.book import Book
from envmatrix.store.files import to_text, write_text
from envmatrix.store.knowledge import Knowledge
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions, keep

REFUTED = Judgement(Verdict.IMPOSSIBLE, "lock", "no-wheel", "there is no wheel")
KnownWith = Callable[[Inputs | None], Knowledge]


@pytest.fixture
def cell(small: Matrix) -> Cell:
    """The cell that the evidence of these tests is about."""
    return the_cell(small, the_evidence().id)


@pytest.fixture
def book(layout: Layout) -> Book:
    """A book without evidence."""
    return Book(layout)


@pytest.fixture
def known_with(small: Matrix, layout: Layout, records: Records, book: Book) -> KnownWith:
    """What is known where cells have the inputs given."""
    resolutions = Resolutions(small, layout, records)
    return lambda inputs: Knowledge(resolutions, book, lambda _: inputs)


def test_nothing_is_known_at_first(known_with: KnownWith, cell: Cell) -> None:
    """A cell without evidence and without a lock was not attempted."""
    assert known_with(None).judgement(cell) == NOT_ATTEMPTED.about(cell.id)
    assert known_with(None).current(cell) is None


def test_without_evidence_the_resolver_is_believed(
    known_with: KnownWith, cell: Cell, small: Matrix, layout: Layout, records: Records
) -> None:
    """A cell without evidence has the judgement of its resolution."""
    problem = Resolutions(small, layout, records).problem(cell)
    keep(records, problem, Resolution(the_lock(the_wheel("torch"), key=problem.key), None))
    assert known_with(None).judgement(cell) == LOCKED.about(cell.id)
    assert known_with(None).current(cell) is None


def test_an_excluded_cell_is_impossible(known_with: KnownWith, cell: Cell, book: Book) -> None:
    """The reason of the rule counts, whatever evidence there is."""
    book.keep(the_evidence(inputs=INPUTS))
    excluded = replace(cell, excluded="nobody asked for it")
    assert known_with(INPUTS).judgement(excluded) == excluded_by_rule("nobody asked for it")
    assert known_with(INPUTS).current(excluded) is None


def test_evidence_holds_while_its_inputs_are_the_same(
    known_with: KnownWith, cell: Cell, book: Book
) -> None:
    """Evidence with the inputs of now is current, and its judgement is that of the cell."""
    evidence = the_evidence(Verdict.BROKEN, inputs=INPUTS, cause="SIGSEGV", class_="crash")
    book.keep(evidence)
    assert known_with(INPUTS).current(cell) == evidence
    assert known_with(INPUTS).judgement(cell) == evidence.judgement


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lock": "new"}, "lock"),
        ({"dockerfile": "new"}, "Dockerfile"),
        ({"settings": "new"}, "image settings"),
        ({"base": "new"}, "base"),
        ({"declared": "new"}, "declared axes"),
        ({"probes": {"torch-import": "new"}}, "probe torch-import"),
        ({"lock": "new", "probes": {}}, "lock, probe torch-import"),
    ],
)
def test_stale_evidence_says_which_input_changed(
    known_with: KnownWith, cell: Cell, book: Book, change: dict[str, object], said: str
) -> None:
    """Evidence with another input is stale. It tells its verdict, its day and the input."""
    book.keep(the_evidence(inputs=INPUTS))
    knowledge = known_with(INPUTS.model_copy(update=change))
    assert knowledge.current(cell) is None
    assert knowledge.judgement(cell) == Judgement(
        Verdict.UNKNOWN,
        "plan",
        "stale",
        f"the verdict of 2026-11-22 was works, and these inputs have changed since: {said}",
        f"`envmatrix run {cell.id}`",
    )


@pytest.mark.parametrize(("then", "now"), [(INPUTS, None), (None, INPUTS)])
def test_a_lock_that_came_or_went_is_a_change(
    known_with: KnownWith, cell: Cell, book: Book, then: Inputs | None, now: Inputs | None
) -> None:
    """Evidence with a lock is stale without one, and evidence without a lock is stale with one."""
    book.keep(the_evidence(inputs=then))
    assert known_with(now).judgement(cell).cause.endswith("have changed since: lock")


def test_a_proof_holds_while_the_same_is_asked(
    cell: Cell, small: Matrix, layout: Layout, records: Records, book: Book
) -> None:
    """A cell stays impossible while the resolver was asked what the cell asks now."""
    book.keep(the_evidence(Verdict.IMPOSSIBLE, stage="lock", image=None))

    def known() -> Knowledge:
        return Knowledge(Resolutions(small, layout, records), book, lambda _: None)

    stale = known().judgement(cell)
    assert (stale.verdict, stale.kind) == (Verdict.UNKNOWN, "stale")
    assert stale.cause.endswith("what the resolver is asked")
    keep(records, Resolutions(small, layout, records).problem(cell), Resolution(None, REFUTED))
    assert known().judgement(cell).verdict == Verdict.IMPOSSIBLE
    assert known().current(cell) is not None


def test_evidence_of_a_rule_that_is_gone_is_stale(
    known_with: KnownWith, cell: Cell, book: Book
) -> None:
    """A cell that a rule excluded once is not impossible after the rule is gone."""
    book.keep(the_evidence(Verdict.IMPOSSIBLE, stage="rule", image=None, inputs=INPUTS))
    assert known_with(INPUTS).current(cell) is None
    assert known_with(INPUTS).judgement(cell).cause.endswith("have changed since: the rules")


def test_unreadable_evidence_is_unknown_and_says_why(
    known_with: KnownWith, cell: Cell, layout: Layout
) -> None:
    """A cell whose evidence cannot be read is unknown, with the file and the reason."""
    write_text(layout.reports / "cells" / f"{cell.id}.json", '{"schema": 1}')
    assert known_with(INPUTS).current(cell) is None
    assert known_with(INPUTS).judgement(cell) == Judgement(
        Verdict.UNKNOWN,
        "plan",
        "unreadable-evidence",
        f"reports/cells/{cell.id}.json: this evidence is of schema 1, and this envmatrix reads "
        "schema 2",
        f"run the cell again: `envmatrix run {cell.id}`",
    )


def test_the_evidence_of_this_machine_wins(
    known_with: KnownWith, cell: Cell, book: Book, layout: Layout
) -> None:
    """This machine's evidence counts before the published, unless its file cannot be read."""
    write_text(
        layout.reports / "cells" / f"{cell.id}.json",
        to_text(the_evidence(inputs=INPUTS).to_json()),
    )
    path = book.keep(the_evidence(Verdict.BROKEN, inputs=INPUTS))
    assert known_with(INPUTS).judgement(cell).verdict == Verdict.BROKEN
    path.write_text("{", encoding="utf-8")
    assert known_with(INPUTS).judgement(cell).verdict == Verdict.WORKS
    assert known_with(INPUTS).current(cell) == the_evidence(inputs=INPUTS)


def test_a_stale_file_of_this_machine_hides_no_published_evidence(
    known_with: KnownWith, cell: Cell, book: Book, layout: Layout
) -> None:
    """Where only the published evidence has the inputs of now, it is what is known."""
    book.keep(the_evidence(Verdict.BROKEN, inputs=INPUTS.model_copy(update={"lock": "old"})))
    published = the_evidence(inputs=INPUTS)
    write_text(layout.reports / "cells" / f"{cell.id}.json", to_text(published.to_json()))
    assert published == known_with(INPUTS).current(cell)
    assert known_with(INPUTS).judgement(cell).verdict == Verdict.WORKS
    neither = known_with(INPUTS.model_copy(update={"lock": "newer"}))
    assert "was broken" in neither.judgement(cell).cause


def test_evidence_of_another_runner_is_stale(known_with: KnownWith, cell: Cell, book: Book) -> None:
    """Evidence of probes that ran alone depends on no runner."""
    alone = the_evidence(inputs=INPUTS)
    book.keep(alone)
    now = INPUTS.model_copy(update={"runner": "now"})
    assert alone == known_with(now).current(cell)
    book.keep(the_evidence(inputs=INPUTS.model_copy(update={"runner": "before"})))
    assert known_with(now).current(cell) is None
    assert "changed since: the runner of probes" in known_with(now).judgement(cell).cause


def test_an_attempt_that_failed_hides_no_published_evidence(
    known_with: KnownWith, cell: Cell, book: Book, layout: Layout
) -> None:
    """Published evidence that came after a failed attempt of this machine is what is known."""
    book.keep(the_evidence(Verdict.UNKNOWN, inputs=INPUTS, class_="engine"))
    published = the_evidence(inputs=INPUTS)
    write_text(layout.reports / "cells" / f"{cell.id}.json", to_text(published.to_json()))
    assert published == known_with(INPUTS).current(cell)


AMENDED = """\
schema: 1
amendments:
  - {cells: torch-2.10.0-*, recorded: {until: "2026-11-22"}, reason: the probe did not run}
"""


@pytest.fixture
def amended(small: Matrix, layout: Layout, records: Records) -> Knowledge:
    """What is known where evidence up to the day of that of these tests is marked invalid."""
    amendments = load(AMENDED, "amendments.yaml", datetime(2026, 11, 26, tzinfo=UTC))
    book = Book(layout, amendments)
    return Knowledge(Resolutions(small, layout, records), book, lambda _: INPUTS)


def test_amended_evidence_is_unknown_and_says_why(
    amended: Knowledge, cell: Cell, book: Book
) -> None:
    """The cause tells the day, the verdict and the reason, and the remedy is a command."""
    book.keep(the_evidence(inputs=INPUTS))
    assert amended.current(cell) is None
    assert amended.judgement(cell) == Judgement(
        Verdict.UNKNOWN,
        "plan",
        "amended",
        "its evidence of 2026-11-22 (works) was marked invalid: the probe did not run",
        f"`envmatrix run {cell.id}`",
    )


def test_evidence_that_was_recorded_later_counts_again(
    amended: Knowledge, cell: Cell, book: Book
) -> None:
    """After the cell was run again, the amendment is about nothing that counts."""
    again = the_evidence(inputs=INPUTS, generated_at=datetime(2026, 11, 23, tzinfo=UTC))
    book.keep(again)
    assert again == amended.current(cell)
    assert amended.judgement(cell).verdict == Verdict.WORKS


def test_an_amendment_hides_no_stale_evidence(
    amended: Knowledge, cell: Cell, book: Book, layout: Layout
) -> None:
    """Where other evidence is left, it says what is known, also that it is stale."""
    book.keep(the_evidence(inputs=INPUTS))
    stale = the_evidence(
        inputs=INPUTS.model_copy(update={"lock": "old"}),
        generated_at=datetime(2026, 11, 24, tzinfo=UTC),
    )
    write_text(layout.reports / "cells" / f"{cell.id}.json", to_text(stale.to_json()))
    assert amended.judgement(cell).kind == "stale"


def test_a_rule_counts_before_an_amendment(amended: Knowledge, cell: Cell, book: Book) -> None:
    """A cell that a rule excludes needs no evidence."""
    book.keep(the_evidence(inputs=INPUTS))
    excluded = replace(cell, excluded="nobody asked for it")
    assert amended.judgement(excluded) == excluded_by_rule("nobody asked for it")
