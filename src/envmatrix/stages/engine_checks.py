"""Checks of the Docker engine: whether it answers, what it is, and what it reaches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from envmatrix.engine.client import Engine
from envmatrix.engine.connection import chosen_by
from envmatrix.engine.facts import Facts, read_facts
from envmatrix.model.errors import EngineError
from envmatrix.model.image_names import REPOSITORY, cell_tag
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.disk import images_needed, made, wheels_needed
from envmatrix.stages.doctor import Finding, Work, fine, missing, unknown, warning
from envmatrix.stages.machine_checks import enough_for_a_probe
from envmatrix.stages.options import default_jobs
from envmatrix.stages.state_checks import room
from envmatrix.store.layout import Layout

OLDEST = (20, 10)
TRIED = ((20, 10), (26, 1), (28, 5))
"""The releases that docs/engines.md has results of."""
STORES = frozenset({"overlay2", "overlayfs", "overlay", "stargz"})
_COPIES = "vfs"
LOOPBACK = "127.0.0.1"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}
START = "sudo systemctl start docker"
SET_UP = "sudo scripts/setup-engine"


def engine(layout: Layout, work: Work | None) -> Iterator[Finding]:
    """Check the engine. It is asked, and nothing is made there."""
    try:
        with Engine.connect() as connected:
            facts = read_facts(connected.connection.info)
            yield from _what_it_is(connected, facts)
            yield from _machine(connected, work)
            yield from _room(connected, layout, work)
            yield from _reach(connected, facts)
    except EngineError as error:
        yield missing("engine", f"{error.what} ({error.where})", remedy_of(error))


def remedy_of(error: EngineError) -> str:
    """Return a command where the error is one that a command settles."""
    if "may not talk" in error.what:
        return 'sudo usermod -aG docker "$USER" && newgrp docker'
    if "no Docker engine answers" in error.what and not os.environ.get("DOCKER_HOST"):
        return f"{START}; without Docker, as root on Debian: {SET_UP}"
    return error.next_step


def _what_it_is(connected: Engine, facts: Facts) -> Iterator[Finding]:
    said = f"Docker {facts.version} at {connected.connection.url}, chosen {chosen_by()}"
    newer = "https://docs.docker.com/engine/install/ tells how to install a newer one"
    if facts.foreign:
        yield missing(
            "engine",
            f"{facts.foreign} {facts.version} at {connected.connection.url}: no cell can be built "
            "with it (docs/engines.md)",
            f"unset DOCKER_HOST; {START}",
        )
    elif facts.number == (0, 0):
        yield unknown("engine", f"{said}: its version is not understood")
    elif facts.number < OLDEST:
        yield missing("engine", f"{said}: it is older than 20.10", newer)
    elif any(facts.number[0] == tried[0] for tried in TRIED):
        yield fine("engine", said)
    else:
        tried = ", ".join(f"{one}.{two}" for one, two in TRIED)
        yield fine("engine", f"{said}; tried were {tried} (docs/engines.md)")
    if facts.driver == _COPIES:
        yield warning(
            "storage",
            "vfs copies every layer in full: images take many times their size",
            "give the engine overlay2: https://docs.docker.com/engine/storage/drivers/",
        )
    elif facts.driver in STORES:
        store = " in containerd" if facts.in_containerd else ""
        yield fine("storage", f"{facts.driver}{store}")
    else:
        yield unknown("storage", f"{facts.driver or 'not told'}: it was never tried")
    if facts.rootless:
        yield fine("engine", "it is rootless: it keeps its images and its network apart")


def _machine(connected: Engine, work: Work | None) -> Iterator[Finding]:
    capacity = connected.capacity
    yield enough_for_a_probe("engine memory", capacity.memory)
    if capacity.cores:
        jobs = default_jobs(capacity)
        yield fine("engine cores", f"{capacity.cores}; {jobs} cells side by side by default")
    if why := connected.unseen_gpu:
        yield warning(
            "engine gpu",
            why,
            "sudo apt-get install --yes nvidia-container-toolkit && sudo nvidia-ctk runtime "
            "configure --runtime=docker && sudo systemctl restart docker",
        )
    elif connected.has_gpu:
        yield fine("engine gpu", "it has the NVIDIA runtime")
    wanted = sorted({one.cell.arch for one in work.locked}) if work else []
    for arch in wanted:
        if connected.is_foreign(arch):
            yield _emulation(connected, arch)
    if connected.architecture:
        yield fine("architecture", f"the engine is {connected.architecture}")


def _emulation(connected: Engine, arch: str) -> Finding:
    """Tell whether an engine emulates, as far as that is known without trying it."""
    handler = BINFMT / _QEMU.get(arch, "none")
    said = f"the engine is {connected.architecture}, and cells are {arch}"
    if not connected.is_local or sys.platform != "linux":
        return unknown("architecture", f"{said}: a run tries whether it emulates {arch}")
    try:
        if handler.read_text(encoding="ascii").startswith("enabled"):
            return fine("architecture", f"{said}: this machine emulates {arch}")
    except OSError:
        pass
    return warning(
        "architecture",
        f"{said}: this machine does not emulate {arch}, so they end as unknown",
        f"{SET_UP} --emulate {arch}",
    )


def _room(connected: Engine, layout: Layout, work: Work | None) -> Iterator[Finding]:
    root = connected.root
    if root is None:
        yield unknown(
            "engine disk", "the engine keeps its images elsewhere, and tells no free room"
        )
        return
    needed, for_what = 0, ""
    if work:
        there = connected.images.names(f"{REPOSITORY}/cell:*")
        ahead = [one for one in work.locked if cell_tag(one.cell) not in there]
        bases = len({one.cell.base_id for one in ahead})
        needed = int(images_needed(work.sharing, ahead, bases, None))
        for_what = f"about {decimal(needed)} of images to build for {work.title}"
        if not needed:
            for_what = f"every image of {work.title} is there"
        if needed and _same_disk(root, layout):
            needed += _wheels(layout, work)
            for_what += ", and the wheels for them lie on this disk, too"
    yield from room("engine disk", root, needed, for_what)


def _same_disk(root: Path, layout: Layout) -> bool:
    return made(layout.wheelhouse).stat().st_dev == root.stat().st_dev


def _wheels(layout: Layout, work: Work) -> int:
    return wheels_needed(Wheelhouse(layout.wheelhouse, lambda _: None), work.locked, None)


def _reach(connected: Engine, facts: Facts) -> Iterator[Finding]:
    where = "on this machine" if connected.is_local else "on another machine, or in a virtual one"
    if connected.reaches(LOOPBACK):
        yield fine("reach", f"the engine is {where}; builds take wheels over loopback")
    else:
        kept = " (rootless)" if facts.rootless else ""
        yield fine(
            "reach",
            f"the engine is {where}{kept} and does not reach the loopback network of this "
            "process: a container serves the wheels to builds",
        )
