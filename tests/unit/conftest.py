"""A small matrix that has every field, and the real one."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load

# How long an example takes says more about the machine than about the code.
settings.register_profile("envmatrix", deadline=None)
settings.load_profile("envmatrix")

ROOT = Path(__file__).parents[2]

SMALL = """\
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian11: {distribution: debian, codename: bullseye, glibc: "2.31", python: "3.9",
               image: "debian:11-slim"}
    debian12: {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11",
               image: "debian:12-slim", bootstrap: bookworm}
  python: ["3.9", "3.11"]
  accelerator:
    cpu: {}
    cu130: {cuda: "13.0", driver: "580"}
  arch: [amd64]
base: {installer: "uv==0.13.9", venv: [pip]}
frameworks:
  torch:
    title: PyTorch
    versions: ["2.9.1", "2.10.0"]
    variants:
      - name: default-wheel
        requires: ["torch==={version}", numpy]
        accelerators: {cu130: [">=2.10"]}
      - name: own-index
        requires: ["torch=={version}+{accelerator}"]
        index: "https://wheels.example/whl/{accelerator}"
        accelerators: {cpu: ["*"], cu130: ["*"]}
  tensorflow:
    title: TensorFlow
    license: Apache-2.0
    packages: ["g++", "libpython{python}-dev"]
    companions: {tensorflow-text: {"2.21.0": "2.21.1"}}
    excludes: {tensorflow: it has the same files}
    versions: ["2.21.0"]
    variants:
      - {name: tensorflow-cpu, arch: ["amd64"], requires: ["tensorflow-cpu=={version}"],
         accelerators: {cpu: ["2.21.0"]}}
rules:
  - when: {framework: torch, version: "<2.10", python: "3.9"}
    constrain: ["setuptools<82"]
    reason: it imports pkg_resources
  - when: {framework: tensorflow, os: debian11}
    exclude: true
    reason: nobody asked for it
known:
  - {when: {framework: tensorflow}, verdict: broken, class: crash, reason: it is too slow,
     link: "https://example.org/issues/7"}
profiles:
  quick:
    - {framework: torch, version: "2.10.0", accelerator: cpu, python: own}
  wide:
    - {profile: quick}
    - {framework: tensorflow}
  all:
    - {}
"""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr("envmatrix.engine.retries.PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def small_text() -> str:
    """A small matrix.yaml with every field in it."""
    return SMALL


@pytest.fixture
def small() -> Matrix:
    """The small matrix."""
    return load(SMALL, "matrix.yaml")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def real_text() -> str:
    """The matrix.yaml of the project."""
    return (ROOT / "matrix.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def real(real_text: str) -> Matrix:
    """The matrix of the project."""
    return load(real_text, "matrix.yaml")


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    """What a test does about signals that ask to stop does not outlive it."""
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
