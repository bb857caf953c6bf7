# /// probe
# name = "torch-compile"
# framework = "torch"
# proves = "torch.compile as everybody calls it compiles a model that computes what eager computes."
# required = true
# timeout = 600
# ///
"""Compile a model with the default backend, and compare outputs and gradients with eager.

Inductor writes C++ for the CPU and compiles it with the compiler of the image and the headers of
Python. The model is small: most of the time goes into headers that Inductor compiles ahead, once
for all models. Nothing is set but the folder of its cache, so a user's first call does the same.

Inductor fuses operators, adds sums up in another order and computes tanh and exp with vectors of
its own. Each is within a few units in the last place of float32 (2**-23 = 1.2e-7), and the model
has about ten such operators in a row. The bounds leave a factor of ten: 1e-5 relative and absolute.
One that computed with half the digits, as float16 does, is off by 1e-3.

Where there is a GPU, the same is compiled for it, by Triton. Its own exp and the order of its sums
depend on the GPU, so the bounds are ten times as wide there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from torch import nn

SEED = 0
THREADS = 1
NOT_RUN = 77
BATCH, WIDTH, CLASSES = 8, 16, 4
BOUNDS = {"cpu": 1e-5, "cuda": 1e-4}
UNSUPPORTED = "not supported on Python"  # how torch words that Dynamo does not know this Python


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-compile", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Model(nn.Module):
    """Has what Inductor fuses: products with what follows them, a norm, and a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.scores = nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss of each row."""
        hidden = self.norm(inputs)
        hidden = hidden + torch.tanh(self.hidden(hidden)) * torch.sigmoid(hidden)
        return nn.functional.cross_entropy(self.scores(hidden), labels, reduction="none")


def off(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Assert that a tensor is what eager computed; return the largest difference."""
    bound = BOUNDS[value.device.type]
    torch.testing.assert_close(value, expected, rtol=bound, atol=bound)
    return (value - expected).abs().max().item()


def check(device: str) -> float:
    """Compile a model for a device, and compare; return the largest difference."""
    torch.manual_seed(SEED)
    model = Model().to(device)
    inputs = torch.randn(BATCH, WIDTH).to(device)
    labels = (torch.arange(BATCH) % CLASSES).to(device)
    weights = list(model.parameters())
    loss = model(inputs, labels)
    gradients = torch.autograd.grad(loss.sum(), weights)
    fast_loss = torch.compile(model)(inputs, labels)
    fast_gradients = torch.autograd.grad(fast_loss.sum(), weights)
    return max([off(fast_loss, loss), *map(off, fast_gradients, gradients)])


def compiler() -> str:
    """Return the first line that the C++ compiler says of its version."""
    program = os.environ.get("CXX", "g++")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def compiled() -> "dict[str, int]":
    """Return how much Inductor compiled: graphs, and kernels in them."""
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    graphs = counters["stats"]["unique_graphs"]
    return {"graphs": graphs, "kernels": metrics.generated_kernel_count}


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            torch.compile(torch.relu)
        except RuntimeError as error:
            if UNSUPPORTED not in str(error):
                raise
            report(not_run=f"torch {torch.__version__}: {error}")
            sys.exit(NOT_RUN)
        differences = {device: check(device) for device in devices}
    made = compiled()
    assert made["kernels"], f"Inductor compiled no kernel: {made}"
    report(
        observed={
            **made,
            "compiler": compiler(),
            "largest_difference": differences,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
