"""The fake engine, proved against docker-py itself."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import DeviceRequest
from fake_engine import (
    AttachDropped,
    BuildWithoutImage,
    ConnectionDropped,
    DiskFull,
    Exit,
    Facts,
    FakeEngine,
    Fault,
    ImageLost,
    Killed,
    PullRefused,
    Refuses,
    RunRequest,
    Slow,
    StartRefused,
    StepFails,
    StepTakes,
    UnstableLayer,
    Vanishes,
    VanishesMidBuild,
    VanishesMidRun,
)
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError as TransportError

DOCKERFILE = """\
# what is built
ARG BASE=debian:12-slim
FROM ${BASE}
ARG WHEEL=jinja2
ENV LANG=C.UTF-8 \\
    VIRTUAL_ENV=/opt/venv
# /dev/shm/envmatrix
RUN touch /dev/shm/envmatrix \\
    # a comment between
    && pip install ${WHEEL}
COPY etc /etc/
USER 1000
WORKDIR /home/user
CMD ["python"]
LABEL io.example="yes"
"""
FILES = {"Dockerfile": DOCKERFILE, "etc/a": "one", "etc/b": "two"}
PROBE = '# /// probe\n# name = "jinja2-import"\n# ///\nprint()\n'


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    """An engine in which nothing goes wrong by itself, and which no test may break."""
    with FakeEngine() as engine:
        yield engine
    assert engine.errors == []


@pytest.fixture
def api(fake: FakeEngine) -> Iterator[docker.APIClient]:
    """A client of docker-py's, as the package makes it."""
    with closing(docker.APIClient(base_url=fake.url, version="auto", timeout=10)) as client:
        yield client


def context(files: dict[str, str]) -> io.BytesIO:
    """Return a build context of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    buffer.seek(0)
    return buffer


def build_classic(api: docker.APIClient, **options: Any) -> list[dict[str, Any]]:
    """Build with the classic builder; return the events."""
    return list(
        api.build(
            fileobj=context(options.pop("files", FILES)),
            custom_context=True,
            decode=True,
            **options,
        )
    )


def build_with_buildkit(
    api: docker.APIClient, build_id: str = "one", **query: str
) -> list[dict[str, Any]]:
    """Build with BuildKit and without a session, in two requests; return the events."""
    url = f"{api.base_url}/v{api.api_version}/build"
    common = {"version": "2", "remote": "upload-request"}

    def hand_in() -> None:
        upload = {**common, "buildid": f"upload-request:{build_id}"}
        with suppress(RequestException):  # the engine may vanish before it answers
            api.post(url, params=upload, data=context(FILES)).close()

    thread = threading.Thread(target=hand_in)
    thread.start()
    try:
        answer = api.post(url, params={**common, "buildid": build_id, **query}, stream=True)
        with closing(answer):
            lines = list(answer.iter_lines())
    finally:
        thread.join()
    return [json.loads(line) for line in lines]


def image_id(events: list[dict[str, Any]]) -> str:
    """Return the id of the image that a build told."""
    return next(
        str(event["aux"]["ID"])
        for event in events
        if isinstance(event.get("aux"), dict) and "ID" in event["aux"]
    )


def layers(api: docker.APIClient, image: str) -> list[str]:
    """Return the diff ids of an image."""
    found = api.inspect_image(image)  # type: ignore[no-untyped-call]
    return list(found["RootFS"]["Layers"])


def run(api: docker.APIClient, image: str, **options: Any) -> tuple[dict[str, Any], str, str]:
    """Run a probe as the package does; return the state at the end and the output."""
    created = api.create_container(
        image,
        ["python", "-c", "START", "jinja2_import", PROBE],
        environment={"ENVMATRIX_NONCE": "abc"},
        **options,
    )
    output = api.attach(created["Id"], stream=True, demux=True)
    try:
        api.start(created["Id"])
        parts = list(output)
        while api.inspect_container(created["Id"])["State"]["Running"]:
            time.sleep(0.01)
    finally:
        output.close()
    state = api.inspect_container(created["Id"])["State"]
    return (
        state,
        b"".join(out for out, _ in parts if out).decode(),
        b"".join(err for _, err in parts if err).decode(),
    )


# --- images and builds


def test_an_engine_says_what_it_is(fake: FakeEngine, api: docker.APIClient) -> None:
    """The facts may change at any time; the version of the API is negotiated."""
    fake.facts = Facts(api="1.47", architecture="aarch64", nvidia=True)

    assert api.ping()
    assert api.api_version == "1.47"
    assert api.info()["Architecture"] == "aarch64"
    assert "nvidia" in api.info()["Runtimes"]
    assert fake.asked("GET /info")[0].api == "1.47"


def test_a_pulled_image_has_its_name(fake: FakeEngine, api: docker.APIClient) -> None:
    """An image is not there, is pulled, and is there; what nobody serves stays unknown."""
    with pytest.raises(ImageNotFound):
        api.inspect_image("debian:12-slim")  # type: ignore[no-untyped-call]
    events = list(api.pull("debian", tag="12-slim", stream=True, decode=True))

    assert not any("error" in event for event in events)
    found = api.inspect_image("debian:12-slim")  # type: ignore[no-untyped-call]
    assert found["RepoTags"] == ["debian:12-slim"]
    with pytest.raises(NotFound):
        api.pull("nobody", tag="1")


def test_both_builders_give_the_same_layers(fake: FakeEngine, api: docker.APIClient) -> None:
    """Two builds from nothing have other ids, and the same diff ids as BuildKit's."""
    first = image_id(build_classic(api, nocache=True))
    second = image_id(build_classic(api, nocache=True))
    third = image_id(build_with_buildkit(api, t="envmatrix/cell:one"))

    assert first != second
    assert layers(api, first) == layers(api, second) == layers(api, third)
    assert len(layers(api, first)) == 3


def test_a_dockerfile_sets_the_configuration(fake: FakeEngine, api: docker.APIClient) -> None:
    """Build arguments choose the base; labels come from the Dockerfile and the request."""
    fake.add_image("envmatrix/base:x", config={"Env": ["LANG=C", "A=b"]})
    made = image_id(
        build_with_buildkit(
            api,
            t="envmatrix/cell:x",
            buildargs=json.dumps({"BASE": "envmatrix/base:x"}),
            labels=json.dumps({"io.envmatrix.step": "build"}),
        )
    )
    found = api.inspect_image(made)["Config"]  # type: ignore[no-untyped-call]

    assert found["Env"] == ["A=b", "LANG=C.UTF-8", "VIRTUAL_ENV=/opt/venv"]
    assert (found["User"], found["WorkingDir"], found["Cmd"]) == ("1000", "/home/user", ["python"])
    assert found["Labels"] == {"io.example": "yes", "io.envmatrix.step": "build"}
    assert fake.build_records[0].arguments == {"BASE": "envmatrix/base:x"}


def test_a_saved_image_holds_its_layers(fake: FakeEngine, api: docker.APIClient) -> None:
    """The tar of `docker save` has a manifest, and layers with the files of a COPY."""
    made = image_id(build_classic(api))
    with tarfile.open(fileobj=io.BytesIO(b"".join(api.get_image(made)))) as saved:
        manifest = saved.extractfile("manifest.json")
        assert manifest
        last = saved.extractfile(json.load(manifest)[0]["Layers"][-1])
        assert last
        with tarfile.open(fileobj=io.BytesIO(last.read())) as layer:
            assert layer.getnames() == ["etc/a", "etc/b"]


def test_an_imported_tar_is_the_only_layer(
    fake: FakeEngine, api: docker.APIClient, tmp_path: Path
) -> None:
    """The diff id of the layer is the digest of the tar."""
    (tmp_path / "root.tar").write_bytes(context({"a": "b"}).getvalue())
    api.import_image(src=str(tmp_path / "root.tar"), repository="envmatrix/os", tag="debian12")

    assert len(layers(api, "envmatrix/os:debian12")) == 1
    assert fake.asked("POST /images/create")[0].summary == "tar of a"


def test_an_unstable_step_gives_another_layer(fake: FakeEngine, api: docker.APIClient) -> None:
    """Only the layer of that step differs."""
    fake.fail(UnstableLayer("pip install"), times=None)
    first, second = (layers(api, image_id(build_classic(api, nocache=True))) for _ in range(2))

    assert [one == two for one, two in zip(first, second, strict=True)] == [True, False, True]


def test_the_build_cache_keeps_what_an_image_has(fake: FakeEngine, api: docker.APIClient) -> None:
    """A second build is cached; what no image stands on can be pruned."""
    first = image_id(build_with_buildkit(api, "one", t="a:1"))
    events = build_with_buildkit(api, "two", t="a:1")
    usage = api.df()["BuildCache"]

    assert image_id(events) == first
    assert not any(b"did RUN" in base64.b64decode(one["aux"]) for one in events[:-1])
    assert any(one["Description"].startswith("mount / from exec") for one in usage)
    assert not api.prune_builds()["CachesDeleted"]
    api.remove_image("a:1")
    assert len(api.prune_builds()["CachesDeleted"]) == len(usage) == 2


def test_images_are_listed_and_removed_by_dockers_rules(
    fake: FakeEngine, api: docker.APIClient
) -> None:
    """A `*` matches no slash; an id with one name takes it along, one with two is refused."""
    one = fake.add_image("envmatrix/cell:one", "envmatrix/cell:two")
    listed = api.images(filters={"reference": "envmatrix/cell:t*"})

    assert [image["RepoTags"] for image in listed] == [["envmatrix/cell:two"]]
    assert api.images(filters={"reference": "*"}) == []
    with pytest.raises(APIError, match="multiple repositories"):
        api.remove_image(one.id)
    api.remove_image("envmatrix/cell:two")
    api.remove_image(one.id)
    assert api.images() == []


# --- containers


def test_a_probe_passes_by_default(fake: FakeEngine, api: docker.APIClient) -> None:
    """The report repeats name and nonce, and holds what the test says is observed."""
    fake.add_image("cell:1")
    fake.observed["jinja2-import"] = {"version": "3.1.6"}
    state, stdout, _ = run(api, "cell:1", labels={"a": "b"})

    assert json.loads(stdout) == {
        "probe": "jinja2-import",
        "nonce": "abc",
        "observed": {"version": "3.1.6"},
    }
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    (listed,) = api.containers(all=True, filters={"label": "a=b"})
    assert api.containers() == []
    api.remove_container(listed["Id"], force=True, v=True)
    assert api.containers(all=True) == []


def test_a_function_says_how_a_container_ends(fake: FakeEngine, api: docker.APIClient) -> None:
    """Exit code, both streams and more output than a frame holds come as they are."""
    seen: list[RunRequest] = []

    def fail(request: RunRequest) -> Exit:
        seen.append(request)
        return Exit(3, "o" * 100_000, "e")

    fake.add_image("cell:1")
    fake.on_run = fail
    state, stdout, stderr = run(api, "cell:1")

    assert (state["ExitCode"], len(stdout), stderr) == (3, 100_000, "e")
    assert (seen[0].probe, seen[0].nonce) == ("jinja2-import", "abc")


def test_a_container_that_runs_on_can_be_killed(fake: FakeEngine, api: docker.APIClient) -> None:
    """By a client or from outside; it ends at once with 137, and cannot be killed again."""
    fake.add_image("cell:1")
    fake.on_run = lambda _: Exit(seconds=60)
    ours, theirs = (api.create_container("cell:1", ["python"])["Id"] for _ in range(2))
    for container in (ours, theirs):
        api.start(container)
    with pytest.raises(APIError, match="container is running"):
        api.remove_container(ours)
    api.kill(ours)

    assert fake.kill_containers() == 1
    for container in (ours, theirs):
        assert api.inspect_container(container)["State"]["ExitCode"] == 137
    with pytest.raises(APIError, match="not running"):
        api.kill(ours)


@pytest.mark.parametrize("oom", [False, True])
def test_a_run_can_be_killed(fake: FakeEngine, api: docker.APIClient, oom: bool) -> None:
    """With or without the mark that memory ran out."""
    fake.add_image("cell:1")
    fake.fail(Killed(after=0.05, oom=oom, output="begun"))
    state, stdout, _ = run(api, "cell:1")

    assert (state["ExitCode"], state["OOMKilled"], stdout) == (137, oom, "begun")


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (StartRefused.not_found("python"), 400, 'exec: "python": executable file not found'),
        (StartRefused.containerd(), 500, "containerd.sock"),
        (StartRefused.nvidia(), 500, "nvidia-container-cli"),
        (StartRefused.no_space(), 500, "no space left on device"),
        (StartRefused(message="of all kinds", status=503), 503, "of all kinds"),
    ],
)
def test_a_start_can_be_refused(
    fake: FakeEngine, api: docker.APIClient, fault: StartRefused, status: int, said: str
) -> None:
    """With any status and text; the next start is not refused."""
    fake.add_image("cell:1")
    fake.fail(fault)
    with pytest.raises(APIError, match=said) as raised:
        run(api, "cell:1")

    assert not fake.pending
    assert raised.value.status_code == status
    assert run(api, "cell:1")[0]["ExitCode"] == 0


def test_no_gpu_can_be_had_without_the_runtime(fake: FakeEngine, api: docker.APIClient) -> None:
    """A container with a GPU starts only where the engine has the nvidia runtime."""
    fake.add_image("cell:1")
    gpu = api.create_host_config(device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])])
    with pytest.raises(APIError, match="could not select device driver"):
        run(api, "cell:1", host_config=gpu)
    fake.facts = Facts(nvidia=True)

    assert run(api, "cell:1", host_config=gpu)[0]["ExitCode"] == 0
    assert fake.runs[0].wants_gpu


def test_output_can_be_cut_in_the_middle(fake: FakeEngine, api: docker.APIClient) -> None:
    """What came before the cut is read; the container itself ends well."""
    fake.add_image("cell:1")
    fake.on_run = lambda _: Exit(stdout="0123456789")
    fake.fail(AttachDropped(after_bytes=8 + 4))
    state, stdout, _ = run(api, "cell:1")

    assert (state["ExitCode"], stdout) == (0, "0123")


# --- builds that fail


@pytest.mark.parametrize("build", [build_classic, build_with_buildkit])
def test_a_step_can_fail(fake: FakeEngine, api: docker.APIClient, build: Any) -> None:
    """Its output comes first, then the error in the words of the builder."""
    fake.fail(StepFails("pip install", output="no such wheel", code=2))
    events = build(api)
    said = json.dumps(events[:-1]) + "".join(
        base64.b64decode(one["aux"]).decode("utf-8", "replace")
        for one in events
        if one.get("id") == "moby.buildkit.trace"
    )

    assert "no such wheel" in said
    assert events[-1]["error"].endswith(": 2")
    assert fake.build_records[0].ended == "failed"
    assert fake.images.find("debian:12-slim")
    assert image_id(build(api))


@pytest.mark.parametrize("build", [build_classic, build_with_buildkit])
def test_a_build_can_end_without_an_image(
    fake: FakeEngine, api: docker.APIClient, build: Any
) -> None:
    """It tells neither an id nor an error."""
    fake.fail(BuildWithoutImage())
    events = build(api)

    assert events
    assert not any("error" in event for event in events)
    with pytest.raises(StopIteration):
        image_id(events)


def test_a_builder_can_need_a_session(fake: FakeEngine, api: docker.APIClient) -> None:
    """Such a BuildKit takes no context; the classic builder works on."""
    fake.facts = Facts(needs_session=True)
    (event,) = build_with_buildkit(api)

    assert "failed to read downloaded context" in event["error"]
    assert image_id(build_classic(api))


def test_a_base_that_nobody_has_fails_the_build(fake: FakeEngine, api: docker.APIClient) -> None:
    """The error is that of a pull."""
    events = build_classic(api, buildargs={"BASE": "envmatrix/base:none"})

    assert "pull access denied for envmatrix/base:none" in events[-1]["error"]


def test_a_build_can_be_cancelled(fake: FakeEngine, api: docker.APIClient) -> None:
    """A step that takes a minute ends at once."""
    fake.fail(StepTakes("pip install", 60))
    url = f"{api.base_url}/build/cancel"
    timer = threading.Timer(0.1, lambda: api.post(url, params={"id": "one"}).close())
    timer.start()
    events = build_with_buildkit(api)
    timer.join()

    assert events[-1]["error"] == "context canceled"
    assert fake.build_records[0].ended == "cancelled"


def test_a_client_that_leaves_ends_its_build(fake: FakeEngine, api: docker.APIClient) -> None:
    """The engine sees the closed connection while a step runs."""

    def ended() -> str:
        return fake.build_records[0].ended

    fake.fail(StepTakes("pip install", 60))
    url = f"{api.base_url}/build"
    with closing(api.post(url, data=context(FILES), stream=True)) as answer:
        next(answer.iter_lines())
        assert ended() == ""
    deadline = time.monotonic() + 2
    while not ended() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert ended() == "cancelled"


# --- an engine that fails


@pytest.mark.parametrize("in_stream", [False, True])
def test_a_registry_can_refuse(fake: FakeEngine, api: docker.APIClient, in_stream: bool) -> None:
    """Before the answer begins as an error status, afterwards as an event."""
    for status, said in ((401, "unauthorized"), (403, "denied"), (429, "toomanyrequests")):
        fake.fail(PullRefused(status, in_stream=in_stream))
        if in_stream:
            events = list(api.pull("debian", tag="12-slim", stream=True, decode=True))
            assert said in events[-1]["error"]
            continue
        with pytest.raises(APIError, match=said) as raised:
            api.pull("debian", tag="12-slim")
        assert raised.value.status_code == status


def test_a_disk_can_be_full(fake: FakeEngine, api: docker.APIClient, tmp_path: Path) -> None:
    """Whatever needs space says so: a build, an import, a new container."""
    fake.add_image("cell:1")
    (tmp_path / "root.tar").write_bytes(b"")
    fake.fail(DiskFull("build"), DiskFull("import"), DiskFull("create"))

    assert "no space left on device" in build_classic(api)[-1]["error"]
    with pytest.raises(APIError, match="no space left on device"):
        api.import_image(src=str(tmp_path / "root.tar"), repository="envmatrix/os", tag="x")
    with pytest.raises(APIError, match="no space left on device"):
        api.create_container("cell:1", ["python"])


def test_any_request_can_be_refused(fake: FakeEngine, api: docker.APIClient) -> None:
    """For ever, until the engine is healed."""
    fake.fail(Refuses("GET /images/*/json", 500, "the store is broken"), times=None)
    for _ in range(2):
        with pytest.raises(APIError, match="the store is broken"):
            api.inspect_image("debian:12-slim")  # type: ignore[no-untyped-call]
    fake.heal()

    with pytest.raises(ImageNotFound):
        api.inspect_image("debian:12-slim")  # type: ignore[no-untyped-call]


def test_an_answer_can_be_slow(fake: FakeEngine, api: docker.APIClient) -> None:
    """It still comes."""
    fake.fail(Slow("GET /info", 0.1))
    began = time.monotonic()

    assert api.info()
    assert time.monotonic() - began >= 0.1


def test_an_image_can_be_lost_behind_a_build(fake: FakeEngine, api: docker.APIClient) -> None:
    """The build tells an id, under which there is nothing any more."""
    fake.fail(ImageLost())
    made = image_id(build_classic(api))

    with pytest.raises(ImageNotFound):
        api.inspect_image(made)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("fault", [Vanishes("GET /info"), ConnectionDropped("GET /info")])
def test_an_engine_can_hang_up(fake: FakeEngine, api: docker.APIClient, fault: Fault) -> None:
    """A vanished one cannot be reached until it comes back; a dropped connection is one only."""
    fake.fail(fault)
    with pytest.raises(NoConnection):
        api.info()
    if isinstance(fault, Vanishes):
        with pytest.raises(NoConnection):
            api.ping()
        fake.come_back()

    assert api.info()


@pytest.mark.parametrize("build", [build_classic, build_with_buildkit])
def test_an_engine_can_vanish_in_the_middle_of_a_build(
    fake: FakeEngine, api: docker.APIClient, build: Any
) -> None:
    """The answer breaks off."""
    fake.fail(VanishesMidBuild("pip install"))
    with pytest.raises((RequestException, TransportError)):
        build(api)

    assert fake.build_records[0].steps[-1].startswith("RUN")


def test_an_engine_can_vanish_in_the_middle_of_a_run(
    fake: FakeEngine, api: docker.APIClient
) -> None:
    """The output breaks off, and nobody answers what became of the container."""
    fake.add_image("cell:1")
    fake.fail(VanishesMidRun())
    with pytest.raises(NoConnection):
        run(api, "cell:1")


def test_a_fake_ends_on_time_whatever_runs(tmp_path: Path) -> None:
    """Open connections, endless containers and a long path do not keep it."""
    began = time.monotonic()
    with FakeEngine(tmp_path / ("x" * 120)) as fake:
        fake.add_image("cell:1")
        fake.on_run = lambda _: Exit(seconds=600)
        with closing(docker.APIClient(base_url=fake.url, version="auto", timeout=10)) as api:
            container = api.create_container("cell:1", ["python"])["Id"]
            stream = api.attach(container, stream=True, demux=True)
            api.start(container)
            stream.close()

    assert time.monotonic() - began < 2
