"""The way of one cell on this engine, and the builder that serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from envmatrix.engine.client import Engine

pytestmark = pytest.mark.engine

CELL = "jinja2-3.1.6-py3.11-debian12-cpu"
BASE = "envmatrix/base:debian12-py3.11-cpu"
BUILDERS = {
    "20.10-overlay2": "BuildKit",
    "26-overlay2": "BuildKit",
    "26-containerd": "classic",
    "28-overlay2": "BuildKit",
    "28-containerd": "BuildKit",
}


def test_a_cell_works(quick: tuple[int, dict[str, dict[str, Any]]]) -> None:
    """From the lock to the verdict, with a system that is bootstrapped on this machine."""
    code, cells = quick

    assert cells[CELL]["verdict"] == "works", cells[CELL]["cause"]
    assert code == 0


def test_the_expected_builder_serves(
    engine: Engine,
    engine_name: str,
    quick: object,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The classic builder only where BuildKit needs a session; its log numbers the steps."""
    log: list[str] = []
    built = engine.builds.build(
        {"Dockerfile": f"FROM {BASE}\nRUN echo built\n"},
        tag=None,
        arguments={},
        hosts={},
        labels={},
        log=log.append,
    )
    engine.images.remove(built.id)
    builder = "classic" if "Step 1/" in "".join(log) else "BuildKit"
    record_testsuite_property("builder", builder)
    record_testsuite_property("version", engine.version)

    assert BUILDERS[engine_name] == builder
