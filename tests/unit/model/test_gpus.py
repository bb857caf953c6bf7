"""GPU generations from the architectures that are compiled in."""

from __future__ import annotations

from envmatrix.model.gpus import generations


def test_the_architectures_of_a_wheel_name_the_generations_it_serves() -> None:
    """As torch 2.13 for CUDA 13.0 lists them."""
    listed = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]

    assert generations(listed) == ["Turing", "Ampere", "Hopper", "Blackwell"]


def test_variants_of_an_architecture_count_as_it() -> None:
    """sm_90a is Hopper with features of its own, compute_52 is Maxwell as portable code."""
    assert generations(["sm_90a", "compute_52"]) == ["Maxwell", "Hopper"]


def test_what_is_no_architecture_or_not_known_is_left_out() -> None:
    """A guess would look like evidence."""
    assert generations(["gfx90a", "sm_990", ""]) == []
