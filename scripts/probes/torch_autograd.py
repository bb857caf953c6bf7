# /// probe
# name = "torch-autograd"
# framework = "torch"
# proves = "Gradients by autograd agree with finite differences, in first and second order."
# required = true
# timeout = 60
# ///
"""Differentiate a small function three ways: autograd, own central differences, torch's gradcheck.

A central difference with step h is off by about h**2 / 6 times the third derivative, and by
eps / h times the function for rounding. At h = eps**(1/3), about 6e-6, both are near 1e-10 for the
function below, whose value and derivatives are of the order of one. BOUND leaves room of a hundred
times, and is still a hundred million times smaller than a gradient that is plainly wrong.
"""

import json
import os
import time

import torch

SEED = 0
THREADS = 1
STEP = torch.finfo(torch.float64).eps ** (1 / 3)
BOUND = 1e-8


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-autograd", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def function(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Compute a scalar by convolution, matrix products, softmax and elementwise functions."""
    hidden = torch.nn.functional.conv1d(inputs, weights, padding=1).tanh()
    attention = (hidden @ hidden.transpose(1, 2)).softmax(-1)
    return ((attention @ hidden).exp() + inputs.sin()).mean()


def central_differences(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Estimate the gradient by the weights, from two function values for each of them."""
    gradient = torch.zeros_like(weights)
    for index in range(weights.numel()):
        shift = torch.zeros(weights.numel(), dtype=torch.float64)
        shift[index] = STEP
        shift = shift.view_as(weights)
        rise = function(inputs, weights + shift) - function(inputs, weights - shift)
        gradient.view(-1)[index] = rise / (2 * STEP)
    return gradient


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    inputs = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(inputs, weights), weights)
    with torch.no_grad():
        error = (gradient - central_differences(inputs, weights)).abs().max().item()
    assert error <= BOUND, f"autograd is {error:.3g} off central differences, allowed is {BOUND}"
    assert gradient.abs().max() > 1e3 * BOUND, "the gradient is too small to have proved anything"
    torch.autograd.gradcheck(function, (inputs, weights))
    torch.autograd.gradgradcheck(function, (inputs, weights))
    report(
        observed={
            "max_gradient": round(gradient.abs().max().item(), 6),
            "max_error": error,
            "bound": BOUND,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
