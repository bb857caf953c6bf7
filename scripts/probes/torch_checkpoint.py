# /// probe
# name = "torch-checkpoint"
# framework = "torch"
# proves = "Training goes on from a checkpoint exactly as if it had not been interrupted."
# required = true
# timeout = 60
# ///
"""Train, save model and optimizer, load them into fresh ones, and train both on.

The file is loaded with weights_only=True, the safe way and the default since torch 2.6. Both runs
do the same arithmetic on the same numbers in the same order, so their losses must be equal bit by
bit: no bound applies.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

SEED = 0
THREADS = 1
STEPS = 10
WIDTH = 32


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-checkpoint", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make an untrained model and an optimizer that keeps a state of its own."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 1))
    return model, torch.optim.Adam(model.parameters(), 1e-2)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: torch.Tensor) -> list[float]:
    """Take one step for each batch and return the losses."""
    losses = []
    for batch in batches:
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
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
    before, after = torch.randn(2, STEPS, 64, WIDTH)
    model, optimizer = fresh()
    started_at = train(model, optimizer, before)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        size = path.stat().st_size
        checkpoint = torch.load(path, weights_only=True)
    resumed, resumed_optimizer = fresh()
    resumed.load_state_dict(checkpoint["model"])
    resumed_optimizer.load_state_dict(checkpoint["optimizer"])
    uninterrupted = train(model, optimizer, after)
    continued = train(resumed, resumed_optimizer, after)
    assert continued == uninterrupted, f"resumed {continued}, uninterrupted {uninterrupted}"
    assert continued[-1] < started_at, f"the loss rose from {started_at} to {continued[-1]}"
    report(
        observed={
            "losses": [round(loss, 6) for loss in continued],
            "checkpoint_bytes": size,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
