"""Running probes in an interpreter of this machine, without a container.

This serves clusters without Docker, and machines with a GPU. Nothing is isolated and nothing was
built, so host evidence is of a kind of its own and never stands for a cell.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from envmatrix.engine.process import OUTPUT_LIMIT, Ran
from envmatrix.model.errors import InputError
from envmatrix.model.probe_results import ProbeResult
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import SIGNALLED, judge


def probe_host(
    python: str, probes: Iterable[Probe], heard: Callable[[str, Ran], None] = lambda _, __: None
) -> Mapping[str, Sequence[ProbeResult]]:
    """Run the probes of every framework that `python` has; return their results by framework.

    `heard` is told how each probe ended, by its name, with its whole output.

    Raises:
        InputError: `python` cannot be started.
    """
    by_framework: dict[str, list[Probe]] = {}
    for probe in probes:
        if not probe.stack:
            by_framework.setdefault(probe.framework, []).append(probe)
    found = {}
    for framework, ours in by_framework.items():
        first = run_on_host(python, ours[0], heard)
        if first.kind == "module-missing":
            continue
        found[framework] = [first, *(run_on_host(python, probe, heard) for probe in ours[1:])]
    return found


def run_on_host(
    python: str, probe: Probe, heard: Callable[[str, Ran], None] = lambda _, __: None
) -> ProbeResult:
    """Run one probe in an interpreter, and judge it as in a container."""
    nonce = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="envmatrix-host-") as folder:
        source = Path(folder) / f"probe_{probe.name.replace('-', '_')}.py"
        source.write_text(probe.source, encoding="utf-8")
        ran = _run(python, source, probe.timeout, nonce)
        heard(probe.name, ran)
        return judge(probe, ran, nonce)


def _run(python: str, source: Path, seconds: int, nonce: str) -> Ran:
    outputs = [source.with_name("stdout"), source.with_name("stderr")]
    started = time.monotonic()
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        try:
            # The probe gets a session of its own, so that whatever it starts ends with it.
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
