"""Images: to find, pull, import, name, read and remove them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from fake_engine import (
    ConnectionDropped,
    DiskFull,
    FakeEngine,
    FakeImage,
    ImageLost,
    PullRefused,
    Refuses,
    Vanishes,
)
from fake_engine_images import make_tar, sha256

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.layerdiff import EMPTY, entries
from envmatrix.model.errors import EngineError

DIGEST = "sha256:" + "7" * 64


# --- to find an image ------------------------------------------------------------------------


def test_an_image_is_found_by_name_and_by_id(fake: FakeEngine, engine: Engine) -> None:
    """Layers, size and all names are those of the engine."""
    made = fake.add_image("envmatrix/cell:one", "envmatrix/cell:two", size=12_345)
    expected = Image(made.id, made.diff_ids, 12_345, ("envmatrix/cell:one", "envmatrix/cell:two"))
    assert expected == engine.images.find("envmatrix/cell:one")
    assert expected == engine.images.find(made.id)
    assert expected == engine.images.get("envmatrix/cell:two")


def test_an_image_without_layers_and_names_is_found(fake: FakeEngine, engine: Engine) -> None:
    """The engine says null for both."""
    made = fake.images.add(FakeImage((), {}))
    assert Image(made.id, (), 0) == engine.images.find(made.id)


def test_an_image_that_is_not_there_is_none_or_lost(engine: Engine) -> None:
    """`find` gives None; `get` is for an image that the engine must have, so it raises."""
    assert engine.images.find("envmatrix/cell:gone") is None
    with pytest.raises(EngineError) as caught:
        engine.images.get("envmatrix/cell:gone")
    assert caught.value.what == "the engine lost the image envmatrix/cell:gone"
    assert caught.value.where == "look up the image envmatrix/cell:gone"
    assert "no other program removes images" in caught.value.next_step


# --- pulls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("debian", "debian", "latest"),
        ("debian:12-slim", "debian", "12-slim"),
        ("team/python:3.11", "team/python", "3.11"),
        ("registry.example/team/python:3.11", "registry.example/team/python", "3.11"),
        ("registry.example:5000/python", "registry.example:5000/python", "latest"),
        ("registry.example:5000/python:3.11", "registry.example:5000/python", "3.11"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c", "1"),
        (f"debian@{DIGEST}", "debian", DIGEST),
        (f"registry.example:5000/python@{DIGEST}", "registry.example:5000/python", DIGEST),
        (f"debian:12-slim@{DIGEST}", "debian:12-slim", DIGEST),
    ],
)
def test_a_pull_asks_for_exactly_the_image_of_the_reference(
    fake: FakeEngine, engine: Engine, reference: str, repository: str, tag: str
) -> None:
    """The port of a registry is no tag, and a digest takes the place of the tag."""
    fake.pullable = ["*"]
    image = engine.images.pull(reference)

    (asked,) = fake.asked("POST /images/create")
    assert (asked.one("fromImage"), asked.one("tag")) == (repository, tag)
    assert image == engine.images.find(reference)


@pytest.mark.parametrize("in_stream", [False, True])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "unauthorized: incorrect username or password"),
        (403, "denied: requested access to the resource is denied"),
        (404, "manifest unknown"),
        (429, "toomanyrequests"),
        (500, "500 Internal Server Error"),
    ],
)
def test_a_refused_pull_repeats_the_words_of_the_registry(
    fake: FakeEngine, engine: Engine, status: int, words: str, in_stream: bool
) -> None:
    """The engine may tell the refusal as its status, or in an answer that began well."""
    fake.fail(PullRefused(status, in_stream=in_stream))
    with pytest.raises(EngineError) as caught:
        engine.images.pull("debian:12-slim")
    assert caught.value.what.startswith("debian:12-slim cannot be pulled: ")
    assert words in caught.value.what
    assert caught.value.where == "pull debian:12-slim"
    assert "docker login" in caught.value.next_step
    assert engine.images.find("debian:12-slim") is None


def test_a_full_disk_ends_a_pull_with_its_own_words(fake: FakeEngine, engine: Engine) -> None:
    """The words let the caller see that the disk is full."""
    fake.fail(DiskFull("pull"))
    with pytest.raises(EngineError, match="no space left on device"):
        engine.images.pull("debian:12-slim")


def test_an_engine_that_goes_away_during_a_pull_is_told(fake: FakeEngine, engine: Engine) -> None:
    """The image is not to blame."""
    fake.fail(Vanishes("POST /images/create"))
    with pytest.raises(EngineError) as caught:
        engine.images.pull("debian:12-slim")
    assert caught.value.what == "no Docker engine answers"
    assert caught.value.where == "pull debian:12-slim"


def test_an_image_that_is_lost_after_its_pull_is_told(fake: FakeEngine, engine: Engine) -> None:
    """Something else may remove an image between two of our requests."""
    fake.fail(ImageLost("POST /images/create"))
    with pytest.raises(EngineError, match="the engine lost the image debian:12-slim"):
        engine.images.pull("debian:12-slim")


# --- imports ---------------------------------------------------------------------------------


def test_an_imported_tar_becomes_an_image_of_one_layer(
    fake: FakeEngine, engine: Engine, tmp_path: Path
) -> None:
    """The image has the name, and its layer is the tar, byte for byte."""
    root = tmp_path / "root.tar"
    root.write_bytes(make_tar({"etc/hostname": b"x"}))
    image = engine.images.import_tar(root, "envmatrix/os:debian12")

    assert image.layers == (sha256(root.read_bytes()),)
    assert image.names == ("envmatrix/os:debian12",)


def test_an_import_that_fails_is_told(fake: FakeEngine, engine: Engine, tmp_path: Path) -> None:
    """The error names the file and repeats the words of the engine."""
    root = tmp_path / "root.tar"
    root.write_bytes(make_tar({}))
    fake.fail(DiskFull("import"))
    with pytest.raises(EngineError, match="no space left on device") as caught:
        engine.images.import_tar(root, "envmatrix/os:debian12")
    assert caught.value.where == "import root.tar"


def test_an_image_of_another_architecture_is_loaded(engine: Engine, tmp_path: Path) -> None:
    """It tells its architecture, and its layer has the diff id that an import would give it."""
    root = tmp_path / "root.tar"
    root.write_bytes(make_tar({"etc/hostname": b"x"}))
    image = engine.images.load_tar(root, "envmatrix/os:debian12-arm64", "arm64")

    assert engine.images.architecture(image) == "arm64"
    assert image.layers == (sha256(root.read_bytes()),)
    assert image.names == ("envmatrix/os:debian12-arm64",)
    again = engine.images.load_tar(root, "envmatrix/verify:debian12-arm64", "arm64")
    assert again.id != image.id
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [root]


def test_a_load_that_fails_is_told(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine tells a failure within its answer, too."""
    root = tmp_path / "root.tar"
    root.write_bytes(make_tar({}))
    events = [{"stream": "Loading"}, {"error": "no space left on device"}]
    monkeypatch.setattr(engine.connection.client, "load_image", lambda _: iter(events))
    with pytest.raises(EngineError, match="no space left on device") as caught:
        engine.images.load_tar(root, "envmatrix/os:debian12-arm64", "arm64")
    assert (caught.value.where, caught.value.kind) == ("load root.tar", "disk-full")


# --- names -----------------------------------------------------------------------------------


def test_a_tag_moves_to_the_image_that_is_given(fake: FakeEngine, engine: Engine) -> None:
    """An image that has the name already loses it."""
    old, new = fake.add_image("envmatrix/cell:a"), fake.add_image("envmatrix/cell:b")
    found = engine.images.get(new.id)
    engine.images.tag(found, "envmatrix/cell:a")

    assert engine.images.get("envmatrix/cell:a").id == new.id
    assert engine.images.get(old.id).names == ()


def test_a_tag_on_an_image_that_is_lost_is_told(engine: Engine) -> None:
    """The error names the tag."""
    with pytest.raises(EngineError, match="No such image") as caught:
        engine.images.tag(Image(DIGEST, (), 0), "envmatrix/cell:a")
    assert caught.value.where == "tag envmatrix/cell:a"


def test_names_are_those_that_match_the_pattern(fake: FakeEngine, engine: Engine) -> None:
    """A `*` matches no slash, so `*` alone gives only names without one."""
    fake.add_image("envmatrix/cell:torch-1", "envmatrix/cell:jinja2-1", "local:1")
    fake.add_image()
    images = engine.images
    assert images.names("envmatrix/cell:torch-*") == {"envmatrix/cell:torch-1"}
    assert images.names("envmatrix/*") == {"envmatrix/cell:torch-1", "envmatrix/cell:jinja2-1"}
    assert images.names("*") == {"local:1"}
    assert images.names("other/*") == frozenset()


def test_names_that_cannot_be_listed_are_told(fake: FakeEngine, engine: Engine) -> None:
    """Nothing is taken for an empty list."""
    fake.fail(Refuses("GET /images/json", 500, "the store is damaged"))
    with pytest.raises(EngineError, match="the store is damaged") as caught:
        engine.images.names("envmatrix/*")
    assert caught.value.where == "list images"


# --- removal ---------------------------------------------------------------------------------


def test_a_removed_image_is_gone(fake: FakeEngine, engine: Engine) -> None:
    """It is removed by name or by id; another image stays."""
    fake.add_image("envmatrix/cell:a")
    nameless, kept = fake.add_image(files={"a": b""}), fake.add_image("envmatrix/cell:b")
    engine.images.remove("envmatrix/cell:a")
    engine.images.remove(nameless.id)

    assert set(fake.images.by_id) == {kept.id}


def test_an_image_with_two_names_survives_its_removal_by_id(
    fake: FakeEngine, engine: Engine
) -> None:
    """Somebody still uses it under its names."""
    image = fake.add_image("envmatrix/cell:a", "mine:1")
    engine.images.remove(image.id)

    assert engine.images.get("mine:1").id == image.id


def test_a_removal_that_fails_raises_nothing(fake: FakeEngine, engine: Engine) -> None:
    """An image that stays does no harm, whatever keeps it."""
    image = fake.add_image("envmatrix/cell:a")
    fake.add_container(image)
    engine.images.remove("envmatrix/cell:gone")
    engine.images.remove(image.id)
    fake.fail(ConnectionDropped("DELETE /images/*"))
    engine.images.remove("envmatrix/cell:a")
    fake.fail(Vanishes("DELETE /images/*"))
    engine.images.remove("envmatrix/cell:a")
    fake.come_back()

    assert engine.images.get("envmatrix/cell:a").id == image.id
    assert not fake.asked("POST /build/prune")


# --- what is in an image ---------------------------------------------------------------------


def test_the_configuration_leaves_out_what_differs_between_two_builds(
    fake: FakeEngine, engine: Engine
) -> None:
    """Ids of other images, notes about the build and empty fields do not say what an image is."""
    built = {"Image": "sha256:12", "Hostname": "abc", "Domainname": "", "ArgsEscaped": True}
    fake.add_image(
        "envmatrix/cell:a",
        config={**built, "User": "65532", "Labels": None, "WorkingDir": ""},
        architecture="arm64",
    )
    assert engine.images.get("envmatrix/cell:a").config == {
        "architecture": "arm64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/bin:/bin"],
            "Cmd": ["sh"],
            "User": "65532",
            "WorkingDir": "",
        },
    }


def test_the_history_of_an_image_begins_with_its_first_instruction(
    fake: FakeEngine, engine: Engine
) -> None:
    """Each instruction comes with the bytes that it added."""
    layers = make_tar({"a": b"1"}), make_tar({"b": b"2" * 20_000})
    image = fake.images.add(FakeImage(layers, history=("import", "RUN b")))
    first, second = map(len, layers)
    assert engine.images.history(image.id) == [("import", first), ("RUN b", second)]


def test_a_history_that_cannot_be_had_is_told(engine: Engine) -> None:
    """The error names the image."""
    with pytest.raises(EngineError, match="No such image"):
        engine.images.history("envmatrix/cell:gone")


def test_the_layers_of_an_image_can_be_read(
    fake: FakeEngine, engine: Engine, tmp_path: Path
) -> None:
    """The lowest layer comes first, each is a tar, and nothing stays in the folder."""
    layers = make_tar({"etc/os-release": b"NAME=x\n"}), make_tar({"opt/a": b"1", "opt/b": b"2"})
    image = fake.images.add(FakeImage(layers, {}))
    folder = tmp_path / "state" / "layers"

    with engine.images.layers(image.id, folder) as found:
        assert [sorted(entries(layer)) for layer in found] == [
            ["/etc/os-release"],
            ["/opt/a", "/opt/b"],
        ]
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_equal_layers_are_read_twice(fake: FakeEngine, engine: Engine, tmp_path: Path) -> None:
    """An image may hold one layer twice, and the empty layer has a diff id that we know."""
    empty = b"\0" * 1024
    image = fake.images.add(FakeImage((empty, empty), {}))
    with engine.images.layers(image.id, tmp_path) as found:
        assert [layer.read() for layer in found] == [empty, empty]
    assert engine.images.get(image.id).layers == (EMPTY, EMPTY)


def test_an_image_that_cannot_be_saved_is_told(
    fake: FakeEngine, engine: Engine, tmp_path: Path
) -> None:
    """The error names the image, and nothing stays in the folder."""
    with pytest.raises(EngineError) as caught, engine.images.layers("gone:1", tmp_path / "a"):
        pass
    assert caught.value.where == "save the image gone:1"
    assert list((tmp_path / "a").iterdir()) == []


def test_a_saved_image_of_an_older_engine_is_read(
    fake: FakeEngine, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest says where the layers are; older engines have a folder for each."""
    buffer = io.BytesIO()
    layer = make_tar({"a": b""})
    manifest = json.dumps([{"Layers": ["abc/layer.tar"]}]).encode()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("abc/layer.tar", layer), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    saved = buffer.getvalue()
    monkeypatch.setattr(
        engine.connection.client, "get_image", lambda _: iter([saved[:100], saved[100:]])
    )
    with engine.images.layers("old:1", tmp_path) as found:
        assert [layer] == [one.read() for one in found]


# --- digests of a registry -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("debian:12-slim", "debian"),
        ("debian", "debian"),
        ("docker.io/library/debian:12-slim", "debian"),
        ("index.docker.io/debian", "docker.io/library/debian"),
        ("registry:5000/os/debian:12", "registry:5000/os/debian"),
        ("registry:5000/debian", "registry:5000/debian"),
        (f"debian@{DIGEST}", "debian"),
        (f"registry:5000/debian:12@{DIGEST}", "registry:5000/debian"),
    ],
)
def test_the_digests_of_a_reference_are_those_of_its_repository(reference: str, name: str) -> None:
    """Engines shorten the names of repositories; tags and ports do not count."""
    other = f"sha256:{'1' * 64}"
    known = (f"{name}@{DIGEST}", f"mirror/other@{other}", f"{name}@{other}")
    assert (other, DIGEST) == Image("sha256:x", (), 1, (), known).digests_of(reference)
    assert Image("sha256:x", (), 1).digests_of(reference) == ()


def test_a_pulled_image_tells_its_digest(fake: FakeEngine, engine: Engine) -> None:
    """The engine keeps the digest by which the registry gave the image."""
    image = engine.images.pull("debian:12-slim")
    assert (fake.digest_of("debian:12-slim"),) == image.digests_of("debian:12-slim")


# --- the instructions of layers --------------------------------------------------------------


def test_a_saved_image_tells_the_instruction_of_each_layer(
    fake: FakeEngine, engine: Engine, tmp_path: Path
) -> None:
    """Layers and instructions have the same order; without a history nothing is told."""
    layers = make_tar({"a": b""}), make_tar({"b": b""})
    told = fake.images.add(FakeImage(layers, history=("ADD a /", "RUN b")))
    with engine.images.saved(told.id, tmp_path) as saved:
        assert saved.steps == ["ADD a /", "RUN b"]
        assert [name[1:] for layer in saved.layers for name in entries(layer)] == ["a", "b"]
    mute = fake.images.add(FakeImage(layers, history=("RUN b",)))
    with engine.images.saved(mute.id, tmp_path) as saved:
        assert saved.steps == ["", ""]
