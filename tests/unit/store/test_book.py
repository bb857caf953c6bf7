"""The book of evidence: which file is the evidence of a cell or a host."""

from datetime import UTC, datetime

import pytest
from samples import the_evidence

from envmatrix.model.amendments import Amendments, load
from envmatrix.model.evidence import HOST
from envmatrix.model.evidence_file import UnreadableEvidenceError
from envmatrix.model.verdicts import Verdict
from envmatrix.store.book import Book
from envmatrix.store.files import to_text, write_text
from envmatrix.store.layout import Layout

CELL = the_evidence().id


@pytest.fixture
def book(layout: Layout) -> Book:
    """A book without evidence."""
    return Book(layout)


def publish(layout: Layout, text: str, folder: str = "cells", name: str = CELL) -> None:
    """Publish a file of evidence."""
    write_text(layout.reports / folder / f"{name}.json", text)


def test_a_cell_without_a_file_has_no_evidence(book: Book) -> None:
    """Nothing is found where there is no file."""
    assert book.evidence(CELL) is None
    assert list(book.hosts()) == []


def test_kept_evidence_is_found(book: Book, layout: Layout) -> None:
    """Evidence is found after it is kept, also where the cell had none before."""
    assert book.evidence(CELL) is None
    path = book.keep(the_evidence())
    assert path == layout.state / "cells" / f"{CELL}.json"
    assert book.evidence(CELL) == the_evidence()


def test_the_evidence_of_this_machine_comes_before_the_published(
    book: Book, layout: Layout
) -> None:
    """Published evidence is found until this machine keeps its own."""
    publish(layout, to_text(the_evidence().to_json()))
    assert book.evidence(CELL) == the_evidence()
    book.keep(the_evidence(Verdict.BROKEN))
    assert book.evidence(CELL) == the_evidence(Verdict.BROKEN)


def test_published_evidence_stands_in_for_a_file_that_cannot_be_read(
    book: Book, layout: Layout
) -> None:
    """The published evidence is found where the file of this machine is damaged."""
    publish(layout, to_text(the_evidence().to_json()))
    book.keep(the_evidence(Verdict.BROKEN)).write_text("{", encoding="utf-8")
    assert book.evidence(CELL) == the_evidence()


def test_evidence_that_cannot_be_read_is_an_error(book: Book, layout: Layout) -> None:
    """Where no file can be read, the error names the file of this machine."""
    publish(layout, '{"schema": 1}')
    with pytest.raises(UnreadableEvidenceError, match="schema 1") as caught:
        book.evidence(CELL)
    assert caught.value.where == f"reports/cells/{CELL}.json"
    book.keep(the_evidence()).write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableEvidenceError, match="cannot be read") as caught:
        book.evidence(CELL)
    assert caught.value.where == f".envmatrix/cells/{CELL}.json"
    assert "run the cell again" in caught.value.next_step


def test_a_folder_in_the_place_of_a_file_is_an_error(book: Book, layout: Layout) -> None:
    """A path that is no file gives the same kind of error."""
    (layout.reports / "cells" / f"{CELL}.json").mkdir(parents=True)
    with pytest.raises(UnreadableEvidenceError, match="cannot be read"):
        book.evidence(CELL)


def test_hosts_come_by_id_and_this_machine_comes_first(book: Book, layout: Layout) -> None:
    """Each host comes once, by id. This machine's evidence replaces the published one."""
    one, two = (the_evidence(id=name, kind=HOST) for name in ("host-a", "host-b"))
    newer = the_evidence(Verdict.BROKEN, id="host-b", kind=HOST)
    for host in (two, one):
        publish(layout, to_text(host.to_json()), "host", host.id)
    assert list(book.hosts()) == [one, two]
    assert book.keep_host(newer) == layout.state / "host" / "host-b.json"
    assert list(book.hosts()) == [one, newer]


def test_a_host_that_cannot_be_read_is_an_error(book: Book, layout: Layout) -> None:
    """A damaged file of a host is named, with the command that removes it."""
    publish(layout, "{", "host", "host-a")
    with pytest.raises(UnreadableEvidenceError, match="damaged") as caught:
        list(book.hosts())
    assert caught.value.where == "reports/host/host-a.json"
    assert "`rm reports/host/host-a.json`" in caught.value.next_step
    assert "probe --host" in caught.value.next_step


def test_published_evidence_stands_in_for_a_host_that_cannot_be_read(
    book: Book, layout: Layout
) -> None:
    """The published evidence of a host is found where the file of this machine is cut off."""
    host = the_evidence(id="host-a", kind=HOST)
    publish(layout, to_text(host.to_json()), "host", "host-a")
    book.keep_host(host).write_text('{"schema": 2, "id": "hos', encoding="utf-8")
    assert list(book.hosts()) == [host]


FAILED = the_evidence(Verdict.UNKNOWN, stage="build", class_="engine", image=None)


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.UNKNOWN])
@pytest.mark.parametrize("published", [False, True])
def test_an_attempt_that_failed_replaces_no_verdict(
    book: Book, layout: Layout, verdict: Verdict, *, published: bool
) -> None:
    """A cell keeps its verdict, of this machine or published, where a later run fails."""
    known = the_evidence(verdict)
    if published:
        publish(layout, to_text(known.to_json()))
    else:
        book.keep(known)
    folder = layout.reports if published else layout.state
    assert folder / "cells" / f"{CELL}.json" == book.keep(FAILED)
    assert known == book.evidence(CELL)


def test_an_attempt_that_failed_is_kept_where_nothing_is_known(book: Book, layout: Layout) -> None:
    """The first attempt and a later one are kept until there is a verdict."""
    publish(layout, "{")
    book.keep(the_evidence(Verdict.UNKNOWN, class_="blocked"))
    book.keep(FAILED)
    assert book.evidence(CELL) == FAILED
    book.keep(the_evidence())
    assert book.evidence(CELL) == the_evidence()


def test_what_was_built_and_not_probed_is_kept(book: Book) -> None:
    """An image that was only built is news, and no attempt that failed."""
    book.keep(the_evidence())
    built = the_evidence(Verdict.UNKNOWN, class_="not-attempted")
    book.keep(built)
    assert built == book.evidence(CELL)


def test_a_verdict_comes_before_unknown(book: Book, layout: Layout) -> None:
    """Published evidence with a verdict comes before an attempt on this machine that failed."""
    book.keep(FAILED)
    publish(layout, to_text(the_evidence().to_json()))
    assert list(book.candidates(CELL)) == [the_evidence(), FAILED]


def test_what_this_machine_holds(book: Book) -> None:
    """This machine holds the evidence of a cell that was run, and of a host of that time."""
    older, host = (
        the_evidence(id="host-a", kind=HOST, generated_at=datetime(2026, 11, day, tzinfo=UTC))
        for day in (1, 2)
    )
    assert not book.holds(CELL)
    assert not book.holds_host(host)
    for verdict in (Verdict.UNKNOWN, Verdict.IMPOSSIBLE):
        book.keep(the_evidence(verdict))
        assert not book.holds(CELL)
    book.keep(the_evidence(Verdict.BROKEN))
    assert book.holds(CELL)
    book.keep_host(older)
    assert book.holds_host(older)
    assert not book.holds_host(host)


# --- amendments ------------------------------------------------------------------------------


def amended_until(text: str, cells: str = CELL) -> Amendments:
    """Return an amendment of everything that was recorded of cells up to a moment."""
    return load(
        f"schema: 1\namendments: [{{cells: '{cells}', recorded: {{until: '{text}'}}, "
        "reason: it ran nothing}]",
        "amendments.yaml",
        datetime(2026, 11, 26, tzinfo=UTC),
    )


def test_evidence_that_is_marked_invalid_counts_for_nothing(layout: Layout) -> None:
    """It is neither a candidate nor the evidence of its cell, and its file stays."""
    path = Book(layout).keep(the_evidence())
    book = Book(layout, amended_until("2026-11-22"))
    assert (book.evidence(CELL), list(book.candidates(CELL))) == (None, [])
    found = book.amended(CELL)
    assert found is not None
    assert found[0] == the_evidence()
    assert found[1].reason == "it ran nothing"
    assert path.exists()
    assert Book(layout, amended_until("2026-11-21")).evidence(CELL) == the_evidence()
    assert Book(layout, amended_until("2026-11-21")).amended(CELL) is None


def test_other_evidence_of_the_cell_counts(layout: Layout) -> None:
    """Published evidence of another day counts where that of this machine is marked."""
    Book(layout).keep(the_evidence(Verdict.BROKEN))
    newer = the_evidence(generated_at=datetime(2026, 11, 23, tzinfo=UTC))
    publish(layout, to_text(newer.to_json()))
    assert Book(layout, amended_until("2026-11-22")).evidence(CELL) == newer


def test_an_attempt_that_failed_replaces_what_is_marked(layout: Layout) -> None:
    """An invalid verdict is worth less than the news of why there is none."""
    Book(layout).keep(the_evidence())
    book = Book(layout, amended_until("2026-11-22"))
    failed = the_evidence(
        Verdict.UNKNOWN, class_="engine", generated_at=datetime(2026, 11, 24, tzinfo=UTC)
    )
    book.keep(failed)
    assert book.evidence(CELL) == failed


def test_an_amendment_that_marks_nothing_is_found(layout: Layout) -> None:
    """A pattern that matches no cell, or a time at which nothing was recorded, marks nothing."""
    Book(layout).keep(the_evidence())
    assert Book(layout, amended_until("2026-11-22")).idle_amendments() == []
    for idle in (amended_until("2026-11-21"), amended_until("2026-11-22", "torch-2.1.0-*")):
        assert Book(layout, idle).idle_amendments() == list(idle.all)
    publish(layout, "{")
    assert Book(layout, amended_until("2026-11-22")).idle_amendments() == []
