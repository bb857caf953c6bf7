"""Publishing images to a registry, pulling them from there, and telling what an image is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from fake_engine import FakeEngine
from fake_registry import FakeRegistry
from shown import Commands
from small_project import GOOD, IMPOSSIBLE, OLD, Folder

from envmatrix.engine import retries
from envmatrix.model.publications import read_publications

IMAGE = f"envmatrix/cell:{GOOD}"
CELL_TAG = GOOD.removeprefix("jinja2-")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A registry in which nothing goes wrong by itself; pauses are short."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    with FakeRegistry() as found:
        yield found
    assert found.errors == []


@pytest.fixture
def proven(project: Folder, command: Commands) -> Folder:
    """A project with evidence of its two cells, and their images."""
    assert command(project, "run", GOOD, OLD).code == 0
    return project


def published(project: Folder) -> dict[str, Any]:
    """Return what is noted as published, by cell."""
    found = json.loads(project.read("reports/published.json"))
    return {one["cell"]: one for one in found["images"]}


def layers_of(registry: FakeRegistry) -> list[dict[str, Any]]:
    """Return the layers of the latest image in a registry."""
    _, data = registry.of("jinja2").find("latest") or ("", b"{}")
    found: list[dict[str, Any]] = json.loads(data)["layers"]
    return found


# --- publish ---------------------------------------------------------------------------------


def test_publish_pushes_what_works(
    proven: Folder, command: Commands, registry: FakeRegistry, fake: FakeEngine
) -> None:
    """The image gets its immutable tag, the tag of its cell, of its version, and latest."""
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 0, shown
    noted = published(proven)[GOOD]
    tags = registry.of("jinja2").tags
    assert set(tags) == {noted["tag"], CELL_TAG, "3.1.6", "latest"}
    assert set(tags.values()) == {noted["digest"]}
    assert noted["tag"] == f"{CELL_TAG}-{noted['layers'][:12]}"
    assert noted["pushed"] == sum(one["size"] for one in layers_of(registry))
    assert "1 image published" in shown.out
    assert f"moved       tag jinja2:latest -> {GOOD}\n" in shown.out
    assert not [name for name in fake.images.names if registry.host in name]
    pull = f"docker run --rm -it --shm-size 1g {registry.host}/jinja2@{noted['digest']}"
    assert f"  pull:    {pull}\n" in command(proven, "explain", GOOD).out
    assert f"  pull:    {pull}\n" in command(proven, "recommend", "--no-host").out


def test_nothing_moves_twice(proven: Folder, command: Commands, registry: FakeRegistry) -> None:
    """What is there is not pushed again, also where the engine has no image any more."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    before = proven.read("reports/published.json")
    registry.requests.clear()
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 0
    assert shown.out.startswith(f"there       {registry.host}/jinja2:{CELL_TAG}-")
    assert registry.asked("P* *") == []
    assert proven.read("reports/published.json") == before


def test_a_dry_run_changes_nothing(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """It asks the registry, and tells what it would do."""
    shown = command(proven, "publish", GOOD, "--registry", registry.host, "--dry-run")
    assert shown.code == 0
    assert f"would push  {registry.host}/jinja2:{CELL_TAG}-" in shown.out
    assert "nothing was changed: 1 image would be published\n" in shown.out
    assert registry.asked("P* *") == []
    assert not (proven.root / "reports/published.json").exists()


def test_publish_as_json(proven: Folder, command: Commands, registry: FakeRegistry) -> None:
    """The document tells each cell and each tag. What is impossible is left out."""
    found = command(
        proven, "publish", GOOD, IMPOSSIBLE, "--registry", f"{registry.host}/team", "--json"
    ).document()
    assert [(one["id"], one["state"]) for one in found["cells"]] == [
        (GOOD, "pushed"),
        (IMPOSSIBLE, "left out"),
    ]
    assert found["cells"][0]["image"]["repository"] == "team/jinja2"
    assert {one["tag"]: one["state"] for one in found["tags"]} == {
        CELL_TAG: "moved",
        "3.1.6": "moved",
        "latest": "moved",
    }


def test_what_has_no_current_evidence_is_refused(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """A change of a probe makes evidence stale, and so does none at all."""
    proven.write(
        "scripts/probes/jinja2_render.py",
        proven.read("scripts/probes/jinja2_render.py") + "# changed\n",
    )
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 3
    assert f"refused     {GOOD}: there is no current evidence: the verdict of" in shown.out
    assert f"next: `envmatrix run {GOOD}`" in shown.out
    assert registry.asked("P* *") == []


def rewrite(project: Folder, **changes: object) -> None:
    """Change the evidence of the good cell."""
    name = f".envmatrix/cells/{GOOD}.json"
    project.write(name, json.dumps(json.loads(project.read(name)) | changes))


def test_what_is_partial_says_so_in_its_tags(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """It is published where that is asked, and is neither its version nor the latest."""
    rewrite(proven, verdict="partial", cause="no GPU here")
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.is_refusal(2, "it is partial (no GPU here), and --partial was not given")
    shown = command(proven, "publish", GOOD, "--registry", registry.host, "--partial")
    assert shown.code == 0, shown
    noted = published(proven)[GOOD]
    assert noted["tag"].startswith(f"{CELL_TAG}-partial-")
    assert set(registry.of("jinja2").tags) == {noted["tag"], f"{CELL_TAG}-partial"}
    assert f"held back   tag jinja2:3.1.6 -> {GOOD}: its answer is partial" in shown.out


def test_what_was_emulated_is_published_only_where_that_is_asked(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """Whether it works on a real machine of its architecture is not known."""
    rewrite(proven, emulated=True)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert (shown.code, "it was built and run under emulation" in shown.out) == (3, True)
    shown = command(proven, "publish", GOOD, "--registry", registry.host, "--emulated")
    assert shown.code == 0


def test_a_tag_of_a_cell_does_not_go_back_to_older_evidence(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """An older checkout publishes its image, and leaves the tags where they are."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    text = proven.read("reports/published.json")
    noted = json.loads(text)
    # The image there is another one, of evidence that is a year newer.
    _, data = registry.of("jinja2").find(noted["images"][0]["digest"]) or ("", b"")
    newer = registry.put("jinja2", CELL_TAG, {**json.loads(data), "annotations": {"by": "us"}})
    for one in noted["tags"]:
        if one["tag"] == CELL_TAG:
            one |= {"digest": newer, "evidence_at": "2031-01-01T00:00:00Z"}
    proven.write("reports/published.json", json.dumps(noted))
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 0
    assert f"held back   tag jinja2:{CELL_TAG}" in shown.out
    assert "newer evidence, of 2031-01-01" in shown.out
    assert registry.of("jinja2").tags[CELL_TAG] == newer


def test_the_page_tells_the_published_image(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """The page of the cell and the index hold the command, as long as the image is current."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    assert command(proven, "report", GOOD, "--out", "out", "--site").code == 0
    reference = f"{registry.host}/jinja2@{published(proven)[GOOD]['digest']}"
    assert reference in proven.read(f"out/site/cells/{GOOD}.html")
    assert f'"pull":"docker run --rm -it --shm-size 1g {reference}"' in proven.read(
        "out/site/index.html"
    )


def test_an_image_of_other_layers_than_its_evidence_is_refused(
    proven: Folder, command: Commands, registry: FakeRegistry, fake: FakeEngine
) -> None:
    """Somebody gave the name to another image, and the right one is gone."""
    fake.lose_image(IMAGE)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert (shown.code, "the engine has no image of it" in shown.out) == (3, True)
    fake.add_image(IMAGE, files={"etc/other": b"1"})
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert (shown.code, "has other layers than its evidence" in shown.out) == (3, True)
    assert registry.asked("P* *") == []


def test_where_nothing_can_be_published(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """To ask only for what does not work is an error of the user."""
    shown = command(proven, "publish", IMPOSSIBLE, "--registry", registry.host)
    assert shown.is_refusal(2, "nothing of this can be published", "it is impossible")


@pytest.mark.parametrize("given", ["team/ml", "https://host.example", "host.example/UP", "a b:1"])
def test_a_name_that_is_no_registry_is_refused(
    proven: Folder, command: Commands, given: str
) -> None:
    """A host has to be named, so that nothing goes to a registry by accident."""
    shown = command(proven, "publish", GOOD, "--registry", given)
    assert shown.is_refusal(2, "names no registry")


def test_an_immutable_tag_is_never_overwritten(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """Where it names other layers, that is an error, and nothing is pushed."""
    command(proven, "publish", GOOD, OLD, "--registry", registry.host)
    kept = registry.of("jinja2")
    good, old = (published(proven)[one]["tag"] for one in (GOOD, OLD))
    kept.tags[good] = kept.tags[old]
    registry.requests.clear()
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 3
    assert "another image under the immutable tag" in shown.out
    assert registry.asked("P* *") == []


def test_a_tag_that_somebody_else_moved_stays(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """The list of published images does not know it, so it may be newer."""
    command(proven, "publish", OLD, "--registry", registry.host)
    kept = registry.of("jinja2")
    _, data = kept.find(published(proven)[OLD]["digest"]) or ("", b"")
    theirs = registry.put("jinja2", "latest", {**json.loads(data), "annotations": {"by": "them"}})
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 3
    assert f"refused     tag jinja2:latest -> {GOOD}: somebody else moved it" in shown.out
    assert kept.tags["latest"] == theirs
    assert kept.tags["3.1.6"] == published(proven)[GOOD]["digest"]


def test_latest_never_goes_back(proven: Folder, command: Commands, registry: FakeRegistry) -> None:
    """It names the newest version; the tags of an older one move beside it."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    newest = registry.of("jinja2").tags["latest"]
    assert command(proven, "publish", OLD, "--registry", registry.host).code == 0
    assert registry.of("jinja2").tags["latest"] == newest
    assert registry.of("jinja2").tags["2.9.6"] == published(proven)[OLD]["digest"]
    (proven.root / ".envmatrix" / "cells" / f"{GOOD}.json").unlink()
    shown = command(proven, "publish", OLD, "--registry", registry.host)
    assert "held back   tag jinja2:latest" in shown.out
    assert "it names a newer version, 3.1.6" in shown.out
    assert registry.of("jinja2").tags["latest"] == newest


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ("HEAD /v2/*", 503),
        ("HEAD /v2/*/manifests/latest", 0),
        ("GET /v2/*/manifests/*", 429),
        ("GET /v2/*/manifests/*", 0),
        ("PUT /v2/*/manifests/*", 500),
        ("PUT /v2/*/manifests/latest", 502),
        ("PUT /v2/*/blobs/*", 0),
        ("PUT /v2/*/blobs/*", 429),
    ],
)
def test_a_fault_that_passes_costs_nothing(
    proven: Folder, command: Commands, registry: FakeRegistry, status: int, match: str
) -> None:
    """A cut connection, 429 and 5xx are tried again, in the engine's way and in ours."""
    registry.fail(match, status, times=2)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 0, shown
    assert "trying again in" in shown.err
    assert published(proven)[GOOD]["pushed"] > 0


def test_a_registry_that_asks_for_a_long_pause_is_not_waited_for(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """The user is told how long the registry asks to wait."""
    registry.fail("GET /v2/*/manifests/*", 429, {"Retry-After": "3600"}, times=None)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 3
    assert "wait 3600 s as the registry asks" in shown.out


def test_a_short_pause_is_kept(proven: Folder, command: Commands, registry: FakeRegistry) -> None:
    """Retry-After decides where it is given."""
    registry.fail("GET /v2/*/manifests/*", 429, {"Retry-After": "0"}, times=3)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert (shown.code, "trying again in 0 s, 3 of 4" in shown.err) == (0, True)


def test_a_second_run_goes_on_where_the_first_ended(
    proven: Folder, command: Commands, registry: FakeRegistry
) -> None:
    """A registry that fails for good ends the cell, and keeps what it has got."""
    registry.fail("PUT /v2/*/manifests/*", 500, times=None)
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert (shown.code, f"failed      {GOOD}: " in shown.out) == (3, True)
    assert not (proven.root / "reports/published.json").exists()
    registry.troubles.clear()
    registry.requests.clear()
    assert command(proven, "publish", GOOD, "--registry", registry.host).code == 0
    layers = layers_of(registry)
    again = {one.one("digest") for one in registry.asked("PUT /v2/*/blobs/*")}
    assert again.isdisjoint(one["digest"] for one in layers)


def test_a_registry_that_is_not_there(proven: Folder, command: Commands) -> None:
    """It is told apart from one that refuses."""
    shown = command(proven, "publish", GOOD, "--registry", "127.0.0.1:9")
    assert (shown.code, "the registry cannot be reached" in shown.out) == (3, True)


# --- credentials -----------------------------------------------------------------------------


def log_in(folder: Path, host: str, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the docker CLI be logged in to a registry."""
    folder.mkdir()
    config = {"auths": {host: {"auth": login}}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_the_login_of_docker_counts(
    proven: Folder,
    command: Commands,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tokens: bool,
) -> None:
    """Without a login the registry refuses, and the user is told to log in. Nothing is retried."""
    registry.users, registry.tokens = {"me": "secret-1"}, tokens
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 3
    assert f"`docker login {registry.host}`" in shown.out
    assert "trying again" not in shown.err
    log_in(proven.root / "docker", registry.host, "bWU6c2VjcmV0LTE=", monkeypatch)
    registry.tokens = False
    command(proven, "publish", GOOD, "--registry", registry.host)
    registry.tokens = tokens
    shown = command(proven, "publish", GOOD, "--registry", registry.host)
    assert shown.code == 0, shown
    assert "secret-1" not in proven.read("reports/published.json") + shown.out + shown.err


# --- pull ------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(
    proven: Folder, command: Commands, registry: FakeRegistry, fake: FakeEngine
) -> Folder:
    """The project after its cell was published, as a clone on another machine has it."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    assert command(proven, "report", "--out", "reports").code == 0
    fake.lose_image()
    for name in ("records", "cells"):
        for path in (proven.root / ".envmatrix" / name).rglob("*.json"):
            if path.parent.name not in ("lock", "interpreter"):
                path.unlink()
    return proven


def test_a_run_from_the_registry_only_probes(
    elsewhere: Folder, command: Commands, fake: FakeEngine
) -> None:
    """The image is pulled by its digest, nothing is built, and later runs build nothing either."""
    builds = len(fake.build_records)
    found = command(elsewhere, "run", GOOD, "--from-registry", "--json").document()
    (cell,) = found["cells"]
    assert (cell["verdict"], cell["base"]["origin"]) == ("works", "pull")
    assert (cell["seconds"]["build"], cell["seconds"]["base"]) == (None, None)
    assert len(fake.build_records) == builds
    assert fake.images.find(IMAGE) is not None
    shown = command(elsewhere, "run", GOOD)
    assert "nothing built, nothing probed" in shown.out
    assert len(fake.build_records) == builds


def test_a_run_that_prunes_removes_what_it_pulled(
    elsewhere: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A matrix that is larger than the disk can be probed from a registry, too."""
    assert command(elsewhere, "run", GOOD, "--from-registry", "--prune").code == 0
    assert fake.images.by_id == {}
    assert command(elsewhere, "plan", GOOD).out.startswith("✓ works")


def test_a_run_from_the_registry_builds_what_is_not_there(
    elsewhere: Folder, command: Commands, fake: FakeEngine
) -> None:
    """A cell that was never published is built, and that is told."""
    shown = command(elsewhere, "run", GOOD, OLD, "--from-registry")
    assert shown.code == 0, shown
    assert f"built, since no image as it would be now is published: {OLD}" in shown.err
    assert "2 images built, 1 pulled, 4 probes run" in shown.out


def test_what_would_be_built_otherwise_now_is_not_pulled(
    elsewhere: Folder, command: Commands
) -> None:
    """A change of the Dockerfile makes the published image another one; a probe does not."""
    elsewhere.write(
        "scripts/probes/jinja2_render.py",
        elsewhere.read("scripts/probes/jinja2_render.py") + "# changed\n",
    )
    assert command(elsewhere, "pull", GOOD).code == 0
    elsewhere.write("templates/frameworks/jinja2.j2", "RUN true\n")
    shown = command(elsewhere, "pull", GOOD)
    assert shown.is_refusal(2, "no image of", "not what would be built now")


def test_pull(elsewhere: Folder, command: Commands, fake: FakeEngine) -> None:
    """The image gets its local name, and is recorded."""
    shown = command(elsewhere, "pull", GOOD)
    assert (shown.code, shown.out) == (
        0,
        f"start it: docker run --rm -it --pull never --shm-size 1g {IMAGE}\n",
    )
    image = fake.images.find(IMAGE)
    assert image is not None
    assert image.id not in fake.images.digests.values()
    found = command(elsewhere, "pull", GOOD, "--json").document()
    assert found["cells"][0]["layers"] == list(image.diff_ids)
    assert command(elsewhere, "pull", OLD).is_refusal(2, "it was never published")
    shown = command(elsewhere, "pull", GOOD, "--registry", "other.example:5000")
    assert shown.is_refusal(2, "can be pulled in other.example:5000")


def test_a_forged_image_is_refused_and_removed(
    elsewhere: Folder, command: Commands, registry: FakeRegistry, fake: FakeEngine
) -> None:
    """Its layers are not those of the evidence, whatever published.json says of it."""
    fake.add_image(f"{registry.host}/jinja2:forged", files={"etc/evil": b"1"})
    client = APIClient(base_url=fake.url, version="auto")
    client.push(f"{registry.host}/jinja2", "forged")
    client.close()
    fake.lose_image(f"{registry.host}/*")
    forged = registry.of("jinja2").tags["forged"]
    text = elsewhere.read("reports/published.json")
    elsewhere.write(
        "reports/published.json", text.replace(published(elsewhere)[GOOD]["digest"], forged)
    )
    shown = command(elsewhere, "pull", GOOD)
    assert shown.is_refusal(3, "is not that of its evidence")
    assert fake.images.by_id == {}
    shown = command(elsewhere, "run", GOOD, "--from-registry")
    assert (shown.code, "is not that of its evidence" in shown.out) == (3, True)


def test_a_damaged_list_is_an_error(elsewhere: Folder, command: Commands) -> None:
    """It is told where it is damaged. Nothing from it becomes a command."""
    text = elsewhere.read("reports/published.json")
    elsewhere.write("reports/published.json", text.replace('"jinja2"', '"x; rm -rf /"'))
    shown = command(elsewhere, "explain", GOOD)
    assert shown.is_refusal(2, "damaged at images.0.repository", "git checkout")


def test_fresh_and_from_registry_contradict_each_other(
    elsewhere: Folder, command: Commands
) -> None:
    """One builds everything, the other nothing."""
    shown = command(elsewhere, "run", GOOD, "--fresh", "--from-registry")
    assert shown.is_refusal(2, "leave one of the two out")


# --- inspect ---------------------------------------------------------------------------------


def test_inspect(proven: Folder, command: Commands, registry: FakeRegistry) -> None:
    """It tells the cell, its evidence, where it is published, and that it can be rebuilt."""
    command(proven, "publish", GOOD, "--registry", registry.host)
    shown = command(proven, "inspect", IMAGE)
    assert shown.code == 0
    assert shown.out.startswith(f"{GOOD}\n  evidence:  works on ")
    assert f"  published: {registry.host}/jinja2@sha256:" in shown.out
    assert f"  rebuild:   `envmatrix verify {GOOD}` builds it anew and compares\n" in shown.out
    found = command(proven, "inspect", IMAGE, "--json").document()
    assert (found["schema"], found["cell"], found["rebuildable"]) == (1, GOOD, True)
    assert found["evidence"]["lock"] == found["lock"]


def test_inspect_of_what_only_says_to_be_ours(
    proven: Folder, command: Commands, fake: FakeEngine
) -> None:
    """Labels prove nothing: without evidence of its layers that is told."""
    labels = {"Labels": {"io.envmatrix.cell": GOOD, "io.envmatrix.lock": "\x1b[31mforged"}}
    fake.add_image("forged:1", files={"a": b"1"}, config=labels)
    shown = command(proven, "inspect", "forged:1")
    assert "none has these layers, so only its labels say what it is" in shown.out
    assert "not as it is: no evidence says from which lock" in shown.out
    assert "\x1b" not in shown.out
    fake.add_image("other:1", files={"a": b"2"})
    assert "no image of envmatrix" in command(proven, "inspect", "other:1").out
    assert command(proven, "inspect", "absent:1").is_refusal(3, "the engine has no image")


def test_inspect_of_what_has_changed(proven: Folder, command: Commands) -> None:
    """What would be built now is named where it is another image."""
    proven.write("templates/frameworks/jinja2.j2", "RUN true\n")
    shown = command(proven, "inspect", IMAGE)
    assert "rebuild:   not as it is: these have changed here: dockerfile\n" in shown.out


def test_a_file_that_is_not_there_publishes_nothing(tmp_path: Path) -> None:
    """Most projects have none."""
    assert read_publications(tmp_path / "published.json").images == ()


# --- documents beside images -----------------------------------------------------------------


@pytest.mark.parametrize("referrers", [True, False], ids=["referrers", "fallback tag"])
def test_documents_are_attached_once(
    proven: Folder, command: Commands, registry: FakeRegistry, referrers: bool
) -> None:
    """SBOM, provenance and test results refer to the image. A second run attaches none again."""
    registry.referrers = referrers
    for _ in range(2):
        asked = ("publish", GOOD, "--registry", registry.host, "--attestations")
        assert command(proven, *asked).code == 0
    image = published(proven)[GOOD]["digest"]
    kept = registry.of("jinja2")
    attached = [
        fields
        for _, data in kept.manifests.values()
        if (fields := json.loads(data)).get("subject", {}).get("digest") == image
    ]
    assert sorted(one["artifactType"] for one in attached) == [
        "application/vnd.cyclonedx+json",
        "application/vnd.in-toto+json",
        "application/vnd.in-toto+json",
    ]
    (sbom,) = (one for one in attached if "cyclonedx" in one["artifactType"])
    held = json.loads(kept.blobs[sbom["layers"][0]["digest"]])
    assert held["metadata"]["component"]["hashes"][0]["content"] == image.removeprefix("sha256:")
    fallback = kept.find(image.replace(":", "-"))
    assert (fallback is None) is referrers
    if fallback:
        assert len(json.loads(fallback[1])["manifests"]) == 3


def test_report_writes_the_documents(proven: Folder, command: Commands) -> None:
    """They lie in the folder of the report, for what has an image, and go with the cell."""
    shown = command(proven, "report", GOOD, IMPOSSIBLE, "--out", "out", "--attestations")
    assert shown.code == 0
    assert "attestations of 1 image: out/attestations/\n" in shown.err
    folder = proven.root / "out" / "attestations"
    ends = ("cdx.json", "provenance.json", "test-result.json")
    assert sorted(path.name for path in folder.iterdir()) == [f"{GOOD}.{end}" for end in ends]
    command(proven, "report", OLD, "--out", "out", "--attestations")
    assert sorted(path.name for path in folder.iterdir()) == [f"{OLD}.{end}" for end in ends]
