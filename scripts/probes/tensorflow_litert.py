# /// probe
# name = "tensorflow-litert"
# framework = "tensorflow"
# stack = "litert"
# proves = "A model converted by tf.lite computes in LiteRT what TensorFlow computes."
# required = true
# timeout = 90
# ///
"""Convert a small convolutional network, run it in the interpreter of ai-edge-litert, and compare.

The converter folds and fuses, and LiteRT has its own float32 kernels (XNNPACK), so bits
may differ. Sums have at most 288 terms and lose about sqrt(288) u in each of three layers, with
u = 2**-24; TOLERANCE allows 100 u sqrt(288), about 1e-4, relative to the largest score.
"""

import json
import os
import time
from importlib import metadata

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

SEED = 0
THREADS = 2
SIDE, CHANNELS, CLASSES = 8, 32, 10
TOLERANCE = 100 * 2**-24 * (9 * CHANNELS) ** 0.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-litert", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Network(tf.Module):
    """Two convolutions, pooling and a matrix product, of random weights."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 3, 1, CHANNELS), (3, 3, CHANNELS, CHANNELS), (CHANNELS, CLASSES))
        self.weights = [
            tf.Variable(tf.random.normal(shape) / np.prod(shape[:-1]) ** 0.5) for shape in shapes
        ]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 1), tf.float32)])
    def score(self, image: tf.Tensor) -> tf.Tensor:
        """Score the classes of one image."""
        first, second, last = self.weights
        hidden = tf.nn.relu(tf.nn.conv2d(image, first, strides=1, padding="SAME"))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, second, strides=2, padding="SAME"))
        return tf.reduce_mean(hidden, axis=(1, 2)) @ last


def convert(network: Network) -> bytes:
    """Convert the network to a TFLite flat buffer."""
    function = network.score.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], network).convert()


def interpret(content: bytes, image: np.ndarray) -> np.ndarray:
    """Run the flat buffer in LiteRT."""
    interpreter = Interpreter(model_content=content, num_threads=THREADS)
    interpreter.allocate_tensors()
    (wanted,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(wanted["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    network, image = Network(), tf.random.normal((1, SIDE, SIDE, 1)).numpy()
    expected = network.score(image).numpy()
    content = convert(network)
    scores = interpret(content, image)
    difference = float(abs(scores - expected).max() / abs(expected).max())
    assert difference <= TOLERANCE, f"LiteRT's scores are {difference:.3g} off ({TOLERANCE=})"
    report(
        observed={
            "ai_edge_litert": metadata.version("ai-edge-litert"),
            "difference": difference,
            "tolerance": TOLERANCE,
            "bytes": len(content),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
