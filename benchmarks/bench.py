"""Measure envmatrix and what a user would do instead, and write the figures to RESULTS.md.

    python benchmarks/bench.py                  every section; over an hour on two cores
    python benchmarks/bench.py quick lock       these sections
    python benchmarks/bench.py --smoke          only plan, and write nothing: for CI

Each command runs as a process of its own. Its own CPU time and its peak memory do not include the
programs that it starts (uv, pip, mmdebstrap). The engine is another process in any case.

A section works in a copy of the checkout. The copy has the downloaded wheels and no other state.
The images that a section builds take the names of the images of the checkout. The section cpu
removes those images and empties the build cache of the engine. Its ratios are right only where
nothing else runs on the machine.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alternatives
import yaml
from registry import serve_images

from envmatrix.cli.workspace import Workspace
from envmatrix.engine.client import Engine
from envmatrix.engine.process import Limits
from envmatrix.engine.registry import Registry
from envmatrix.model.cells import Cell
from envmatrix.model.image_names import REPOSITORY, base_tag, cell_tag
from envmatrix.model.matrix import DEFAULT_ARCH
from envmatrix.stages.options import default_jobs

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("RESULTS.md")
FIGURES = Path(__file__).with_name("results.json")
REPEATS = 5
CORES = os.cpu_count() or 1
MEGABYTE = 1e6

MEASURED = """
import json, resource, sys
from envmatrix.cli import main
try:
    main(sys.argv[2:])
except SystemExit as stop:
    code = stop.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[1], "w") as file:
    json.dump([code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024], file)
"""


@dataclass(frozen=True)
class Taken:
    """What one command took: seconds of wall time and of own CPU time, and bytes of peak memory."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Row:
    """One figure, with the highest value it may have. `note` says how the figure is made."""

    what: str
    figure: float
    target: float | None
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        """Return the row of a Markdown table."""
        unit = f" {self.unit}" if self.unit else ""
        target = "" if self.target is None else f"{self.target:g}{unit}"
        verdict = "" if self.target is None else "met" if self.figure <= self.target else "missed"
        return f"| {self.what} | {self.figure:.3g}{unit} | {target} | {verdict} | {self.note} |"


def measure(folder: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> Taken:
    """Run envmatrix once in `folder`. An exit code that is not allowed ends the benchmark."""
    # A user's Python keeps the bytecode of envmatrix; without it each run would compile it anew.
    environment = {
        name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-c", MEASURED, report.name, *arguments]
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - started
        code, cpu, memory = json.load(report)
    if code not in allowed:
        raise SystemExit(f"envmatrix {' '.join(arguments)} ended with {code}")
    return Taken(wall, cpu, memory)


def median(folder: Path, *arguments: str) -> Taken:
    """Run envmatrix once without counting, then `REPEATS` times, and return the medians.

    The memory is the highest of the runs that count.
    """
    measure(folder, *arguments)
    taken = [measure(folder, *arguments) for _ in range(REPEATS)]
    return Taken(
        statistics.median(one.wall for one in taken),
        statistics.median(one.cpu for one in taken),
        max(one.memory for one in taken),
    )


@dataclass(frozen=True)
class Phase:
    """What some work took: seconds of wall time, and seconds for which cores were busy."""

    wall: float
    busy: float


@dataclass(frozen=True)
class Other:
    """What another way took: seconds of building, and then seconds of probing."""

    built: float
    probed: float

    @property
    def wall(self) -> float:
        """Seconds from the first build to the last probe."""
        return self.built + self.probed

    @property
    def note(self) -> str:
        """Both parts of the time, in words."""
        return f"({self.built:.0f} s built + {self.probed:.0f} s probed)"


def phase(work: Callable[[], object]) -> Phase:
    """Do some work while nothing else runs on the machine, and return what the work took."""
    started, busy = time.monotonic(), busy_seconds()
    work()
    return Phase(time.monotonic() - started, busy_seconds() - busy)


def busy_seconds() -> float:
    """Return the seconds for which cores were busy since the machine started (see proc(5))."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, interrupts, soft_interrupts, _stolen = ticks
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield a folder with what git tracks and the wheels of this checkout.

    The parent of that folder is temporary, too, and has room for other files.
    """
    with tempfile.TemporaryDirectory(prefix="envmatrix-bench-", dir=ROOT.parent) as folder:
        copy = Path(folder, "envmatrix")
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, copy / name)
        wheels = ".envmatrix/wheelhouse/wheels"
        if (ROOT / wheels).is_dir():
            shutil.copytree(ROOT / wheels, copy / wheels, copy_function=os.link)
        yield copy


def at(folder: Path) -> Workspace:
    """Return the workspace of a folder."""
    return Workspace(folder / "matrix.yaml")


# --- sections --------------------------------------------------------------------------------


def plan(folder: Path) -> Iterator[Row]:
    """Nothing is executed."""
    taken = median(folder, "plan", "--profile", "all", "--json")
    yield Row("`plan --profile all`", taken.wall, 1, "s")
    yield Row("peak memory of `plan --profile all`", taken.memory / MEGABYTE, 200, "MB")
    sizes = [path.stat().st_size for path in (folder / "reports/cells").glob("*.json")]
    if sizes:
        note = f"{len(sizes)} cells, {sum(sizes) / MEGABYTE:.1f} MB"
        kilobytes = statistics.median(sizes) / 1000
        yield Row("committed evidence of a cell", kilobytes, 25, "kB", note)
        number = give_evidence_to_all(folder)
        taken = measure(folder, "plan", "--profile", "all", "--json")
        what = "`plan --profile all` with evidence of every cell"
        yield Row(what, taken.wall, None, "s", f"{number} cells, a run alone")
        yield Row("peak memory of that", taken.memory / MEGABYTE, 500, "MB")


def give_evidence_to_all(folder: Path) -> int:
    """Give every cell of a copy the evidence of one that works; return how many there are."""
    book = folder / "reports" / "cells"
    held = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(book.glob("*.json"))]
    sample = next(one for one in held if one["verdict"] == "works")
    cells = at(folder).cells
    for cell in cells:
        path = book / f"{cell.id}.json"
        if not path.exists():
            text = json.dumps({**sample, "id": cell.id, "axes": cell.axes.to_json()}, indent=1)
            path.write_text(text, encoding="utf-8")
    return len(cells)


def quick(folder: Path) -> Iterator[Row]:
    """The README's first command."""
    first = measure(folder, "run", "--profile", "quick")
    again = median(folder, "run", "--profile", "quick")
    yield Row("quick from an empty state", first.wall, 600, "s", "wheels at hand")
    yield Row("the tool's own share of that", 100 * first.cpu / first.wall, 5, "%")
    yield Row("quick again, nothing changed", again.wall, 5, "s")
    yield Row("peak memory of the tool", max(first.memory, again.memory) / MEGABYTE, 200, "MB")


def lock(folder: Path) -> Iterator[Row]:
    """Resolve every declared cell. Exit code 3 means that an index cannot be reached here."""
    cold = measure(folder, "lock", "--profile", "all", allowed=(0, 3))
    warm = [measure(folder, "lock", "--profile", "all", allowed=(0, 3)) for _ in range(3)]
    fresh = measure(folder, "lock", "--profile", "all", "--fresh", allowed=(0, 3))
    yield Row("`lock --profile all`, no record yet", cold.wall, None, "s")
    yield Row("`lock --profile all`, warm", statistics.median(t.wall for t in warm), 60, "s")
    yield Row("`lock --profile all --fresh`: only uv's cache is warm", fresh.wall, None, "s")


def unchanged(folder: Path) -> Iterator[Row]:
    """The cpu profile once more, when there is nothing to build and nothing to probe."""
    measure(folder, "run", "--profile", "cpu")
    again = median(folder, "run", "--profile", "cpu")
    yield Row("nothing changed, cpu profile", again.wall, 0.7, "s")
    yield Row("the tool's own share of that", 100 * again.cpu / again.wall, None, "%")


def cpu(folder: Path) -> Iterator[Row]:
    """The cpu profile: from an empty state, and with one more cell."""
    need_others(folder.parent)
    workspace = at(folder)
    cells = cpu_cells(workspace)
    with Engine.connect() as engine, alternatives.index(workspace) as url:
        alternatives.prepare(workspace, engine, cells, folder.parent)
        bootstrapped = from_empty(folder, engine, cells)
        stand_on_the_same(folder)
        ours = from_empty(folder, engine, cells)
        note = f"the cores were busy for {100 * ours.busy / CORES / ours.wall:.0f} % of it"
        yield Row("cpu profile from an empty state", ours.wall, None, "s", note)
        again = median(folder, "run", "--profile", "cpu")
        yield from one_cell_added(folder, engine)
        built = from_empty(folder, engine, cells, "build")
        empty(folder, engine, cells)

        def build_textbook() -> None:
            alternatives.textbook(workspace, cells, url, folder.parent / "textbook")

        theirs = beside(workspace, engine, cells, "textbook", build_textbook, jobs=1)
        alternatives.remove(engine, ("textbook",))
        note = f"{ours.wall:.0f} s / {theirs.note}"
        yield Row("cpu profile, by the textbook way", ours.wall / theirs.wall, 0.4, "", note)
        note = f"{built.wall:.0f} s / {theirs.built:.0f} s"
        yield Row("building alone, by the textbook way", built.wall / theirs.built, 0.65, "", note)
        floor = ours.busy / CORES / theirs.wall
        note = f"{ours.busy:.0f} s of work on {CORES} cores"
        yield Row("the floor of that: no core ever idle", floor, None, "", note)
        yield own_systems(bootstrapped, theirs)

        alternatives.empty_build_cache(engine)
        file = alternatives.bake_file(workspace, cells, url, folder.parent / "bake")

        def bake() -> None:
            alternatives.bake(file)

        theirs = beside(workspace, engine, cells, "bake", bake, jobs=default_jobs())
        note = f"{ours.wall:.0f} s / {theirs.note}"
        yield Row("cpu profile, by bake with uv", ours.wall / theirs.wall, 0.7, "", note)
        yield own_systems(bootstrapped, theirs)
        baked = statistics.median(phase(bake).wall for _ in range(REPEATS))
        note = f"{again.wall:.2f} s / {baked:.2f} s, without a look at any evidence"
        yield Row("nothing changed, by bake", again.wall / baked, None, "", note)
        alternatives.remove(engine, ("bake",))
        alternatives.empty_build_cache(engine)


def need_others(folder: Path) -> None:
    """Bring what the other ways need, or end with what is missing before an hour of measuring."""
    if not alternatives.has_docker():
        raise SystemExit(
            "the other ways need the docker command (Debian 12: apt-get install docker.io)"
        )
    if not alternatives.has_bake():
        say("docker buildx is not here: it is unpacked from Debian 13 for this benchmark")
        alternatives.bring_bake(folder)


def own_systems(bootstrapped: Phase, theirs: Other) -> Row:
    """Return the figure for a run that had to make the systems. The other way found them ready."""
    whole = bootstrapped.wall / theirs.wall
    return Row(
        "the same, with the systems bootstrapped", whole, None, "", f"{bootstrapped.wall:.0f} s"
    )


def cpu_cells(workspace: Workspace) -> list[Cell]:
    """Return the cells that envmatrix is compared on."""
    return workspace.choose((), "cpu")


def from_empty(folder: Path, engine: Engine, cells: Sequence[Cell], command: str = "run") -> Phase:
    """Run or build the cpu profile from an empty state."""
    empty(folder, engine, cells)
    return phase(lambda: measure(folder, command, "--profile", "cpu"))


def beside(
    workspace: Workspace,
    engine: Engine,
    cells: Sequence[Cell],
    kind: str,
    build: Callable[[], None],
    *,
    jobs: int,
) -> Other:
    """Build the cells in another way, then run the same probes in its images."""
    built = phase(build)
    probed = phase(lambda: alternatives.probe(workspace, engine, kind, cells, jobs))
    return Other(built.wall, probed.wall)


def empty(folder: Path, engine: Engine, cells: Iterable[Cell]) -> None:
    """Remove everything but the wheels from a copy of the checkout and from the engine."""
    for name in ("records", "cells"):
        shutil.rmtree(folder / ".envmatrix" / name, ignore_errors=True)
    for cell in cells:
        for name in (cell_tag(cell), base_tag(cell), f"{REPOSITORY}/os:{cell.os}"):
            engine.images.remove(name)
    alternatives.empty_build_cache(engine)


def stand_on_the_same(folder: Path) -> None:
    """Let a copy use the images of the systems from which the other ways start."""
    with changed_matrix(folder) as matrix:
        for name, system in matrix["axes"]["os"].items():
            system["image"] = f"{alternatives.REPOSITORY}/os:{name}"


@contextmanager
def changed_matrix(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the matrix of a copy, then write the matrix with its changes."""
    path = folder / "matrix.yaml"
    matrix = yaml.safe_load(path.read_text(encoding="utf-8"))
    yield matrix
    path.write_text(yaml.safe_dump(matrix, sort_keys=False), encoding="utf-8")


def one_cell_added(folder: Path, engine: Engine) -> Iterator[Row]:
    """Run the profile with one more cell. Its own cost is the time of its build and probes."""
    added = "tensorflow-2.19.1-py3.11-debian12-cpu"
    measure(folder, "lock", added)
    where = {
        "framework": "tensorflow",
        "version": "2.19.1",
        "accelerator": "cpu",
        "arch": "amd64",
    }
    with changed_matrix(folder) as matrix:
        matrix["profiles"]["cpu"].append({**where, "os": "debian12", "python": "own"})
    workspace = at(folder)
    cells = workspace.choose((added,), None)
    alternatives.prepare(workspace, engine, cells, folder.parent)
    whole = measure(folder, "run", "--profile", "cpu").wall
    evidence = json.loads((folder / f".envmatrix/cells/{added}.json").read_text(encoding="utf-8"))
    own = evidence["seconds"]["build"] + evidence["seconds"]["probe"]
    note = f"{whole:.0f} s / {own:.0f} s"
    yield Row("one cell added, by its own cost", whole / own, 1.15, "", note)
    for cell in cells:
        engine.images.remove(cell_tag(cell))


def imports(folder: Path) -> Iterator[Row]:
    """The first import in new, read-only containers."""
    workspace = at(folder)
    cells = cpu_cells(workspace)
    with Engine.connect() as engine, alternatives.index(workspace) as url:
        measure(ROOT, "build", "--profile", "cpu")
        for family in dict.fromkeys(cell.family for cell in cells):
            cell = next(cell for cell in reversed(cells) if cell.family == family)
            textbook = alternatives.tag("textbook", cell)
            if engine.images.find(textbook) is None:
                alternatives.prepare(workspace, engine, [cell], folder.parent)
                alternatives.textbook(workspace, [cell], url, folder.parent / family)
            ours = import_seconds(engine, cell_tag(cell), family)
            for what, theirs in (
                ("the textbook image", import_seconds(engine, textbook, family)),
                (
                    "the same without bytecode",
                    import_seconds(engine, cell_tag(cell), family, bytecode=False),
                ),
            ):
                note = f"{ours:.2f} s / {theirs:.2f} s"
                yield Row(f"first `import {family}`, by {what}", ours / theirs, None, "", note)
        alternatives.remove(engine, ("textbook",))


def import_seconds(engine: Engine, image: str, family: str, *, bytecode: bool = True) -> float:
    """Return the median of the seconds that an import takes, each in a new container."""
    program = (
        f"import time; s = time.perf_counter(); import {family}; print(time.perf_counter() - s)"
    )
    # Under another prefix there is no bytecode. Python fails to write it, which takes no time here.
    environment = {} if bytecode else {"PYTHONPYCACHEPREFIX": "/nowhere"}
    seconds = []
    for _ in range(REPEATS):
        ran = engine.containers.run(
            image,
            ["python", "-c", program],
            environment={"HOME": "/tmp", **environment},  # noqa: S108
            limits=Limits(),
        )
        seconds.append(float(ran.stdout.splitlines()[-1]))
    return statistics.median(seconds)


def cuda(folder: Path) -> Iterator[Row]:
    """Three CUDA torch cells that share CUDA: the bytes that the engine stores.

    Our images are those of the checkout itself. Their size does not depend on when they
    were built.
    """
    workspace = at(ROOT)
    selected = ("*torch*-2.13.0-py3.11-debian12-cu130",)
    cells = workspace.choose(selected, None)
    with Engine.connect() as engine, alternatives.index(workspace) as url:
        measure(ROOT, "build", *selected)
        ours = stored([cell_tag(cell) for cell in cells])
        alternatives.prepare(workspace, engine, cells, folder.parent)
        alternatives.textbook(workspace, cells, url, folder.parent / "textbook")
        theirs = stored([alternatives.tag("textbook", cell) for cell in cells])
        alternatives.remove(engine, ("textbook",))
    note = f"{ours / 1e9:.2f} GB / {theirs / 1e9:.2f} GB, for {len(cells)} cells"
    yield Row("bytes of three CUDA torch cells, by the textbook way", ours / theirs, 0.6, "", note)


def stored(names: Sequence[str]) -> int:
    """Return the bytes of the layers of some images. Each layer counts once."""
    layers: dict[tuple[tuple[str, int], ...], int] = {}
    for name in names:
        history = alternatives.history(name)
        for number, (_, size) in enumerate(history, 1):
            layers[tuple(history[:number])] = size
    return sum(layers.values())


def publish(folder: Path) -> Iterator[Row]:
    """The images of the cpu profile go to an empty registry on loopback, and once more."""
    measure(folder, "run", "--profile", "cpu", "--fresh")
    with serve_images(folder.parent / "registry") as registry:
        command = ("publish", "--profile", "cpu", "--registry", registry)
        measure(folder, *command)
        noted = json.loads((folder / "reports/published.json").read_text(encoding="utf-8"))
        images = [one for one in noted["images"] if one["registry"] == registry]
        pushed = sum(one["pushed"] for one in images)
        whole = sum(packed_bytes(registry, one["repository"], one["digest"]) for one in images)
        before = file_bytes(folder.parent / "registry/images")
        measure(folder, *command)
        more = file_bytes(folder.parent / "registry/images") - before
    note = f"{pushed / 1e9:.2f} GB / {whole / 1e9:.2f} GB, {len(images)} images"
    yield Row("bytes pushed, by the sum of the packed images", pushed / whole, None, "", note)
    yield Row("bytes that the registry gets at the second time", more, 0, "bytes")


def packed_bytes(registry: str, repository: str, digest: str) -> int:
    """Return the bytes of the packed layers of an image in a registry."""
    image = Registry.open(registry).image(repository, digest, DEFAULT_ARCH)
    if image is None:
        raise SystemExit(f"{registry} has lost {repository}@{digest}")
    return sum(size for _, size in image.blobs)


def file_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


SECTIONS = {
    section.__name__: section
    for section in (plan, quick, lock, unchanged, cpu, imports, cuda, publish)
}


# --- results ---------------------------------------------------------------------------------


def say(text: str) -> None:
    """Say what happens, on stderr."""
    sys.stderr.write(f"{text}\n")


def machine() -> str:
    """Describe the machine, with nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with Engine.connect() as engine:
        version = engine.version
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, Docker {version}"
    )


def keep(section: str, rows: Sequence[Row]) -> None:
    """Put the rows of a section into the results, and write the page again."""
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    found[section] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "rows": [vars(row) for row in rows],
    }
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    RESULTS.write_text(page(found), encoding="utf-8")


def page(found: dict[str, dict[str, object]]) -> str:
    """Return RESULTS.md."""
    lines = [
        "# Results",
        "",
        "`nox -s bench` writes this page. The first lines of bench.py say how it measures.",
        "",
    ]
    lines += [
        (
            f"Figures are medians of {REPEATS} runs. A run from an empty state is done once. The "
            "two sides of a ratio were measured one after the other."
        ),
        "",
    ]
    for section, work in SECTIONS.items():
        if section not in found:
            continue
        one = found[section]
        lines += [
            f"## {section}",
            "",
            f"{(work.__doc__ or '').splitlines()[0]} Measured on {one['date']}: {one['machine']}.",
        ]
        lines += ["", "| what | figure | at most | | |", "| --- | --- | --- | --- | --- |"]
        lines += [str(Row(**row)) for row in one["rows"]]  # type: ignore[attr-defined]
        lines += [""]
    return "\n".join(lines) + NOTES


NOTES = """\

## What the figures mean

"By" is a ratio: the figure of envmatrix divided by the figure of the other way. "At most" is the
target for the figure.

- The textbook way is one Dockerfile for each cell: apt's Python, a virtual environment, and pip
  install of the same lock. It builds the images one after another, then runs the same probes one
  after another.
- Bake is `docker buildx bake` with cache mounts and uv, as uv's guide shows it. It builds side by
  side. As many of its images are probed at a time as envmatrix probes.

All three ways start from the same images of the operating systems, as after a pull, and take their
wheels from the same server on loopback. Where no registry answers, envmatrix makes the systems
itself (it bootstraps them). The rows with "bootstrapped" show the time with that work, while the
other ways still find their systems ready.

The comparison with the textbook way has a floor: a run that never leaves a core idle still has its
work to do. The row "no core ever idle" is that work, divided by the cores and by the time of the
other way. To unpack the wheels and compile bytecode, which pip also does, and to make the checksums
of the layers takes about 20 seconds of work for each cell.

Most of a short probe is the import of its framework. envmatrix runs the probes of a cell from one
import (decision 18); the other ways run each probe in a container of its own, as a script would.
What envmatrix cannot share is `torch-compile`, which compiles for 20 seconds by itself.

The cells of the cpu profile share no heavy wheel on one base, so they save no layer. Where cells do
share, as the CUDA cells do, a cell costs only its own wheels.
"""


def main() -> None:
    """Measure and print. Write the results unless this is only a smoke test."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION")
    arguments.add_argument("--smoke", action="store_true", help="only plan, and write nothing")
    given = arguments.parse_args()
    for section in ["plan"] if given.smoke else given.sections or SECTIONS:
        with workplace() as folder:
            rows = []
            for row in SECTIONS[section](folder):
                print(row, flush=True)
                rows.append(row)
                if not given.smoke:  # what fails later does not lose an hour of measuring
                    keep(section, rows)
    if not given.smoke:
        with Engine.connect() as engine:
            alternatives.remove(engine, ("os", "textbook", "bake"))


if __name__ == "__main__":
    main()
