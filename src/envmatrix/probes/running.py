"""Running a probe in an image, isolated from everything."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from envmatrix.engine.containers import Containers
from envmatrix.engine.process import Limits, Ran
from envmatrix.model.errors import EngineError
from envmatrix.model.probe_results import Outcome, ProbeResult
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import judge, not_run

ALARM_SECONDS = 30
"""How long after its limit a container ends by itself, where envmatrix was killed or its engine
hangs. Otherwise envmatrix ends it at the limit."""

_ALARM = (
    "import os,signal,sys;signal.signal(signal.SIGALRM,lambda *_:os._exit(142));"
    "signal.alarm({seconds});"
)
# The first process of the container watches over the probe: no signal of the container stops or
# ends the first one, and the kernel ends all others with it. The probe is written to a file, so
# that inspect.getsource works in it. Its folder comes first on the module path, so it gets a name
# that no module has.
_START = """
p='/tmp/probe_'+sys.argv[1]+'.py'
open(p,'w').write(sys.argv[2])
probe=os.fork()
if not probe:
    signal.signal(signal.SIGALRM,signal.SIG_DFL)
    os.execv(sys.executable,[sys.executable,p])
ended=0
while ended!=probe:
    ended,status=os.wait()
code=os.waitstatus_to_exitcode(status)
os._exit(code if code>=0 else 128-code)
"""


def alarmed(program: str, seconds: float) -> str:
    """Return a program of Python that ends by itself `ALARM_SECONDS` after so many seconds.

    Where it is the first process of a container, the whole container ends with it.
    """
    return _ALARM.format(seconds=int(seconds) + ALARM_SECONDS) + program


def run_probe(
    containers: Containers,
    image: str,
    probe: Probe,
    *,
    gpu: bool,
    stack: Sequence[str] = (),
    unseen_gpu: str = "",
    heard: Callable[[Ran], None] = lambda _: None,
) -> ProbeResult:
    """Run a probe in an image, and judge what came of it.

    `heard` is told how it ended, with its whole output.

    `stack` are the distributions that the stack of the cell requires. `unseen_gpu` says which GPU
    there is that the engine does not give to a cell which could use it.

    Raises:
        EngineError: the engine failed, or it holds back the GPU that the probe needs.
        Cancelled: the user asked to stop.
    """
    if probe.needs == "gpu" and not gpu:
        if unseen_gpu:
            raise EngineError(
                unseen_gpu,
                where=f"run {probe.name}",
                next_step="install the NVIDIA Container Toolkit, then run `nvidia-ctk runtime "
                "configure --runtime=docker` and restart the engine",
                kind="gpu-not-served",
            )
        return not_run(probe, "the engine has no GPU for this cell")
    result = _run(containers, image, probe, stack, heard, gpu=gpu)
    if result.outcome is Outcome.BAD_REPORT:
        # A stream that breaks off exactly before the report looks the same, so a second run
        # confirms it.
        result = _run(containers, image, probe, stack, heard, gpu=gpu)
    return result


def _run(
    containers: Containers,
    image: str,
    probe: Probe,
    stack: Sequence[str],
    heard: Callable[[Ran], None],
    *,
    gpu: bool,
) -> ProbeResult:
    nonce = secrets.token_hex(8)
    ran = containers.run(
        image,
        # Isolated and without site: no wheel of the image has code in the first process.
        [
            *("python", "-I", "-S", "-c", alarmed(_START, probe.timeout)),
            *(probe.name.replace("-", "_"), probe.source),
        ],
        environment={
            "ENVMATRIX_NONCE": nonce,
            "HOME": "/tmp",  # noqa: S108
            **({"ENVMATRIX_STACK": " ".join(stack)} if stack else {}),
        },
        limits=Limits(seconds=probe.timeout),
        gpu=gpu,
        first=True,
    )
    heard(ran)
    return judge(probe, ran, nonce)
