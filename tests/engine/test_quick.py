"""The quick profile, for real: the main job on the real frameworks."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.engine

Cells = dict[str, dict[str, Any]]

EXPECTED = {
    "torch-2.13.0-py3.11-debian12-cpu",
    "tensorflow-2.21.0-py3.11-debian12-cpu",
    "tensorflow-2.21.0-py3.13-debian13-cpu",
}


def test_every_cell_of_quick_works(quick: tuple[int, Cells]) -> None:
    """Each is built, imports, computes and trains; the exit code says so."""
    code, cells = quick

    assert dict.fromkeys(EXPECTED, "works") == {
        cell_id: cell["verdict"] for cell_id, cell in cells.items()
    }
    assert code == 0


def test_what_is_observed_is_what_is_declared(quick: tuple[int, Cells]) -> None:
    """Version, Python, OS, C library, accelerator and arch were read inside the image."""
    for cell in quick[1].values():
        for name, value in cell["declared"].items():
            assert value == cell["observed"][name]


def test_a_loss_fell_and_a_sample_was_generated(quick: tuple[int, Cells]) -> None:
    """The generative model of each cell leaves its loss curve and its sample as evidence."""
    for cell in quick[1].values():
        name = f"{cell['axes']['framework']}-transformer"
        observed = next(one["observed"] for one in cell["probes"] if one["probe"] == name)

        assert observed["losses"][-1] < observed["losses"][0]
        assert len(set(observed["sample"])) > 1


def test_a_second_run_does_nothing_and_says_so(quick: object, checkout: Any) -> None:
    """With nothing changed no image is built and no probe is run."""
    done = checkout.run("run", "--profile", "quick")

    assert "nothing built, nothing probed" in done.stdout
    assert done.returncode == 0
