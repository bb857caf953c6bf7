# /// probe
# name = "torch-onnx"
# framework = "torch"
# stack = "onnx"
# proves = "A model exported to ONNX is valid, and ONNX Runtime computes what torch does."
# required = true
# timeout = 120
# ///
"""Export a small convolutional network by torch's default exporter, check it, run it, compare.

ONNX Runtime fuses, and has its own float32 kernels, so bits may differ. Sums have at most 288 terms
and lose about sqrt(288) u in each of three layers, with u = 2**-24; TOLERANCE allows
100 u sqrt(288), about 1e-4, relative to the largest score.
"""

import json
import os
import tempfile
import time

import onnx
import onnxruntime
import torch
from torch import nn

SEED = 0
THREADS = 1
SIDE, CHANNELS, CLASSES = 8, 32, 10
TOLERANCE = 100 * 2**-24 * (9 * CHANNELS) ** 0.5


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-onnx", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def build() -> nn.Module:
    """Make a classifier of random weights."""
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, CLASSES),
    ).eval()


def infer(path: str, images: torch.Tensor) -> torch.Tensor:
    """Run the file in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"images": images.numpy()})
    return torch.from_numpy(scores)


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model, images = build(), torch.randn(4, 1, SIDE, SIDE)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(model, (images,), path, input_names=["images"], output_names=["scores"])
        onnx.checker.check_model(path, full_check=True)
        exported = onnx.load(path)
        scores = infer(path, images)
    expected = model(images).detach()
    assert scores.shape == expected.shape, f"the scores have the shape {tuple(scores.shape)}"
    difference = ((scores - expected).abs().max() / expected.abs().max()).item()
    assert difference <= TOLERANCE, f"ONNX Runtime is {difference:.3g} off ({TOLERANCE=})"
    report(
        observed={
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "exporter": f"{exported.producer_name} {exported.producer_version}",
            "opset": max(opset.version for opset in exported.opset_import),
            "operators": sorted({node.op_type for node in exported.graph.node}),
            "difference": difference,
            "tolerance": TOLERANCE,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
