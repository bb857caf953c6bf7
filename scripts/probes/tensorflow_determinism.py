# /// probe
# name = "tensorflow-determinism"
# framework = "tensorflow"
# proves = "Training twice from one seed gives the same losses and weights, bit by bit."
# required = true
# timeout = 60
# ///
"""Run one seeded training twice in a process, with everything in it that draws random numbers.

tf.config.experimental.enable_op_determinism() promises equal bits on one machine, so no bound
applies. Data are drawn anew at each step, so no loss may come twice, or equality would say nothing.
What the losses are is observed: comparing that between environments shows how far these drift.
"""

import json
import os
import time

import tensorflow as tf

SEED = 0
THREADS = 2
BATCH, STEPS = 32, 40
FEATURES, WIDTH = 8, 64


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-determinism", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def train(seed: int) -> tuple[list[float], list[list[float]]]:
    """Train from random weights, on random data, with dropout; return losses and weights."""
    tf.keras.utils.set_random_seed(seed)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((FEATURES,)),
            layers.Dense(WIDTH, activation="gelu"),
            layers.Dropout(0.2),
            layers.Dense(1),
        ]
    )
    optimizer = tf.keras.optimizers.SGD(1e-2, momentum=0.9)

    @tf.function
    def step() -> tf.Tensor:
        batch = tf.random.normal((BATCH, FEATURES))
        target = tf.sin(tf.reduce_sum(batch, axis=1, keepdims=True))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(batch, training=True) - target) ** 2)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    losses = [float(step()) for _ in range(STEPS)]
    return losses, [weight.ravel().tolist() for weight in model.get_weights()]


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.config.experimental.enable_op_determinism()
    started = time.perf_counter()
    losses, weights = train(SEED)
    again, weights_again = train(SEED)
    assert losses == again, f"one seed, two courses: {losses} and {again}"
    assert weights == weights_again, "equal losses, but other weights"
    assert len(set(losses)) == STEPS, f"losses repeat, so nothing was random: {losses}"
    report(
        observed={
            "final_loss": losses[-1],
            "losses": [round(loss, 6) for loss in losses],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
