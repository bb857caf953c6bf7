# /// probe
# name = "tensorflow-js"
# framework = "tensorflow"
# stack = "tfjs"
# proves = "A Keras model converts to TensorFlow.js; where Node has it, both compute the same."
# required = true
# timeout = 150
# ///
"""Export a small Keras model, convert it to a TensorFlow.js graph model, and run that in Node.

Node and its package @tensorflow/tfjs are not Python's to install. Where either is missing, only the
conversion is proved: the files are read, and their weights must be the model's, bit by bit. Where
both are there (NODE_PATH may say where), the scores are compared, too. TensorFlow.js computes in
float32 of its own: sums have at most 32 terms and lose about sqrt(32) u in each of two layers, with
u = 2**-24; TOLERANCE allows 100 u sqrt(32), about 3e-5, relative to the largest score.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflowjs.converters import convert_tf_saved_model

SEED = 0
THREADS = 2
INPUTS, WIDTH, CLASSES = 8, 32, 3
TOLERANCE = 100 * 2**-24 * WIDTH**0.5
NODE_SECONDS = 60

FIND = "process.stdout.write(require('@tensorflow/tfjs/package.json').version)"
INFER = """
const fs = require('fs');
const tf = require('@tensorflow/tfjs');
const [folder, rows] = [process.argv[1], JSON.parse(process.argv[2])];
const model = JSON.parse(fs.readFileSync(folder + '/model.json'));
const [group] = model.weightsManifest;
const parts = group.paths.map((path) => fs.readFileSync(folder + '/' + path));
const joined = new Uint8Array(Buffer.concat(parts));
const artifacts = {...model, weightSpecs: group.weights, weightData: joined.buffer};
(async () => {
  await tf.setBackend('cpu');
  const loaded = await tf.loadGraphModel({load: async () => artifacts});
  const scores = await loaded.executeAsync(tf.tensor2d(rows));
  console.log(JSON.stringify({scores: await scores.array()}));
})();
"""


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-js", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def build() -> tf.keras.Model:
    """Make a classifier of random weights."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [layers.Input((INPUTS,)), layers.Dense(WIDTH, activation="relu"), layers.Dense(CLASSES)]
    )


def check_weights(folder: Path, model: tf.keras.Model) -> list[str]:
    """Assert that the matrices of the model are in the converted files; return their names."""
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (group,) = description["weightsManifest"]
    content = b"".join((folder / path).read_bytes() for path in group["paths"])
    arrays, start = [], 0
    for weight in group["weights"]:
        length = int(np.prod(weight["shape"])) * np.dtype(weight["dtype"]).itemsize
        values = np.frombuffer(content[start : start + length], weight["dtype"])
        arrays.append(values.reshape(weight["shape"]))
        start += length
    for kernel in (weights for weights in model.get_weights() if weights.ndim > 1):
        found = any(np.array_equal(kernel, array) for array in arrays)
        assert found, f"no converted weight is the matrix of shape {kernel.shape}"
    return sorted(path.name for path in folder.iterdir())


def ask_node(node: str, script: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a script in Node."""
    command = [node, "-e", script, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=NODE_SECONDS, check=False
    )


def compare_in_node(folder: Path, rows: np.ndarray, expected: np.ndarray) -> dict[str, object]:
    """Run the converted model in Node if that can be, and say what was proved."""
    node = shutil.which("node")
    if node is None:
        return {"proved": "conversion only: there is no Node"}
    found = ask_node(node, FIND)
    if found.returncode != 0:
        return {"proved": "conversion only: Node is there, its package @tensorflow/tfjs is not"}
    ran = ask_node(node, INFER, str(folder), json.dumps(rows.tolist()))
    assert ran.returncode == 0, f"Node ended with {ran.returncode}: {ran.stderr[-2000:]}"
    scores = np.array(json.loads(ran.stdout.splitlines()[-1])["scores"])
    difference = float(abs(scores - expected).max() / abs(expected).max())
    assert difference <= TOLERANCE, f"TensorFlow.js is {difference:.3g} off ({TOLERANCE=})"
    return {
        "proved": "conversion, and equal scores in Node",
        "tfjs": found.stdout,
        "difference": difference,
        "tolerance": TOLERANCE,
    }


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    model, rows = build(), tf.random.normal((4, INPUTS)).numpy()
    expected = model(rows).numpy()
    with tempfile.TemporaryDirectory() as scratch:
        saved, folder = os.path.join(scratch, "saved"), Path(scratch, "converted")
        model.export(saved)
        convert_tf_saved_model(saved, str(folder))
        files = check_weights(folder, model)
        compared = compare_in_node(folder, rows, expected)
    report(
        observed={
            "tensorflowjs": metadata.version("tensorflowjs"),
            **compared,
            "files": files,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
