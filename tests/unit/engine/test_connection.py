"""The connection to an engine: which engine is chosen, and how we talk to it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from docker.errors import APIError
from fake_engine import FakeEngine, Refuses, Slow
from fake_http import HttpServer

from envmatrix.engine import connection
from envmatrix.engine.client import Engine
from envmatrix.engine.connection import Connection, find_address
from envmatrix.model.errors import EngineError


def write_context(home: Path, name: str, meta: object) -> Path:
    """Write a context of the docker CLI, and return the folder for its certificates."""
    folder = hashlib.sha256(name.encode()).hexdigest()
    path = home / ".docker" / "contexts" / "meta" / folder / "meta.json"
    path.parent.mkdir(parents=True)
    path.write_text(meta if isinstance(meta, str) else json.dumps(meta), encoding="utf-8")
    write_config(home)
    return home / ".docker" / "contexts" / "tls" / folder / "docker"


def meta_of(name: str, url: str, **endpoint: Any) -> dict[str, Any]:
    """Return the description of a context, as the docker CLI writes it."""
    return {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": url, **endpoint}}}


def write_config(home: Path, **config: Any) -> Path:
    """Write the config.json of the docker CLI, unless it exists and nothing new is said."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    if config or not path.exists():
        path.write_text(json.dumps(config), encoding="utf-8")
    return path


# --- the choice of an engine -----------------------------------------------------------------


@pytest.fixture
def two_contexts(home: Path) -> Path:
    """A user with the contexts `one` and `two`, of whom `two` is the current one."""
    write_context(home, "one", meta_of("one", "unix:///one.sock"))
    write_context(home, "two", meta_of("two", "tcp://two.example:2375"))
    return write_config(home, currentContext="two")


def test_the_default_is_the_socket_of_this_machine() -> None:
    """Without any choice of the user the address is that of the default socket."""
    assert find_address().url == "unix:///var/run/docker.sock"
    assert find_address().tls is None


def test_the_current_context_gives_the_address(two_contexts: Path) -> None:
    """The context that `docker context use` took is used."""
    assert find_address().url == "tcp://two.example:2375"


def test_docker_context_decides_before_the_current_context(
    two_contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable names a context, which may also be the default one."""
    monkeypatch.setenv("DOCKER_CONTEXT", "one")
    assert find_address().url == "unix:///one.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert find_address().url == "unix:///var/run/docker.sock"


def test_docker_host_decides_before_docker_context(
    two_contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context is not even read: a name that does not exist does no harm."""
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert find_address().url == "unix:///host.sock"


def test_an_empty_variable_chooses_nothing(
    two_contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The docker CLI treats an empty variable as one that is not set."""
    monkeypatch.setenv("DOCKER_CONTEXT", "")
    monkeypatch.setenv("DOCKER_HOST", "")
    assert find_address().url == "tcp://two.example:2375"


@pytest.mark.parametrize("current", ["", None])
def test_an_empty_current_context_is_the_default_one(home: Path, current: str | None) -> None:
    """Some programs write an empty name instead of none."""
    write_config(home, currentContext=current)
    assert find_address().url == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_context_that_does_not_exist_is_told_with_its_chooser(
    home: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    """The error names the context, and the variable or the file that chose it."""
    config = write_config(home, currentContext="gone")
    if by_variable:
        monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(EngineError) as caught:
        find_address()
    chooser = "the environment variable DOCKER_CONTEXT" if by_variable else str(config)
    assert caught.value.what == "there is no Docker context with the name gone"
    assert caught.value.where == chooser
    assert "docker context ls" in caught.value.next_step


def test_a_context_without_a_config_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-py would look for the context in the current folder; the error says what to run."""
    monkeypatch.setenv("DOCKER_CONTEXT", "one")
    with pytest.raises(EngineError, match=r"without a config\.json") as caught:
        find_address()
    assert "docker context use one" in caught.value.next_step


@pytest.mark.parametrize("damaged", ["{", '{"Name": "one"}', "[]"])
def test_a_damaged_context_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """A file that is not JSON, or lacks a part, is an error for people and no traceback."""
    write_context(home, "one", damaged)
    monkeypatch.setenv("DOCKER_CONTEXT", "one")
    with pytest.raises(EngineError, match="the Docker context one cannot be read") as caught:
        find_address()
    assert caught.value.next_step.startswith("create the context again")


def test_a_context_without_an_address_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context may describe something else than an engine."""
    write_context(home, "one", meta_of("one", ""))
    monkeypatch.setenv("DOCKER_CONTEXT", "one")
    with pytest.raises(EngineError) as caught:
        find_address()
    assert caught.value.what == "the Docker context one names no address of an engine"
    assert caught.value.where == "the environment variable DOCKER_CONTEXT"


@pytest.mark.parametrize("host", ["engine.example", "tcp://", "tcp://127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The error blames the variable and shows addresses; it does not send to the engine's log."""
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineError) as caught:
        Connection.open()
    assert caught.value.what.startswith(f"{host} is not the address of a Docker engine: ")
    assert caught.value.where == "the environment variable DOCKER_HOST"
    assert "unix:///var/run/docker.sock" in caught.value.next_step


def test_an_engine_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the address that was tried."""
    url = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(EngineError, match=r"^no Docker engine answers") as caught:
        Connection.open()
    assert caught.value.where == f"connect to the Docker engine at {url}"
    assert caught.value.exit_code == 3


# --- encrypted connections -------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of this test run."""
    return trustme.CA()


@pytest.fixture
def encrypted(fake: FakeEngine, authority: trustme.CA) -> Iterator[str]:
    """The address at which the fake engine answers over TLS, to clients with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    listening = context.wrap_socket(
        socket.create_server(("127.0.0.1", 0)), server_side=True, suppress_ragged_eofs=True
    )
    port = listening.getsockname()[1]
    server = HttpServer(fake._answer)
    server.start(listening)
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        server.stop()


def write_certificates(folder: Path, authority: trustme.CA, client: trustme.CA) -> Path:
    """Write the certificates of a client, under the names that the docker CLI gives them."""
    folder.mkdir(parents=True)
    issued = client.issue_cert("client.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder


def test_the_certificates_of_a_context_open_an_encrypted_engine(
    home: Path, encrypted: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count more than the authorities that the environment names for other servers."""
    folder = write_context(home, "far", meta_of("far", encrypted, SkipTLSVerify=False))
    write_certificates(folder, authority, authority)
    trustme.CA().cert_pem.write_to_path(home / "company.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(home / "company.pem"))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")

    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.version == "27.5.1"
        assert not engine.is_local


# urllib3 warns of each request that is not checked, which is what the user wants here.
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_context_that_skips_the_check_accepts_any_engine(
    home: Path, encrypted: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user of such a context has said so; the engine still checks the client."""
    folder = write_context(home, "far", meta_of("far", encrypted, SkipTLSVerify=True))
    write_certificates(folder, trustme.CA(), authority)
    monkeypatch.setenv("DOCKER_CONTEXT", "far")

    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.version == "27.5.1"


def test_the_certificates_of_the_environment_open_an_encrypted_engine(
    tmp_path: Path, encrypted: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DOCKER_CERT_PATH and DOCKER_TLS_VERIFY belong to DOCKER_HOST."""
    monkeypatch.setenv("DOCKER_HOST", encrypted)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    folder = write_certificates(tmp_path / "certificates", authority, authority)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))

    with Engine.connect() as engine, closing(engine.connection.client):
        assert engine.version == "27.5.1"


def test_an_engine_of_another_authority_is_refused(
    home: Path, encrypted: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is about certificates; it does not say that no engine answers."""
    folder = write_context(home, "far", meta_of("far", encrypted, SkipTLSVerify=False))
    write_certificates(folder, trustme.CA(), authority)
    monkeypatch.setenv("DOCKER_CONTEXT", "far")

    with pytest.raises(EngineError) as caught:
        Connection.open()
    assert "the encrypted connection to the Docker engine failed" in caught.value.what
    assert "self-signed" in caught.value.what or "issuer" in caught.value.what
    assert "in the Docker context" in caught.value.next_step


def test_certificates_that_do_not_exist_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both variables and the files that belong into the folder."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineError, match="the certificates for the Docker engine") as caught:
        find_address()
    assert "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH" in caught.value.where
    assert "ca.pem, cert.pem and key.pem" in caught.value.next_step


# --- requests --------------------------------------------------------------------------------


def test_a_silent_engine_is_asked_for_a_sign_of_life_first(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a request without an answer no other one waits as long; an answer ends that."""
    images, ping = "GET /images/*", "GET /_ping"
    monkeypatch.setattr(connection, "STOP_SECONDS", 0.2)
    with closing(engine.connection.client) as client:
        monkeypatch.setattr(client, "timeout", 0.2)
        fake.fail(Slow(images, 30))
        fake.fail(Slow(ping, 30), times=2)
        for _ in range(3):
            with pytest.raises(EngineError, match="did not finish its answer") as caught:
                engine.images.find("x")
            assert caught.value.transient
        assert (len(fake.asked(images)), len(fake.asked(ping))) == (1, 2)

        for _ in range(2):
            assert engine.images.find("x") is None
        assert (len(fake.asked(images)), len(fake.asked(ping))) == (3, 3)


def test_each_thread_has_a_client_of_its_own(engine: Engine) -> None:
    """One thread always gets the same client, and two threads never share one."""
    connection = engine.connection

    def own_client() -> object:
        with closing(connection.client) as client:
            assert connection.client is client
            return client

    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(own_client).result()
    assert connection.client is connection.client
    assert connection.client is not other


def test_the_version_of_an_engine_is_asked_for_once(fake: FakeEngine, engine: Engine) -> None:
    """The clients of further threads speak the version that the first one found."""
    connection = engine.connection
    spoken = connection.client.api_version
    fake.requests.clear()
    with ThreadPoolExecutor(1) as thread:
        assert spoken == thread.submit(lambda: connection.client.api_version).result()
    assert not fake.asked("GET *version")


def test_a_request_that_docker_py_has_no_method_for_is_sent(
    fake: FakeEngine, engine: Engine
) -> None:
    """The path gets the version of the API that both sides speak."""
    engine.connection.get("/system/df", {"type": "build-cache"})
    engine.connection.post("/build/cancel", {"id": "7"})

    assert [request.line for request in fake.requests] == [
        "GET /system/df",
        "POST /build/cancel",
    ]
    assert {request.api for request in fake.requests} == {"1.47"}
    assert fake.requests[0].one("type") == "build-cache"
    assert fake.requests[1].one("id") == "7"


def test_a_refused_request_repeats_the_words_of_the_engine(
    fake: FakeEngine, engine: Engine
) -> None:
    """A failure is docker-py's own exception, with the status and the explanation."""
    fake.fail(Refuses("GET /system/df", 500, "the disk cannot be read"))
    with pytest.raises(APIError, match=re.escape("the disk cannot be read")) as caught:
        engine.connection.get("/system/df", {})
    assert caught.value.status_code == 500
