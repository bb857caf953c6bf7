"""GPUs: what the architectures of a build serve, and the names that people know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.gpus import (
    GENERATIONS,
    GPUS,
    capabilities,
    find_gpu,
    generations,
    read_architecture,
    serves,
    similar_gpus,
)

TORCH = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


def test_the_architectures_of_a_wheel_name_the_generations_it_serves() -> None:
    """The architectures of torch 2.13 for CUDA 13.0 name five generations, Ada among them."""
    assert generations(TORCH) == ["Turing", "Ampere", "Ada", "Hopper", "Blackwell"]
    assert capabilities(TORCH) == [
        *("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "12.0", "12.1")
    ]


@pytest.mark.parametrize(
    ("architecture", "capability", "expected"),
    [
        # Machine code runs on every device of its major version that is not older.
        ("sm_86", "8.9", True),
        ("sm_86", "8.6", True),
        ("sm_86", "8.0", False),
        ("sm_80", "8.9", True),
        ("sm_89", "8.6", False),
        ("sm_60", "6.1", True),
        ("sm_61", "6.0", False),
        ("sm_70", "7.5", True),
        ("sm_75", "7.0", False),
        ("sm_100", "10.3", True),
        ("sm_103", "10.0", False),
        ("sm_120", "12.1", True),
        # No machine code runs on another major version.
        ("sm_100", "12.0", False),
        ("sm_100", "11.0", False),
        ("sm_120", "10.0", False),
        ("sm_90", "10.0", False),
        ("sm_80", "9.0", False),
        # A variant `a` is for exactly one capability.
        ("sm_90a", "9.0", True),
        ("sm_100a", "10.0", True),
        ("sm_100a", "10.3", False),
        ("sm_120a", "12.1", False),
        # A variant `f` is for its family, from its capability on.
        ("sm_100f", "10.0", True),
        ("sm_100f", "10.3", True),
        ("sm_103f", "10.0", False),
        ("sm_120f", "12.1", True),
        ("sm_100f", "12.0", False),
        # PTX is compiled for whatever is newer.
        ("compute_52", "5.2", True),
        ("compute_52", "12.0", True),
        ("compute_90", "12.1", True),
        ("compute_90", "8.9", False),
        ("compute_90a", "9.0", True),
        ("compute_90a", "10.0", False),
        ("compute_100f", "10.3", True),
        ("compute_100f", "12.0", False),
        # As in TORCH_CUDA_ARCH_LIST.
        ("8.6", "8.9", True),
        ("8.6", "9.0", False),
        ("8.6+PTX", "9.0", True),
        ("9.0a", "9.0", True),
        ("9.0a+PTX", "10.0", False),
        # Jetson Thor was 10.1 before CUDA 13.
        ("sm_101", "11.0", True),
        ("sm_110", "11.0", True),
        ("sm_101", "10.3", False),
        # What is no architecture of NVIDIA's serves none.
        ("gfx90a", "9.0", False),
        ("sm_", "9.0", False),
        ("sm_86", "gfx90a", False),
        ("sm_86", "", False),
    ],
)
def test_machine_code_and_ptx_serve_by_nvidias_rule(
    architecture: str, capability: str, *, expected: bool
) -> None:
    """An architecture serves a device, or not, by the rules of binary and PTX compatibility."""
    assert expected == serves([architecture], capability)


def test_ptx_serves_what_is_newer_beside_machine_code() -> None:
    """sm_90a serves Hopper alone, and the portable code compute_52 all from Maxwell on."""
    assert generations(["sm_90a"]) == ["Hopper"]
    assert generations(["compute_52"])[0] == "Maxwell"
    assert "Blackwell" in generations(["sm_90a", "compute_52"])


def test_what_is_no_architecture_or_not_known_is_left_out() -> None:
    """An unknown architecture adds no generation."""
    assert generations(["gfx90a", "sm_990", ""]) == []
    assert capabilities([]) == []


@given(st.lists(st.sampled_from(TORCH)), st.sampled_from(sorted(GENERATIONS)))
def test_more_architectures_never_serve_less(listed: list[str], device: tuple[int, int]) -> None:
    """What some architectures serve, all of them serve."""
    assert not serves(listed, device) or serves(TORCH, device)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_names(text: str) -> None:
    """Any text is an architecture or none, and the name of a GPU or of none."""
    assert read_architecture(text) is None or text
    found = find_gpu(text)
    assert found is None or found.name
    assert isinstance(similar_gpus(text), list)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("RTX 4090", "8.9"),
        ("rtx4090", "8.9"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "8.9"),
        ("GeForce RTX 4080 SUPER", "8.9"),
        ("RTX 3080 Ti", "8.6"),
        ("rtx3080ti", "8.6"),
        ("NVIDIA GeForce RTX 2050", "8.6"),
        ("NVIDIA GeForce RTX 5090", "12.0"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "12.0"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "8.9"),
        ("NVIDIA RTX A6000", "8.6"),
        ("Quadro RTX 6000", "7.5"),
        ("Quadro P2000", "6.1"),
        ("P2000", "6.1"),
        ("Quadro T1000", "7.5"),
        ("GeForce GTX 1080 Ti", "6.1"),
        ("NVIDIA GeForce GTX 1650 with Max-Q Design", "7.5"),
        ("GTX 1660", "7.5"),
        ("GTX 980", "5.2"),
        ("NVIDIA TITAN V", "7.0"),
        ("TITAN RTX", "7.5"),
        ("TITAN X (Pascal)", "6.1"),
        ("GeForce GTX TITAN X", "5.2"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("NVIDIA A100 80GB PCIe", "8.0"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0"),
        ("GRID A100-10C", "8.0"),
        ("A10", "8.6"),
        ("NVIDIA A10G", "8.6"),
        ("A30", "8.0"),
        ("A40", "8.6"),
        ("NVIDIA L4", "8.9"),
        ("L40", "8.9"),
        ("NVIDIA L40S", "8.9"),
        ("Tesla T4", "7.5"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("Tesla P100-PCIE-16GB", "6.0"),
        ("Tesla P40", "6.1"),
        ("Tesla K80", "3.7"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("H100 PCIe", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA GH200 480GB", "9.0"),
        ("NVIDIA B200", "10.0"),
        ("GB200", "10.0"),
        ("B300", "10.3"),
        ("GB300", "10.3"),
        ("NVIDIA GB10", "12.1"),
        ("DGX Spark", "12.1"),
        ("Jetson AGX Orin", "8.7"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "8.7"),
        ("Jetson Xavier NX", "7.2"),
        ("Jetson AGX Thor", "11.0"),
        ("Jetson Nano", "5.3"),
    ],
)
def test_gpus_are_found_by_the_names_that_people_know(name: str, capability: str) -> None:
    """A name finds its GPU with or without maker, form and memory, as nvidia-smi writes it."""
    found = find_gpu(name)
    assert found is not None
    assert capability == found.capability


@pytest.mark.parametrize("name", ["RTX 6000", "TITAN X", "RTX 4099", "Radeon RX 7900", "", "GPU"])
def test_a_name_of_no_gpu_or_of_several_finds_none(name: str) -> None:
    """An unknown name finds nothing, and neither does one that several generations bear."""
    assert find_gpu(name) is None


def test_suggestions_name_what_may_be_meant() -> None:
    """A name that several bear suggests all of them, a wrong one those that are like it."""
    assert similar_gpus("RTX 6000") == [
        *("Quadro RTX 6000", "RTX 6000 Ada", "RTX A6000", "RTX PRO 6000")
    ]
    assert "RTX 4090" in similar_gpus("NVIDIA GeForce RTX 4091")
    assert similar_gpus("Radeon") == []


def test_every_gpu_has_a_capability_that_is_known() -> None:
    """Each name is found again by itself, and its generation is that of its capability."""
    for gpu in GPUS.values():
        found = find_gpu(gpu.name)
        assert found is not None
        major, minor = gpu.capability.split(".")
        assert GENERATIONS[int(major), int(minor)] == found.generation
