"""What a place confirms: pages, folders, find-links, and the metadata of wheels."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_wheels import make_metadata, make_wheel

from envmatrix.resolve.indexes import Indexes, Place, Trouble
from envmatrix.resolve.pages import File
from envmatrix.resolve.pip_settings import PipSettings

METADATA = make_metadata("demo", "1.0")
NAME, WHEEL = make_wheel("demo", "1.0", "py3-none-any", METADATA, {"demo/x": "y" * 700_000})


class _Server(http.server.BaseHTTPRequestHandler):
    """Gives a wheel in parts, and a page of find-links."""

    parts = True
    seen: list[str]

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.seen.append(self.path)
        if self.path == "/links/":
            self._send(200, f'<a href="{NAME}">{NAME}</a>'.encode())
        elif self.path == "/empty-links/":
            self._send(200, b"<p>nothing</p>")
        elif self.path == "/gone-links/":
            self._send(404, b"")
        elif wanted and self.parts:
            start, end = int(wanted[1]), int(wanted[2]) + 1
            self._send(206, WHEEL[start:end], f"bytes {start}-{end - 1}/{len(WHEEL)}")
        else:
            self._send(200 if self.path.endswith(".whl") else 500, WHEEL)

    def _send(self, status: int, body: bytes, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html")
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    """The address of the server."""
    _Server.seen = []
    _Server.parts = True
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def indexes(**settings: object) -> Indexes:
    """Return the indexes of some settings."""
    made = PipSettings("http://127.0.0.1:1/simple", timeout=5, **settings)  # type: ignore[arg-type]
    return Indexes(made)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/links/", "demo-1.0-py3-none-any.whl"),
        ("/empty-links/", "its page lists no file"),
        ("/gone-links/", "it answered 404"),
    ],
)
def test_a_page_of_find_links_needs_a_file(address: str, path: str, expected: str) -> None:
    """Its one answer is for all names, and is asked for once."""
    asking = indexes(find_links=(address + path,))
    place = asking.own[-1]
    found = asking.ask(place, "demo")
    told = found.why if isinstance(found, Trouble) else found[0].filename
    assert expected == told
    assert isinstance(found, Trouble) or asking.ask(place, "other") == ()
    assert [path] == _Server.seen


def test_a_folder_of_find_links_is_known_whole(tmp_path: Path) -> None:
    """A folder without a wheel of the name has none. A folder that is gone is no place."""
    (tmp_path / NAME).write_bytes(WHEEL)
    (tmp_path / "demo_other-1.0-py3-none-any.whl").touch()
    asking = indexes(find_links=(str(tmp_path), str(tmp_path / "gone")))
    (place,) = asking.own[1:]
    found = asking.ask(place, "demo")
    assert not isinstance(found, Trouble)
    assert [file.filename for file in found] == [NAME]
    assert asking.unsound(found[0]) == ""
    assert asking.ask(place, "absent") == ()


def test_without_an_index_only_find_links_count(tmp_path: Path) -> None:
    """The index of a variant is not asked either: uv does not ask it then."""
    asking = indexes(no_index=True, find_links=(str(tmp_path),))
    assert [place.shown for place in asking.places("https://a.example")] == ["a local folder"]


def test_a_folder_that_is_no_index_confirms_nothing(tmp_path: Path) -> None:
    """A folder of files, and one that cannot be read, are troubles."""
    for url in (tmp_path.as_uri(), (tmp_path / "gone").as_uri()):
        answer = indexes().ask(Place(url, "a local folder"), "demo")
        assert isinstance(answer, Trouble)


def test_metadata_is_read_in_parts_of_a_wheel(address: str) -> None:
    """A large wheel is not brought as a whole, where its server gives parts."""
    file = File(NAME, f"{address}/{NAME}#sha256=x")
    assert indexes().unsound(file) == ""
    assert len(_Server.seen) >= 1


def test_a_server_without_parts_gives_the_whole_wheel(address: str) -> None:
    """Its hash must be the one that the page tells."""
    _Server.parts = False
    assert indexes().unsound(File(NAME, f"{address}/{NAME}")) == ""
    bad = File(NAME, f"{address}/{NAME}", sha256="0" * 64)
    assert "is damaged, or is no wheel" in indexes().unsound(bad)


def test_metadata_that_cannot_be_had_is_told(address: str) -> None:
    """Neither a status nor a missing file is a proof."""
    lacking = File(NAME, f"{address}/{NAME}", has_metadata=True)
    assert "cannot be read: the answer is 500" in indexes().unsound(lacking)
    assert "is damaged" in indexes().unsound(File("x.whl", "file:///no/such/file.whl"))
