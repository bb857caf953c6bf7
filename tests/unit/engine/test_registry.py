"""The client of registries: what it trusts, whom it tells credentials, and what it gives up on."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_registry import FakeRegistry, sha256

from envmatrix.engine import registry_access, retries
from envmatrix.engine.process import Cancelled
from envmatrix.engine.registry import INDEX, MANIFEST, Registry
from envmatrix.engine.registry_access import Access, is_loopback
from envmatrix.engine.retries import patiently, told_pause
from envmatrix.model.errors import EngineError

LAYERS = [f"sha256:{'1' * 64}"]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login and no certificate of the user counts, and pauses are short."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry in which nothing goes wrong by itself."""
    with FakeRegistry() as found:
        yield found
    assert found.errors == []


def put_image(fake: FakeRegistry, **changes: Any) -> str:
    """Put an image of one layer into a registry; return its digest."""
    document = json.dumps({"rootfs": {"diff_ids": LAYERS}, "config": {"Labels": {"a": "b"}}})
    fake.of("x").blobs[sha256(document.encode())] = document.encode()
    fields = {
        "mediaType": MANIFEST,
        "config": {"digest": sha256(document.encode())},
        "layers": [{"digest": f"sha256:{'2' * 64}", "size": 7}],
    }
    return fake.put("x", "tag", fields | changes)


def test_an_image_is_read(fake: FakeRegistry) -> None:
    """Its diff ids come from its configuration, and sizes from its manifest."""
    digest = put_image(fake)
    registry = Registry.open(fake.host)
    assert registry.digest_of("x", "tag") == digest
    found = registry.image("x", "tag", "amd64")
    assert found is not None
    assert (found.manifest.digest, found.layers, found.labels) == (
        digest,
        tuple(LAYERS),
        {"a": "b"},
    )
    assert found.blobs == ((f"sha256:{'2' * 64}", 7),)
    assert registry.digest_of("x", "other") is None
    assert registry.image("x", "other", "amd64") is None


def test_a_list_of_platforms_holds_an_image(fake: FakeRegistry) -> None:
    """The image is that of the architecture, and the digest that of the list."""
    inner = put_image(fake)
    platform = {"os": "linux", "architecture": "amd64"}
    top = fake.put(
        "x", "all", {"mediaType": INDEX, "manifests": [{"digest": inner, "platform": platform}]}
    )
    registry = Registry.open(fake.host)
    found = registry.image("x", "all", "amd64")
    assert found is not None
    assert (found.manifest.digest, found.layers) == (top, tuple(LAYERS))
    with pytest.raises(EngineError, match="it has no image for arm64"):
        registry.image("x", "all", "arm64")


@pytest.mark.parametrize(
    "changes", [{"config": {"digest": "sha256:zz"}}, {"layers": None}, {"config": 5}]
)
def test_what_is_no_image_is_said_to_be_none(fake: FakeRegistry, changes: dict[str, Any]) -> None:
    """A registry may serve anything."""
    put_image(fake, **changes)
    with pytest.raises(EngineError, match="what no registry should"):
        Registry.open(fake.host).image("x", "tag", "amd64")


def test_a_manifest_that_was_exchanged_is_refused(fake: FakeRegistry) -> None:
    """By digest, the registry must serve what has the digest; the same holds of blobs."""
    digest = put_image(fake)
    kind, data = fake.of("x").manifests[digest]
    fake.of("x").manifests[digest] = (kind, data + b" ")
    with pytest.raises(EngineError, match="another manifest"):
        Registry.open(fake.host).manifest("x", digest)
    fake.of("x").manifests[digest] = (kind, data)
    for name in fake.of("x").blobs:
        fake.of("x").blobs[name] = b"{}"
    with pytest.raises(EngineError, match="another blob"):
        Registry.open(fake.host).image("x", "tag", "amd64")


# --- the way there ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_may_be_plain(host: str, expected: bool) -> None:
    """As with Docker, any other registry has to be encrypted."""
    assert is_loopback(host) is expected
    if not expected:
        assert Access.of(host)._found_base() == f"https://{host}"


def test_an_encrypted_registry_needs_an_authority(tmp_path: Path) -> None:
    """Its certificate is trusted where Docker's folder of certificates has its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeRegistry(context=context) as fake:
        with pytest.raises(EngineError, match="is not trusted") as refused:
            Registry.open(fake.host).digest_of("x", "tag")
        assert f"certs.d/{fake.host}/ca.crt" in refused.value.next_step
        folder = tmp_path / ".docker" / "certs.d" / fake.host
        folder.mkdir(parents=True)
        authority.cert_pem.write_to_path(folder / "ca.crt")
        digest = put_image(fake)
        assert Registry.open(fake.host).digest_of("x", "tag") == digest
        (folder / "ca.crt").write_text("no certificate", encoding="utf-8")
        with pytest.raises(EngineError, match="certificates for the registry cannot be used"):
            Registry.open(fake.host)


def log_in(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch, **entry: str) -> None:
    """Let the docker CLI be logged in to a registry."""
    login = {"auth": base64.b64encode(b"me:pass").decode(), **entry}
    (folder / "docker").mkdir()
    (folder / "docker/config.json").write_text(json.dumps({"auths": {host: login}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / "docker"))


def test_credentials_go_to_their_registry_only(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain server of tokens elsewhere gets none, and those of ~/.netrc do not count."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pass\n")
    fake.users = {"me": "pass"}
    with pytest.raises(EngineError, match="refuses this to the user") as refused:
        Registry.open(fake.host).digest_of("x", "tag")
    assert refused.value.next_step.endswith(f"`docker login {fake.host}`")
    assert all("authorization" not in one.headers for one in fake.requests)
    log_in(tmp_path, fake.host, monkeypatch)
    put_image(fake)
    assert Registry.open(fake.host).digest_of("x", "tag")
    access = Access.of(fake.host)
    assert access.user == "me"
    assert access._login('Bearer realm="http://elsewhere.example/token"', "s") == ""
    assert access._login('Digest realm="x"', "s") == ""


def test_a_token_is_asked_for_and_used_again(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One token serves all requests of a kind."""
    fake.users, fake.tokens = {"me": "pass"}, True
    log_in(tmp_path, fake.host, monkeypatch)
    put_image(fake)
    registry = Registry.open(fake.host)
    assert registry.image("x", "tag", "amd64")
    assert registry.digest_of("x", "tag")
    assert len(fake.asked("GET /token")) == 1


def test_an_identity_token_is_exchanged(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registries of clouds give one in the place of a password."""
    fake.users, fake.tokens = {"me": "pass"}, True
    log_in(tmp_path, fake.host, monkeypatch, identitytoken="identity")
    put_image(fake)
    assert Registry.open(fake.host).digest_of("x", "tag")
    assert len(fake.asked("POST /token")) == 1


def test_a_server_of_tokens_that_fails_is_no_wrong_login(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again. Where it fails for good, nobody is told to log in."""
    fake.users, fake.tokens = {"me": "pass"}, True
    log_in(tmp_path, fake.host, monkeypatch)
    put_image(fake)
    fake.fail("GET /token", 503, times=2)
    assert Registry.open(fake.host).digest_of("x", "tag")
    fake.fail("GET /token", 503, times=None)
    with pytest.raises(EngineError, match="the server of tokens answers with 503"):
        Registry.open(fake.host).digest_of("x", "tag")


def test_an_answer_without_an_end_is_not_read_to_its_end(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry may send anything."""
    monkeypatch.setattr(registry_access, "LARGEST_ANSWER", 10)
    put_image(fake)
    with pytest.raises(EngineError, match="larger than 10 bytes"):
        Registry.open(fake.host).manifest("x", "tag")


def test_a_login_that_cannot_be_read_is_told(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential helper that is not installed is an error of the surroundings."""
    folder = tmp_path / "docker"
    folder.mkdir()
    helper = {"credHelpers": {fake.host: "not-installed"}}
    (folder / "config.json").write_text(json.dumps(helper), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    with pytest.raises(EngineError, match="credentials of the docker CLI cannot be read"):
        Registry.open(fake.host)


# --- trying again ----------------------------------------------------------------------------


def test_it_gives_up_after_some_tries(fake: FakeRegistry) -> None:
    """What fails for good is asked a bounded number of times, and each is told."""
    told: list[str] = []
    fake.fail("HEAD *", 503, times=None)
    with pytest.raises(EngineError, match="answers HEAD with 503"):
        Registry.open(fake.host, told.append).digest_of("x", "tag")
    assert len(fake.asked("HEAD *")) == retries.REGISTRY_TRIES
    assert len(told) == retries.REGISTRY_TRIES - 1


def test_what_will_not_pass_is_asked_once(fake: FakeRegistry) -> None:
    """A request that is wrong stays wrong."""
    fake.fail("HEAD *", 400, times=None)
    with pytest.raises(EngineError, match="answers HEAD with 400"):
        Registry.open(fake.host).digest_of("x", "tag")
    assert len(fake.asked("HEAD *")) == 1


def test_a_pause_may_be_a_moment() -> None:
    """Retry-After holds seconds or a date. One that is too far away ends the work."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    error = EngineError("no", transient=True)
    assert told_pause(error, "nonsense") is error
    assert told_pause(error, soon).transient
    late = told_pause(error, "600")
    assert (late.transient, "wait 600 s" in late.next_step) == (False, True)
    lasting = EngineError("no")
    assert told_pause(lasting, "1") is lasting


def test_ctrl_c_ends_a_pause() -> None:
    """Nobody waits for a registry after the user asked to stop."""
    cancelled = threading.Event()
    cancelled.set()

    def fails() -> None:
        raise EngineError("no", transient=True)

    with pytest.raises(Cancelled):
        patiently(fails, lambda _: None, cancelled)


def test_what_is_attached_is_listed_once_however_often_it_is_told(fake: FakeRegistry) -> None:
    """Whoever may push writes the list. A long one takes no long time; oddities are left out."""
    image = put_image(fake)
    one = {"digest": f"sha256:{'3' * 64}", "size": 1, "artifactType": "x"}
    other = [{"digest": f"sha256:{at:064x}", "size": 1} for at in range(50_000)]
    odd = [None, 7, {}, {"digest": 7}, {"digest": "../evil"}]
    listed = {"mediaType": INDEX, "manifests": [one, one, *odd, *other, *other]}
    fake.put("x", image.replace(":", "-"), listed)
    found = Registry.open(fake.host).attached("x", image)
    assert (found[0], len(found)) == (one, 50_001)
    fake.put("x", image.replace(":", "-"), {"mediaType": INDEX, "manifests": 7})
    assert Registry.open(fake.host).attached("x", image) == []
