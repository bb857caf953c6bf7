# /// probe
# name = "tensorflow-tensorboard"
# framework = "tensorflow"
# stack = "tensorboard"
# proves = "What tf.summary writes, TensorBoard reads; TensorBoard and its plugins load."
# required = true
# timeout = 90
# ///
"""Write scalars, read them by TensorBoard's own reader, and load TensorBoard as its command does.

Values are powers of two, which float32 keeps exactly. The reader alone is not enough:
TensorBoard 2.16 reads events without pkg_resources, but its command cannot start without.
"""

from __future__ import annotations

import json
import os
import tempfile
import time

import tensorboard
import tensorflow as tf
from tensorboard import default, program
from tensorboard import main as command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

THREADS = 2
TAG, STEPS = "loss", 20


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-tensorboard", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def write(folder: str, scalars: list[float]) -> None:
    """Write one scalar a step."""
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default():
        for step, scalar in enumerate(scalars):
            tf.summary.scalar(TAG, scalar, step=step)
    writer.close()


def read(folder: str) -> list[tuple[int, float]]:
    """Read back the steps and the scalars, which TensorFlow 2 writes as tensors."""
    accumulator = EventAccumulator(folder, {"tensors": 0})  # 0 keeps all of them
    accumulator.Reload()
    assert TAG in accumulator.Tags()["tensors"], f"TensorBoard finds {accumulator.Tags()}"
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in accumulator.Tensors(TAG)
    ]


def load_command(folder: str) -> list[str]:
    """Set TensorBoard up as its command does, but serve nothing; return its plugins' names."""
    assert callable(command.run_main), "tensorboard.main has no run_main"
    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["tensorboard", "--logdir", folder])
    return sorted(
        name for name in (loader.__class__.__name__ for loader in board.plugin_loaders) if name
    )


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    started = time.perf_counter()
    scalars = [2.0**-step for step in range(STEPS)]
    with tempfile.TemporaryDirectory() as folder:
        write(folder, scalars)
        found = read(folder)
        plugins = load_command(folder)
    assert found == list(enumerate(scalars)), f"wrote {scalars}, read {found}"
    assert plugins, "TensorBoard has no plugins"
    report(
        observed={
            "tensorboard": tensorboard.__version__,
            "scalars": len(found),
            "plugins": len(plugins),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
