# /// probe
# name = "tensorflow-savedmodel"
# framework = "tensorflow"
# proves = "A SavedModel, loaded without its code, serves what the model computed."
# required = true
# timeout = 60
# ///
"""Export a module with a serving signature and a variable, load it, and call the signature.

The loaded graph runs the kernels of the exporting function on the same numbers, so that results
must be equal bit by bit: no bound applies. That the variable is one, and not a constant frozen into
the graph, is proved by writing to it through the loaded module.
"""

import json
import os
import tempfile
import time

import tensorflow as tf

SEED = 0
THREADS = 2
INPUTS, OUTPUTS = 8, 3
SIGNATURE = "serving_default"


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-savedmodel", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Classifier(tf.Module):
    """A linear classifier that takes any number of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.random.normal((INPUTS, OUTPUTS)), name="weights")

    @tf.function(input_signature=[tf.TensorSpec((None, INPUTS), tf.float32, name="features")])
    def serve(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute the probability of each class, and which one is likeliest."""
        scores = features @ self.weights
        return {"probabilities": tf.nn.softmax(scores), "class": tf.argmax(scores, axis=1)}


def check_equal(served: dict[str, tf.Tensor], expected: dict[str, tf.Tensor]) -> None:
    """Assert that the signature gave exactly the outputs of the module."""
    assert set(served) == set(expected), f"served {sorted(served)}, expected {sorted(expected)}"
    for name, value in expected.items():
        same = bool(tf.reduce_all(served[name] == value))
        assert same, f"{name}: served {served[name].numpy()}, expected {value.numpy()}"


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    module, features = Classifier(), tf.random.normal((5, INPUTS))
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE: module.serve})
        files = sorted(os.listdir(folder))
        loaded = tf.saved_model.load(folder)
    signature = loaded.signatures[SIGNATURE]
    check_equal(signature(features=features), module.serve(features))
    for each in (module, loaded):
        each.weights.assign_add(tf.ones((INPUTS, OUTPUTS)) * [1.0, -1.0, 0.5])
    check_equal(signature(features=features[:2]), module.serve(features[:2]))
    report(
        observed={
            "files": files,
            "outputs": sorted(signature.structured_outputs),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
