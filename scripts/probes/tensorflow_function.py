# /// probe
# name = "tensorflow-function"
# framework = "tensorflow"
# proves = "tf.function and XLA compute, and differentiate to, what eager execution does."
# required = true
# timeout = 90
# ///
"""Run one function eagerly, as a graph and compiled by XLA, and compare values and gradients.

All three do the same float32 arithmetic, but XLA fuses and reorders it, and has its own exp and
tanh. Sums here have INNER terms of the order of one, so each way is within a few sqrt(INNER) u of
the truth, u = 2**-24; TOLERANCE allows 100 u sqrt(INNER), about 5e-5, relative to the largest
entry.
"""

import json
import os
import time

import tensorflow as tf

SEED = 0
THREADS = 2
ROWS, INNER = 16, 64
TOLERANCE = 100 * 2**-24 * INNER**0.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-function", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def computation(inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Loop and branch on tensors, so that AutoGraph has Python to rewrite, then normalize."""
    hidden = inputs
    for step in tf.range(3):
        hidden = tf.tanh(hidden @ weights)
        if step % 2 == 0:
            hidden = tf.nn.softmax(hidden) + inputs
    return hidden / (1 + tf.reduce_sum(tf.abs(hidden), axis=-1, keepdims=True))


def value_and_gradient(inputs: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
    """Evaluate the computation, and differentiate its squared sum by the weights."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = computation(inputs, weights)
        loss = tf.reduce_sum(value**2)
    return {"value": value, "gradient": tape.gradient(loss, weights)}


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    inputs = tf.random.normal((ROWS, INNER))
    weights = tf.random.normal((INNER, INNER)) / INNER**0.5
    eager = value_and_gradient(inputs, weights)
    observed = {"tolerance": TOLERANCE}
    for name, jit_compile in (("graph", False), ("xla", True)):
        compiled = tf.function(value_and_gradient, jit_compile=jit_compile)(inputs, weights)
        for what, expected in eager.items():
            error = tf.reduce_max(abs(compiled[what] - expected))
            difference = float(error / tf.reduce_max(abs(expected)))
            assert difference <= TOLERANCE, f"{name} {what}: {difference:.3g} off ({TOLERANCE=})"
            observed[f"{name}_{what}_difference"] = difference
    report(observed={**observed, "seconds": round(time.perf_counter() - started, 3)})


if __name__ == "__main__":
    main()
