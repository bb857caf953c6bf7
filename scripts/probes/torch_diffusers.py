# /// probe
# name = "torch-diffusers"
# framework = "torch"
# stack = "diffusers"
# proves = "A tiny UNet of diffusers learns to denoise, and a DDPM scheduler samples with it."
# required = true
# timeout = 120
# ///
"""Train a UNet of random weights for some steps on noisy copies of one image, then sample.

The loss is the mean squared error of the predicted noise, which is standard normal: a model that
predicts none of it pays 1.0, an untrained one somewhat more. The last losses must average below
LOSS_BOUND. The model comes to about 0.15, and a longer training goes on falling. Samples are
judged by shape, finiteness and range only: so short a training makes no picture.
"""

import json
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is asked from outside, and nothing waits for it

import diffusers
import torch
from diffusers import DDPMScheduler, UNet2DModel

SEED = 0
THREADS = 1
SIDE = 8  # pixels
NOISE_LEVELS, SAMPLING_STEPS = 100, 5
BATCH, STEPS, LEARNING_RATE = 16, 50, 3e-3
LOSS_BOUND = 0.5
LAST = 10  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-diffusers", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def build() -> UNet2DModel:
    """Make a UNet of two levels, the lower one with attention; nothing is loaded."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def train(model: UNet2DModel, scheduler: DDPMScheduler) -> list[float]:
    """Fit the model to the noise that the scheduler adds, and return the losses."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    image = torch.ones(BATCH, 1, SIDE, SIDE)
    image[..., ::2] = -1  # stripes
    losses = []
    for _ in range(STEPS):
        noise, levels = torch.randn_like(image), torch.randint(NOISE_LEVELS, (BATCH,))
        predicted = model(scheduler.add_noise(image, noise, levels), levels).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def draw(model: UNet2DModel, scheduler: DDPMScheduler) -> torch.Tensor:
    """Denoise pure noise in few steps."""
    scheduler.set_timesteps(SAMPLING_STEPS)
    images = torch.randn(2, 1, SIDE, SIDE)
    for level in scheduler.timesteps:
        images = scheduler.step(model(images, level).sample, level, images).prev_sample
    return images


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model, scheduler = build(), DDPMScheduler(num_train_timesteps=NOISE_LEVELS)
    losses = train(model, scheduler)
    final = sum(losses[-LAST:]) / LAST
    assert losses[0] > LOSS_BOUND, f"the untrained model already has a loss of {losses[0]:.3f}"
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    images = draw(model.eval(), scheduler)
    assert images.shape == (2, 1, SIDE, SIDE), f"samples have the shape {tuple(images.shape)}"
    assert torch.isfinite(images).all(), "samples are not finite"
    largest = images.abs().max().item()
    assert 0 < largest <= 1, f"samples are to be clipped to 1, the largest is {largest}"
    report(
        observed={
            "diffusers": diffusers.__version__,
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses],
            "largest_pixel": largest,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
