# /// probe
# name = "torch-numpy"
# framework = "torch"
# proves = "torch and NumPy share memory in both directions, for every common type."
# required = true
# timeout = 60
# ///
"""Write on either side of a shared buffer and read on the other.

torch and NumPy are compiled apart; when NumPy's ABI is not the one torch expects, the bridge fails
while both still import. Values are small integers, so equality is exact in every type.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch

try:
    import numpy as np
except ModuleNotFoundError as error:
    if error.name != "numpy":
        raise
    np = None

NOT_RUN = 77
LENGTH = 8
WRITTEN_BY_NUMPY, WRITTEN_BY_TORCH = 42, 43
TYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "complex64")


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-numpy", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def check_shared(array: np.ndarray, tensor: torch.Tensor, way: str) -> None:
    """Assert that what is written on one side is read on the other."""
    array[0] = WRITTEN_BY_NUMPY
    tensor[1] = WRITTEN_BY_TORCH
    written = [WRITTEN_BY_NUMPY, WRITTEN_BY_TORCH]
    for reader, values in (("torch", tensor[:2]), ("NumPy", array[:2])):
        read = values.tolist()
        assert read == written, (
            f"{way}, {array.dtype}: {written} was written, {reader} reads {read}"
        )


def main() -> None:
    """Run the probe."""
    if np is None:
        report(not_run="NumPy is not installed")
        sys.exit(NOT_RUN)
    started = time.perf_counter()
    for name in TYPES:
        array = np.arange(LENGTH).astype(name)
        check_shared(array, torch.from_numpy(array), "torch.from_numpy")
        tensor = torch.arange(LENGTH).to(getattr(torch, name))
        check_shared(tensor.numpy(), tensor, "Tensor.numpy")
        strided = torch.arange(4 * LENGTH).to(getattr(torch, name)).view(LENGTH, 4)[:, 1]
        check_shared(strided.numpy(), strided, "Tensor.numpy with strides")
    total = np.sum(torch.ones(LENGTH).numpy())
    assert total == LENGTH, f"NumPy sums a tensor of {LENGTH} ones to {total}"
    report(
        observed={
            "numpy": np.__version__,
            "types": list(TYPES),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
