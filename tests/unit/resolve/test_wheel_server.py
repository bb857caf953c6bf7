"""The index on loopback that builds take their wheels from."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from envmatrix.model.errors import SurroundingsError
from envmatrix.resolve import wheel_server
from envmatrix.resolve.wheel_server import INDEX, PORT, PROGRAM, PYTHON_MIRROR, addresses, serve

SHA256 = "ab" * 32
WHEEL = "demo_app-1.0+cpu-py3-none-any.whl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one wheel."""
    folder = tmp_path / "wheels" / SHA256
    folder.mkdir(parents=True)
    (folder / WHEEL).write_bytes(b"a wheel")
    return tmp_path


Server = Callable[[Path], AbstractContextManager[str]]


@contextmanager
def in_perl(root: Path) -> Iterator[str]:
    """Serve as a container on an engine does, which shares no loopback network with us."""
    address = addresses(root)[0]
    (root / "wheels").mkdir(parents=True, exist_ok=True)
    command = ["perl", str(PROGRAM), address, str(PORT), str(root / "wheels")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield address
        process.stdin.close()
        assert process.wait(10) == 0


both = pytest.mark.parametrize("server", [serve, in_perl], ids=["here", "there"])


def get(address: str, path: str) -> tuple[int, bytes]:
    """Return the status and the body that the server at an address answers."""
    with closing(http.client.HTTPConnection(address, PORT)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@both
def test_the_page_of_a_distribution_links_to_its_wheels(server: Server, root: Path) -> None:
    """The link holds the hash, and a plus in the name is encoded."""
    with server(root) as address:
        status, page = get(address, "/simple/demo-app/")
        (link,) = re.findall('href="([^"#]*)#sha256=' + SHA256, page.decode())

        assert status == 200
        assert "%2B" in link
        assert get(address, link) == (200, b"a wheel")


@both
@pytest.mark.parametrize("path", ["/simple/other/", f"/wheels/{SHA256}/other.whl", "/nothing"])
def test_what_is_not_there_is_not_found(server: Server, root: Path, path: str) -> None:
    """An installer then knows that the wheelhouse lacks it."""
    with server(root) as address:
        assert get(address, path)[0] == 404


@both
def test_a_wheelhouse_without_wheels_can_be_served(server: Server, tmp_path: Path) -> None:
    """A run can begin with an empty state."""
    with server(tmp_path / "new") as address:
        assert get(address, "/simple/demo-app/")[0] == 404


@both
def test_wheels_may_come_later(server: Server, tmp_path: Path) -> None:
    """A run downloads wheels while it serves those that are here."""
    with server(tmp_path) as address:
        folder = tmp_path / "wheels" / SHA256
        folder.mkdir(parents=True)
        (folder / WHEEL).write_bytes(b"a wheel")
        assert get(address, "/simple/demo-app/")[0] == 200


@both
def test_an_interpreter_is_served_as_a_mirror_has_it(server: Server, tmp_path: Path) -> None:
    """The day of its build is a folder, and uv encodes the plus."""
    # In a container the folder is that of the wheels.
    for folder in (tmp_path / "python/20261110", tmp_path / "wheels/python/20261110"):
        folder.mkdir(parents=True)
        (folder / "cpython-3.12.16+20261110-x86_64.tar.gz").write_bytes(b"an interpreter")
    path = urlsplit(PYTHON_MIRROR).path + "/20261110/cpython-3.12.16%2B20261110-x86_64.tar.gz"
    with server(tmp_path) as address:
        assert get(address, path) == (200, b"an interpreter")
        assert get(address, path.replace("3.12.16", "3.12.15"))[0] == 404


PATHS = [
    "/python/20261110/../../secret",
    "/python/20261110/%2e%2e/%2e%2e/secret.tar.gz",
    "/python/secret.tar.gz",
    "/simple/../wheels/",
    "/wheels/../secret",
    f"/wheels/{SHA256}/../../secret",
    f"/wheels/{SHA256}/%2e%2e/%2e%2e/secret",
    "/wheels//etc/hostname",
    "/simple/*/",
    "/simple/demo-app",
    f"/wheels/{SHA256}/*.whl",
    f"/wheels/{SHA256}/{WHEEL}%00",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_server_on_an_engine_gives_wheels_only(root: Path, path: str) -> None:
    """No path leads out of the folder, or to what is no wheel."""
    (root / "secret").write_text("secret")
    with in_perl(root) as address:
        status, body = get(address, path)
    assert status in (400, 404)
    assert body == b""


@pytest.mark.parametrize(
    "request_", [b"", b"\r\n", b"POST /simple/demo-app/ HTTP/1.1\r\n\r\n", b"\xff" * 70000]
)
def test_the_server_on_an_engine_survives_any_request(root: Path, request_: bytes) -> None:
    """A request that is none is refused, and the next one is answered."""
    with in_perl(root) as address:
        with socket.create_connection((address, PORT), timeout=10) as connection:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
        assert get(address, "/simple/demo-app/")[0] == 200


def test_the_server_on_an_engine_answers_to_the_methods_of_installers(root: Path) -> None:
    """HEAD tells the size of a wheel without the wheel."""
    with in_perl(root) as address, closing(http.client.HTTPConnection(address, PORT)) as asking:
        asking.request("HEAD", f"/wheels/{SHA256}/{WHEEL.replace('+', '%2B')}")
        response = asking.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert response.headers["Content-Length"] == str(len(b"a wheel"))


def test_a_folder_is_served_on_its_own_address(root: Path, tmp_path: Path) -> None:
    """The build cache knows a step again only where the address is the same."""
    with serve(root) as first:
        assert ip_address(first).is_loopback
        with serve(tmp_path / "other") as other:
            assert other != first
    with serve(root) as again:
        assert again == first
    assert f"http://wheelhouse:{PORT}/simple/" == INDEX


def test_several_processes_serve_a_folder_at_once(root: Path) -> None:
    """Each takes an address of its own, and an address that is free again is used again."""
    with serve(root) as first:
        with serve(root) as second:
            assert len({first, second}) == 2
            for address in (first, second):
                assert get(address, "/simple/demo-app/")[0] == 200
        with serve(root) as third:
            assert third == second


@pytest.fixture
def every_address_taken(root: Path) -> Iterator[None]:
    """As many servers of one folder as can run at once."""
    with ExitStack() as servers:
        for _ in range(wheel_server._ADDRESSES):
            servers.enter_context(serve(root))
        yield


@pytest.mark.usefixtures("every_address_taken")
def test_a_port_that_is_in_use_everywhere_is_an_error(root: Path) -> None:
    """The error names the port, and says what to do."""
    with pytest.raises(SurroundingsError, match="cannot be served: Address already") as caught:
        serve(root).__enter__()
    assert str(PORT) in caught.value.where
    assert str(PORT) in caught.value.next_step
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRINUSE
