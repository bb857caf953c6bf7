# /// probe
# name = "tensorflow-gan"
# framework = "tensorflow"
# proves = "Generator and discriminator of a small GAN train against each other."
# required = true
# timeout = 90
# ///
"""Train a small GAN for some steps on a cloud of points.

A GAN's losses do not fall to a bound: they are a balance. What is judged is that they stay finite
and that the centre of the generated points, which starts near the origin, 4.2 from the centre of
the cloud, comes as close as DISTANCE_BOUND. It comes to some 0.5 and circles there, and only a
discriminator that has learned the cloud can show it the way.
"""

import json
import math
import os
import time

import tensorflow as tf

SEED = 0
THREADS = 2
NOISE, WIDTH = 4, 32
BATCH, STEPS, LEARNING_RATE = 64, 200, 5e-3
CENTRE, SPREAD = (3.0, -3.0), 0.5  # of the cloud, which is normal
POINTS = 256  # that are generated to judge
DISTANCE_BOUND = 2.0  # of the two centres


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-gan", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def draw_cloud(count: int) -> tf.Tensor:
    """Draw points of the cloud."""
    return tf.constant(CENTRE) + SPREAD * tf.random.normal((count, 2))


def network(inputs: int, outputs: int) -> tf.keras.Model:
    """Build a network of one hidden layer."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [layers.Input((inputs,)), layers.Dense(WIDTH, activation="relu"), layers.Dense(outputs)]
    )


def train(generator: tf.keras.Model, discriminator: tf.keras.Model) -> list[list[float]]:
    """Train both, each on its own loss, and return the losses of generator and discriminator."""
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits
    optimizers = [tf.keras.optimizers.Adam(LEARNING_RATE, beta_1=0.5) for _ in range(2)]

    @tf.function
    def step() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            real = discriminator(draw_cloud(BATCH))
            fake = discriminator(generator(tf.random.normal((BATCH, NOISE))))
            ones, zeros = tf.ones_like(fake), tf.zeros_like(fake)
            fooling = tf.reduce_mean(cross_entropy(ones, fake))
            judging = tf.reduce_mean(cross_entropy(ones, real) + cross_entropy(zeros, fake))
        for optimizer, model, loss in zip(
            optimizers, (generator, discriminator), (fooling, judging)
        ):
            weights = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return fooling, judging

    return [[float(loss) for loss in step()] for _ in range(STEPS)]


def distance(generator: tf.keras.Model) -> float:
    """Measure how far the centre of generated points is from the centre of the cloud."""
    points = generator(tf.random.normal((POINTS, NOISE)))
    return float(tf.norm(tf.reduce_mean(points, axis=0) - CENTRE))


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    generator, discriminator = network(NOISE, 2), network(2, 1)
    before = distance(generator)
    losses = train(generator, discriminator)
    after = distance(generator)
    assert all(math.isfinite(loss) for pair in losses for loss in pair), f"losses: {losses}"
    assert before > DISTANCE_BOUND, f"untrained, it is only {before:.3f} from the centre"
    assert after < DISTANCE_BOUND, f"from {before:.3f} it came to {after:.3f}, not {DISTANCE_BOUND}"
    sample = generator(tf.random.normal((4, NOISE))).numpy()
    report(
        observed={
            "distance_before": round(before, 6),
            "distance_after": round(after, 6),
            "generator_losses": [round(fooling, 6) for fooling, _ in losses[:: STEPS // 100]],
            "discriminator_losses": [round(judging, 6) for _, judging in losses[:: STEPS // 100]],
            "sample": [[round(float(x), 6) for x in point] for point in sample],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
