# /// probe
# name = "tensorflow-matmul"
# framework = "tensorflow"
# proves = "Matrix products in float32 and float64 are as exact as their type allows."
# required = true
# timeout = 60
# ///
"""Multiply matrices and compare every entry with a reference that no BLAS has touched.

The factors lie in [-1, 1) and use every bit of their type. Python's floats hold the products of two
float32 numbers exactly, round those of two float64 numbers once, and math.fsum adds them without
any error but a last rounding.

The bound on an entry is SAFETY * sqrt(k) * u * (|A| |B|), with u half the type's epsilon and k the
length of the sum. Rounding errors in a sum of k terms grow like sqrt(k) u, whatever its order
(Higham and Mary, 2019, "A new approach to probabilistic rounding error analysis"). A product
that was secretly computed in TF32 or bfloat16 misses the float32 bound by far.
"""

import json
import math
import operator
import os
import random
import time
from typing import Callable

import tensorflow as tf

Matrix = list[list[float]]

ROWS, INNER, COLUMNS = 97, 512, 113  # no multiples of a tile, so that edges are computed too
SAFETY = 4
THREADS = 2


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-matmul", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def random_matrix(rng: random.Random, rows: int, columns: int, bits: int) -> Matrix:
    """Draw numbers of so many significant bits in [-1, 1)."""
    half = 2 ** (bits - 1)
    return [[(rng.getrandbits(bits) - half) / half for _ in range(columns)] for _ in range(rows)]


def reference_product(left: Matrix, right: Matrix, add: Callable = math.fsum) -> Matrix:
    """Multiply two matrices in plain Python."""
    columns = list(zip(*right))
    return [[add(map(operator.mul, row, column)) for column in columns] for row in left]


def magnitude(matrix: Matrix) -> Matrix:
    """Take the absolute value of every entry."""
    return [list(map(abs, row)) for row in matrix]


def check(dtype: tf.DType, rng: random.Random) -> dict[str, float]:
    """Assert that a product in dtype is within the bound; return how far off it was."""
    eps = float(tf.experimental.numpy.finfo(dtype.as_numpy_dtype).eps)
    bits = 1 - round(math.log2(eps))
    left = random_matrix(rng, ROWS, INNER, bits)
    right = random_matrix(rng, INNER, COLUMNS, bits)
    product = tf.constant(left, dtype) @ tf.constant(right, dtype)
    expected = tf.constant(reference_product(left, right), tf.float64)
    scale = tf.constant(reference_product(magnitude(left), magnitude(right), add=sum), tf.float64)
    errors = abs(tf.cast(product, tf.float64) - expected)
    worst = float(tf.reduce_max(errors / (SAFETY * math.sqrt(INNER) * eps / 2 * scale)))
    assert worst <= 1, f"an entry of the {dtype.name} product is off by {worst:.3g} times its bound"
    return {
        f"{dtype.name}_max_error": float(tf.reduce_max(errors)),
        f"{dtype.name}_error_to_bound": round(worst, 6),
    }


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    started = time.perf_counter()
    rng = random.Random(0)
    observed = {"shape": [ROWS, INNER, COLUMNS]}
    for dtype in (tf.float32, tf.float64):
        observed.update(check(dtype, rng))
    report(observed={**observed, "seconds": round(time.perf_counter() - started, 3)})


if __name__ == "__main__":
    main()
