"""The matrix that a newcomer begins with: `envmatrix init` writes it.

Its one cell works: the published evidence of envmatrix has the same cell, with the same day.
"""

from __future__ import annotations

from typing import Any, Final

CELL: Final = "tensorflow-2.21.0-py3.11-debian12-cpu"
"""The one cell of it."""

FIRST_MATRIX: Final = """\
# What to build and probe. `envmatrix plan` shows the cells that this file declares.
# Quote versions: YAML reads an unquoted 3.10 as the number 3.1.
# Lines such as #debian13 are more that works: remove the # of all lines of one entry.

schema: 1

resolve:
  # Wheels that were published after this day do not count, so locks stay the same. Move it on for
  # newer wheels; `envmatrix outdated --write` does so, and adds newer releases.
  as_of: "2026-11-20"

axes:
  os:
    # python is the system's own. glibc decides which wheels fit. bootstrap is the suite of Debian
    # that mmdebstrap takes where no registry answers.
    debian12:
      {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
       image: "debian:12-slim", bootstrap: bookworm}
    #debian13:
    #  {distribution: debian, codename: trixie, glibc: "2.41", python: "3.13",
    #   image: "debian:13-slim", bootstrap: trixie}
  python: ["3.11"]
  accelerator:
    cpu: {}
    # A CUDA line needs the lowest NVIDIA driver branch that serves it.
    #cu125: {cuda: "12.5", driver: "525"}

# Every base has this installer. Every virtual environment has these packages.
base:
  installer: "uv==0.13.9"
  venv: ["pip"]

frameworks:
  tensorflow:
    title: TensorFlow
    # What must not be added to its images, and why: no installer knows that it has the same files.
    excludes: {tensorflow: "replaces files of tensorflow-cpu"}
    versions: ["2.21.0"]
    variants:
      # Which requirements give which accelerators, for which versions.
      - name: tensorflow-cpu
        requires: ["tensorflow-cpu=={version}"]
        accelerators: {cpu: ["*"]}
      #- name: and-cuda
      #  requires: ["tensorflow[and-cuda]=={version}"]
      #  accelerators: {cu125: ["*"]}
  #torch:
  #  title: PyTorch
  #  packages: ["g++", "libpython{python}-dev"]
  #  versions: ["2.13.0"]
  #  variants:
  #    - name: pytorch-index
  #      requires: ["torch=={version}+{accelerator}", "numpy", "setuptools"]
  #      index: "https://download.pytorch.org/whl/{accelerator}"
  #      accelerators: {cpu: ["*"]}

# Names for lists of cells. Commands without SELECT and --profile take quick.
profiles:
  quick:
    - {framework: tensorflow, version: "2.21.0", python: own, os: debian12, accelerator: cpu}
"""


def example() -> dict[str, Any]:
    """Return the data of a matrix that is right and has every key, to show what belongs where."""
    # Only a file that is wrong needs it.
    import yaml  # noqa: PLC0415

    data: dict[str, Any] = yaml.safe_load(FIRST_MATRIX)
    data["axes"]["arch"] = ["amd64"]
    data["axes"]["accelerator"]["cu125"] = {"cuda": "12.5", "driver": "525"}
    data["frameworks"]["tensorflow"] |= {
        "license": "Apache-2.0",
        "packages": ["g++"],
        "companions": {"tensorflow-text": {"2.21.0": "2.21.0"}},
    }
    data["frameworks"]["tensorflow"]["variants"][0] |= {
        "arch": ["amd64"],
        "index": "https://wheels.example/whl/{accelerator}",
    }
    where = {"framework": "tensorflow", "version": ">=2.20", "os": "debian*"}
    return data | {
        "labels": {"source": "https://example.org/me/matrix"},
        "probes": ["probes"],
        "stacks": {
            "hub": {"title": "TF Hub", "cells": [where], "requires": ["tensorflow-hub"]},
        },
        "rules": [
            {"when": where, "exclude": True, "constrain": ["setuptools<82"], "reason": "it is old"}
        ],
        "known": [{"when": where, "verdict": "broken", "reason": "it is old"}],
    }
