"""Distributions that own the same files: whichever is installed last decides what is imported."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from packaging.utils import canonicalize_name

from envmatrix.model.evidence import Overlap

_FAMILIES = (
    ("faiss-cpu", "faiss-gpu"),
    ("jaxlib", "jaxlib-nightly"),
    ("keras", "keras-nightly"),
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    ("pillow", "pillow-simd"),
    ("psycopg2", "psycopg2-binary"),
    ("tensorboard", "tb-nightly"),
    (
        "tensorflow",
        "tensorflow-cpu",
        "tensorflow-gpu",
        "tensorflow-intel",
        "tf-nightly",
        "tf-nightly-cpu",
    ),
    ("tensorflow-estimator", "tf-estimator-nightly"),
    ("tf-keras", "tf-keras-nightly"),
    ("triton", "triton-nightly", "pytorch-triton"),
    ("xgboost", "xgboost-cpu"),
)
"""Distributions whose own documentation says that only one of them may be installed."""


def known_overlaps(names: Iterable[str]) -> tuple[Overlap, ...]:
    """Return the overlaps that the names of distributions give away, without a look at wheels."""
    held = {canonicalize_name(name) for name in names}
    return tuple(
        Overlap(distributions=pair)
        for family in _FAMILIES
        for pair in combinations(sorted(held.intersection(family)), 2)
    )
