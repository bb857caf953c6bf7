"""What the tool takes, measured from outside, written to RESULTS.md.

    python benchmarks/bench.py            the quick profile from an empty state and again, and plan
    python benchmarks/bench.py --smoke    plan alone, nothing written: for CI

Each command runs as a process of its own. Its own CPU time and peak memory are those of that
process without the programs it starts (uv, pip, mmdebstrap); the engine is another process anyway.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("RESULTS.md")
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


def measure(folder: Path, *arguments: str) -> Taken:
    """Run envmatrix once in `folder`; anything but exit code 0 ends the benchmark."""
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-c", MEASURED, report.name, *arguments]
        started = time.monotonic()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - started
        code, cpu, memory = json.load(report)
    if code != 0:
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


def fresh_copy(folder: Path) -> Path:
    """Copy what git tracks to a folder without any state."""
    copy = folder / "envmatrix"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name)
    return copy


@dataclass(frozen=True)
class Row:
    """One figure beside the most it may be, both in `unit`."""

    what: str
    figure: float
    target: float
    unit: str

    def __str__(self) -> str:
        """Return the row of a Markdown table."""
        verdict = "met" if self.figure <= self.target else "missed"
        figures = f"{self.figure:.3g} {self.unit} | {self.target:g} {self.unit}"
        return f"| {self.what} | {figures} | {verdict} |"


def rows(*, smoke: bool) -> Iterator[Row]:
    """Measure one figure after the other."""
    plan = median(ROOT, "plan", "--profile", "all", "--json")
    yield Row("`plan --profile all`", plan.wall, 1, "s")
    memory = plan.memory
    if not smoke:
        with tempfile.TemporaryDirectory(prefix="envmatrix-bench-", dir=ROOT.parent) as folder:
            copy = fresh_copy(Path(folder))
            first = measure(copy, "run", "--profile", "quick", "--fresh")
            again = median(copy, "run", "--profile", "quick")
        yield Row("quick from an empty state", first.wall, 600, "s")
        yield Row("the tool's own share of that", 100 * first.cpu / first.wall, 5, "%")
        yield Row("quick again, nothing changed", again.wall, 5, "s")
        memory = max(memory, first.memory, again.memory)
    yield Row("peak memory of the tool", memory / MEGABYTE, 200, "MB")


def main() -> None:
    """Measure, print, and write the results unless it is only a smoke test."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--smoke", action="store_true", help="plan alone, nothing written")
    smoke = arguments.parse_args().smoke
    heading = "| what | figure | at most | |\n| --- | --- | --- | --- |"
    table = "\n".join([heading, *(str(row) for row in rows(smoke=smoke))])
    print(table)
    if not smoke:
        RESULTS.write_text(
            f"# Results\n\nWritten by `nox -s bench` on {dt.datetime.now(dt.UTC).date()}: "
            f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}. Medians of {REPEATS} runs, save the run from an "
            f"empty state, which is one.\n\n{table}\n\nThe own share is the CPU time of the "
            "tool itself by the wall time of the run.\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
