# /// probe
# name = "torch-vae"
# framework = "torch"
# proves = "A variational autoencoder learns a family of images and draws new ones."
# required = true
# timeout = 60
# ///
"""Train a small VAE on images of one bar each, then decode samples of the prior.

The loss is the negative evidence lower bound in nats per image. Guessing every pixel evenly costs
64 ln 2 = 44.4. A model that knows how bright pixels are on average, but not that they depend on
each other, cannot do better than 64 H(1/8) = 24.1, because each pixel is lit in an eighth of the
images. LOSS_BOUND is below that: it takes a latent code that says which bar it is. The perfect
model pays ln 16 = 2.8.
"""

import json
import os
import time

import torch
from torch import nn

SEED = 0
THREADS = 1
SIDE = 8  # pixels
PIXELS = SIDE * SIDE
WIDTH, LATENT = 128, 4
BATCH, STEPS, LEARNING_RATE = 64, 400, 3e-3
LOSS_BOUND = 18  # nats an image
LAST = 20  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-vae", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def draw_images(count: int) -> torch.Tensor:
    """Draw black images, each with one white row or one white column."""
    rows = nn.functional.one_hot(torch.randint(SIDE, (count,)), SIDE).float()
    images = rows[:, :, None].expand(-1, -1, SIDE)
    lying = torch.randint(2, (count, 1, 1)).bool()
    return torch.where(lying, images, images.transpose(1, 2)).reshape(count, PIXELS)


class Autoencoder(nn.Module):
    """Encodes an image as a normal distribution of codes, and decodes codes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * LATENT)
        )
        self.decoder = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, PIXELS))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the negative evidence lower bound."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        codes = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        reconstruction = nn.functional.binary_cross_entropy_with_logits(
            self.decoder(codes), images, reduction="sum"
        )
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum() / 2
        return (reconstruction + divergence) / len(images)


def train(model: Autoencoder) -> list[float]:
    """Fit the model to fresh images at each step and return the losses."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        loss = model(draw_images(BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def draw(model: Autoencoder) -> list[str]:
    """Decode one sample of the prior into a string of # and . for each row."""
    lit = model.decoder(torch.randn(1, LATENT)).sigmoid().round().view(SIDE, SIDE)
    return ["".join("#" if pixel else "." for pixel in row) for row in lit.tolist()]


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model = Autoencoder()
    losses = train(model)
    final = sum(losses[-LAST:]) / LAST
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.2f} to {final:.2f}, not to {LOSS_BOUND}"
    )
    sample = draw(model)
    report(
        observed={
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses[:: STEPS // 100]],
            "sample": sample,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
