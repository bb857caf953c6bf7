# /// probe
# name = "tensorflow-keras"
# framework = "tensorflow"
# proves = "A Keras classifier trains by fit, and predicts the same after a .keras round trip."
# required = true
# timeout = 120
# ///
"""Teach a small network of the usual layers to tell the direction of a noisy stripe, and save it.

There are four directions, so guessing is right in 0.25 of the cases. The network comes to 0.99
and more; ACCURACY_BOUND lies far from both. The loaded model holds the same weights and runs the
same kernels, so its predictions must be equal bit by bit: no bound applies.
"""

import json
import os
import tempfile
import time

import numpy as np
import tensorflow as tf

SEED = 0
THREADS = 2
SIDE = 8  # pixels
CLASSES = 4
NOISE = 0.3  # standard deviation, where the stripe is 1 on 0
IMAGES, HELD_OUT = 2048, 512
BATCH, EPOCHS, LEARNING_RATE = 64, 3, 1e-2
ACCURACY_BOUND = 0.9


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-keras", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def draw_images(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noisy images of one stripe each, and say the class of its direction."""
    row, column = np.ogrid[:SIDE, :SIDE]
    classes = rng.integers(CLASSES, size=count)
    places = rng.integers(1, SIDE - 1, size=(CLASSES, count, 1, 1))
    directions = (row + 0 * column, 0 * row + column, (row - column) % SIDE, (row + column) % SIDE)
    stripes = np.stack(directions)[:, None] == places
    images = stripes[classes, np.arange(count)] + rng.normal(0, NOISE, (count, SIDE, SIDE))
    return images[..., None].astype(np.float32), classes


def network() -> tf.keras.Model:
    """Stack convolution, batch norm, pooling, dropout and dense layers."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 1)),
            layers.Conv2D(16, 3, padding="same"),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(CLASSES),
        ]
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def save_and_load(model: tf.keras.Model) -> tf.keras.Model:
    """Send the model through a file in Keras' own format."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        return tf.keras.models.load_model(path)


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    rng = np.random.default_rng(SEED)
    model = network()
    history = model.fit(*draw_images(rng, IMAGES), BATCH, EPOCHS, verbose=0).history
    images, classes = draw_images(rng, HELD_OUT)
    scores = model.predict_on_batch(images)
    right = float((scores.argmax(1) == classes).mean())
    assert right >= ACCURACY_BOUND, f"{right:.3f} of the images right, asked is {ACCURACY_BOUND}"
    difference = float(abs(save_and_load(model).predict_on_batch(images) - scores).max())
    assert difference == 0, f"the loaded model's scores are up to {difference} off"
    report(
        observed={
            "keras": tf.keras.__version__,
            "accuracy": round(right, 6),
            "accuracy_bound": ACCURACY_BOUND,
            "losses": [round(loss, 6) for loss in history["loss"]],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
