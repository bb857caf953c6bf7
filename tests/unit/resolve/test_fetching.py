"""Asking a server: with credentials, within a time, and with words that hold no address."""

from __future__ import annotations

import base64
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from envmatrix.resolve import fetching
from envmatrix.resolve.fetching import Fetcher, NoAnswerError
from envmatrix.resolve.pip_settings import PipSettings


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers by the path, and notes the path and the credentials of each request."""

    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        if self.path == "/drip":
            self._drip()
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"four")
        elif self.path == "/nonsense":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
        else:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"good")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    """The address of the server."""
    _Server.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def fetcher(**settings: object) -> Fetcher:
    """Return what asks with some settings of pip."""
    return Fetcher(PipSettings(timeout=5, **settings))  # type: ignore[arg-type]


def why(url: str, asking: Fetcher, at_most: int = 1000) -> NoAnswerError:
    """Return why there is no answer."""
    with pytest.raises(NoAnswerError) as caught:
        asking.get(url, headers={}, at_most=at_most)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


def basic(text: str) -> str:
    """Return the header of a user and a password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("user", "expected"),
    [("", ""), ("u:p%40ss@", basic("u:p@ss")), ("TOKEN@", basic("TOKEN:"))],
)
def test_credentials_of_an_address_are_sent(address: str, user: str, expected: str) -> None:
    """A bare token is a user without a password."""
    assert fetcher().get(f"http://{user}{address}/", headers={}).body == b"good"
    assert [("/", expected)] == _Server.seen


def test_credentials_of_netrc_are_sent(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip and uv take them from there, too."""
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login u password p\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    fetcher().get(f"http://{address}/", headers={})
    file.write_text("nonsense", encoding="utf-8")
    fetcher().get(f"http://{address}/", headers={})
    assert [("/", basic("u:p")), ("/", "")] == _Server.seen


def test_credentials_do_not_follow_a_redirect_to_another_server(address: str) -> None:
    """They follow one on the same server."""
    asking = fetcher()
    asking.get(f"http://u:p@{address}/to?http://{address}/same", headers={})
    other = address.replace("127.0.0.1", "localhost")
    asking.get(f"http://u:p@{address}/to?http://{other}/o", headers={})
    assert [(path, who) for path, who in _Server.seen if "?" not in path] == [
        ("/same", basic("u:p")),
        ("/o", ""),
    ]


def test_a_redirect_to_a_file_is_not_followed(address: str) -> None:
    """A server cannot make us read this machine's disk."""
    assert fetcher().get(f"http://{address}/to?file:///etc/hostname", headers={}).status == 302


def test_a_server_that_drips_is_left(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole answer has a limit of time."""
    monkeypatch.setattr(fetching, "OVERALL_SECONDS", 0.3)
    error = why(f"http://{address}/drip", fetcher())
    assert error.silent
    assert "no whole answer" in str(error)


def test_a_question_ends_when_the_run_is_stopped(address: str) -> None:
    """Ctrl-C does not wait for a server."""
    stopped = Event()
    threading.Timer(0.2, stopped.set).start()
    asking = Fetcher(PipSettings(timeout=30), stopped)
    assert why(f"http://{address}/drip", asking).connected


@pytest.mark.parametrize(
    ("path", "at_most", "words"),
    [
        ("/short", 1000, "the answer ended early"),
        ("/", 3, "the answer is too large"),
        ("/nonsense", 1000, "its answer is no HTTP"),
    ],
)
def test_an_answer_that_is_none_is_told(address: str, path: str, at_most: int, words: str) -> None:
    """Somebody answered, and the answer cannot be used."""
    error = why(f"http://{address}{path}", fetcher(), at_most)
    assert error.connected
    assert str(error).startswith(words)


def test_no_connection_is_told_from_no_answer(address: str) -> None:
    """Nothing on such a host can answer."""
    for url in ("http://127.0.0.1:1/", "https://no-such-host.invalid/", f"https://{address}/"):
        assert not why(url, fetcher()).connected


def test_a_proxy_is_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip's own setting comes first, and the environment after it."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    fetcher(proxy=f"http://{address}").get("http://a.invalid/one", headers={})
    monkeypatch.setenv("ALL_PROXY", f"http://{address}")
    fetcher().get("http://a.invalid/two", headers={})
    assert [path for path, _ in _Server.seen] == ["http://a.invalid/one", "http://a.invalid/two"]


def test_a_trusted_host_needs_no_certificate(address: str) -> None:
    """The user said so. Other hosts are verified, also where the port differs."""
    context = fetching._tls(PipSettings(trusted_hosts=("a.example:8",)), "u@a.example:8")
    assert not context.check_hostname
    assert fetching._tls(PipSettings(trusted_hosts=("a.example:8",)), "a.example:9").check_hostname
    with pytest.raises(OSError, match="No such file"):
        fetching._tls(PipSettings(client_cert="/no/such/file"), "a.example")
