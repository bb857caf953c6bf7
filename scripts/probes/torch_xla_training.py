# /// probe
# name = "torch-xla-training"
# framework = "torch"
# stack = "xla"
# proves = "torch_xla compiles a training through XLA that follows the one of plain torch."
# required = true
# timeout = 150
# ///
"""Train one small network twice from the same weights, by XLA and by plain torch, and compare.

XLA runs on the CPU, unless the environment variable PJRT_DEVICE says another device; on a TPU,
products of float32 are to be exact ones and not bfloat16. XLA fuses and reorders float32 sums of at
most 64 terms. Errors of a step are some sqrt(64) u, with u = 2**-24, and each of STEPS steps adds
its own; TOLERANCE allows 100 times that, about 5e-4, relative to the first loss.
"""

from __future__ import annotations

import copy
import json
import os
import time

os.environ.setdefault("PJRT_DEVICE", "CPU")

import torch
import torch_xla
from torch import nn

SEED = 0
THREADS = 1
BATCH, WIDTH, STEPS, LEARNING_RATE = 64, 16, 10, 0.1
TOLERANCE = 100 * 2**-24 * BATCH**0.5 * STEPS


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-xla-training", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def train(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> list[float]:
    """Fit the model on the device where it and the data are, and return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
    inputs = torch.randn(BATCH, WIDTH)
    targets = inputs.sum(dim=1, keepdim=True) / WIDTH**0.5
    device = torch_xla.device()
    if os.environ["PJRT_DEVICE"] == "TPU":
        torch_xla.backends.set_mat_mul_precision("highest")
    placed = copy.deepcopy(model).to(device)
    assert next(placed.parameters()).device.type == "xla", "the model is not on XLA's device"
    by_xla = train(placed, inputs.to(device), targets.to(device))
    by_torch = train(model, inputs, targets)
    assert by_torch[-1] < by_torch[0], f"plain torch does not learn: {by_torch}"
    difference = max(abs(one - other) for one, other in zip(by_xla, by_torch)) / by_torch[0]
    assert difference <= TOLERANCE, f"XLA's losses are {difference:.3g} off ({TOLERANCE=})"
    report(
        observed={
            "torch_xla": torch_xla.__version__,
            "device": os.environ["PJRT_DEVICE"],
            "losses": [round(loss, 6) for loss in by_xla],
            "difference": difference,
            "tolerance": TOLERANCE,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
