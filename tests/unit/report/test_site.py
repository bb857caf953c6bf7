"""The site as documents: what the index holds, and what no text from outside can do to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from samples import the_evidence

from envmatrix.model.evidence import Axes, Evidence
from envmatrix.model.expectations import Known, Standing
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import NOT_ATTEMPTED, Judgement, Verdict
from envmatrix.report.entries import Entry
from envmatrix.report.history import Event, History
from envmatrix.report.site import headline, pages, periods, roots
from envmatrix.report.site_data import Facts, Site, index_data

TEMPLATES = Path(__file__).parents[3] / "templates"
FACTS = Facts(
    titles={"torch": "PyTorch"},
    axes={
        "os": ["debian11", "debian12"],
        "python": ["3.9", "3.11"],
        "accelerator": ["cpu", "cu130"],
    },
    cuda={"cpu": None, "cu130": "13.0"},
    drivers={"cpu": None, "cu130": "580"},
)
EVIL = "</script><script>alert(1)</script>{{7*7}}"


def unrun(version: str, python: str = "3.11", judgement: Judgement = NOT_ATTEMPTED) -> Entry:
    """Return a cell that was never run."""
    axes = Axes(
        os="debian12",
        python=python,
        accelerator="cpu",
        framework="torch",
        version=version,
        arch="amd64",
    )
    return Entry(f"torch-{version}-py{python}-debian12-cpu", axes, judgement)


def was_run(verdict: Verdict = Verdict.WORKS, **fields: Any) -> Entry:
    """Return a cell with evidence."""
    evidence = the_evidence(verdict, **fields)
    return Entry(evidence.id, evidence.axes, evidence.judgement, evidence)


def site(entries: Sequence[Entry], hosts: Sequence[Evidence] = ()) -> Site:
    """Return a site of these cells."""
    return Site(
        entries, FACTS, "envmatrix 1", datetime(2026, 11, 26, 12, tzinfo=UTC), on_hosts=hosts
    )


def embedded(page: str) -> Any:
    """Return the data that a page holds for its script, as a browser finds it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_index_gives_back_every_cell() -> None:
    """From the numbers of the index come the axes, the verdict and the reason of each cell."""
    impossible = Judgement(Verdict.IMPOSSIBLE, "lock", "no-wheel", "no wheel of {id}", "take 3.12")
    entries = [was_run(), unrun("2.4.1"), unrun("2.12.0", "3.9", impossible)]
    data = embedded(pages(site(entries), TEMPLATES)["index.html"])
    for place, entry in enumerate(entries):
        *at, verdict, reason = data["cells"][place]
        axes = {
            name: values[at[number]] for number, (name, values) in enumerate(data["axes"].items())
        }
        assert axes == entry.axes.to_json()
        assert data["verdicts"][verdict] == entry.verdict
        kind, cause, _ = data["reasons"][reason]
        assert (kind, cause) == (entry.judgement.kind, entry.judgement.cause)
    assert list(data["run"]) == ["0"]


def test_versions_stand_from_the_oldest_to_the_newest() -> None:
    """2.12 is newer than 2.4, whatever the letters say."""
    data = index_data(site([unrun("2.12.0"), unrun("2.4.1"), unrun("2.5.0")]))
    assert data["axes"]["version"] == ["2.4.1", "2.5.0", "2.12.0"]


def test_reasons_that_differ_in_the_id_alone_are_one() -> None:
    """Thousands of cells that say how to resolve them do not make the page large."""
    entries = [
        unrun(
            version,
            judgement=Judgement(
                Verdict.UNKNOWN, "lock", "blocked", "why", f"`envmatrix lock {unrun(version).id}`"
            ),
        )
        for version in ("2.4.1", "2.5.1")
    ]
    assert index_data(site(entries))["reasons"] == [("blocked", "why", "`envmatrix lock {id}`")]


def test_only_cells_that_were_run_have_a_page() -> None:
    """A cell without evidence is shown by the index."""
    found = pages(site([was_run(), unrun("2.4.1")]), TEMPLATES)
    assert sorted(found) == ["cells/torch-2.10.0-py3.11-debian12-cpu.html", "index.html"]


class Seen(HTMLParser):
    """What a browser would see of a page: its tags and the texts of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        self.tags.append(tag)
        self._inside = "data" if dict(attrs).get("type") == "application/json" else tag

    def handle_data(self, data: str) -> None:
        """Take note of the text of a script or a style."""
        if self._inside == "script":
            self.scripts.append(data)
        if self._inside == "style":
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag."""
        self._inside = ""


def evil_site() -> Site:
    """Return a site with hostile text wherever text from outside can stand."""
    probe = ProbeResult(
        probe="torch-import",
        required=True,
        outcome=Outcome.FAILED,
        cause=EVIL,
        log_tail=EVIL,
        observed=Observed(version=EVIL),
    )
    broken = was_run(Verdict.BROKEN, cause=EVIL, remedy=EVIL, probes=(probe,), class_="exception")
    return site([broken, unrun("2.4.1", judgement=Judgement(Verdict.UNKNOWN, "plan", "x", EVIL))])


@pytest.mark.parametrize("name", ["index.html", "cells/torch-2.10.0-py3.11-debian12-cpu.html"])
def test_text_from_outside_is_never_a_tag(name: str) -> None:
    """Text that looks like a script adds no tag to a page, and no template reads it."""
    evil = Seen(pages(evil_site(), TEMPLATES)[name])
    good = Seen(pages(site([was_run(Verdict.BROKEN, probes=())]), TEMPLATES)[name])
    assert evil.tags.count("script") == good.tags.count("script")
    assert "alert(1)" not in "".join(evil.scripts)
    assert "49" not in pages(evil_site(), TEMPLATES)[name].partition("</style>")[2][:200]


def test_the_policy_allows_the_script_and_the_style_of_the_page_alone() -> None:
    """The hashes of the policy are those of the texts that the page holds."""
    page = pages(site([was_run()]), TEMPLATES)["index.html"]
    seen = Seen(page)
    allowed = set(re.findall(r"sha256-([A-Za-z0-9+/=]+)", page.partition("<title>")[0]))
    held = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in ("".join(seen.scripts), "".join(seen.styles))
    }
    assert allowed == held
    assert "default-src &#39;none&#39;" in page


def test_no_page_asks_for_anything_outside() -> None:
    """No tag of a page loads something, from here or elsewhere."""
    for page in pages(site([was_run()]), TEMPLATES).values():
        assert not re.search(r"\ssrc=|@import|url\(", page)
        assert not {"img", "iframe", "object", "embed"} & set(Seen(page).tags)


def test_the_headline_counts_what_was_run_apart_from_the_rest() -> None:
    """The first sentence is about evidence, and the others about what was not run."""
    impossible = unrun("2.5.1", judgement=Judgement(Verdict.IMPOSSIBLE, "lock"))
    said = headline(
        site([was_run(), was_run(Verdict.BROKEN, id="torch-other"), unrun("2.4.1"), impossible])
    )
    assert said == (
        "2 combinations were built as images, and probes ran in each on 2026-11-22: 1 works, 0 "
        "partial, 1 broken. Of all 4 declared ones, 1 more are proven impossible, and 1 are "
        "unknown."
    )


def test_one_cause_names_its_cells() -> None:
    """Broken cells with the same cause are one root, and the largest root comes first."""
    cells = [
        was_run(Verdict.BROKEN, id=f"torch-{number}", class_="crash", cause=cause)
        for number, cause in enumerate(["a", "b", "b"])
    ]
    found = roots([*cells, unrun("2.4.1")])
    assert [(root.cause, root.cells) for root in found] == [
        ("b", ("torch-1", "torch-2")),
        ("a", ("torch-0",)),
    ]


def test_a_page_compares_what_was_declared_with_what_was_observed() -> None:
    """A value that is not the one declared is marked by a word."""
    probe = ProbeResult(probe="torch-import", required=True, outcome=Outcome.PASSED)
    entry = was_run(
        probes=(probe,),
        observed=Observed(version="2.9.0"),
        declared={
            "version": "2.10.0",
            "python": "3.11",
            "distribution": "debian",
            "codename": "bookworm",
            "glibc": "2.36",
            "accelerator": "cpu",
            "arch": "amd64",
        },
    )
    page = pages(site([entry]), TEMPLATES)[f"cells/{entry.id}.html"]
    assert re.search(r"<td>2\.10\.0</td><td>2\.9\.0 <strong class=\"broken\">✗ differs", page)


def event(day: int, cell: str, verdict: Verdict, kind: str = "") -> Event:
    """Return a change of a cell in November 2026."""
    return Event(at=datetime(2026, 11, day, tzinfo=UTC), id=cell, verdict=verdict, class_=kind)


def test_the_page_tells_what_changed_since_the_times_that_the_history_knows() -> None:
    """A cell that broke is under its cause, and a time before the history began is not told."""
    entry = was_run(Verdict.BROKEN, class_="crash", cause="it crashed")
    history = History([event(20, entry.id, Verdict.WORKS), event(26, entry.id, Verdict.BROKEN)])
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    found = periods(Site([entry, unrun("2.4.1")], FACTS, "envmatrix 1", now, history))
    assert [one.title for one in found] == ["Since a day ago", "Since the first report, 2026-11-20"]
    (group,) = found[0].groups
    ((cause, cells),) = group.by_cause
    assert (group.title, group.count, cause) == ("newly broken", 1, "crash: it crashed")
    assert cells[0].said == "works -> broken (crash)"
    page = pages(Site([entry], FACTS, "envmatrix 1", now, history), TEMPLATES)["index.html"]
    assert "newly broken: 1" in page


def test_a_site_without_a_history_says_so() -> None:
    """Where nothing was reported before, nothing can be compared."""
    assert "There is no earlier report" in pages(site([was_run()]), TEMPLATES)["index.html"]


def test_what_is_known_to_be_broken_stands_beside_its_cause() -> None:
    """The reason of the matrix is told on the first page and on the page of the cell."""
    entry = was_run(Verdict.BROKEN, class_="crash", cause="it crashed")
    known = Known(standing=Standing.AS_KNOWN, reason="upstream knows", link="")
    made = pages(replace(site([entry]), known={entry.id: known}), TEMPLATES)
    assert all("upstream knows" in text for text in made.values())
