# /// probe
# name = "torch-capture"
# framework = "torch"
# proves = "torch.compile and torch.export capture a model whole, and compute what eager computes."
# required = true
# timeout = 90
# ///
"""Run one model eagerly, through torch.compile and through torch.export, and compare.

The "eager" backend replays the captured graph with the same kernels, so that Dynamo, which rewrites
Python's bytecode and breaks with new Pythons, is proved without a C++ compiler. All of the model
must be captured: fullgraph=True raises where Dynamo would fall back. torch-compile has the rest.

The same kernels in the same order need not give the same bits after a graph was rearranged;
torch.testing's bounds for float32 apply (1.3e-6 relative, 1e-5 absolute).
"""

import json
import os
import sys
import time

import torch
from torch import nn

SEED = 0
THREADS = 1
NOT_RUN = 77
WIDTH = 16
UNSUPPORTED = "not supported on Python"  # how torch words that Dynamo does not know this Python


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-capture", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Model(nn.Module):
    """Has Python for Dynamo to follow: a loop, a branch on a shape, a dictionary, a closure."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute one number for each row, or the whole row if there is only one."""
        activations = {"even": torch.relu, "odd": lambda hidden: torch.tanh(hidden) * 0.5}
        hidden = self.norm(inputs)
        for index, layer in enumerate(self.layers):
            hidden = hidden + activations["odd" if index % 2 else "even"](layer(hidden))
        return hidden.sum(-1) if inputs.shape[0] > 1 else hidden


def check_compiled(model: nn.Module, inputs: torch.Tensor) -> None:
    """Assert equal outputs and gradients, for two shapes, so that it is captured twice."""
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for batch in (inputs, inputs[:1]):
        torch.testing.assert_close(compiled(batch), model(batch))
    (expected,) = torch.autograd.grad(model(inputs).sum(), model.layers[0].weight)
    (gradient,) = torch.autograd.grad(compiled(inputs).sum(), model.layers[0].weight)
    torch.testing.assert_close(gradient, expected)


def check_exported(model: nn.Module, inputs: torch.Tensor) -> int:
    """Assert equal outputs for another batch size than exported; return the graph's size."""
    batch = torch.export.Dim("batch", min=2, max=1024)
    exported = torch.export.export(model, (inputs,), dynamic_shapes={"inputs": {0: batch}})
    larger = torch.cat([inputs, inputs])
    torch.testing.assert_close(exported.module()(larger), model(larger))
    return len(exported.graph.nodes)


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    try:
        torch.compile(torch.relu, backend="eager")
    except RuntimeError as error:
        if UNSUPPORTED not in str(error):
            raise
        report(not_run=f"torch {torch.__version__}: {error}")
        sys.exit(NOT_RUN)
    model, inputs = Model(), torch.randn(4, WIDTH)
    check_compiled(model, inputs)
    nodes = check_exported(model, inputs)
    report(
        observed={
            "exported_nodes": nodes,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
