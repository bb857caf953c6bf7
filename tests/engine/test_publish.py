"""Images go to a real registry and come back from there, on a real engine.

The registry is the one that Debian packages. It knows no referrers, so documents that are attached
to an image get the fallback tag.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import trustme
from conftest import Folder, published
from keys import key_pair
from registry import Secured, serve_images
from small_project import GOOD

from envmatrix.engine.client import Engine

USER, PASSWORD = "team", "not-secret-1"
TAG = GOOD.removeprefix("jinja2-")


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secured:
    """A certificate of an authority that this test trusts, and a user whom nobody logged in."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ours = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(ours)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ours))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return Secured(chain, key, USER, PASSWORD)


def test_an_image_goes_to_a_registry_and_comes_back(
    proven: Folder, engine: Engine, tmp_path: Path
) -> None:
    """Nothing is pushed twice, the image that comes back has the same layers, and is not built."""
    name = f"envmatrix/cell:{GOOD}"
    before = engine.images.find(name)
    assert before is not None
    with serve_images(tmp_path / "registry") as registry:
        publish = ("publish", "-p", "good", "--registry", f"{registry}/team", "--attestations")
        done = proven.run(*publish)
        assert done.returncode == 0, done.stdout + done.stderr
        image = published(proven, registry)
        assert image["pushed"] > 1_000_000
        kept = tmp_path / "registry/images/docker/registry/v2/repositories/team/jinja2/_manifests"
        tags = {path.name for path in (kept / "tags").iterdir()}
        fallback = image["digest"].replace(":", "-")
        assert tags == {image["tag"], TAG, "3.1.6", "latest", fallback}
        again = proven.run(*publish, "--json")
        assert again.returncode == 0, again.stderr
        assert [one["state"] for one in json.loads(again.stdout)["cells"]] == ["there"]
        assert engine.images.find(f"{registry}/team/jinja2:{image['tag']}") is None

        engine.images.remove(before.id)
        assert engine.images.find(name) is None
        code, cells = proven.run_json("run", "-p", "good", "--from-registry")
        assert code == 0
        cell = cells[GOOD]
        assert (cell["verdict"], cell["seconds"]["build"]) == ("works", None)
        assert cell["base"]["origin"] == "bootstrap"
        after = engine.images.find(name)
        assert after is not None
        assert after.layers == before.layers
        assert not any(registry in name for name in after.repo_digests)
    shown = proven.run("inspect", name)
    assert (shown.returncode, "  evidence:  works on " in shown.stdout) == (0, True)


def test_a_registry_that_is_encrypted_and_asks_for_a_login(
    proven: Folder, secured: Secured, tmp_path: Path
) -> None:
    """The login and the certificates of the user count; without a login the next step is told."""
    with serve_images(tmp_path / "registry", secured) as registry:
        publish = ("publish", "-p", "good", "--registry", registry)
        done = proven.run(*publish)
        assert (done.returncode, f"`docker login {registry}`" in done.stdout) == (3, True)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config = tmp_path / "docker" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {registry: {"auth": login}}}), encoding="utf-8")
        done = proven.run(*publish)
        assert done.returncode == 0, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        assert published(proven, registry)["repository"] == "jinja2"
        done = proven.run("pull", GOOD, "--registry", registry)
        assert done.returncode == 0, done.stderr


def test_signed_attestations_are_verified_where_the_image_came_from(
    proven: Folder, engine: Engine, tmp_path: Path
) -> None:
    """Published signed, pulled, inspected: good for this key, for no other, and not once altered.

    This registry knows no referrers, so the bundles are found by the fallback tag.
    """
    ours, public = key_pair(tmp_path / "ours")
    _, other = key_pair(tmp_path / "other", "Ed25519")
    name = f"envmatrix/cell:{GOOD}"
    with serve_images(tmp_path / "registry") as registry:
        signed = ("--registry", f"{registry}/team", "--attestations", "--sign-key", str(ours))
        for _ in range(2):
            done = proven.run("publish", "-p", "good", *signed)
            assert done.returncode == 0, done.stdout + done.stderr
        assert len(list((tmp_path / "registry").rglob("revisions/sha256/*"))) == 2 + 3 + 2
        done = proven.run("pull", GOOD, "--registry", registry)
        assert done.returncode == 0, done.stderr
        good = proven.run("inspect", name, "--key", str(public), "--json")
        assert good.returncode == 0, good.stderr
        found = json.loads(good.stdout)["signatures"]
        assert found["image"] == f"{registry}/team/jinja2@{published(proven, registry)['digest']}"
        assert [one["state"] for one in found["documents"]] == ["verified"] * 3
        wrong = proven.run("inspect", name, "--key", str(other))
        assert (wrong.returncode, wrong.stdout.count(": wrong signer: ")) == (3, 3)
    gone = proven.run("inspect", name, "--key", str(public))
    assert (gone.returncode, "the registry cannot be reached" in gone.stderr) == (3, True)
