"""The probes in an interpreter of this machine, without a container.

For clusters without Docker, and machines with a GPU. Nothing is isolated and nothing was built, so
this evidence is of a kind of its own and never stands for a cell.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envmatrix import __version__
from envmatrix.engine import OUTPUT_LIMIT, Ran
from envmatrix.errors import InputError
from envmatrix.probe import SIGNALLED, Probe, Result, judge, judge_cell, merged_observations

KIND = "host"


def probe_host(python: str, probes: Iterable[Probe]) -> list[dict[str, Any]]:
    """Run the probes of every framework that `python` has; return the evidence of each.

    Raises:
        InputError: `python` cannot be started.
    """
    by_framework: dict[str, list[Probe]] = {}
    for probe in probes:
        if not probe.stack:
            by_framework.setdefault(probe.framework, []).append(probe)
    found = []
    for framework, ours in by_framework.items():
        first = run_on_host(python, ours[0])
        if first.kind == "module-missing":
            continue
        results = [first, *(run_on_host(python, probe) for probe in ours[1:])]
        found.append(_evidence(framework, results))
    return found


def run_on_host(python: str, probe: Probe) -> Result:
    """Run one probe in an interpreter, and judge it as in a container."""
    nonce = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="envmatrix-host-") as folder:
        source = Path(folder) / f"probe_{probe.name.replace('-', '_')}.py"
        source.write_text(probe.source, encoding="utf-8")
        return judge(probe, _run(python, source, probe.timeout, nonce), nonce)


def _run(python: str, source: Path, seconds: int, nonce: str) -> Ran:
    outputs = [source.with_name("stdout"), source.with_name("stderr")]
    started = time.monotonic()
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        try:
            # A session of its own: what the probe started ends with it.
            process = subprocess.Popen(
                [python, str(source)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=source.parent,
                env=os.environ | {"ENVMATRIX_NONCE": nonce},
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"{python} cannot be started: {error.strerror}",
                where="--python",
                next_step="give the path of a Python interpreter",
            ) from error
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    texts = [path.read_bytes()[:OUTPUT_LIMIT].decode("utf-8", "replace") for path in outputs]
    return Ran(
        exit_code=SIGNALLED - code if code is not None and code < 0 else code,
        stdout=texts[0],
        stderr=texts[1],
        seconds=round(time.monotonic() - started, 3),
        timed_out=code is None,
        flooded=any(path.stat().st_size > OUTPUT_LIMIT for path in outputs),
    )


def _evidence(framework: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return host evidence in the form of a cell's, with what a container alone has left empty."""
    observed = merged_observations(results)
    judgement = judge_cell({}, results)
    axes = {
        "os": str(observed.get("codename", "unknown")),
        "python": str(observed.get("python", "unknown")),
        "accelerator": str(observed.get("accelerator", "unknown")),
        "framework": framework,
        "version": str(observed.get("version", "unknown")),
        "arch": str(observed.get("arch", "unknown")),
    }
    return {
        "schema": 1,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool": f"envmatrix {__version__}",
        "kind": KIND,
        "id": (
            f"{KIND}-{framework}-{axes['version']}-py{axes['python']}-{axes['os']}"
            f"-{axes['accelerator']}"
        ),
        "axes": axes,
        **judgement.to_json(),
        "observed": dict(observed),
        "size": None,
        "seconds": {"probe": round(sum(result.seconds for result in results), 1)},
        "probes": [result.to_json() for result in results],
        "log": None,
    }
