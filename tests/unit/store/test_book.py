"""The book of evidence: which file is the evidence of a cell or a host."""

import pytest
from samples import the_evidence

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
    """A damaged file of a host is named."""
    publish(layout, "{", "host", "host-a")
    with pytest.raises(UnreadableEvidenceError, match="damaged") as caught:
        list(book.hosts())
    assert caught.value.where == "reports/host/host-a.json"
