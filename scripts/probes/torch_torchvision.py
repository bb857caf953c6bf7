# /// probe
# name = "torch-torchvision"
# framework = "torch"
# stack = "vision"
# proves = "torchvision's compiled operators, a ResNet and its PNG codec work with this torch."
# required = true
# timeout = 90
# ///
"""Suppress overlapping boxes, run an untrained ResNet, and send an image through PNG.

torchvision's operators are compiled against one build of torch, and are missing beside another;
the import then fails. BOXES are made by hand so that the answer is known, and no overlap is near a
threshold: B shares 81/119 of A, C shares 50/150 of A and 45/155 of B, and D shares nothing. PNG is
lossless, so that comparison is exact, too.
"""

import json
import os
import time

import torch
import torchvision
from torchvision.io import decode_png, encode_png
from torchvision.models import resnet18
from torchvision.ops import nms

SEED = 0
THREADS = 1
BOXES = {  # as left, top, right, bottom, and a score
    "C": ((5, 0, 15, 10), 0.7),
    "A": ((0, 0, 10, 10), 0.9),
    "D": ((20, 20, 30, 30), 0.6),
    "B": ((1, 1, 11, 11), 0.8),
}
KEPT = {0.8: ["A", "B", "C", "D"], 0.5: ["A", "C", "D"], 0.2: ["A", "D"]}  # by threshold
BATCH, SIDE, CLASSES = 2, 64, 1000
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-torchvision", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def check_nms() -> None:
    """Suppress the boxes at each threshold; the kept ones come by falling score."""
    names = list(BOXES)
    corners = torch.tensor([box for box, _ in BOXES.values()], dtype=torch.float32)
    scores = torch.tensor([score for _, score in BOXES.values()])
    for threshold, expected in KEPT.items():
        kept = [names[index] for index in nms(corners, scores, threshold).tolist()]
        assert kept == expected, f"at {threshold}, nms keeps {kept}, not {expected}"


@torch.no_grad()
def check_resnet() -> None:
    """Score images by an untrained ResNet: finite numbers, other ones for another image."""
    scores = resnet18(weights=None).eval()(torch.randn(BATCH, 3, SIDE, SIDE))
    assert scores.shape == (BATCH, CLASSES), f"the scores have the shape {tuple(scores.shape)}"
    assert torch.isfinite(scores).all(), "scores are not finite"
    assert not torch.equal(scores[0], scores[1]), "two images have the same scores"


def check_png() -> int:
    """Encode and decode a random image; return the length of the file."""
    image = torch.randint(256, (3, 24, 32), dtype=torch.uint8)
    encoded = encode_png(image)
    start = bytes(encoded[: len(PNG_SIGNATURE)].tolist())
    assert start == PNG_SIGNATURE, f"the file begins with {start!r}"
    assert torch.equal(decode_png(encoded), image), "the image came back changed"
    return len(encoded)


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    check_nms()
    check_resnet()
    png_bytes = check_png()
    report(
        observed={
            "torchvision": str(torchvision.__version__),
            "torchvision_cuda": getattr(torchvision.version, "cuda", None),
            "png_bytes": png_bytes,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
