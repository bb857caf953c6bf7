"""Running a probe in an image, isolated from everything."""

from __future__ import annotations

import secrets

from envmatrix.engine.containers import Containers
from envmatrix.engine.process import Limits
from envmatrix.model.evidence import ProbeResult
from envmatrix.probes.headers import Probe
from envmatrix.probes.judging import judge, not_run

# Writes the probe to a file, so that inspect.getsource works in it, and becomes that program. The
# folder of the file comes first on the module path, so the file gets a name that no module has.
_START = (
    "import os,sys;p='/tmp/probe_'+sys.argv[1]+'.py';open(p,'w').write(sys.argv[2]);"
    "os.execv(sys.executable,[sys.executable,p])"
)


def run_probe(containers: Containers, image: str, probe: Probe, *, gpu: bool) -> ProbeResult:
    """Run a probe in an image, and judge what came of it.

    Raises:
        EngineError: the engine failed.
        Cancelled: the user asked to stop.
    """
    if probe.needs == "gpu" and not gpu:
        return not_run(probe, "the engine has no GPU for this cell")
    nonce = secrets.token_hex(8)
    ran = containers.run(
        image,
        ["python", "-c", _START, probe.name.replace("-", "_"), probe.source],
        environment={"ENVMATRIX_NONCE": nonce, "HOME": "/tmp"},  # noqa: S108
        limits=Limits(seconds=probe.timeout),
        gpu=gpu,
    )
    return judge(probe, ran, nonce)
