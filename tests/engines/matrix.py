"""Run the tests of this folder on each engine, and print a table of the results.

    python tests/engines/matrix.py [ENGINE...] [pytest arguments]

An ENGINE is a name such as 28-containerd, or a version such as 28 for both of its stores. Without
one, all engines are tried. Exit code: 0 if every test passed, 1 if one failed, 3 if an engine could
not be had.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
ENGINES = ("20.10-overlay2", "26-overlay2", "26-containerd", "28-overlay2", "28-containerd")
TITLES = ("engine", "version", "builder", "passed", "failed", "skipped", "seconds")
ROW = "{:<15} {:<18} {:<9} {:>6} {:>6} {:>7} {:>7}"
FAILED, SURROUNDINGS = 1, 3


def main(arguments: list[str]) -> int:
    """Try the engines that the arguments name."""
    versions = {name.partition("-")[0] for name in ENGINES}
    wanted = [one for one in arguments if one in ENGINES or one in versions]
    passed_on = [one for one in arguments if one not in wanted]
    chosen = [
        name for name in ENGINES if not wanted or name in wanted or name.partition("-")[0] in wanted
    ]
    rows, codes = [], set()
    for name in chosen:
        code, row = run_on(name, passed_on)
        codes.add(code)
        rows.append(row)
    sys.stdout.writelines(f"{ROW.format(*row)}\n" for row in (TITLES, *rows))
    return max(codes)


def run_on(name: str, arguments: list[str]) -> tuple[int, tuple[str, ...]]:
    """Run the tests on one engine; return an exit code and a row of the table."""
    version, _, store = name.partition("-")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        tests = [sys.executable, "-m", "pytest", "tests/engines", f"--junitxml={results}"]
        code = wait_for(
            [
                *(str(ROOT / "scripts" / "private-engine"), version, "--store", store, "--"),
                *("env", f"ENVMATRIX_ENGINE={name}", "ENVMATRIX_REQUIRE_ENGINE=1"),
                *(*tests, *arguments),
            ]
        )
        seconds = f"{time.monotonic() - started:.0f}"
        if not results.is_file():
            return SURROUNDINGS, (name, "not tried", "", "", "", "", seconds)
        return FAILED if code else 0, (name, *read(results), seconds)


def wait_for(command: list[str]) -> int:
    """Run a command. It gets Ctrl-C from the terminal too, and may clean up after it."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):
                process.wait()
            raise


def read(results: Path) -> tuple[str, ...]:
    """Return version, builder, and how many tests passed, failed and were skipped."""
    root = ET.parse(results).getroot()  # noqa: S314  (pytest wrote it)
    said = {one.get("name"): one.get("value", "") for one in root.iter("property")}
    count = {
        kind: sum(int(suite.get(kind, 0)) for suite in root.iter("testsuite"))
        for kind in ("tests", "failures", "errors", "skipped")
    }
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return (
        *(said.get("version", "?"), said.get("builder", "?")),
        *(str(passed), str(failed), str(count["skipped"])),
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
