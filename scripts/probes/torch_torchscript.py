# /// probe
# name = "torch-torchscript"
# framework = "torch"
# proves = "A module scripted to TorchScript, saved and loaded, computes what it did in Python."
# required = true
# timeout = 60
# ///
"""Script a module that has control flow, send it through a file, and compare.

TorchScript runs the same kernels; torch.testing's bounds for float32 apply (1.3e-6 relative,
1e-5 absolute), because its fuser may join elementwise operations. TorchScript is deprecated in
newer versions: what they say of it is observed, not judged.
"""

import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

SEED = 0
THREADS = 1
WIDTH = 16
RUNS = 3  # the first ones profile, a later one runs the optimized graph


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-torchscript", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Recurrent(nn.Module):
    """Loops over time and branches on data, so that tracing would not be enough."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Run the cell over the first dimension."""
        state = torch.zeros(inputs.shape[1], inputs.shape[2])
        for step in range(inputs.shape[0]):
            state = self.cell(inputs[step], state)
            if bool(state.sum() > 0):
                state = -state * 0.5
        return state


def save_and_load(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Send the scripted module through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        scripted.save(str(path))
        return torch.jit.load(path)


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model, inputs = Recurrent().eval(), torch.randn(8, 4, WIDTH)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = save_and_load(torch.jit.script(model))
    expected = model(inputs)
    for _ in range(RUNS):
        torch.testing.assert_close(loaded(inputs), expected)
    deprecations = {
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, (DeprecationWarning, FutureWarning))
    }
    report(
        observed={
            "deprecations": sorted(deprecations),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
