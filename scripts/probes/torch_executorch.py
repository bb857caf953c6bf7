# /// probe
# name = "torch-executorch"
# framework = "torch"
# stack = "executorch"
# proves = "A model lowered to ExecuTorch computes in its runtime what torch computes."
# required = true
# timeout = 150
# ///
"""Export a small network, lower it with and without XNNPACK, run both programs, and compare.

Without a delegate the portable kernels run, with one XNNPACK's; both have their own float32
arithmetic. Sums have at most 288 terms and lose about sqrt(288) u in each of three layers, with
u = 2**-24; TOLERANCE allows 100 u sqrt(288), about 1e-4, relative to the largest score.
"""

from __future__ import annotations

import json
import os
import time
from importlib import metadata

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import nn

SEED = 0
THREADS = 1
SIDE, CHANNELS, CLASSES = 8, 32, 10
TOLERANCE = 100 * 2**-24 * (9 * CHANNELS) ** 0.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-executorch", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def build() -> nn.Module:
    """Make a classifier of random weights."""
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(CHANNELS * SIDE * SIDE // 4, CLASSES),
    ).eval()


def lower(model: nn.Module, images: torch.Tensor, partitioners: list) -> bytes:
    """Turn the model into an ExecuTorch program."""
    exported = torch.export.export(model, (images,))
    edge = to_edge_transform_and_lower(exported, partitioner=partitioners)
    return bytes(edge.to_executorch().buffer)


def execute(program: bytes, images: torch.Tensor) -> torch.Tensor:
    """Run the program in ExecuTorch's runtime."""
    method = Runtime.get().load_program(program).load_method("forward")
    (scores,) = method.execute([images])
    return scores.clone()


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model, images = build(), torch.randn(1, 1, SIDE, SIDE)
    expected = model(images).detach()
    observed = {"executorch": metadata.version("executorch"), "tolerance": TOLERANCE}
    for name, partitioners in (("portable", []), ("xnnpack", [XnnpackPartitioner()])):
        program = lower(model, images, partitioners)
        delegated = b"XnnpackBackend" in program
        assert delegated == bool(partitioners), f"{name}: XNNPACK in the program: {delegated}"
        scores = execute(program, images)
        assert scores.shape == expected.shape, f"{name}: shape {tuple(scores.shape)}"
        difference = ((scores - expected).abs().max() / expected.abs().max()).item()
        assert difference <= TOLERANCE, f"{name} is {difference:.3g} off ({TOLERANCE=})"
        observed[f"{name}_bytes"] = len(program)
        observed[f"{name}_difference"] = difference
    report(observed={**observed, "seconds": round(time.perf_counter() - started, 3)})


if __name__ == "__main__":
    main()
