"""What envmatrix takes, beside what a user would do instead; written to RESULTS.md.

    python benchmarks/bench.py                  every section; an hour and more on two cores
    python benchmarks/bench.py quick lock       these sections
    python benchmarks/bench.py --smoke          plan alone, nothing written: for CI

Each command runs as a process of its own. Own CPU time and peak memory are those of that process
without the programs it starts (uv, pip, mmdebstrap); the engine is another process anyway.

A section works in a copy of the checkout without any state but the downloaded wheels. The images
it builds take the names of those that are there, and the sections cpu and bake empty the build
cache of the engine.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import alternatives
import yaml

from envmatrix.cells import Cell, choose
from envmatrix.engine import Engine, Limits
from envmatrix.project import Project
from envmatrix.render import cell_tag
from envmatrix.run import default_jobs

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("RESULTS.md")
FIGURES = Path(__file__).with_name("results.json")
REPEATS = 5
MEGABYTE = 1e6

MEASURED = """
import json, resource, sys
from envmatrix.cli import main
code = 0
def end(given):
    global code
    code = given
try:
    main(sys.argv[2:], end)
except SystemExit as stop:
    code = stop.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[1], "w") as file:
    json.dump([code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024], file)
"""


@dataclass(frozen=True)
class Taken:
    """What one command took: seconds of wall and own CPU time, bytes of memory at most."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Row:
    """One figure beside the most it may be; `note` says what it is made of."""

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
    """Run envmatrix once in `folder`; an exit code that is not allowed ends the benchmark."""
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-c", MEASURED, report.name, *arguments]
        started = time.monotonic()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - started
        code, cpu, memory = json.load(report)
    if code not in allowed:
        raise SystemExit(f"envmatrix {' '.join(arguments)} ended with {code}")
    return Taken(wall, cpu, memory)


def median(folder: Path, *arguments: str) -> Taken:
    """Run envmatrix `REPEATS` times after one that does not count; return the medians."""
    measure(folder, *arguments)
    taken = [measure(folder, *arguments) for _ in range(REPEATS)]
    return Taken(
        statistics.median(one.wall for one in taken),
        statistics.median(one.cpu for one in taken),
        max(one.memory for one in taken),
    )


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield a copy of what git tracks, with the wheels of this checkout, and beside it room."""
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


def at(folder: Path) -> Project:
    """Return the project in a folder."""
    return Project(folder / "matrix.yaml")


# --- sections --------------------------------------------------------------------------------


def plan(folder: Path) -> Iterator[Row]:
    """Nothing is executed."""
    taken = median(folder, "plan", "--profile", "all", "--json")
    yield Row("`plan --profile all`", taken.wall, 1, "s")
    yield Row("peak memory of `plan --profile all`", taken.memory / MEGABYTE, 200, "MB")


def quick(folder: Path) -> Iterator[Row]:
    """The README's first command."""
    first = measure(folder, "run", "--profile", "quick")
    again = median(folder, "run", "--profile", "quick")
    yield Row("quick from an empty state", first.wall, 600, "s", "wheels at hand")
    yield Row("the tool's own share of that", 100 * first.cpu / first.wall, 5, "%")
    yield Row("quick again, nothing changed", again.wall, 5, "s")
    yield Row("peak memory of the tool", max(first.memory, again.memory) / MEGABYTE, 200, "MB")


def lock(folder: Path) -> Iterator[Row]:
    """Every declared cell resolved; exit code 3: an index that cannot be reached here."""
    cold = measure(folder, "lock", "--profile", "all", allowed=(0, 3))
    warm = [measure(folder, "lock", "--profile", "all", allowed=(0, 3)) for _ in range(3)]
    fresh = measure(folder, "lock", "--profile", "all", "--fresh", allowed=(0, 3))
    yield Row("`lock --profile all`, no record yet", cold.wall, None, "s")
    yield Row("`lock --profile all`, warm", statistics.median(t.wall for t in warm), 60, "s")
    yield Row("`lock --profile all --fresh`: only uv's cache is warm", fresh.wall, None, "s")


def cpu_cells(project: Project) -> list[Cell]:
    """Return the cells that envmatrix is compared on."""
    return choose(project.matrix, project.cells, (), "cpu")


def cpu(folder: Path) -> Iterator[Row]:
    """The cpu profile from an empty state, against a Dockerfile a cell, one after another."""
    project = at(folder)
    cells = cpu_cells(project)
    with Engine.connect() as engine, alternatives.index(project) as url:
        alternatives.prepare(project, engine, cells, folder.parent)
        alternatives.empty_build_cache()
        ours = measure(folder, "run", "--profile", "cpu")
        probes = sum(probe_seconds(folder, cell) for cell in cells)
        yield Row(WHOLE, ours.wall, None, "s", "wheels at hand; the systems bootstrapped")
        yield Row(PROBES, probes, None, "s", f"{default_jobs()} cells side by side")
        place = folder.parent / "textbook"
        built = timed(lambda: alternatives.textbook(project, cells, url, place))
        probed = timed(lambda: alternatives.probe(project, engine, "textbook", cells, 1))
        alternatives.remove(engine, ("textbook",))
        alternatives.empty_build_cache()
    note = f"{ours.wall:.0f} s / {built:.0f} s built + {probed:.0f} s probed"
    yield Row("cpu profile, by the textbook way", ours.wall / (built + probed), 0.4, "", note)


def bake(folder: Path) -> Iterator[Row]:
    """The cpu profile by `docker buildx bake` from an empty builder cache, and once more.

    Its images are not probed: what the probes took in the run of the section before, as many at
    a time, is added to both.
    """
    if not alternatives.has_bake():
        say("docker buildx is not there")
        return
    project = at(folder)
    cells = cpu_cells(project)
    ours, probed = figure("cpu", WHOLE), figure("cpu", PROBES) / default_jobs()
    with Engine.connect() as engine, alternatives.index(project) as url:
        alternatives.prepare(project, engine, cells, folder.parent)
        alternatives.empty_build_cache()
        file = alternatives.bake_file(project, cells, url, folder.parent / "bake")
        built = timed(lambda: alternatives.bake(file))
        again = timed(lambda: alternatives.bake(file))
        alternatives.remove(engine, ("bake",))
        alternatives.empty_build_cache()
    note = f"{ours:.0f} s / {built:.0f} s built + {probed:.0f} s probed"
    yield Row("cpu profile, by bake with uv", ours / (built + probed), 1, "", note)
    yield Row("bake with nothing changed", again, None, "s", "without a look at any evidence")


WHOLE = "cpu profile from an empty state"
PROBES = "seconds of its probes, summed over the cells"


def figure(section: str, what: str) -> float:
    """Return a figure that a section before has measured."""
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    rows = found.get(section, {"rows": []})["rows"]
    for row in rows:
        if row["what"] == what:
            return float(row["figure"])
    raise SystemExit(f"measure the section {section} first")


def probe_seconds(folder: Path, cell: Cell) -> float:
    """Return what the probes of a cell took together."""
    path = folder / f".envmatrix/cells/{cell.id}.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]["probe"])


def imports(folder: Path) -> Iterator[Row]:
    """The first import in new, read-only containers."""
    project = at(folder)
    cells = cpu_cells(project)
    with Engine.connect() as engine, alternatives.index(project) as url:
        measure(ROOT, "build", "--profile", "cpu")
        for family in dict.fromkeys(cell.family for cell in cells):
            cell = next(cell for cell in reversed(cells) if cell.family == family)
            textbook = alternatives.tag("textbook", cell)
            if engine.image(textbook) is None:
                alternatives.prepare(project, engine, [cell], folder.parent)
                alternatives.textbook(project, [cell], url, folder.parent / family)
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


def again(folder: Path) -> Iterator[Row]:
    """The cpu profile where all of it is done, and with one cell more."""
    measure(ROOT, "run", "--profile", "cpu")
    with_state(folder)
    taken = median(folder, "run", "--profile", "cpu")
    yield Row("nothing changed, cpu profile", taken.wall, 1, "s")
    yield Row("peak memory of the tool", taken.memory / MEGABYTE, 200, "MB")
    with Engine.connect() as engine:
        yield from one_cell_added(folder, engine)


def with_state(folder: Path) -> None:
    """Give a copy what this checkout has recorded."""
    for name in ("records", "cells"):
        shutil.copytree(ROOT / ".envmatrix" / name, folder / ".envmatrix" / name)


def import_seconds(engine: Engine, image: str, family: str, *, bytecode: bool = True) -> float:
    """Return the median of the seconds that the import takes, each in a new container."""
    program = (
        f"import time; s = time.perf_counter(); import {family}; print(time.perf_counter() - s)"
    )
    # With another prefix for bytecode there is none; writing it to no avail takes no time here.
    environment = {} if bytecode else {"PYTHONPYCACHEPREFIX": "/nowhere"}
    seconds = []
    for _ in range(REPEATS):
        ran = engine.run(
            image,
            ["python", "-c", program],
            environment={"HOME": "/tmp", **environment},  # noqa: S108
            limits=Limits(),
        )
        seconds.append(float(ran.stdout.splitlines()[-1]))
    return statistics.median(seconds)


def one_cell_added(folder: Path, engine: Engine) -> Iterator[Row]:
    """Run the profile with one cell more; its own cost is what its build and its probes took."""
    added = "tensorflow-2.19.1-py3.11-debian12-cpu"
    measure(folder, "lock", added)
    path = folder / "matrix.yaml"
    matrix = yaml.safe_load(path.read_text(encoding="utf-8"))
    where = {"framework": "tensorflow", "version": "2.19.1", "accelerator": "cpu"}
    matrix["profiles"]["cpu"].append({**where, "os": "debian12", "python": "own"})
    path.write_text(yaml.safe_dump(matrix, sort_keys=False), encoding="utf-8")
    project = at(folder)
    cells = choose(project.matrix, project.cells, (added,), None)
    alternatives.prepare(project, engine, cells, folder.parent)
    whole = measure(folder, "run", "--profile", "cpu").wall
    evidence = json.loads((folder / f".envmatrix/cells/{added}.json").read_text(encoding="utf-8"))
    own = evidence["seconds"]["build"] + evidence["seconds"]["probe"]
    note = f"{whole:.0f} s / {own:.0f} s"
    yield Row("one cell added, by its own cost", whole / own, 1.15, "", note)


def cuda(folder: Path) -> Iterator[Row]:
    """Three CUDA torch cells that share CUDA: the bytes that the engine stores.

    Ours are those of the checkout itself: what is stored does not depend on when it was built.
    """
    project = at(ROOT)
    selected = ("*torch*-2.13.0-py3.11-debian12-cu130",)
    cells = choose(project.matrix, project.cells, selected, None)
    with Engine.connect() as engine, alternatives.index(project) as url:
        measure(ROOT, "build", *selected)
        ours = stored(engine, [cell_tag(cell) for cell in cells])
        alternatives.prepare(project, engine, cells, folder.parent)
        alternatives.textbook(project, cells, url, folder.parent / "textbook")
        theirs = stored(engine, [alternatives.tag("textbook", cell) for cell in cells])
        alternatives.remove(engine, ("textbook",))
    note = f"{ours / 1e9:.2f} GB / {theirs / 1e9:.2f} GB, for {len(cells)} cells"
    yield Row("bytes of three CUDA torch cells, by the textbook way", ours / theirs, 0.6, "", note)


def stored(engine: Engine, names: Sequence[str]) -> int:
    """Return the bytes of the layers of some images, each layer once."""
    layers: dict[tuple[tuple[str, int], ...], int] = {}
    for name in names:
        history = engine.history(name)
        for number, (_, size) in enumerate(history, 1):
            layers[tuple(history[:number])] = size
    return sum(layers.values())


SECTIONS = {
    section.__name__: section for section in (plan, quick, lock, cpu, bake, again, imports, cuda)
}


# --- results ---------------------------------------------------------------------------------


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")


def machine() -> str:
    """Say on what it was measured: nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with Engine.connect() as engine:
        version = engine.version
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, Docker {version}"
    )


def keep(section: str, rows: Sequence[Row]) -> None:
    """Put the rows of a section into the results, and write the page anew."""
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
    lines = ["# Results", "", "Written by `nox -s bench`; how: the head of bench.py.", ""]
    lines += [f"Medians of {REPEATS} runs, save those from an empty state, which are one.", ""]
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

"By" is a ratio: envmatrix divided by the other. The textbook way is a Dockerfile a cell (apt's
Python, a virtual environment, pip install of the same lock), built one after another, then the
same probes one after another. Bake builds side by side with cache mounts and uv, as uv's guide
has it. Both start from images of the operating systems that are there already, while envmatrix
makes its own within its time; all three take their wheels from the same server on loopback.

The sections cpu, bake, again, imports and cuda of 2026-11-23 were measured while builds still went
through the classic builder, which writes each layer out as a tar and unpacks it again: 24 of the 50
seconds of a TensorFlow cell. BuildKit (docs/decisions/0009) builds the same cell in 23 to 29 s.
They are to be measured again; the textbook way is built by BuildKit, too, then. The floor of the
comparison with it, on two cores, is the probes: two cells at a time, they alone take half of what
they take one after another, which is a quarter of the textbook's whole. The cells of the cpu
profile share no heavy wheel on one base, so no layer is saved there; where cells do share, as the
CUDA cells do, a cell costs only its own wheels.
"""


def main() -> None:
    """Measure, print, and write the results unless it is only a smoke test."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION")
    arguments.add_argument("--smoke", action="store_true", help="plan alone, nothing written")
    given = arguments.parse_args()
    for section in ["plan"] if given.smoke else given.sections or SECTIONS:
        with workplace() as folder:
            rows = []
            for row in SECTIONS[section](folder):
                print(row, flush=True)
                rows.append(row)
                if not given.smoke:  # an hour of measuring is not lost to what fails after it
                    keep(section, rows)


if __name__ == "__main__":
    main()
