"""Failures of docker-py and of the libraries below it, as errors that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from docker.errors import APIError, DockerException
from requests import RequestException
from urllib3.exceptions import HTTPError as TransportError

from envmatrix.engine.refusals import FAILED, SAID_LIMIT, SERVER_ERROR, refused
from envmatrix.model.errors import EngineError

FAILURES = (DockerException, RequestException, TransportError, OSError)
"""Every exception that a request to the engine can raise."""

_NO_PERMISSION = ("Permission denied", "PermissionError")
_BAD_CERTIFICATE = ("SSLError", "SSLCertVerificationError")
_NO_ANSWER = (
    "Connection refused",
    "FileNotFoundError",
    "No such file",
    "Connection aborted",
    "Max retries",
    "Name or service",
)
_BROKEN_OFF = ("Response ended prematurely", "Connection broken", "Read timed out")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn a failure of a library into an `EngineError`. `doing` names the action that failed."""
    try:
        yield
    except FAILURES as error:
        _explain(doing, error)


def _explain(doing: str, error: Exception) -> NoReturn:
    said = str(getattr(error, "explanation", None) or error)
    if isinstance(error, APIError):
        # The engine answered, so its words are about its own work and not about the connection.
        raise refused(doing, said, error.status_code or SERVER_ERROR) from error
    if _has(said, _NO_PERMISSION):
        raise EngineError(
            "this user may not talk to the Docker engine",
            where=doing,
            next_step="add the user to the docker group and log in again, or use root",
        ) from error
    # A refused certificate also ends in "Max retries", so this check comes before the next one.
    if _has(said, _BAD_CERTIFICATE):
        raise EngineError(
            f"the encrypted connection to the Docker engine failed: {said[:SAID_LIMIT]}",
            where=doing,
            next_step="check the certificates in DOCKER_CERT_PATH or in the Docker context",
        ) from error
    if _has(said, _NO_ANSWER):
        raise EngineError(
            "no Docker engine answers",
            where=doing,
            next_step="start Docker, set DOCKER_HOST, or run scripts/setup-engine as root "
            "on Debian",
            transient=True,
        ) from error
    if _has(said, _BROKEN_OFF):
        raise EngineError(
            f"the Docker engine did not finish its answer: {said[:SAID_LIMIT]}",
            where=doing,
            next_step="make sure that the engine still runs, then try again",
            transient=True,
        ) from error
    raise EngineError(
        FAILED + said[:SAID_LIMIT],
        where=doing,
        next_step="see the engine's own log, then try again",
    ) from error


def _has(said: str, signs: tuple[str, ...]) -> bool:
    return any(sign in said for sign in signs)
