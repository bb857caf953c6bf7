"""Environments that pip calls healthy and that are broken: each is caught, classed and named."""

from __future__ import annotations

import pytest
from conftest import Folder

from envmatrix.engine.client import Engine
from envmatrix.engine.process import Limits
from envmatrix.model.image_names import REPOSITORY as IMAGES

pytestmark = pytest.mark.engine

MATRIX = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian12: {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
               image: "debian:12-slim", bootstrap: bookworm}
  python: ["3.11"]
  accelerator: {cpu: {}}
base: {installer: "uv==0.13.9", venv: ["pip"]}
frameworks:
  torch:
    title: PyTorch
    versions: ["2.13.0"]
    packages: ["g++", "libpython{python}-dev"]
    variants:
      - name: pytorch-index
        requires: ["torch=={version}+{accelerator}", "numpy"]
        index: "https://download.pytorch.org/whl/{accelerator}"
        accelerators: {cpu: [">=2"]}
  tensorflow:
    title: TensorFlow
    versions: ["2.16.2", "2.21.0"]
    variants:
      - name: tensorflow-cpu
        requires: ["tensorflow-cpu=={version}"]
        accelerators: {cpu: [">=2"]}
stacks:
  vision: {title: torchvision, cells: [{framework: torch}], requires: ["torchvision===0.28.0"]}
  xla: {title: torch-xla, cells: [{framework: torch}], requires: ["torch-xla==2.9.0"]}
  gan:
    title: TF-GAN
    cells: [{framework: tensorflow, version: "2.21.0"}]
    requires: ["tensorflow-gan==2.1.0", "setuptools<82"]
  hub:
    title: TF Hub
    cells: [{framework: tensorflow, version: "2.21.0"}]
    requires: ["tensorflow-hub==0.16.0", "setuptools>=82"]
  tensorboard:
    title: TensorBoard
    cells: [{framework: tensorflow, version: "2.16.2"}]
    requires: ["tensorboard<2.17", "setuptools>=82"]
profiles:
  broken: [{framework: "*+*"}]
"""

# Cell, class, and what the cause must name.
BREAKAGES = {
    "torch+vision-2.13.0-py3.11-debian12-cpu": ("operator-missing", "torchvision::nms"),
    "torch+xla-2.13.0-py3.11-debian12-cpu": ("undefined-symbol", "_XLAC"),
    "tensorflow+gan-2.21.0-py3.11-debian12-cpu": ("module-removed", "estimator"),
    "tensorflow+hub-2.21.0-py3.11-debian12-cpu": ("module-removed", "pkg_resources"),
    "tensorflow+tensorboard-2.16.2-py3.11-debian12-cpu": ("module-removed", "pkg_resources"),
}


@pytest.fixture
def breakages(folder: Folder) -> Folder:
    """A project of the broken environments, with the probes of the checkout."""
    folder.write("matrix.yaml", MATRIX)
    (folder.root / "scripts/probes/jinja2_import.py").unlink()
    (folder.root / "scripts/probes").rmdir()
    return folder


def test_what_pip_check_calls_healthy_is_broken_with_its_class(
    breakages: Folder, engine: Engine
) -> None:
    """Each is built and probed for real; the cause names what is missing, the remedy what to do."""
    code, cells = breakages.run_json("run", "--profile", "broken")
    try:
        for cell_id, (kind, named) in BREAKAGES.items():
            cell = cells[cell_id]
            assert ("broken", kind) == (cell["verdict"], cell["class"]), cell["cause"]
            assert named in cell["cause"]
            assert cell["remedy"]
            ran = engine.containers.run(
                f"{IMAGES}/cell:{cell_id.replace('+', '_')}",
                ["python", "-m", "pip", "check"],
                environment={},
                limits=Limits(),
            )
            assert "No broken requirements found." in ran.stdout, ran.stdout
        assert code == 1
    finally:
        for cell_id in BREAKAGES:
            engine.images.remove(f"{IMAGES}/cell:{cell_id.replace('+', '_')}")
