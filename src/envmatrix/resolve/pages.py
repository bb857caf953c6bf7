"""Pages of package indexes: what a name's page lists, and whether it is such a page at all.

A portal, a proxy or a broken server answers 200, too. So a page counts only where it is one by PEP
503 or PEP 691 and lists files of the very name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_ARCHIVES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip", ".egg", ".exe", ".tar.Z", ".rpm")


class NoPageError(Exception):
    """A text is not the page that it should be, and why."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a page lists. `metadata` tells the SHA-256 of its metadata, where there is one.

    `has_metadata` tells whether the metadata lies beside it (PEP 658).
    """

    filename: str
    url: str
    sha256: str = ""
    size: int = 0
    uploaded: str = ""
    has_metadata: bool = False
    metadata: str = ""

    @property
    def version(self) -> Version | None:
        """The version that the name of the file tells, where it is one that is understood."""
        told = _told(self.filename)
        return told[1] if told else None


def read_page(body: bytes, kind: str, url: str, name: str) -> tuple[File, ...]:
    """Return the files that the page of a name lists. `kind` is the type that the server told.

    Raises:
        NoPageError: it is not the page of that name, or it lists no file of the name.
    """
    text = _text(body)
    files = tuple(_from_json(text, url, name) if _is_json(kind) else _from_html(text, url))
    ours = tuple(file for file in files if belongs(file.filename, name))
    if not ours:
        raise NoPageError(f"its page of {name} lists no file of {name}")
    return ours


def read_links(body: bytes, url: str) -> tuple[File, ...]:
    """Return the files that a page of find-links lists.

    Raises:
        NoPageError: it lists no file.
    """
    files = tuple(file for file in _from_html(_text(body), url) if _is_archive(file.filename))
    if not files:
        raise NoPageError("its page lists no file")
    return files


def read_root(body: bytes, kind: str) -> frozenset[str] | None:
    """Return the names that the root of an index lists, or None where a page is no such root."""
    try:
        text = _text(body)
        if _is_json(kind):
            projects = _json(text).get("projects")
            if not isinstance(projects, list):
                return None
            return frozenset(
                canonicalize_name(str(one.get("name"))) for one in projects if isinstance(one, dict)
            )
        links = _links(text)
    except NoPageError:
        return None
    if not links or not all(_is_project(link) for link in links):
        return None
    return frozenset(canonicalize_name(link.text.strip()) for link in links)


def _is_json(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == JSON


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoPageError("its page is not UTF-8 text") from error


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoPageError("its page cannot be read as JSON") from error
    meta = data.get("meta") if isinstance(data, dict) else None
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise NoPageError("its page is not one of PEP 691")
    return dict(data)


def _from_json(text: str, url: str, name: str) -> Iterator[File]:
    data = _json(text)
    told, files = data.get("name"), data.get("files")
    if not isinstance(told, str) or canonicalize_name(told) != name:
        raise NoPageError(f"its page is not the one of {name}")
    if not isinstance(files, list):
        raise NoPageError("its page is not one of PEP 691")
    # The field `versions` (PEP 700) proves nothing: pages of well-known names leave some out.
    yield from (_entry(entry, url) for entry in files)


def _entry(entry: object, page: str) -> File:
    if not isinstance(entry, dict):
        raise NoPageError("its page is not one of PEP 691")
    filename, url, hashes = entry.get("filename"), entry.get("url"), entry.get("hashes")
    if not isinstance(filename, str) or not isinstance(url, str) or not isinstance(hashes, dict):
        raise NoPageError("its page is not one of PEP 691")
    metadata = entry.get("core-metadata") or entry.get("dist-info-metadata")
    size = entry.get("size")
    return _checked(
        File(
            filename,
            urljoin(page, url),
            str(hashes.get("sha256", "")),
            size if isinstance(size, int) else 0,
            str(entry.get("upload-time") or ""),
            bool(metadata),
            str(metadata.get("sha256", "")) if isinstance(metadata, dict) else "",
        )
    )


def _from_html(text: str, page: str) -> Iterator[File]:
    for link in _links(text):
        address, _, fragment = link.href.partition("#")
        url = urljoin(page, address)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        told = link.text.strip()
        sha256 = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
        metadata = re.fullmatch(r"sha256=([0-9a-f]{64})", link.metadata or "")
        yield _checked(
            File(
                told if _is_archive(told) else name,
                url,
                sha256[1] if sha256 else "",
                has_metadata=link.metadata is not None,
                metadata=metadata[1] if metadata else "",
            )
        )


def _checked(file: File) -> File:
    """Check that the name of a file and the end of its address do not contradict each other."""
    end = unquote(urlsplit(file.url).path.rpartition("/")[2])
    one, other = _told(file.filename), _told(end)
    if one and other and one != other:
        raise NoPageError("its page contradicts itself")
    return file


@dataclass(slots=True)
class _Link:
    href: str
    metadata: str | None
    text: str = ""


def _links(text: str) -> list[_Link]:
    """Return the links of an HTML page.

    Raises:
        NoPageError: the page ends before its end.
    """
    parser = _Parser()
    parser.feed(text)
    ended = not parser.rawdata and parser.open is None
    parser.close()
    if not ended or any(tag not in parser.ended for tag in parser.begun):
        raise NoPageError("its page ended early")
    return parser.links


class _Parser(HTMLParser):
    """Collects links, and notes which of the outer elements begin and end."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[_Link] = []
        self.open: _Link | None = None
        self.begun: set[str] = set()
        self.ended: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("html", "body"):
            self.begun.add(tag)
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            metadata = given.get("data-core-metadata", given.get("data-dist-info-metadata"))
            self.open = _Link(given["href"] or "", metadata)
            self.links.append(self.open)

    def handle_endtag(self, tag: str) -> None:
        self.ended.add(tag)
        if tag == "a":
            self.open = None

    def handle_data(self, data: str) -> None:
        if self.open is not None:
            self.open.text += data


def _told(filename: str) -> tuple[str, Version] | None:
    """Return the name and the version that the name of a file tells."""
    try:
        if filename.endswith(".whl"):
            name, version, *_ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return name, version


def _is_archive(filename: str) -> bool:
    return filename.endswith((".whl", *_ARCHIVES))


def belongs(filename: str, name: str) -> bool:
    """Return whether a file is one of a distribution."""
    told = _told(filename)
    if told:
        return told[0] == name
    return _is_archive(filename) and canonicalize_name(filename).startswith(f"{name}-")


def _is_project(link: _Link) -> bool:
    end = unquote(urlsplit(link.href).path.rstrip("/").rpartition("/")[2])
    return bool(end) and canonicalize_name(end) == canonicalize_name(link.text.strip())
