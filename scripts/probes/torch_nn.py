# /// probe
# name = "torch-nn"
# framework = "torch"
# proves = "A convolutional classifier trains with torch.nn and is right on images it never saw."
# required = true
# timeout = 60
# ///
"""Teach a small network of the usual layers to tell the direction of a noisy stripe.

There are four directions, so guessing is right in 0.25 of the cases. The network comes to 0.99
and more; ACCURACY_BOUND lies far from both.
"""

import json
import os
import time

import torch
from torch import nn

SEED = 0
THREADS = 1
SIDE = 8  # pixels
CLASSES = 4
NOISE = 0.3  # standard deviation, where the stripe is 1 on 0
BATCH, STEPS, LEARNING_RATE = 64, 80, 1e-2
HELD_OUT = 512  # images
ACCURACY_BOUND = 0.9


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-nn", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def draw_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noisy images of one stripe each, and say the class of its direction."""
    row = torch.arange(SIDE).view(1, SIDE, 1)
    column = torch.arange(SIDE).view(1, 1, SIDE)
    place = torch.randint(1, SIDE - 1, (count, 1, 1))
    directions = torch.stack(
        [
            (row == place).expand(count, SIDE, SIDE),
            (column == place).expand(count, SIDE, SIDE),
            (row - column) % SIDE == place,
            (row + column) % SIDE == place,
        ]
    )
    classes = torch.randint(CLASSES, (count,))
    stripes = directions[classes, torch.arange(count)].float()
    return (stripes + NOISE * torch.randn(count, SIDE, SIDE)).unsqueeze(1), classes


def network() -> nn.Module:
    """Stack convolution, batch norm, pooling, dropout and linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * (SIDE // 2) ** 2, CLASSES),
    )


def train(model: nn.Module) -> list[float]:
    """Fit the model to fresh images at each step and return the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    losses = []
    for _ in range(STEPS):
        images, classes = draw_images(BATCH)
        loss = nn.functional.cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Measure the share of fresh images that the model gets right."""
    images, classes = draw_images(HELD_OUT)
    return (model.eval()(images).argmax(1) == classes).float().mean().item()


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model = network()
    losses = train(model)
    right = accuracy(model)
    assert right >= ACCURACY_BOUND, f"{right:.3f} of the images right, asked is {ACCURACY_BOUND}"
    report(
        observed={
            "accuracy": round(right, 6),
            "accuracy_bound": ACCURACY_BOUND,
            "losses": [round(loss, 6) for loss in losses],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
