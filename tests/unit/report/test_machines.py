"""What a site gives to programs: releases, badges, the API, the feed and llms.txt."""

import json
import posixpath
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from samples import the_evidence

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Axes, CellImage
from envmatrix.model.image_names import run_command
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.api import DOCUMENTS, api
from envmatrix.report.badges import badges
from envmatrix.report.entries import Entry
from envmatrix.report.feed import ENTRIES, atom, site_address
from envmatrix.report.history import Event, History
from envmatrix.report.machines import for_machines, is_ours
from envmatrix.report.releases import in_order, newest, releases

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SITE = "https://example.org/matrix/"


def entry(
    version: str, python: str = "3.11", verdict: Verdict = Verdict.WORKS, framework: str = "torch"
) -> Entry:
    """Return what is known of a cell. One that was run has evidence."""
    cell_id = f"{framework}-{version}-py{python}-debian12-cpu"
    axes = Axes(
        os="debian12",
        python=python,
        accelerator="cpu",
        framework=framework,
        version=version,
        arch="amd64",
    )
    run = verdict in (Verdict.WORKS, Verdict.PARTIAL, Verdict.BROKEN)
    tag = f"envmatrix/cell:{cell_id.replace('+', '_')}"
    image = CellImage(name=tag, layers=("sha256:a",), size=1, run=run_command(tag, gpus=False))
    evidence = the_evidence(verdict, id=cell_id, axes=axes, image=image) if run else None
    kind, cause = ("x", "why") if verdict is not Verdict.WORKS else ("", "")
    return Entry(cell_id, axes, Judgement(verdict, "probe", kind, cause), evidence)


ENTRIES_OF_TORCH = [
    entry("2.9.1"),
    entry("2.10.0"),
    entry("2.10.0", "3.9", Verdict.BROKEN),
    entry("2.11.0", "3.11", Verdict.PARTIAL),
    entry("2.12.0", "3.11", Verdict.UNKNOWN),
]
STACK = entry("2.10.0", framework="torch+vision", verdict=Verdict.BROKEN)
NEVER = entry("1.0", framework="other", verdict=Verdict.IMPOSSIBLE)
ALL = [*ENTRIES_OF_TORCH, STACK, NEVER]
HISTORY = History(
    Event.model_validate({"at": f"2026-11-{day}T10:00:00Z", "id": cell, "verdict": verdict})
    for day, cell, verdict in (
        (20, ALL[0].id, "broken"),
        (21, ALL[0].id, "works"),
        (22, ALL[1].id, "broken"),
        (23, "left-1", "works"),
        (24, "left-1", "gone"),
    )
)


# --- releases --------------------------------------------------------------------------------


def test_releases_are_newest_first_by_number() -> None:
    """2.10 is newer than 2.9, and what is no version is older than all."""
    found = releases(ALL)
    assert [one.version for one in found["torch"]] == ["2.12.0", "2.11.0", "2.10.0", "2.9.1"]
    assert sorted(["2.10", "odd", "2.9"], key=in_order) == ["odd", "2.9", "2.10"]


def test_the_newest_that_works_is_one_whose_cell_works() -> None:
    """A release works where one of its cells does; partial and unknown ones are passed over."""
    found = releases(ALL)["torch"]
    works = newest(found, Verdict.WORKS)
    assert works is not None
    assert (works.version, works.pythons(Verdict.WORKS)) == ("2.10.0", ["3.11"])
    assert newest(releases([NEVER])["other"], Verdict.WORKS) is None


# --- badges ----------------------------------------------------------------------------------


def shown(*entries: Entry) -> dict[str, tuple[str, str, str]]:
    """Return label, message and colour of each badge."""
    found = badges(releases(entries))
    assert all(badge.to_json()["schemaVersion"] == 1 for badge in found.values())
    return {path: (one.label, one.message, one.color) for path, one in found.items()}


def test_badges() -> None:
    """A framework shows its newest release that works, and a release the Pythons it works on."""
    assert shown(*ENTRIES_OF_TORCH) == {
        "badges/torch.json": ("torch", "2.10.0 works", "brightgreen"),
        "badges/torch/2.11.0.json": ("torch 2.11.0", "partial on Python 3.11", "yellow"),
        "badges/torch/2.10.0.json": ("torch 2.10.0", "works on Python 3.11", "yellowgreen"),
        "badges/torch/2.9.1.json": ("torch 2.9.1", "works on Python 3.11", "brightgreen"),
    }


def test_what_does_not_work_has_no_green_badge() -> None:
    """Where no release works, the badge is that of the best there is."""
    assert shown(STACK)["badges/torch+vision.json"] == ("torch+vision", "none works", "red")
    partial = entry("2.11.0", verdict=Verdict.PARTIAL)
    assert shown(partial, entry("2.12.0", verdict=Verdict.BROKEN))["badges/torch.json"] == (
        "torch", "2.11.0 partial", "yellow",
    )  # fmt: skip


def test_what_nobody_has_run_has_no_badge() -> None:
    """Neither what is unknown nor what is impossible has a badge."""
    assert shown(NEVER, entry("2.12.0", verdict=Verdict.UNKNOWN)) == {}


def test_many_pythons_are_told_by_their_ends() -> None:
    """A badge has little room."""
    found = shown(*(entry("2.10.0", f"3.{minor}") for minor in (9, 10, 11, 12, 13)))
    assert found["badges/torch/2.10.0.json"][1] == "works on Python 3.9 to 3.13 (5 of them)"


# --- the API ---------------------------------------------------------------------------------


def documents() -> dict[str, Any]:
    """Return the documents of the API, by path."""
    return {path: json.loads(text) for path, text in api(ALL, HISTORY, NOW, "cells").items()}


def test_each_document_fits_its_schema() -> None:
    """The schemas that lie beside the documents are those that they fit, with descriptions."""
    found = documents()
    for name, form in DOCUMENTS.items():
        schema = found[f"api/v1/schema/{name}.json"]
        assert schema == form.json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
    kinds = {"index.json": "index", "python": "python", "schema": None}
    for path, document in found.items():
        kind = kinds.get(PurePosixPath(path).parts[2], "release")
        if kind:
            jsonschema.validate(document, found[f"api/v1/schema/{kind}.json"])
            assert (document["schema"], document["generated_at"]) == (1, "2026-11-26T12:00:00Z")


def test_every_link_leads_somewhere() -> None:
    """Links of the index are documents, every document is linked, and evidence links fit ids."""
    found = documents()
    index = found["api/v1/index.json"]
    links = [one["link"] for framework in index["frameworks"] for one in framework["releases"]]
    links += [one["link"] for one in index["pythons"]]
    paths = {posixpath.join("api/v1", unquote(link)) for link in links}
    assert paths == {path for path in found if "schema" not in path} - {"api/v1/index.json"}
    for path in paths:
        for cell in found[path]["cells"]:
            if "link" in cell:
                release = posixpath.normpath(posixpath.join(posixpath.dirname(path), cell["link"]))
                assert cell["id"] in [one["id"] for one in found[unquote(release)]["cells"]]
            elif cell["evidence"] is not None:
                address = urljoin(f"{SITE}{path}", cell["evidence"])
                assert unquote(address) == f"{SITE}cells/{cell['id']}.json"


def test_the_index_tells_what_works_and_how_old_it_is() -> None:
    """The index has the newest release that works, all counts, and the times of evidence."""
    index = documents()["api/v1/index.json"]
    newest_works = {one["name"]: one["newest_that_works"] for one in index["frameworks"]}
    assert newest_works == {"torch": "2.10.0", "torch+vision": None, "other": None}
    assert index["counts"] == {
        "works": 2, "partial": 1, "broken": 2, "impossible": 1, "unknown": 1,
    }  # fmt: skip
    assert index["oldest_evidence"] == index["newest_evidence"] == "2026-11-22T10:00:00Z"
    assert [one["python"] for one in index["pythons"]] == ["3.9", "3.11"]
    empty = json.loads(api([], History(), NOW, "cells")["api/v1/index.json"])
    assert (empty["frameworks"], empty["newest_evidence"]) == ([], None)


def test_a_cell_of_the_api() -> None:
    """A cell has its verdict, since when, the command and its evidence, as far as there are any."""
    found = documents()
    (works,) = found["api/v1/torch/2.9.1.json"]["cells"]
    assert works["since"] == "2026-11-21T10:00:00Z"
    assert works["command"].startswith("docker run --rm -it --pull never ")
    (unknown,) = found["api/v1/torch/2.12.0.json"]["cells"]
    empty = {"since": None, "run_at": None, "command": None, "evidence": None}
    assert unknown | empty == unknown
    assert (unknown["verdict"], unknown["class"], unknown["cause"]) == ("unknown", "x", "why")
    broken = found["api/v1/torch/2.10.0.json"]["cells"][1]
    assert (broken["command"], broken["run_at"]) == (None, "2026-11-22T10:00:00Z")


def test_a_history_of_another_verdict_tells_no_since() -> None:
    """The history says broken and the cell works now: since when it works is not known."""
    works = documents()["api/v1/torch/2.10.0.json"]["cells"][0]
    assert (works["verdict"], works["since"]) == ("works", None)


@pytest.mark.parametrize("name", ["python", "schema"])
def test_a_framework_cannot_take_a_folder_of_the_api(name: str) -> None:
    """A framework that is called as a folder of the API is refused, and nothing is overwritten."""
    with pytest.raises(InputError, match=name):
        api([entry("3.11", framework=name)], History(), NOW, "cells")


# --- the feed --------------------------------------------------------------------------------

ATOM = {"a": "http://www.w3.org/2005/Atom"}


def feed(base_url: str = SITE, history: History = HISTORY) -> ET.Element:
    """Return the feed, read by a parser."""
    return ET.fromstring(atom(history, NOW, "cells", base_url))  # noqa: S314  (our own text)


def texts(node: ET.Element, path: str) -> list[str]:
    """Return the texts of all elements at a path."""
    return [one.text or "" for one in node.findall(path, ATOM)]


def test_a_feed_has_what_atom_asks_for() -> None:
    """The feed and each entry have an id, a title and a time, and the feed has an author."""
    found = feed()
    assert found.tag == "{http://www.w3.org/2005/Atom}feed"
    for name in ("id", "title", "updated", "author/a:name"):
        assert len(texts(found, f"a:{name}")) == 1
    assert texts(found, "a:updated") == ["2026-11-24T10:00:00Z"]
    (link,) = found.findall("a:link[@rel='self']", ATOM)
    assert link.get("href") == f"{SITE}feed.atom"
    entries = found.findall("a:entry", ATOM)
    assert len(entries) == len(HISTORY.events)
    for one in entries:
        assert [len(texts(one, f"a:{name}")) for name in ("id", "title", "updated", "content")] == [
            1, 1, 1, 1,
        ]  # fmt: skip


def test_entries_are_newest_first_and_tell_what_was_before() -> None:
    """An entry tells the cell, what it became and what it was, and links its evidence."""
    found = feed()
    assert texts(found, "a:entry/a:title")[0] == "left-1: gone from the report"
    first, last = texts(found, "a:entry/a:content")[3:]
    assert first == f"{ALL[0].id}: works. Before: broken, since 2026-11-20."
    assert last == f"{ALL[0].id}: broken. It is new in the report."
    links = [one.get("href") for one in found.findall("a:entry/a:link", ATOM)]
    assert len(links) == len(HISTORY.events) - 1
    assert links[-1] == f"{SITE}cells/{ALL[0].id}.json"


def test_ids_are_stable_and_each_is_its_own() -> None:
    """An id is a tag: of the host, and does not change when the feed grows."""
    ids = texts(feed(), "a:entry/a:id")
    assert len({*ids}) == len(ids)
    assert ids[-1] == (f"tag:example.org,2026-11-20:{ALL[0].id}:2026-11-20T10:00:00Z:broken:")
    assert texts(feed(history=History(HISTORY.events[:-1])), "a:entry/a:id") == ids[1:]
    assert texts(feed(), "a:id") == ["tag:example.org,2026:changes"]


def test_a_feed_without_an_address_has_relative_links() -> None:
    """Where the address of the site is not known, links are relative, and ids belong to nobody."""
    found = feed("")
    (link,) = found.findall("a:link", ATOM)
    assert link.get("href") == "feed.atom"
    assert texts(found, "a:id") == ["tag:envmatrix.invalid,2026:changes"]
    assert texts(feed("", History()), "a:updated") == ["2026-11-26T12:00:00Z"]


def test_a_feed_does_not_grow_without_end() -> None:
    """Only the newest entries are in the feed."""
    events = [
        Event.model_validate({"at": NOW, "id": f"c-{number}", "verdict": "works"})
        for number in range(ENTRIES + 5)
    ]
    assert texts(feed(history=History(events)), "a:entry/a:title")[-1] == "c-5: works"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://example.org", "https://example.org/"),
        ("http://localhost:8000/a/b/", "http://localhost:8000/a/b/"),
    ],
)
def test_an_address_ends_with_a_slash(text: str, address: str) -> None:
    """Links are put behind it."""
    assert site_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "example.org", "ftp://a.b/", "https://me:pw@a.b/", "https://a.b/?q", "https://-/"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A login, a query or another scheme is refused."""
    with pytest.raises(InputError, match="is no address") as caught:
        site_address(text)
    assert "pw" not in str(caught.value)


# --- all of it -------------------------------------------------------------------------------


def test_for_machines_is_all_of_it() -> None:
    """The texts are the API, the badges, the feed and llms.txt, below one root."""
    found = for_machines(ALL, HISTORY, NOW, "cells", SITE)
    assert {path.split("/")[0] for path in found} == {"api", "badges", "feed.atom", "llms.txt"}
    assert all(".." not in PurePosixPath(path).parts for path in found)


def test_llms_txt_tells_where_the_data_is() -> None:
    """llms.txt has a title, a summary, links that lead somewhere, and what works."""
    files = for_machines(ALL, HISTORY, NOW, "cells", SITE)
    text = files["llms.txt"]
    assert text.startswith("# envmatrix\n\n> ")
    assert "7 cells: 2 works, 1 partial, 2 broken, 1 impossible, 1 unknown." in text
    assert f"- [torch 2.10.0]({SITE}api/v1/torch/2.10.0.json): on Python 3.11\n" in text
    assert "- torch+vision: none is known to work\n" in text
    partial = for_machines([ALL[3]], HISTORY, NOW, "cells")["llms.txt"]
    assert "- torch: none is known to work; 2.11.0 is partial\n" in partial
    for verdict in Verdict:
        assert f"- `{verdict}`: " in text
    links = [part.split(")")[0].removeprefix(SITE) for part in text.split("](")[1:]]
    assert {*links} - {"cells/"} <= {*files}


def test_only_our_own_files_are_ours() -> None:
    """A document of a release or a Python, or a badge, is ours; the index and others are not."""
    files = for_machines(ALL, HISTORY, NOW, "cells")
    ours = {path for path, text in files.items() if is_ours(text)}
    assert ours == {
        path
        for path in files
        if path.startswith(("api/v1/torch", "api/v1/other", "api/v1/python", "badges/"))
    }
    assert not is_ours("{}")
    assert not is_ours("[")
