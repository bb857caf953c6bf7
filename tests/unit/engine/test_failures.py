"""Failures of the libraries below us, as errors that say what happened, where, and what to do."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, DockerException
from fake_engine import ConnectionDropped, FakeEngine, Refuses
from urllib3.exceptions import ProtocolError

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import Connection
from envmatrix.engine.failures import FAILURES, translated
from envmatrix.engine.refusals import SAID_LIMIT
from envmatrix.model.errors import EngineError

PERMISSION = "this user may not talk to the Docker engine"
ENCRYPTION = "the encrypted connection to the Docker engine failed: "
NO_ANSWER = "no Docker engine answers"
BROKEN_OFF = "the Docker engine did not finish its answer: "
OTHER = "the Docker engine failed: "


def refused(explanation: str, status: int = 500) -> APIError:
    """Return the exception of docker-py for a refusal by the engine."""
    response = requests.Response()
    response.status_code = status
    return APIError(f"{status} Server Error", response, explanation)


@pytest.mark.parametrize(
    ("error", "what", "next_step"),
    [
        (
            DockerException(
                "Error while fetching server API version: ('Connection aborted.', "
                "PermissionError(13, 'Permission denied'))"
            ),
            PERMISSION,
            "docker group",
        ),
        (
            requests.exceptions.SSLError(
                "Max retries exceeded (Caused by SSLError(SSLCertVerificationError(1, "
                "'certificate verify failed')))"
            ),
            ENCRYPTION,
            "certificates",
        ),
        (
            DockerException(
                "Error while fetching server API version: ('Connection aborted.', "
                "FileNotFoundError(2, 'No such file or directory'))"
            ),
            NO_ANSWER,
            "start Docker",
        ),
        (
            requests.ConnectionError("Failed: [Errno 111] Connection refused"),
            NO_ANSWER,
            "DOCKER_HOST",
        ),
        (ProtocolError("Connection aborted.", ConnectionResetError(104)), NO_ANSWER, "setup"),
        (requests.ReadTimeout("Read timed out. (read timeout=120)"), BROKEN_OFF, "still runs"),
        (
            requests.exceptions.ChunkedEncodingError("Response ended prematurely"),
            BROKEN_OFF,
            "still runs",
        ),
        (ProtocolError("Connection broken: IncompleteRead(0 bytes read)"), BROKEN_OFF, "again"),
        (OSError(28, "No such device"), OTHER, "log"),
        (refused("layer does not exist"), OTHER, "log"),
    ],
)
def test_each_failure_says_what_where_and_what_to_do(
    error: Exception, what: str, next_step: str
) -> None:
    """The cause is kept for the log, and the exit code is that of failing surroundings."""
    with pytest.raises(EngineError) as caught, translated("find the image x"):
        raise error
    found = caught.value
    assert what == found.what[: len(what)]
    assert found.where == "find the image x"
    assert next_step in found.next_step
    assert found.__cause__ is error
    assert (found.exit_code, found.kind) == (3, "engine")


@pytest.mark.parametrize(
    "words",
    [
        "OCI runtime create failed: /proc/self/fd: Permission denied",
        "error running hook: ldconfig: No such file or directory",
        "cannot reach the registry: Connection refused",
    ],
)
def test_an_engine_that_answers_is_not_said_to_be_silent(words: str) -> None:
    """Its words are about its own work, so they do not tell how we reach it."""
    with pytest.raises(EngineError) as caught, translated("create a container"):
        raise refused(words)
    assert caught.value.what == OTHER + words


def test_the_words_of_the_engine_are_kept_to_a_limit() -> None:
    """An engine may repeat a whole log."""
    with pytest.raises(EngineError) as caught, translated("build"):
        raise refused("x" * 10_000)
    assert caught.value.what == OTHER + "x" * SAID_LIMIT


def test_a_fault_of_our_own_stays_what_it_is() -> None:
    """Only the failures of docker-py and of the libraries below it are translated."""
    assert not issubclass(EngineError, FAILURES)
    with pytest.raises(ValueError, match=r"^ours$"), translated("build"):
        raise ValueError("ours")


def test_a_socket_that_nobody_listens_to_is_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a socket stays when an engine is killed."""
    path = tmp_path / "dead.sock"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(EngineError) as caught:
        Connection.open()
    assert caught.value.what == NO_ANSWER


def test_a_connection_that_is_dropped_is_no_answer(fake: FakeEngine, engine: Engine) -> None:
    """The real exception of the libraries has the words that we look for."""
    fake.fail(ConnectionDropped("GET /images/*"))
    with pytest.raises(EngineError) as caught:
        engine.images.find("debian:12")
    assert caught.value.what == NO_ANSWER
    assert caught.value.where == "look up the image debian:12"


def test_a_refusal_repeats_the_words_of_the_engine(fake: FakeEngine, engine: Engine) -> None:
    """The real exception of docker-py has the explanation that we repeat."""
    fake.fail(Refuses("GET /images/*", 500, "the store is damaged"))
    with pytest.raises(EngineError) as caught:
        engine.images.find("debian:12")
    assert caught.value.what == OTHER + "the store is damaged"
