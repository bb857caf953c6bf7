"""Signed attestations: what publish attaches, and what inspect proves of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from fake_registry import FakeRegistry, Repository, sha256
from keys import key_pair
from shown import Commands, Shown
from small_project import GOOD, OLD, Folder
from small_sigstore import SmallSigstore

from envmatrix.engine import retries
from envmatrix.engine.signing import KeySigner
from envmatrix.model.bundles import BUNDLE, DOCUMENTS, SBOM

IMAGE = f"envmatrix/cell:{GOOD}"
KINDS = sorted(DOCUMENTS)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry in which nothing goes wrong by itself; pauses are short."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    with FakeRegistry() as found:
        yield found
    assert found.errors == []


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A key of ours."""
    return key_pair(tmp_path / "ours")


@pytest.fixture
def signed(
    project: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> Folder:
    """A project whose two cells are published with signed attestations."""
    assert command(project, "run", GOOD, OLD).code == 0
    shown = publish(project, command, registry, keys[0], GOOD, OLD)
    assert shown.code == 0, shown
    return project


def publish(
    project: Folder, command: Commands, registry: FakeRegistry, key: Path, *cells: str
) -> Shown:
    """Publish cells with signed attestations."""
    options = ("--registry", registry.host, "--attestations", "--sign-key", str(key))
    return command(project, "publish", *cells, *options)


def digest_of(project: Folder, cell: str) -> str:
    """Return the digest of the published image of a cell."""
    images = json.loads(project.read("reports/published.json"))["images"]
    return next(str(one["digest"]) for one in images if one["cell"] == cell)


def attached(kept: Repository, image: str) -> dict[str, dict[str, Any]]:
    """Return the manifests that are attached to an image, by their digests."""
    return {
        digest: fields
        for digest, (_, data) in kept.manifests.items()
        if (fields := json.loads(data)).get("subject", {}).get("digest") == image
    }


def bundles(kept: Repository, image: str) -> list[dict[str, Any]]:
    """Return the bundles that are attached to an image."""
    found = [one for one in attached(kept, image).values() if one["artifactType"] == BUNDLE]
    return [json.loads(kept.blobs[one["layers"][0]["digest"]]) for one in found]


def attach(kept: Repository, image: str, data: bytes, **changes: object) -> None:
    """Attach something that says to be a bundle, as somebody else would."""
    kept.blobs[sha256(data)] = data
    part = {"mediaType": BUNDLE, "digest": sha256(data), "size": len(data)}
    fields = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": BUNDLE,
        "layers": [part],
        "subject": {"digest": image},
        **changes,
    }
    text = json.dumps(fields).encode()
    kept.manifests[sha256(text)] = (str(fields["mediaType"]), text)


def clear(kept: Repository, image: str) -> list[dict[str, Any]]:
    """Take away what is attached to an image, and return its bundles."""
    found = bundles(kept, image)
    for digest in attached(kept, image):
        del kept.manifests[digest]
    return found


def payload(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return the statement in a bundle."""
    found: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return found


def test_signed_documents_are_attached_as_cosign_attaches_them(
    signed: Folder, registry: FakeRegistry
) -> None:
    """Each is a bundle with a statement about the digest of the image, and nothing is unsigned."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    manifests = attached(kept, image).values()
    assert {one["artifactType"] for one in manifests} == {BUNDLE}
    for one in manifests:
        assert one["annotations"]["dev.sigstore.bundle.content"] == "dsse-envelope"
        title = one["layers"][0]["annotations"]["org.opencontainers.image.title"]
        assert title == one["layers"][0]["digest"].replace(":", "-") + ".sigstore.json"
    told = sorted(one["annotations"]["dev.sigstore.bundle.predicateType"] for one in manifests)
    statements = [payload(one) for one in bundles(kept, image)]
    assert told == sorted(one["predicateType"] for one in statements) == KINDS
    for one in statements:
        assert one["subject"] == [
            {"name": GOOD, "digest": {"sha256": image.removeprefix("sha256:")}}
        ]
    (sbom,) = (one["predicate"] for one in statements if one["predicateType"] == SBOM)
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")


@pytest.mark.parametrize("referrers", [True, False], ids=["referrers", "fallback tag"])
def test_what_is_signed_is_verified_and_not_signed_again(
    project: Folder, command: Commands, registry: FakeRegistry, tmp_path: Path, referrers: bool
) -> None:
    """The digest, the cell and the signature of each document are right."""
    registry.referrers = referrers
    private, public = key_pair(tmp_path / "ed", "Ed25519")
    assert command(project, "run", GOOD).code == 0
    for _ in range(2):
        assert publish(project, command, registry, private, GOOD).code == 0
    assert len(attached(registry.of("jinja2"), digest_of(project, GOOD))) == 3
    shown = command(project, "inspect", IMAGE, "--key", str(public))
    assert shown.code == 0, shown
    assert "  signed:    verified, by the key sha256:" in shown.out
    for word in DOCUMENTS.values():
        assert f"             {word}: verified\n" in shown.out
    found = command(project, "inspect", IMAGE, "--key", str(public), "--json").document()
    assert found["signatures"]["verified"] is True
    assert sorted(one["kind"] for one in found["signatures"]["documents"]) == KINDS


def test_a_second_key_signs_beside_the_first(
    signed: Folder,
    command: Commands,
    registry: FakeRegistry,
    keys: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """Each key verifies its own. What the other has signed changes nothing, and is told."""
    private, public = key_pair(tmp_path / "theirs")
    shown = command(signed, "inspect", IMAGE, "--key", str(public))
    assert shown.code == 3
    assert "SBOM: wrong signer: it names the key " in shown.out
    assert "the signatures of 'envmatrix/cell:" in shown.err
    assert publish(signed, command, registry, private, GOOD).code == 0
    for one in (keys[1], public):
        shown = command(signed, "inspect", IMAGE, "--key", str(one))
        assert (shown.code, "SBOM: wrong signer" in shown.out) == (0, True)


def test_what_is_not_signed(project: Folder, command: Commands, registry: FakeRegistry) -> None:
    """Neither unsigned attestations, nor a part of them, nor an unpublished image are verified."""
    private, public = key_pair(project.root / "k")
    assert command(project, "run", GOOD).code == 0
    shown = command(project, "inspect", IMAGE, "--key", str(public))
    assert (shown.code, "no registry is known to have this image" in shown.out) == (3, True)
    command(project, "publish", GOOD, "--registry", registry.host, "--attestations")
    shown = command(project, "inspect", IMAGE, "--key", str(public))
    assert (shown.code, shown.out.count(": not signed\n")) == (3, 3)
    found = command(project, "inspect", IMAGE, "--key", str(public), "--json")
    assert (found.code, json.loads(found.out)["signatures"]["verified"]) == (3, False)
    publish(project, command, registry, private, GOOD)
    kept, image = registry.of("jinja2"), digest_of(project, GOOD)
    for one in clear(kept, image):
        if payload(one)["predicateType"] != SBOM:
            attach(kept, image, json.dumps(one).encode())
    shown = command(project, "inspect", IMAGE, "--key", str(public))
    assert (shown.code, "SBOM: not signed\n" in shown.out) == (3, True)


def test_what_was_altered_is_told(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """Another payload, or another signature, under the name of the right key."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    for at, one in enumerate(clear(kept, image)):
        envelope = one["dsseEnvelope"]
        if at:
            text = json.dumps(payload(one)).replace(GOOD, f"{GOOD} ")
            envelope["payload"] = base64.b64encode(text.encode()).decode()
        else:
            envelope["signatures"][0]["sig"] = base64.b64encode(b"forged").decode()
        attach(kept, image, json.dumps(one).encode())
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert (shown.code, shown.out.count(": altered: the signature is not that of")) == (3, 3)


def test_the_attestations_of_another_image_prove_nothing(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """They are good, and about an image that is not this one."""
    kept = registry.of("jinja2")
    image, other = digest_of(signed, GOOD), digest_of(signed, OLD)
    clear(kept, image)
    for one in bundles(kept, other):
        attach(kept, image, json.dumps(one).encode())
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert shown.code == 3
    assert shown.out.count(f": about another image: about {OLD} {other[:19]}\n") == 3


def test_a_statement_about_another_cell_proves_nothing(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """The right key signed it, for this digest, and calls it by the name of another cell."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    for one in clear(kept, image):
        statement = payload(one)
        statement["subject"][0]["name"] = OLD
        (text,) = KeySigner.load(keys[0]).sign([json.dumps(statement).encode()])
        attach(kept, image, text)
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert (shown.code, shown.out.count(f"about the cell {OLD}\n")) == (3, 3)


def test_the_image_in_the_registry_has_to_be_the_one_on_the_engine(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """Else good signatures of another image would speak for this one."""
    text = signed.read("reports/published.json")
    image, other = digest_of(signed, GOOD), digest_of(signed, OLD)
    signed.write("reports/published.json", text.replace(image, other))
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert (shown.code, "the image in the registry: it has other layers" in shown.out) == (3, True)
    signed.write("reports/published.json", text)
    del registry.of("jinja2").manifests[image]
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert (shown.code, "it is no longer there" in shown.out) == (3, True)


HUGE = 17 * 2**20


def test_garbage_beside_an_image_changes_nothing_and_is_told(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """Whoever may push can attach anything. What is good stays good, and nothing odd is read."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    part = {"mediaType": BUNDLE, "digest": sha256(b"x"), "size": 1}
    attach(kept, image, b"\x1b[2Jgarbage")
    attach(kept, image, b"[" * 100_000)
    attach(kept, image, b"1", layers=[part, part])
    attach(kept, image, b"2", layers=[{**part, "mediaType": "text/html"}])
    attach(kept, image, b"3", layers=[{**part, "size": HUGE}])
    attach(kept, image, b"4", layers=[{**part, "digest": "../../evil"}])
    attach(kept, image, b"5", padding="x" * HUGE)
    registry.requests.clear()
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert shown.code == 0, shown
    assert "\x1b" not in shown.out + shown.err
    assert shown.out.count("a document: unreadable: ") == 7
    for why in ("nested too deep", "damaged", "tells two kinds", "is larger than", "is no digest"):
        assert why in shown.out
    assert "it tells a size that is not up to" in shown.out
    assert not registry.asked(f"GET */blobs/{sha256(b'x')}")


def test_only_so_many_bundles_are_read(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """A flood of them is no endless work, and that some were not read is told."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    for at in range(70):
        attach(kept, image, b"%d" % at)
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert "13 more are attached, and were not read" in shown.out


def test_a_registry_that_serves_another_bundle(
    signed: Folder, command: Commands, registry: FakeRegistry, keys: tuple[Path, Path]
) -> None:
    """The digest of each blob is counted."""
    kept, image = registry.of("jinja2"), digest_of(signed, GOOD)
    one = next(iter(attached(kept, image).values()))
    kept.blobs[one["layers"][0]["digest"]] = b"{}"
    shown = command(signed, "inspect", IMAGE, "--key", str(keys[1]))
    assert shown.is_refusal(3, "it serves another blob")


# --- options ---------------------------------------------------------------------------------


def test_the_passphrase_comes_from_the_environment(
    project: Folder,
    command: Commands,
    registry: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key that does not open stops publish before anything is pushed."""
    private, public = key_pair(tmp_path / "locked", passphrase="sesame")
    assert command(project, "run", GOOD).code == 0
    shown = publish(project, command, registry, private, GOOD)
    assert shown.is_refusal(2, "it is encrypted", "ENVMATRIX_SIGN_PASSPHRASE")
    assert registry.requests == []
    monkeypatch.setenv("ENVMATRIX_SIGN_PASSPHRASE", "sesame")
    shown = publish(project, command, registry, private, GOOD)
    assert shown.code == 0
    assert "sesame" not in shown.out + shown.err
    assert command(project, "inspect", IMAGE, "--key", str(public)).code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sign",), "--sign signs attestations, and none are attached"),
        (("--sign-key", "k"), "--sign-key signs attestations, and none are attached"),
        (("--sign-key", "k", "--sign", "--attestations"), "leave one of the two out"),
        (("--sign-key", "absent", "--attestations"), "it cannot be read"),
    ],
)
def test_options_of_publish_that_contradict_each_other(
    project: Folder, command: Commands, options: tuple[str, ...], told: str
) -> None:
    """Each is told before anything is asked."""
    shown = command(project, "publish", GOOD, "--registry", "127.0.0.1:9", *options)
    assert shown.is_refusal(2, told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--identity", "me"), "an identity counts only as its issuer proves it"),
        (("--issuer", "https://x.example"), "an identity counts only as its issuer proves it"),
        (("--identity", "me", "--issuer", "x", "--key", "k"), "expect two signers"),
        (("--key", "absent"), "it cannot be read"),
    ],
)
def test_options_of_inspect_that_contradict_each_other(
    project: Folder, command: Commands, fake: FakeEngine, options: tuple[str, ...], told: str
) -> None:
    """Each is told before the engine is asked."""
    assert command(project, "inspect", IMAGE, *options).is_refusal(2, told)


# --- identities ------------------------------------------------------------------------------

IDENTITY, ISSUER = "https://ci.example/team/publish.yml@refs/heads/main", "https://ci.example"


@pytest.fixture
def sigstore(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallSigstore]:
    """A sigstore of ours that answers, and a token in the environment."""
    pytest.importorskip("sigstore", reason="the extra sign is not installed")
    with SmallSigstore() as found:
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", found.token(IDENTITY, ISSUER))
        yield found
    assert found.errors == []


def test_an_identity_signs_and_is_verified(
    project: Folder,
    command: Commands,
    registry: FakeRegistry,
    sigstore: SmallSigstore,
    tmp_path: Path,
) -> None:
    """A workflow signs without a key. Who verifies names the workflow and who proves it."""
    project.write("trust.json", sigstore.trust_config())
    assert command(project, "run", GOOD).code == 0
    to = ("--registry", registry.host, "--attestations", "--sign", "--trust-config", "trust.json")
    shown = command(project, "publish", GOOD, *to)
    assert shown.code == 0, shown
    kept = bundles(registry.of("jinja2"), digest_of(project, GOOD))
    assert [one["mediaType"] for one in kept] == [BUNDLE] * 3
    trust = ("--trust-config", "trust.json")
    ask = ("inspect", IMAGE, *trust, "--issuer", ISSUER, "--identity")
    shown = command(project, *ask, IDENTITY)
    assert shown.code == 0, shown
    assert f"  signed:    verified, by {IDENTITY}, as {ISSUER} says\n" in shown.out
    shown = command(project, *ask, "https://ci.example/other.yml")
    assert (shown.code, shown.out.count(": wrong signer: Certificate's SANs")) == (3, 3)
    _, public = key_pair(tmp_path / "key")
    shown = command(project, "inspect", IMAGE, "--key", str(public))
    assert (shown.code, shown.out.count("an identity signed it, not a key")) == (3, 3)


def test_a_sigstore_that_refuses_ends_the_cell_and_not_the_run(
    project: Folder, command: Commands, registry: FakeRegistry, sigstore: SmallSigstore
) -> None:
    """The image is published, nothing is attached, and the next run goes on from there."""
    project.write("trust.json", sigstore.trust_config())
    assert command(project, "run", GOOD, OLD).code == 0
    to = ("--registry", registry.host, "--attestations", "--sign", "--trust-config", "trust.json")
    sigstore.status = 400
    shown = command(project, "publish", GOOD, OLD, *to)
    assert (shown.code, shown.out.count("the services of sigstore cannot be used")) == (3, 2)
    assert attached(registry.of("jinja2"), digest_of(project, GOOD)) == {}
    sigstore.status = 201
    assert command(project, "publish", GOOD, OLD, *to).code == 0
    assert len(attached(registry.of("jinja2"), digest_of(project, OLD))) == 3
