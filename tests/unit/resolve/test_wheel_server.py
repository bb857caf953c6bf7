"""The index on loopback that builds take their wheels from."""

from __future__ import annotations

import errno
import http.client
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from envmatrix.model.errors import SurroundingsError
from envmatrix.resolve import wheel_server
from envmatrix.resolve.wheel_server import INDEX, PORT, serve

SHA256 = "ab" * 32
WHEEL = "demo_app-1.0+cpu-py3-none-any.whl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one wheel."""
    folder = tmp_path / "wheels" / SHA256
    folder.mkdir(parents=True)
    (folder / WHEEL).write_bytes(b"a wheel")
    return tmp_path


def get(address: str, path: str) -> tuple[int, bytes]:
    """Return the status and the body that the server at an address answers."""
    with closing(http.client.HTTPConnection(address, PORT)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def test_the_page_of_a_distribution_links_to_its_wheels(root: Path) -> None:
    """The link holds the hash, and a plus in the name is encoded."""
    with serve(root) as address:
        status, page = get(address, "/simple/demo-app/")
        (link,) = re.findall('href="([^"#]*)#sha256=' + SHA256, page.decode())

        assert status == 200
        assert "%2B" in link
        assert get(address, link) == (200, b"a wheel")


@pytest.mark.parametrize("path", ["/simple/other/", f"/wheels/{SHA256}/other.whl", "/nothing"])
def test_what_is_not_there_is_not_found(root: Path, path: str) -> None:
    """An installer then knows that the wheelhouse lacks it."""
    with serve(root) as address:
        assert get(address, path)[0] == 404


def test_a_wheelhouse_without_wheels_can_be_served(tmp_path: Path) -> None:
    """A run can begin with an empty state."""
    with serve(tmp_path / "new") as address:
        assert get(address, "/simple/demo-app/")[0] == 404


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
