# /// probe
# name = "tensorflow-vae"
# framework = "tensorflow"
# proves = "A variational autoencoder learns a family of images and draws new ones."
# required = true
# timeout = 90
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

import tensorflow as tf

SEED = 0
THREADS = 2
SIDE = 8  # pixels
PIXELS = SIDE * SIDE
WIDTH, LATENT = 128, 4
BATCH, STEPS, LEARNING_RATE = 64, 400, 3e-3
LOSS_BOUND = 18  # nats an image
LAST = 20  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-vae", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def draw_images(count: int) -> tf.Tensor:
    """Draw black images, each with one white row or one white column."""
    rows = tf.one_hot(tf.random.uniform((count,), maxval=SIDE, dtype=tf.int32), SIDE)
    images = tf.repeat(rows[:, :, None], SIDE, axis=2)
    lying = tf.random.uniform((count, 1, 1)) < 0.5
    images = tf.where(lying, images, tf.transpose(images, (0, 2, 1)))
    return tf.reshape(images, (count, PIXELS))


class Autoencoder(tf.keras.Model):
    """Encodes an image as a normal distribution of codes, and decodes codes."""

    def __init__(self) -> None:
        super().__init__()
        layers = tf.keras.layers
        self.encoder = tf.keras.Sequential(
            [
                layers.Input((PIXELS,)),
                layers.Dense(WIDTH, activation="relu"),
                layers.Dense(2 * LATENT),
            ]
        )
        self.decoder = tf.keras.Sequential(
            [layers.Input((LATENT,)), layers.Dense(WIDTH, activation="relu"), layers.Dense(PIXELS)]
        )

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Compute the negative evidence lower bound."""
        mean, log_variance = tf.split(self.encoder(images), 2, axis=1)
        codes = mean + tf.exp(log_variance / 2) * tf.random.normal(tf.shape(mean))
        scores = self.decoder(codes)
        reconstruction = tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=scores)
        divergence = tf.exp(log_variance) + mean**2 - 1 - log_variance
        bound = tf.reduce_sum(reconstruction, axis=1) + tf.reduce_sum(divergence, axis=1) / 2
        return tf.reduce_mean(bound)


def train(model: Autoencoder) -> list[float]:
    """Fit the model to fresh images at each step and return the losses."""
    optimizer = tf.keras.optimizers.Adam(LEARNING_RATE)

    @tf.function
    def step() -> tf.Tensor:
        images = draw_images(BATCH)
        with tf.GradientTape() as tape:
            loss = model(images)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return [float(step()) for _ in range(STEPS)]


def draw(model: Autoencoder) -> list[str]:
    """Decode one sample of the prior into a string of # and . for each row."""
    lit = tf.reshape(model.decoder(tf.random.normal((1, LATENT))) > 0, (SIDE, SIDE))
    return ["".join("#" if pixel else "." for pixel in row) for row in lit.numpy()]


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    model = Autoencoder()
    losses = train(model)
    final = sum(losses[-LAST:]) / LAST
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.2f} to {final:.2f}, not to {LOSS_BOUND}"
    )
    report(
        observed={
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses[:: STEPS // 100]],
            "sample": draw(model),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
