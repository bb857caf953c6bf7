# /// probe
# name = "tensorflow-gradient"
# framework = "tensorflow"
# proves = "Gradients by GradientTape agree with finite differences, in first and second order."
# required = true
# timeout = 60
# ///
"""Differentiate a small function by GradientTape and by central differences.

A central difference with step h is off by about h**2 / 6 times the third derivative, and by
eps / h times the function for rounding. At h = eps**(1/3), about 6e-6, both are near 1e-10 for the
function below, whose value and derivatives are of the order of one. BOUND leaves room of a hundred
times, and is still a hundred million times smaller than a gradient that is plainly wrong. The
second order is checked as the difference of first-order gradients, along one direction.
"""

import json
import os
import sys
import time

import tensorflow as tf

SEED = 0
THREADS = 2
STEP = sys.float_info.epsilon ** (1 / 3)
BOUND = 1e-8


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-gradient", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def function(inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Compute a scalar by convolution, matrix products, softmax and elementwise functions."""
    hidden = tf.tanh(tf.nn.conv1d(inputs, weights, stride=1, padding="SAME"))
    attention = tf.nn.softmax(tf.matmul(hidden, hidden, transpose_b=True))
    return tf.reduce_mean(tf.exp(attention @ hidden) + tf.sin(inputs))


def gradient_of(inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Differentiate the function by the weights."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = function(inputs, weights)
    return tape.gradient(value, weights)


def central_differences(inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Estimate the gradient by the weights, from two function values for each of them."""
    size = tf.size(weights)
    shifts = tf.reshape(STEP * tf.eye(size, dtype=weights.dtype), (size, *weights.shape))
    rises = [function(inputs, weights + s) - function(inputs, weights - s) for s in shifts]
    return tf.reshape(tf.stack(rises), weights.shape) / (2 * STEP)


def directional_derivatives(
    inputs: tf.Tensor, weights: tf.Tensor, direction: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Derive the gradient along a direction, by a tape around a tape and by a difference."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        slope = tf.reduce_sum(gradient_of(inputs, weights) * direction)
    shift = STEP * direction
    rise = gradient_of(inputs, weights + shift) - gradient_of(inputs, weights - shift)
    return tape.gradient(slope, weights), rise / (2 * STEP)


def check(order: str, actual: tf.Tensor, expected: tf.Tensor) -> dict[str, float]:
    """Assert that the tape's derivatives are the differences, and say by how much they are not."""
    error, largest = (float(tf.reduce_max(abs(x))) for x in (actual - expected, expected))
    assert error <= BOUND, f"the {order} order is {error:.3g} off differences, allowed is {BOUND}"
    assert largest > 1e3 * BOUND, f"the {order} order is too small to prove anything: {largest:.3g}"
    return {f"{order}_order_error": error, f"{order}_order_largest": round(largest, 6)}


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    inputs = tf.random.normal((2, 5, 3), dtype=tf.float64)
    weights = tf.random.normal((3, 3, 3), dtype=tf.float64)
    direction = tf.math.l2_normalize(tf.random.normal((3, 3, 3), dtype=tf.float64))
    first = check("first", gradient_of(inputs, weights), central_differences(inputs, weights))
    second = check("second", *directional_derivatives(inputs, weights, direction))
    seconds = round(time.perf_counter() - started, 3)
    report(observed={"bound": BOUND, **first, **second, "seconds": seconds})


if __name__ == "__main__":
    main()
