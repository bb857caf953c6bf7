# /// probe
# name = "torch-determinism"
# framework = "torch"
# proves = "Training twice from one seed gives the same losses and weights, bit by bit."
# required = true
# timeout = 60
# ///
"""Run one seeded training twice in a process, with everything in it that draws random numbers.

torch.use_deterministic_algorithms(True) promises equal bits on one machine, so no bound applies.
Another seed must give other losses, or the equality would say nothing. What the losses are is
observed: comparing that between environments shows how far these drift from each other.
"""

import json
import os
import time

import torch
from torch import nn

SEED, OTHER_SEED = 0, 1
THREADS = 2
BATCH, STEPS = 32, 40
FEATURES, WIDTH = 8, 64


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-determinism", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def train(seed: int) -> tuple[list[float], list[float]]:
    """Train from random weights, on random data, with dropout; return losses and weights."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(FEATURES, WIDTH), nn.GELU(), nn.Dropout(0.2), nn.Linear(WIDTH, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        batch = torch.randn(BATCH, FEATURES)
        loss = (model(batch) - batch.sum(1, keepdim=True).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.nn.utils.parameters_to_vector(model.parameters()).tolist()


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    started = time.perf_counter()
    losses, weights = train(SEED)
    again, weights_again = train(SEED)
    other, _ = train(OTHER_SEED)
    assert losses == again, f"one seed, two courses: {losses} and {again}"
    assert weights == weights_again, "equal losses, but other weights"
    assert losses != other, f"two seeds, one course: {losses}"
    report(
        observed={
            "final_loss": losses[-1],
            "losses": [round(loss, 6) for loss in losses],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
