# /// probe
# name = "tensorflow-transformer"
# framework = "tensorflow"
# proves = "A small transformer language model learns a text and writes from what it learned."
# required = true
# timeout = 120
# ///
"""Train a character-level transformer for seconds and let it write.

The loss is the mean cross-entropy of the next character, in nats. Guessing evenly costs ln 30 =
3.4, knowing how frequent each character of TEXT is costs 2.9, and knowing which one follows which
costs 2.0. The last losses must average below LOSS_BOUND, which is below all of these: it takes
attention to more than the character before. The model comes to about 1.0, so neither seed nor
kernels decide.
"""

import json
import math
import os
import time

import tensorflow as tf

TEXT = """
shall i compare thee to a summer's day?
thou art more lovely and more temperate.
rough winds do shake the darling buds of may,
and summer's lease hath all too short a date.
sometime too hot the eye of heaven shines,
and often is his gold complexion dimmed;
and every fair from fair sometime declines,
by chance, or nature's changing course, untrimmed;
but thy eternal summer shall not fade,
nor lose possession of that fair thou ow'st,
nor shall death brag thou wand'rest in his shade,
when in eternal lines to time thou grow'st.
so long as men can breathe, or eyes can see,
so long lives this, and this gives life to thee.
"""
VOCABULARY = sorted(set(TEXT))

SEED = 0
THREADS = 2
CONTEXT = 32  # characters
WIDTH, HEADS, LAYERS = 64, 4, 1
BATCH, STEPS, LEARNING_RATE = 16, 100, 3e-3
LOSS_BOUND = 1.8  # nats
LAST = 10  # losses that are averaged to judge
SAMPLE_LENGTH = 40  # characters


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-transformer", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Position(tf.keras.layers.Layer):
    """Adds a learned vector for each place in the context."""

    def __init__(self) -> None:
        super().__init__()
        self.table = self.add_weight(shape=(CONTEXT, WIDTH), initializer="zeros", name="table")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Add the vectors."""
        return inputs + self.table


def language_model() -> tf.keras.Model:
    """Build a model that takes characters and scores each next character."""
    layers = tf.keras.layers
    characters = layers.Input((CONTEXT,), dtype="int32")
    hidden = Position()(layers.Embedding(len(VOCABULARY), WIDTH)(characters))
    for _ in range(LAYERS):
        normal = layers.LayerNormalization()(hidden)
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        hidden = hidden + attention(normal, normal, use_causal_mask=True)
        normal = layers.LayerNormalization()(hidden)
        wide = layers.Dense(4 * WIDTH, activation="relu")(normal)
        hidden = hidden + layers.Dense(WIDTH)(wide)
    return tf.keras.Model(characters, layers.Dense(len(VOCABULARY))(hidden))


def train(model: tf.keras.Model, text: tf.Tensor) -> list[float]:
    """Fit the model to random windows of the text and return the losses."""
    optimizer = tf.keras.optimizers.Adam(LEARNING_RATE)
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    windows = tf.signal.frame(text, CONTEXT + 1, 1)

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = cross_entropy(batch[:, 1:], model(batch[:, :-1], training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    drawn = tf.random.uniform((STEPS, BATCH), maxval=len(windows), dtype=tf.int32)
    return [float(step(tf.gather(windows, indices))) for indices in drawn]


def write(model: tf.keras.Model, text: tf.Tensor) -> str:
    """Go on from the beginning of the text, drawing each character by its probability."""
    predict = tf.function(model)
    characters = text[None, :CONTEXT]
    for _ in range(SAMPLE_LENGTH):
        scores = predict(characters[:, -CONTEXT:])[:, -1]
        drawn = tf.random.categorical(scores, 1, dtype=tf.int32)
        characters = tf.concat([characters, drawn], axis=1)
    return "".join(VOCABULARY[index] for index in characters[0, CONTEXT:].numpy())


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    text = tf.constant([VOCABULARY.index(character) for character in TEXT])
    model = language_model()
    losses = train(model, text)
    final = sum(losses[-LAST:]) / LAST
    assert losses[0] > LOSS_BOUND, f"the untrained model already has a loss of {losses[0]:.3f}"
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    sample = write(model, text)
    assert len(sample) == SAMPLE_LENGTH, f"wrote {len(sample)} characters, not {SAMPLE_LENGTH}"
    assert len(set(sample)) > 1, f"wrote one character only: {sample!r}"
    report(
        observed={
            "loss_of_even_guess": round(math.log(len(VOCABULARY)), 6),
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses],
            "sample": sample,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
