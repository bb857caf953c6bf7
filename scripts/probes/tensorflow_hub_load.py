# /// probe
# name = "tensorflow-hub-load"
# framework = "tensorflow"
# stack = "hub"
# proves = "TF Hub loads a SavedModel from a folder, as a module and as a Keras layer."
# required = true
# timeout = 90
# ///
"""Export a module, load it through hub.load and hub.KerasLayer, and compare.

Loaded graphs run the kernels of the exporting function on the same numbers, so results must be
equal bit by bit: no bound applies. Only models on disk are proved; nothing is fetched from a site.
"""

import json
import os
import tempfile
import time

import tensorflow as tf
import tensorflow_hub as hub

SEED = 0
THREADS = 2
INPUTS, OUTPUTS = 8, 3


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-hub-load", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Embedding(tf.Module):
    """A module that can be called, as those of TF Hub."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.random.normal((INPUTS, OUTPUTS)), name="weights")

    @tf.function(input_signature=[tf.TensorSpec((None, INPUTS), tf.float32)])
    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Embed rows of features."""
        return tf.tanh(features @ self.weights)


def check_equal(way: str, embedded: tf.Tensor, expected: tf.Tensor) -> None:
    """Assert that what was loaded computes exactly what was saved."""
    same = bool(tf.reduce_all(embedded == expected))
    assert same, f"{way}: {embedded.numpy()}, expected {expected.numpy()}"


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    module, features = Embedding(), tf.random.normal((5, INPUTS))
    expected = module(features)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder)
        resolved = hub.resolve(folder)
        assert resolved == folder, f"{folder} is a folder, but TF Hub looks for it in {resolved}"
        loaded = hub.load(folder)
        layer = hub.KerasLayer(folder)
    check_equal("hub.load", loaded(features), expected)
    check_equal("hub.KerasLayer", layer(features), expected)
    report(
        observed={
            "tensorflow_hub": hub.__version__,
            "keras_layer_base": f"{type(layer).__mro__[1].__module__.split('.')[0]}",
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
