# /// probe
# name = "torch-gpu"
# framework = "torch"
# proves = "The GPU computes products, convolutions and a training as exactly as its types allow."
# required = true
# timeout = 180
# needs = "gpu"
# ///
"""Multiply, convolve and train on the GPU, and compare with float64 on the CPU.

The bound on an entry that is a sum of k products a b is SAFETY times the sum of three errors:
- sqrt(k) u32 sum |a b|: every type is added up in float32, u32 = 2**-24, and rounding errors of a
  sum grow like sqrt(k) (Higham and Mary, 2019);
- u_in sqrt(sum (a b)**2): TF32 cuts its float32 inputs to 11 significant bits, each by itself;
- u_out times the largest result: the result, or parts of it before they are added, are rounded to
  the type.
A float32 product that was secretly computed in TF32 misses its bound.

A machine without a GPU is no failure. A GPU that torch was built for but cannot use is one.
"""

from __future__ import annotations

import ctypes
import glob
import json
import math
import os
import sys
import time
from typing import Callable

import torch
from torch import nn

NOT_RUN = 77
DEVICE = "cuda"
SEED = 0

SAFETY = 4
U32 = 2**-24
HAS_TF32_AND_BFLOAT16 = (8, 0)  # compute capability
SIZE = 1024  # of the matrices that are compared
TIMED_SIZE, TIMED_PRODUCTS = 8192, 10
BATCH_SIZE, CHANNELS, SIDE, KERNEL = 8, 64, 32, 3  # of the convolution

TEXT = """
shall i compare thee to a summer's day?
thou art more lovely and more temperate.
rough winds do shake the darling buds of may,
and summer's lease hath all too short a date.
"""
VOCABULARY = sorted(set(TEXT))
CONTEXT, WIDTH, HEADS = 32, 64, 4
BATCH, STEPS, LEARNING_RATE = 16, 100, 3e-3
LOSS_BOUND = 1.2  # nats; guessing evenly costs 3.3, knowing which character follows which 1.5
LAST = 10  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-gpu", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def why_not() -> str | None:
    """Why there is nothing to run on; raises what torch says of a GPU that it cannot use."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "torch is built without CUDA"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and glob.glob("/dev/nvidia[0-9]*"):
        torch.cuda.init()
    return "no GPU is visible"


def driver_version() -> str | None:
    """The driver's version as NVIDIA's management library tells it, null where that is missing."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    version = ctypes.create_string_buffer(80)
    failed = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(version, len(version))
    return None if failed else version.value.decode()


def check(
    name: str,
    operation: Callable,
    factors: tuple[torch.Tensor, torch.Tensor],
    terms: int,
    *,
    u_in: float,
    u_out: float,
) -> dict[str, float]:
    """Assert that the GPU's result is within the bound; return how far off it was."""
    left, right = (factor.double() for factor in factors)
    expected = operation(left, right)
    actual = operation(*(factor.to(DEVICE) for factor in factors)).cpu().double()
    bound = SAFETY * (
        math.sqrt(terms) * U32 * operation(left.abs(), right.abs())
        + u_in * operation(left.square(), right.square()).sqrt()
        + u_out * expected.abs().max()
    )
    errors = (actual - expected).abs()
    worst = (errors / bound).max().item()
    assert worst <= 1, f"an entry of the {name} result is off by {worst:.3g} times its bound"
    return {f"{name}_max_error": errors.max().item(), f"{name}_error_to_bound": round(worst, 6)}


def teraflops(dtype: torch.dtype) -> float:
    """Time products of large matrices, in 10**12 operations a second."""
    left, right = torch.randn(2, TIMED_SIZE, TIMED_SIZE, device=DEVICE).to(dtype)
    torch.matmul(left, right)  # the first one loads kernels
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(TIMED_PRODUCTS):
        torch.matmul(left, right)
    torch.cuda.synchronize()
    return TIMED_PRODUCTS * 2e-12 * TIMED_SIZE**3 / (time.perf_counter() - started)


def check_products(capability: tuple[int, int]) -> dict[str, float]:
    """Check and time products in every type that the GPU has."""
    types = [
        ("float32", torch.float32, "highest", 0.0, U32),
        ("float16", torch.float16, "highest", 0.0, 2**-11),
    ]
    if capability >= HAS_TF32_AND_BFLOAT16:
        types += [
            ("tf32", torch.float32, "high", 2**-10, U32),
            ("bfloat16", torch.bfloat16, "highest", 0.0, 2**-8),
        ]
    observed = {}
    for name, dtype, precision, u_in, u_out in types:
        torch.set_float32_matmul_precision(precision)
        left, right = (2 * torch.rand(2, SIZE, SIZE) - 1).to(dtype)
        observed.update(check(name, torch.matmul, (left, right), SIZE, u_in=u_in, u_out=u_out))
        observed[f"{name}_tflops"] = round(teraflops(dtype), 3)
    torch.set_float32_matmul_precision("highest")
    return observed


def check_convolution() -> dict[str, float]:
    """Check a float32 convolution, which must be cuDNN's."""
    torch.backends.cudnn.allow_tf32 = False
    images = 2 * torch.rand(BATCH_SIZE, CHANNELS, SIDE, SIDE) - 1
    kernels = 2 * torch.rand(CHANNELS, CHANNELS, KERNEL, KERNEL) - 1
    assert torch.backends.cudnn.is_acceptable(images.to(DEVICE)), "torch will not use cuDNN"
    terms = CHANNELS * KERNEL**2
    convolve = nn.functional.conv2d
    return check("convolution", convolve, (images, kernels), terms, u_in=0.0, u_out=U32)


class LanguageModel(nn.Module):
    """Characters in, scores of each next character out."""

    def __init__(self) -> None:
        super().__init__()
        self.character = nn.Embedding(len(VOCABULARY), WIDTH)
        self.position = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.scores = nn.Linear(WIDTH, len(VOCABULARY))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        hidden = self.character(characters) + self.position
        return self.scores(self.layer(hidden, src_mask=self.mask, is_causal=True))


def train_transformer() -> dict[str, object]:
    """Fit a language model to random windows of the text, and assert that it learned."""
    text = torch.tensor([VOCABULARY.index(character) for character in TEXT])
    windows = text.unfold(0, CONTEXT + 1, 1).to(DEVICE)
    model = LanguageModel().to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        batch = windows[torch.randint(len(windows), (BATCH,)).to(DEVICE)]
        scores = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    final = sum(losses[-LAST:]) / LAST
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    return {"final_loss": round(final, 6), "losses": [round(loss, 6) for loss in losses]}


def main() -> None:
    """Run the probe."""
    reason = why_not()
    if reason:
        report(not_run=reason)
        sys.exit(NOT_RUN)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    properties = torch.cuda.get_device_properties(DEVICE)
    capability = (properties.major, properties.minor)
    report(
        observed={
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "driver": driver_version(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            **check_products(capability),
            **check_convolution(),
            **train_transformer(),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
