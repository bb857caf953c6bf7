"""Pages of indexes: what counts as one, and what does not."""

from __future__ import annotations

import json

import pytest

from envmatrix.resolve.pages import JSON, NoPageError, read_links, read_page, read_root

URL = "https://index.example/simple/demo/"
WHEEL = "demo-1.0-py3-none-any.whl"


def page(**changes: object) -> bytes:
    """Return a page of PEP 691, with some fields changed."""
    file = {"filename": WHEEL, "url": f"/files/{WHEEL}", "hashes": {"sha256": "0" * 64}}
    data = {
        "meta": {"api-version": "1.1"},
        "name": "Demo",
        "versions": ["1.0"],
        "files": [file],
    }
    return json.dumps(data | changes).encode()


def link(href: str = WHEEL, text: str = WHEEL, more: str = "") -> str:
    """Return a link of PEP 503."""
    return f'<a href="{href}"{more}>{text}</a>'


def test_a_page_in_json_is_read() -> None:
    """Addresses are relative to the page, and names are compared as PEP 503 says."""
    (file,) = read_page(page(), JSON, URL, "demo")
    assert (file.filename, file.url) == (WHEEL, f"https://index.example/files/{WHEEL}")
    assert (file.sha256, file.has_metadata, str(file.version)) == ("0" * 64, False, "1.0")


def test_a_page_whose_versions_lack_one_is_read() -> None:
    """Pages of well-known names leave some out of the field `versions`."""
    assert len(read_page(page(versions=[]), JSON, URL, "demo")) == 1


def test_a_page_in_html_is_read() -> None:
    """The hash stands in the fragment, and the hash of the metadata in an attribute."""
    more = f' data-core-metadata="sha256={"1" * 64}"'
    text = link(f"../../{WHEEL}#sha256={'0' * 64}", more=more)
    (file,) = read_page(f"<html><body>{text}</body></html>".encode(), "text/html", URL, "demo")
    assert file.url == f"https://index.example/{WHEEL}#sha256={'0' * 64}".partition("#")[0]
    assert (file.sha256, file.metadata, file.has_metadata) == ("0" * 64, "1" * 64, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 5000,
        b"\xff",
        page(meta={}),
        page(meta={"api-version": "2.0"}),
        page(meta=1),
        page(name="other"),
        page(name=None),
        page(files=[]),
        page(files={}),
        page(files=[1]),
        page(files=[{"filename": WHEEL}]),
        page(files=[{"filename": "other-1.0-py3-none-any.whl", "url": "x", "hashes": {}}]),
        page(files=[{"filename": WHEEL, "url": "demo-2.0-py3-none-any.whl", "hashes": {}}]),
    ],
    ids=lambda body: f"{body[:60]}",
)
def test_what_is_no_page_of_the_name_in_json_is_refused(body: bytes) -> None:
    """A portal, half of a page, the page of another name, and a page that contradicts itself."""
    with pytest.raises(NoPageError):
        read_page(body, JSON, URL, "demo")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><body>Accept the terms</body></html>",
        link("/login", "log in"),
        "<html><body>" + link(),
        "<html><body>" + link() + "<a href=",
        link()[:-4],
        link("demo-2.0-py3-none-any.whl"),
        link("demo-extra-1.0.tar.gz", "demo_extra-1.0.tar.gz"),
    ],
    ids=lambda text: f"{text:.60}",
)
def test_what_is_no_page_of_the_name_in_html_is_refused(text: str) -> None:
    """A page of links to other things lists no file of the name."""
    with pytest.raises(NoPageError):
        read_page(text.encode(), "text/html", URL, "demo")


def test_a_file_of_an_old_form_belongs_to_its_name() -> None:
    """Eggs and old archives are files of the name, though no installer takes them."""
    (file,) = read_page(link("demo-1.0.exe", "demo-1.0.exe").encode(), "text/html", URL, "demo")
    assert file.version is None


def test_links_need_a_file() -> None:
    """A page of find-links without any file proves nothing."""
    assert [file.filename for file in read_links(link().encode(), URL)] == [WHEEL]
    with pytest.raises(NoPageError):
        read_links(link("/login", "log in").encode(), URL)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "A_b"}, 1]}', JSON, {"a-b"}),
        (b'{"meta": {"api-version": "1.0"}, "projects": []}', JSON, set()),
        (b'{"meta": {"api-version": "1.0"}}', JSON, None),
        (b"<html>", JSON, None),
        (b'<a href="/simple/a-b/">A_b</a>', "text/html", {"a-b"}),
        (b'<a href="a/">a</a><a href="/login">Log in here</a>', "text/html", None),
        (b"<p>nothing</p>", "text/html", None),
    ],
)
def test_the_root_of_an_index_lists_names_and_nothing_else(
    body: bytes, kind: str, expected: set[str] | None
) -> None:
    """A site with links of its own is no index."""
    assert expected == read_root(body, kind)
