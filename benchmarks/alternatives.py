"""What a user would do instead of envmatrix: one Dockerfile for each cell, by docker build or bake.

Both ways start from minimal images of the operating systems, which exist before the clock starts.
They take the wheels of the same locks from the same server on loopback. The names of their images
begin with `bench/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from uv import find_uv_bin

from envmatrix.cli.workspace import Workspace
from envmatrix.engine.client import Engine
from envmatrix.engine.connection import find_address
from envmatrix.engine.os_images import make_root
from envmatrix.model.cells import Cell
from envmatrix.model.probe_results import Outcome
from envmatrix.probes.running import run_probe
from envmatrix.render.dockerfiles import packages
from envmatrix.resolve.wheel_server import PORT, serve
from envmatrix.resolve.wheelhouse import Wheelhouse

REPOSITORY = "bench"

TEXTBOOK = """\
FROM {os}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends {packages} \\
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 65532 --no-log-init --create-home user && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
ARG PIP_INDEX_URL
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock
USER 65532
"""

# As in uv's own guide for Docker: cache mounts, and bytecode that the build compiles.
BAKE = """\
FROM {os}
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\
    --mount=type=cache,target=/var/lib/apt,sharing=locked \\
    apt-get update && apt-get install --yes --no-install-recommends {packages}
RUN useradd --uid 65532 --no-log-init --create-home user
COPY uv /usr/local/bin/uv
ENV UV_CACHE_DIR=/var/cache/uv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN uv venv /opt/venv
ARG UV_DEFAULT_INDEX
COPY requirements.lock .
RUN --mount=type=cache,target=/var/cache/uv \\
    uv pip install --no-deps --require-hashes --requirement requirements.lock
USER 65532
"""


def prepare(workspace: Workspace, engine: Engine, cells: Iterable[Cell], folder: Path) -> None:
    """Download all wheels into the wheelhouse, and make the minimal images of the systems."""
    wheelhouse = Wheelhouse(workspace.layout.wheelhouse, print)
    for cell in cells:
        system = workspace.matrix.axes.os[cell.os]
        for resolution, python, index in (
            (workspace.resolutions.of_cell(cell), cell.python, cell.index),
            (workspace.resolutions.of_base(cell), system.python, None),
        ):
            if resolution and resolution.lock:
                wheelhouse.fetch(
                    resolution.lock, python=python, glibc=system.glibc, arch=cell.arch, index=index
                )
        if system.bootstrap and not engine.images.find(f"{REPOSITORY}/os:{cell.os}"):
            tar = folder / f"{cell.os}.tar"
            make_root(
                system.bootstrap,
                tar,
                architecture=cell.arch,
                packages=["ca-certificates"],
                epoch=workspace.matrix.resolve.epoch,
                log=folder / f"{cell.os}.log",
            )
            engine.images.import_tar(tar, f"{REPOSITORY}/os:{cell.os}")
            tar.unlink()


def context(workspace: Workspace, cell: Cell, dockerfile: str, folder: Path) -> Path:
    """Write the folder from which a cell is built."""
    resolution = workspace.resolutions.of_cell(cell)
    if resolution is None or resolution.lock is None:
        raise SystemExit(f"{cell.id} has no lock")
    place = folder / cell.id
    place.mkdir(parents=True)
    own = [*packages(workspace.matrix.axes.os[cell.os].python), *cell.packages]
    (place / "requirements.lock").write_text(resolution.lock.text, encoding="utf-8")
    (place / "Dockerfile").write_text(
        dockerfile.format(os=f"{REPOSITORY}/os:{cell.os}", packages=" ".join(own)),
        encoding="utf-8",
    )
    return place


def tag(kind: str, cell: Cell) -> str:
    """Return the name of an image of this benchmark."""
    return f"{REPOSITORY}/{kind}:{cell.id.replace('+', '_')}"


@contextmanager
def index(workspace: Workspace) -> Iterator[str]:
    """Serve the wheelhouse, and yield the address of the index."""
    with serve(workspace.layout.wheelhouse) as address:
        yield f"http://{address}:{PORT}/simple/"


def textbook(workspace: Workspace, cells: Sequence[Cell], url: str, folder: Path) -> None:
    """Build one cell after the other, by BuildKit where the docker command can use it."""
    for cell in cells:
        place = context(workspace, cell, TEXTBOOK, folder)
        command = ["docker", "build", "--network", "host", "--build-arg", f"PIP_INDEX_URL={url}"]
        docker([*command, "--tag", tag("textbook", cell), str(place)], buildkit=has_bake())


def bake_file(workspace: Workspace, cells: Sequence[Cell], url: str, folder: Path) -> Path:
    """Write the file from which `docker buildx bake` builds all cells.

    It is a Compose file, since bake's own format cannot state the network of a target (as of 0.13).
    """
    services = {}
    for number, cell in enumerate(cells):
        place = context(workspace, cell, BAKE, folder)
        shutil.copy2(find_uv_bin(), place / "uv")
        build = {"context": str(place), "network": "host", "args": {"UV_DEFAULT_INDEX": url}}
        services[f"cell{number}"] = {"image": tag("bake", cell), "build": build}
    file = folder / "compose.yaml"
    file.write_text(json.dumps({"services": services}), encoding="utf-8")
    return file


def bake(file: Path) -> None:
    """Build all cells of a bake file."""
    # Releases from 0.19 on ask for these. Older ones do not know the option.
    allowed = (
        ["--allow=network.host", f"--allow=fs.read={file.parent}"] if _asks_for_rights() else []
    )
    docker(["docker", "buildx", "bake", "--file", str(file), *allowed], buildkit=True)


def _asks_for_rights() -> bool:
    return "--allow" in docker(["docker", "buildx", "bake", "--help"], buildkit=True)


def docker(command: Sequence[str], *, buildkit: bool) -> str:
    """Run the docker command, and return its output. A failure shows the output."""
    environment = _environment(buildkit=buildkit)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def history(image: str) -> list[tuple[str, int]]:
    """Return the instructions that made an image, the first one first, with the bytes of each."""
    command = ["docker", "history", "--no-trunc", "--human=false", "--format", "{{json .}}", image]
    steps = [json.loads(line) for line in docker(command, buildkit=True).splitlines()]
    return [(step["CreatedBy"], int(step["Size"])) for step in reversed(steps)]


def empty_build_cache(engine: Engine) -> None:
    """Remove everything from the build cache of BuildKit, whoever made it."""
    engine.connection.client.prune_builds(all=True)


def has_docker() -> bool:
    """Return whether the docker command is there."""
    return shutil.which("docker") is not None


def has_bake() -> bool:
    """Return whether `docker buildx bake` is there."""
    with suppress(OSError):
        return not subprocess.run(
            ["docker", "buildx", "version"], env=_environment(), capture_output=True, check=False
        ).returncode
    return False


def bring_bake(folder: Path) -> None:
    """Unpack buildx from Debian 13 into a folder, for the docker command of this process.

    Debian 12 has no buildx. The plugin is one static program, which also serves older engines.
    """
    configuration = folder / "docker"
    plugins = configuration / "cli-plugins"
    plugins.mkdir(parents=True)
    tar = folder / "buildx.tar"
    options = ["--variant=extract", "--include=docker-buildx", "--quiet"]
    subprocess.run(["mmdebstrap", *options, "trixie", str(tar)], check=True)
    with tarfile.open(tar) as packed:
        plugin = packed.extractfile("./usr/libexec/docker/cli-plugins/docker-buildx")
        assert plugin is not None  # noqa: S101  (for the type checker: it is a file)
        (plugins / "docker-buildx").write_bytes(plugin.read())
    (plugins / "docker-buildx").chmod(0o755)
    tar.unlink()
    os.environ["DOCKER_HOST"] = find_address().url
    os.environ["DOCKER_CONFIG"] = str(configuration)


def _environment(*, buildkit: bool = True) -> dict[str, str]:
    return {**os.environ, "DOCKER_BUILDKIT": "1" if buildkit else "0"}


def probe(
    workspace: Workspace, engine: Engine, kind: str, cells: Sequence[Cell], jobs: int
) -> None:
    """Run the probes of each cell in its image, each in a container of its own.

    Every probe must pass or be `not run`.
    """

    def one(cell: Cell) -> None:
        image = tag(kind, cell)
        for wanted in workspace.probes.of(cell):
            result = run_probe(engine.containers, image, wanted, gpu=False)
            if result.outcome not in (Outcome.PASSED, Outcome.NOT_RUN):
                raise SystemExit(f"{image}: {wanted.name}: {result.outcome}: {result.cause}")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, cells))


def remove(engine: Engine, kinds: Iterable[str]) -> None:
    """Remove the images of some kinds, such as textbook."""
    for kind in kinds:
        for name in engine.images.names(f"{REPOSITORY}/{kind}:*"):
            engine.images.remove(name)
