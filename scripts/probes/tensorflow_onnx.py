# /// probe
# name = "tensorflow-onnx"
# framework = "tensorflow"
# stack = "tf2onnx"
# proves = "A function converted to ONNX is valid, and ONNX Runtime computes what TensorFlow does."
# required = true
# timeout = 120
# ///
"""Convert a small convolutional network by tf2onnx, check it, run it, and compare.

ONNX Runtime fuses, and has its own float32 kernels, so bits may differ. Sums have at most 288 terms
and lose about sqrt(288) u in each of three layers, with u = 2**-24; TOLERANCE allows
100 u sqrt(288), about 1e-4, relative to the largest score.
"""

import json
import os
import time

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

SEED = 0
THREADS = 2
SIDE, CHANNELS, CLASSES = 8, 32, 10
OPSET = 15  # that every release of the matrix can write
TOLERANCE = 100 * 2**-24 * (9 * CHANNELS) ** 0.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-onnx", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Network(tf.Module):
    """Two convolutions, pooling and a matrix product, of random weights."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 3, 1, CHANNELS), (3, 3, CHANNELS, CHANNELS), (CHANNELS, CLASSES))
        self.weights = [
            tf.Variable(tf.random.normal(shape) / np.prod(shape[:-1]) ** 0.5) for shape in shapes
        ]

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32, "images")])
    def score(self, images: tf.Tensor) -> tf.Tensor:
        """Score the classes of any number of images."""
        first, second, last = self.weights
        hidden = tf.nn.relu(tf.nn.conv2d(images, first, strides=1, padding="SAME"))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, second, strides=2, padding="SAME"))
        return tf.reduce_mean(hidden, axis=(1, 2)) @ last


def infer(content: bytes, images: np.ndarray) -> np.ndarray:
    """Run the model in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"images": images})
    return scores


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.random.set_seed(SEED)
    started = time.perf_counter()
    network, images = Network(), tf.random.normal((4, SIDE, SIDE, 1)).numpy()
    model, _ = tf2onnx.convert.from_function(
        network.score, input_signature=network.score.input_signature, opset=OPSET
    )
    onnx.checker.check_model(model, full_check=True)
    scores = infer(model.SerializeToString(), images)
    expected = network.score(images).numpy()
    assert scores.shape == expected.shape, f"the scores have the shape {scores.shape}"
    difference = float(abs(scores - expected).max() / abs(expected).max())
    assert difference <= TOLERANCE, f"ONNX Runtime is {difference:.3g} off ({TOLERANCE=})"
    report(
        observed={
            "tf2onnx": tf2onnx.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opset": OPSET,
            "operators": sorted({node.op_type for node in model.graph.node}),
            "difference": difference,
            "tolerance": TOLERANCE,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
