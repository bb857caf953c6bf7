"""No credential of the user leaves their settings: the commands run with some, and all is searched.

Users, passwords and tokens stand in the addresses of indexes, of find-links and of proxies, in
netrc, in the login of a registry and in the environment. Then cells are locked, built and run, with
and without failures, and each one is looked for in all that came of it: files of the project,
what the engine was asked, images and their history, output, and command lines of child processes.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_engine import Facts, FakeEngine, PullRefused, StepFails
from fake_http import Answer, Request
from fake_index import FakeIndex, Portal, Status, Truncated
from shown import Commands
from small_fixtures import command
from small_project import GOOD, NEWER, Folder, environment, make_project, serve_wheels

__all__ = ["command"]

USER, PASSWORD = "index-user-7f", "index/pass#word@7f"
SECRETS = {
    "user of the index": USER,
    "password of the index": PASSWORD,
    "token of an extra index": "extratoken7f",
    "user of an extra index": "extrauser7f",
    "token in a path": "pathtoken1234567890abcdef",
    "user of find-links": "linksuser7f",
    "password of find-links": "linkspass7f",
    "password of a proxy": "proxypass7f",
    "password in netrc": "netrcpass7f",
    "password of a registry": "registrypass7f",
    "password of a mirror of Pythons": "mirrorpass7f",
    "variable of the environment": "environment7f",
}
STANDALONE = "jinja2-3.1.6-py3.13-debian12-cpu"
"""A cell whose Python the operating system does not have; the mirror of Pythons has it not."""
LOGIN_HEADERS = frozenset({"x-registry-auth", "x-registry-config"})
"""The headers in which the docker CLI, too, gives the login of a registry to the engine."""


class Index(FakeIndex):
    """An index that also answers under a path with a token, and has a page of find-links."""

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/links"):
            return Answer(body=b"<!DOCTYPE html><html><body></body></html>", type="text/html")
        path = request.path.removeprefix(f"/{SECRETS['token in a path']}")
        return super()._answer(replace(request, path=path))


@dataclass
class Place:
    """A project with secrets in all settings, its engine and its index, and what was started."""

    folder: Folder
    engine: FakeEngine
    index: FakeIndex
    started: list[list[str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def found(self) -> dict[str, list[str]]:
        """Return where each secret is found that is found anywhere."""
        places = dict(self._places())
        found: dict[str, list[str]] = {}
        for secret, value in SECRETS.items():
            written = forms(value)
            for place, text in places.items():
                if any(form in text for form in written):
                    found.setdefault(secret, []).append(place)
        return found

    def _places(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self.folder.root.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(self.folder.root))
                yield f"file {name}", path.read_bytes().decode("utf-8", "replace")
        for number, request in enumerate(self.engine.requests):
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in LOGIN_HEADERS
            }
            body = request.body.decode("utf-8", "replace")
            yield f"request {number} {request.line}", f"{request.query} {headers} {body}"
        for image in self.engine.images.by_id.values():
            yield f"image {image.id[:20]}", image.document.decode()
        for record in self.engine.build_records:
            yield f"build {record.tag}", f"{record.arguments} {record.labels} {record.steps}"
        for run in self.engine.runs:
            yield f"container {run.probe}", json.dumps(dict(run.spec))
        for number, arguments in enumerate(self.started):
            yield f"command line {number} of {arguments[0]}", " ".join(arguments)
        for number, text in enumerate(self.shown):
            yield f"output {number}", text


def forms(value: str) -> set[str]:
    """Return how a secret may be written."""
    plain = {value, quote(value, safe=""), quote(value)}
    return plain | {base64.b64encode(text.encode()).decode().rstrip("=") for text in plain}


def settings(engine: FakeEngine, index: FakeIndex, folder: Path) -> dict[str, str]:
    """Return an environment in which every setting holds a secret."""
    login = base64.b64encode(f"robot:{SECRETS['password of a registry']}".encode()).decode()
    config = {"auths": {"registry.example": {"auth": login}}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    netrc = folder / "netrc"
    netrc.write_text(
        f"machine netrc.example login me password {SECRETS['password in netrc']}\n",
        encoding="utf-8",
    )
    netrc.chmod(0o600)
    token, user = SECRETS["token of an extra index"], SECRETS["user of an extra index"]
    links = f"{SECRETS['user of find-links']}:{SECRETS['password of find-links']}"
    path = SECRETS["token in a path"]
    host = index.url.removeprefix("http://").removesuffix("simple/")
    extra = [f"http://{token}@{host}simple/", f"http://{user}@{host}simple/"]
    extra += [f"http://{host}{path}/simple/"]
    return environment(engine.url, index.url_with_credentials) | {
        "PIP_EXTRA_INDEX_URL": " ".join(extra),
        "PIP_FIND_LINKS": f"http://{links}@{host}links/",
        "DOCKER_CONFIG": str(folder),
        "NETRC": str(netrc),
        "MY_TOKEN": SECRETS["variable of the environment"],
        "NO_PROXY": "127.0.0.1",
        "UV_PYTHON_INSTALL_MIRROR": f"http://me:{SECRETS['password of a mirror of Pythons']}@{host}"
        "python",
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A project with secrets in all settings; each child process that is started is recorded."""
    with FakeEngine() as engine, Index() as index:
        serve_wheels(index)
        index.credentials = (USER, PASSWORD)
        own = tmp_path / "own"
        own.mkdir()
        folder = make_project(tmp_path / "project", settings(engine, index, own))
        made = Place(folder, engine, index)
        start = subprocess.Popen.__init__

        def spy(self: Any, args: Any, *more: Any, **named: Any) -> None:
            made.started.append([str(one) for one in args])
            start(self, args, *more, **named)

        monkeypatch.setattr(subprocess.Popen, "__init__", spy)
        with folder.inside():
            yield made


def work(place: Place, command: Commands) -> None:
    """Lock, run and report a cell, and keep what is shown."""
    for arguments in (
        ["lock", GOOD],
        ["run", STANDALONE],
        ["run", GOOD],
        ["run", GOOD, "--json"],
        ["plan", "--json"],
        ["explain", GOOD],
        ["report"],
        ["render", GOOD],
    ):
        shown = command(place.folder, *arguments)
        place.shown += [shown.out, shown.err]


def all_indexes(place: Place) -> None:
    """Let the index take any login: everything works."""
    place.index.credentials = None


def another_password(place: Place) -> None:
    """Let the index refuse the password with 401."""
    place.index.credentials = (USER, "another")


def status(place: Place) -> None:
    """Let the index fail."""
    place.index.fail(Status(503))


def forbidden(place: Place) -> None:
    """Let the index refuse with 403."""
    all_indexes(place)
    place.index.fail(Status(403))


def portal(place: Place) -> None:
    """Let a portal answer for the index."""
    all_indexes(place)
    place.index.fail(Portal())


def broken_wheels(place: Place) -> None:
    """Let downloads of wheels break off."""
    all_indexes(place)
    place.index.fail(Truncated())


def failing_step(place: Place) -> None:
    """Let a step of the build print an address with the password of the index."""
    all_indexes(place)
    url = place.index.url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    place.engine.fail(StepFails("jinja2===", output=f"Looking in indexes: {url}\nno\n"), times=None)


def refused_pull(place: Place) -> None:
    """Let the registry repeat an address with its password."""
    all_indexes(place)
    text = f"Head https://robot:{SECRETS['password of a registry']}@registry.example/v2/: 401"
    place.engine.fail(PullRefused(401, message=text), times=None)


def elsewhere(place: Place) -> None:
    """Let the engine be on another machine."""
    all_indexes(place)
    place.engine.facts = Facts(reaches=False, operating_system="Docker Desktop")


HAPPENS = {
    one.__name__: one
    for one in (
        all_indexes,
        another_password,
        status,
        forbidden,
        portal,
        broken_wheels,
        failing_step,
        refused_pull,
        elsewhere,
    )
}


@pytest.mark.parametrize("happens", HAPPENS)
def test_no_secret_is_found_anywhere(place: Place, command: Commands, happens: str) -> None:
    """Whatever works or fails, no credential is in anything that is made, asked, kept or shown."""
    HAPPENS[happens](place)
    work(place, command)
    assert place.found() == {}
    assert place.started
    asked = {"all_indexes", "failing_step"}
    assert bool(place.engine.asked("POST /build")) or happens not in asked


def test_the_search_finds_what_is_there(place: Place, command: Commands) -> None:
    """The search itself works: what is planted in a file, an output or a command line is found."""
    place.folder.write("x.txt", USER)
    place.shown.append(quote(PASSWORD, safe=""))
    subprocess.run(["true", SECRETS["password in netrc"]], check=True)
    assert set(place.found()) == {
        "user of the index",
        "password of the index",
        "password in netrc",
    }


def proxied(variable: str, scheme: str) -> dict[str, str]:
    """Return the setting of a proxy with a password, at which nothing listens."""
    return {variable: f"{scheme}puser:{SECRETS['password of a proxy']}@127.0.0.1:9", "NO_PROXY": ""}


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [("HTTP_PROXY", "http://"), ("http_proxy", ""), ("ALL_PROXY", ""), ("PIP_PROXY", "http://")],
)
def test_no_secret_of_a_proxy_is_found_anywhere(
    place: Place, command: Commands, variable: str, scheme: str
) -> None:
    """A proxy that cannot be reached is told without its password, however it is set."""
    all_indexes(place)
    variables = dict(place.folder.environment) | proxied(variable, scheme)
    place.folder = Folder(place.folder.root, variables)
    with place.folder.inside():
        work(place, command)
        command(place.folder, "run", NEWER)
    assert place.found() == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://{}@127.0.0.1:9/simple/",
        "http://u:{}@[bad/simple/",
    ],
)
def test_no_secret_of_an_index_that_cannot_be_reached(
    place: Place, command: Commands, url: str
) -> None:
    """An index at which nothing listens, or whose address is none, is told without its token."""
    variables = dict(place.folder.environment)
    variables["PIP_INDEX_URL"] = url.format(SECRETS["token of an extra index"])
    place.folder = Folder(place.folder.root, variables)
    with place.folder.inside():
        work(place, command)
    assert place.found() == {}
