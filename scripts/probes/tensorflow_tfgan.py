# /// probe
# name = "tensorflow-tfgan"
# framework = "tensorflow"
# stack = "gan"
# proves = "TF-GAN imports, and trains a generator and a discriminator for some steps."
# required = true
# timeout = 120
# ///
"""Import TF-GAN and train a GAN of two linear networks through it.

TF-GAN needs tf.estimator as soon as it is imported, which TensorFlow has had no more since 2.16:
there it is broken, and this probe says so. It builds graphs of TensorFlow 1, and so does this. The
generator shifts and stretches noise, and is to match normal numbers around CENTRE. A GAN's losses
do not fall to a bound: that the mean of what is generated comes from 0 to DISTANCE_BOUND of CENTRE
is what is judged.
"""

import json
import math
import os
import time

import tensorflow as tf
import tensorflow_gan as tfgan

SEED = 0
THREADS = 2
BATCH, STEPS, LEARNING_RATE = 64, 100, 5e-2
CENTRE, SPREAD = 3.0, 0.5
DISTANCE_BOUND = 1.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-tfgan", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def generate(noise: tf.Tensor) -> tf.Tensor:
    """Shift and stretch noise."""
    v1 = tf.compat.v1
    shift = v1.get_variable("shift", initializer=0.0)
    return shift + v1.get_variable("stretch", initializer=1.0) * noise


def discriminate(numbers: tf.Tensor, _: object) -> tf.Tensor:
    """Score how real numbers look."""
    v1 = tf.compat.v1
    hidden = v1.get_variable("hidden", (1, 16), initializer=v1.glorot_uniform_initializer())
    bias = v1.get_variable("bias", (16,), initializer=v1.zeros_initializer())
    scores = v1.get_variable("scores", (16, 1), initializer=v1.glorot_uniform_initializer())
    return tf.nn.relu(numbers @ hidden + bias) @ scores


def train() -> tuple:
    """Build the graph through TF-GAN, run it, and return both losses and the generated means."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        v1.set_random_seed(SEED)
        model = tfgan.gan_model(
            generate,
            discriminate,
            real_data=tf.random.normal((BATCH, 1), CENTRE, SPREAD),
            generator_inputs=tf.random.normal((BATCH, 1)),
        )
        loss = tfgan.gan_loss(
            model,
            generator_loss_fn=tfgan.losses.modified_generator_loss,
            discriminator_loss_fn=tfgan.losses.modified_discriminator_loss,
        )
        steps = tfgan.gan_train_ops(
            model,
            loss,
            v1.train.AdamOptimizer(LEARNING_RATE, beta1=0.5),
            v1.train.AdamOptimizer(LEARNING_RATE, beta1=0.5),
        )
        wanted = [loss.generator_loss, loss.discriminator_loss, model.generated_data]
        losses, means = [], []
        config = v1.ConfigProto(
            intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS
        )
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            for _ in range(STEPS):
                *pair, generated = session.run(wanted)
                losses.append([float(each) for each in pair])
                means.append(float(generated.mean()))
                session.run(steps.discriminator_train_op)
                session.run(steps.generator_train_op)
    return losses, means


def main() -> None:
    """Run the probe."""
    started = time.perf_counter()
    losses, means = train()
    assert all(math.isfinite(loss) for pair in losses for loss in pair), f"losses: {losses}"
    nearest = min(abs(mean - CENTRE) for mean in means)
    assert abs(means[0] - CENTRE) > DISTANCE_BOUND, f"untrained, the mean is {means[0]:.3f}"
    assert nearest < DISTANCE_BOUND, f"no mean came to {DISTANCE_BOUND} of {CENTRE}: {means}"
    report(
        observed={
            "tensorflow_gan": tfgan.__version__,
            "losses": [[round(loss, 6) for loss in pair] for pair in losses],
            "means": [round(mean, 6) for mean in means],
            "nearest": round(nearest, 6),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
