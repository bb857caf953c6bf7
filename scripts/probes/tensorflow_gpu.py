# /// probe
# name = "tensorflow-gpu"
# framework = "tensorflow"
# proves = "The GPU computes products, convolutions and a training as exactly as its types allow."
# required = true
# timeout = 240
# needs = "gpu"
# ///
"""Multiply, convolve and train on the GPU, and compare with float64 on the CPU.

The bound on an entry that is a sum of k products a b is SAFETY times the sum of three errors:
- sqrt(k) u32 sum |a b|: every type is added up in float32, u32 = 2**-24, and rounding errors of a
  sum grow like sqrt(k) (Higham and Mary, 2019);
- u_in sqrt(sum (a b)**2): TF32 cuts its float32 inputs to 11 significant bits, each by itself;
- u_out times the largest result: the result, or parts of it before they are added, are rounded to
  the type.
A float32 product that was secretly computed in TF32 misses its bound.

A machine without a GPU is no failure. A GPU that TensorFlow was built for but cannot use is one:
TensorFlow itself only warns where a CUDA library is missing, and goes on without the GPU.
"""

from __future__ import annotations

import ctypes
import glob
import json
import math
import os
import sys
import time
from typing import Callable

import tensorflow as tf

NOT_RUN = 77
HOST, DEVICE = "/CPU:0", "/GPU:0"
SEED = 0

SAFETY = 4
U32 = 2**-24
HAS_TF32_AND_BFLOAT16 = (8, 0)  # compute capability
SIZE = 1024  # of the matrices that are compared
TIMED_SIZE, TIMED_PRODUCTS = 8192, 10
BATCH_SIZE, CHANNELS, SIDE, KERNEL = 8, 64, 32, 3  # of the convolution

TEXT = """
shall i compare thee to a summer's day?
thou art more lovely and more temperate.
rough winds do shake the darling buds of may,
and summer's lease hath all too short a date.
"""
VOCABULARY = sorted(set(TEXT))
CONTEXT, WIDTH, HEADS = 32, 64, 4
BATCH, STEPS, LEARNING_RATE = 16, 100, 3e-3
LOSS_BOUND = 1.2  # nats; guessing evenly costs 3.3, knowing which character follows which 1.5
LAST = 10  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-gpu", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def why_not() -> str | None:
    """Why there is nothing to run on; a GPU that TensorFlow should see and does not is an error."""
    if tf.config.list_physical_devices("GPU"):
        return None
    if not tf.test.is_built_with_cuda():
        return "TensorFlow is built without CUDA"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    nodes = [] if hidden else glob.glob("/dev/nvidia[0-9]*")
    assert not nodes, f"{nodes} are there, but TensorFlow sees no GPU; its log above says why"
    return "no GPU is visible"


def driver_version() -> str | None:
    """The driver's version as NVIDIA's management library tells it, null where that is missing."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    version = ctypes.create_string_buffer(80)
    failed = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(version, len(version))
    return None if failed else version.value.decode()


def uniform(*shape: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Draw numbers from [-1, 1)."""
    return tf.cast(tf.random.uniform(shape, -1, 1), dtype)


def check(
    name: str,
    operation: Callable,
    factors: tuple[tf.Tensor, tf.Tensor],
    terms: int,
    *,
    u_in: float,
    u_out: float,
) -> dict[str, float]:
    """Assert that the GPU's result is within the bound; return how far off it was."""
    with tf.device(DEVICE):
        actual = operation(*factors)
    with tf.device(HOST):
        left, right = (tf.cast(factor, tf.float64) for factor in factors)
        expected = operation(left, right)
        bound = SAFETY * (
            math.sqrt(terms) * U32 * operation(abs(left), abs(right))
            + u_in * tf.sqrt(operation(left**2, right**2))
            + u_out * tf.reduce_max(abs(expected))
        )
        errors = abs(tf.cast(actual, tf.float64) - expected)
        worst = float(tf.reduce_max(errors / bound))
    assert worst <= 1, f"an entry of the {name} result is off by {worst:.3g} times its bound"
    return {
        f"{name}_max_error": float(tf.reduce_max(errors)),
        f"{name}_error_to_bound": round(worst, 6),
    }


def teraflops(dtype: tf.DType) -> float:
    """Time products of large matrices, in 10**12 operations a second."""
    with tf.device(DEVICE):
        left, right = (uniform(TIMED_SIZE, TIMED_SIZE, dtype=dtype) for _ in range(2))
        tf.matmul(left, right)[0, 0].numpy()  # the first one loads kernels
        started = time.perf_counter()
        for _ in range(TIMED_PRODUCTS):
            product = tf.matmul(left, right)
        product[0, 0].numpy()  # waits for all of them
    return TIMED_PRODUCTS * 2e-12 * TIMED_SIZE**3 / (time.perf_counter() - started)


def check_products(capability: tuple[int, int]) -> dict[str, float]:
    """Check and time products in every type that the GPU has."""
    types = [
        ("float32", tf.float32, False, 0.0, U32),
        ("float16", tf.float16, False, 0.0, 2**-11),
    ]
    if capability >= HAS_TF32_AND_BFLOAT16:
        types += [
            ("tf32", tf.float32, True, 2**-10, U32),
            ("bfloat16", tf.bfloat16, False, 0.0, 2**-8),
        ]
    observed = {}
    for name, dtype, tf32, u_in, u_out in types:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        factors = (uniform(SIZE, SIZE, dtype=dtype), uniform(SIZE, SIZE, dtype=dtype))
        observed.update(check(name, tf.matmul, factors, SIZE, u_in=u_in, u_out=u_out))
        observed[f"{name}_tflops"] = round(teraflops(dtype), 3)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return observed


def convolve(images: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    """Convolve without padding; on a GPU this is cuDNN's work."""
    return tf.nn.conv2d(images, kernels, strides=1, padding="VALID")


def check_convolution() -> dict[str, float]:
    """Check a float32 convolution."""
    images = uniform(BATCH_SIZE, SIDE, SIDE, CHANNELS)
    kernels = uniform(KERNEL, KERNEL, CHANNELS, CHANNELS)
    terms = CHANNELS * KERNEL**2
    return check("convolution", convolve, (images, kernels), terms, u_in=0.0, u_out=U32)


def language_model() -> tf.keras.Model:
    """Build a model that takes characters and scores each next character."""
    layers = tf.keras.layers
    characters = layers.Input((CONTEXT,), dtype="int32")
    places = layers.Input((CONTEXT,), dtype="int32")
    hidden = layers.Embedding(len(VOCABULARY), WIDTH)(characters)
    hidden = hidden + layers.Embedding(CONTEXT, WIDTH)(places)
    normal = layers.LayerNormalization()(hidden)
    attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    hidden = hidden + attention(normal, normal, use_causal_mask=True)
    normal = layers.LayerNormalization()(hidden)
    wide = layers.Dense(4 * WIDTH, activation="relu")(normal)
    hidden = hidden + layers.Dense(WIDTH)(wide)
    return tf.keras.Model([characters, places], layers.Dense(len(VOCABULARY))(hidden))


def train_transformer() -> dict[str, object]:
    """Fit a language model to random windows of the text, and assert that it learned."""
    model = language_model()
    optimizer = tf.keras.optimizers.Adam(LEARNING_RATE)
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    text = tf.constant([VOCABULARY.index(character) for character in TEXT])
    windows = tf.signal.frame(text, CONTEXT + 1, 1)
    places = tf.tile(tf.range(CONTEXT)[None], (BATCH, 1))

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = cross_entropy(batch[:, 1:], model([batch[:, :-1], places], training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    drawn = tf.random.uniform((STEPS, BATCH), maxval=len(windows), dtype=tf.int32)
    losses = [float(step(tf.gather(windows, indices))) for indices in drawn]
    device = model.trainable_variables[0].value.device
    assert device.endswith("GPU:0"), f"the weights are on {device}"
    final = sum(losses[-LAST:]) / LAST
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    return {"final_loss": round(final, 6), "losses": [round(loss, 6) for loss in losses]}


def main() -> None:
    """Run the probe."""
    reason = why_not()
    if reason:
        report(not_run=reason)
        sys.exit(NOT_RUN)
    started = time.perf_counter()
    gpu = tf.config.list_physical_devices("GPU")[0]
    tf.config.experimental.set_memory_growth(gpu, True)
    tf.keras.utils.set_random_seed(SEED)
    details = tf.config.experimental.get_device_details(gpu)
    build = tf.sysconfig.get_build_info()
    report(
        observed={
            "name": details["device_name"],
            "capability": ".".join(map(str, details["compute_capability"])),
            "driver": driver_version(),
            "cuda": build["cuda_version"],
            "cudnn": build["cudnn_version"],
            **check_products(details["compute_capability"]),
            **check_convolution(),
            **train_transformer(),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
