"""Proxies in builds: where they come from, which hosts they leave alone, and what is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from envmatrix.engine.client import Engine
from envmatrix.engine.proxies import hiding, proxy_arguments, secrets_of

ENGINE = "unix:///var/run/docker.sock"
PROXY = "http://me:s3cret%21@proxy.example:3128"


def arguments(environment: dict[str, str], *, loopback: bool = True) -> dict[str, str]:
    """Return the build arguments for an environment."""
    return proxy_arguments(
        ENGINE, direct=["wheelhouse", "127.1.2.3"], loopback=loopback, environment=environment
    )


def configure(home: Path, proxies: object) -> None:
    """Write the config.json of the docker CLI."""
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")


def test_the_proxies_of_the_environment_serve_builds() -> None:
    """Each is given in both spellings, and our own hosts are never asked through one."""
    found = arguments({"https_proxy": PROXY, "NO_PROXY": "intern.example, 10.0.0.1"})
    assert found["HTTPS_PROXY"] == found["https_proxy"] == PROXY
    assert found["NO_PROXY"] == found["no_proxy"]
    assert {"intern.example", "10.0.0.1", "wheelhouse", "127.1.2.3", "localhost"} <= set(
        found["NO_PROXY"].split(",")
    )
    assert "HTTP_PROXY" not in found


@pytest.mark.parametrize("key", ["default", ENGINE])
def test_the_proxies_of_the_docker_cli_serve_builds(home: Path, key: str) -> None:
    """An entry for the engine counts, else the default one; the environment wins."""
    configure(home, {key: {"httpProxy": PROXY, "noProxy": "a.example", "allProxy": "socks5://b"}})
    found = arguments({"ALL_PROXY": "socks5://c"})
    assert (found["HTTP_PROXY"], found["ALL_PROXY"]) == (PROXY, "socks5://c")
    assert found["NO_PROXY"].startswith("a.example,")


@pytest.mark.parametrize("proxies", [None, [], {}, {"default": "no"}, {"other": {}}])
def test_without_proxies_a_build_gets_no_arguments(home: Path, proxies: object) -> None:
    """A list of hosts without a proxy is no proxy."""
    configure(home, proxies)
    assert arguments({"NO_PROXY": "a"}) == {}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_proxy_on_loopback_is_not_for_an_engine_elsewhere(host: str) -> None:
    """There is no such proxy on the other machine."""
    given = {"HTTP_PROXY": f"http://{host}:3128", "ALL_PROXY": "proxy.example:1"}
    assert "HTTP_PROXY" in arguments(given)
    assert "HTTP_PROXY" not in arguments(given, loopback=False)
    assert arguments(given, loopback=False)["ALL_PROXY"] == "proxy.example:1"


@pytest.mark.parametrize("fresh", [False, True])
def test_both_builders_get_the_proxies_and_show_no_credential(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    """The log of a step that prints its environment hides the password."""
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    fake.builds.printed = lambda _: f"HTTP_PROXY={PROXY}\n"
    said: list[str] = []
    image = engine.builds.build(
        {"Dockerfile": "FROM debian:12-slim\nRUN env"},
        tag=None,
        arguments={"A": "b"},
        hosts={"wheelhouse": "127.1.2.3"},
        labels={},
        log=said.append,
        fresh=fresh,
    )
    (record,) = fake.build_records
    assert record.arguments["http_proxy"] == PROXY
    assert "wheelhouse" in record.arguments["NO_PROXY"]
    assert "HTTP_PROXY=http://***@proxy.example:3128" in "".join(said)
    assert "s3cret" not in "".join(said) + str(engine.images.get(image.id).config)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:b%21@h:1", {"a:b%21", "a:b!", "b%21", "b!"}),
        ("http://TOKEN@h", {"TOKEN"}),
        ("TOKEN@h:1", {"TOKEN"}),
        ("http://h", set()),
        ("http://@h", set()),
    ],
)
def test_every_form_of_a_credential_is_known(url: str, expected: set[str]) -> None:
    """A program may show it as it stands in the address, or decoded."""
    assert set(secrets_of([url])) == expected


def test_a_credential_that_arrives_in_two_parts_is_hidden() -> None:
    """Whole lines are handed on, the last one also without its end."""
    said: list[str] = []
    with hiding(["secret"], said.append) as write:
        for part in ("a sec", "ret b\nc ", "x" * 70_000, "sec", "ret"):
            write(part)
    text = "".join(said)
    assert text.startswith("a *** b\nc ")
    assert text.endswith("***")
