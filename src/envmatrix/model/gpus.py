"""Which GPUs and drivers a build serves: known from the wheel, without any GPU.

The rule is NVIDIA's (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility"):
machine code for X.y runs on every device X.z with z >= y, and on no other major version. Machine
code of a variant `a` runs on exactly X.y, and that of a variant `f` within the family of X.y. The
driver compiles PTX, which an architecture `compute_NN` names, for every newer device. NVIDIA does
not promise the first part for its Tegra devices (Jetson); the rule is applied to them all the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Capability = tuple[int, int]
"""A compute capability: 8.9 is (8, 9)."""

# Compute capability to the name of its generation, as in NVIDIA's table of CUDA GPUs
# (developer.nvidia.com/cuda-gpus and its page of legacy GPUs).
GENERATIONS: dict[Capability, str] = {
    (3, 0): "Kepler",
    (3, 2): "Kepler",
    (3, 5): "Kepler",
    (3, 7): "Kepler",
    (5, 0): "Maxwell",
    (5, 2): "Maxwell",
    (5, 3): "Maxwell",
    (6, 0): "Pascal",
    (6, 1): "Pascal",
    (6, 2): "Pascal",
    (7, 0): "Volta",
    (7, 2): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 6): "Ampere",
    (8, 7): "Ampere",
    (8, 9): "Ada",
    (9, 0): "Hopper",
    (10, 0): "Blackwell",
    (10, 3): "Blackwell",
    (11, 0): "Blackwell",
    (12, 0): "Blackwell",
    (12, 1): "Blackwell",
}

_ARCHITECTURE = re.compile(
    r"(?P<code>sm|compute)_(?P<major>\d{1,2})(?P<minor>\d)(?P<variant>[af]?)"
)
_LISTED = re.compile(r"(?P<major>\d{1,2})\.(?P<minor>\d)(?P<variant>[af]?)(?P<ptx>\+PTX)?")
_RENAMED = {(10, 1): (11, 0)}
"""CUDA 13.0 gave Jetson Thor's 10.1 the number 11.0."""


class Code(StrEnum):
    """As what a build runs on a GPU. The first is the better."""

    MACHINE = "machine code"
    PTX = "PTX"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a build was compiled for: machine code, PTX, or both."""

    capability: Capability
    variant: str = ""
    machine_code: bool = True
    ptx: bool = False

    def code_for(self, device: Capability) -> Code | None:
        """Return as what this code runs on a device; None where it does not."""
        if self.variant == "a":
            in_line = device == self.capability
        else:
            same_major = device[0] == self.capability[0]
            in_line = same_major and device[1] >= self.capability[1]
        if in_line:
            return Code.MACHINE if self.machine_code else Code.PTX
        newer = self.ptx and not self.variant and device >= self.capability
        return Code.PTX if newer else None


def read_architecture(name: str) -> Architecture | None:
    """Read sm_86, sm_90a, compute_90 or 8.6+PTX; return None for what is none of NVIDIA's."""
    if match := _ARCHITECTURE.fullmatch(name):
        ptx = match["code"] == "compute"
        return Architecture(_capability(match), match["variant"], machine_code=not ptx, ptx=ptx)
    if match := _LISTED.fullmatch(name):
        return Architecture(_capability(match), match["variant"], ptx=bool(match["ptx"]))
    return None


def read_capability(text: str) -> Capability | None:
    """Read a compute capability such as 8.9."""
    match = _LISTED.fullmatch(text)
    return _capability(match) if match and not match["variant"] and not match["ptx"] else None


def serves(architectures: Iterable[str], capability: str | Capability) -> bool:
    """Return whether a build of these architectures runs on a device of a compute capability."""
    return code_for(architectures, capability) is not None


def code_for(architectures: Iterable[str], capability: str | Capability) -> Code | None:
    """Return as what a build of these architectures runs on a device of a compute capability.

    Machine code comes before PTX, which only a driver as new as the CUDA of the build compiles.
    None: it does not run there.
    """
    device = read_capability(capability) if isinstance(capability, str) else capability
    if device is None:
        return None
    device = _RENAMED.get(device, device)
    read = (read_architecture(name) for name in architectures)
    found = {one.code_for(device) for one in read if one}
    return next((code for code in Code if code in found), None)


def capabilities(architectures: Iterable[str]) -> list[str]:
    """Return the compute capabilities, of those there are, that architectures serve: 7.5, 8.0."""
    listed = list(architectures)
    return [f"{major}.{minor}" for major, minor in GENERATIONS if serves(listed, (major, minor))]


def served_by(architectures: Iterable[str]) -> dict[Code, list[str]]:
    """Return the capabilities that architectures serve by machine code, and those by PTX only."""
    listed = list(architectures)
    found: dict[Code, list[str]] = {code: [] for code in Code}
    for major, minor in GENERATIONS:
        if code := code_for(listed, (major, minor)):
            found[code].append(f"{major}.{minor}")
    return found


def generations(architectures: Iterable[str]) -> list[str]:
    """Return the GPU generations that architectures serve at least in part, oldest first."""
    listed = list(architectures)
    found = (name for device, name in GENERATIONS.items() if serves(listed, device))
    return list(dict.fromkeys(found))


def _capability(match: re.Match[str]) -> Capability:
    found = (int(match["major"]), int(match["minor"]))
    return _RENAMED.get(found, found)


# --- GPUs by name

_SERIES: dict[str, str] = {
    # GeForce
    "12.0": "RTX 5090, RTX 5090 D, RTX 5080, RTX 5070 Ti, RTX 5070, RTX 5060 Ti, RTX 5060, "
    "RTX 5050, "
    "RTX PRO 6000, RTX PRO 5000, RTX PRO 4500, RTX PRO 4000, RTX PRO 3000, RTX PRO 2000, "
    "RTX PRO 1000, RTX PRO 500",
    "8.9": "RTX 4090, RTX 4090 D, RTX 4080 SUPER, RTX 4080, RTX 4070 Ti SUPER, RTX 4070 Ti, "
    "RTX 4070 SUPER, RTX 4070, RTX 4060 Ti, RTX 4060, RTX 4050, RTX 6000 Ada, RTX 5880 Ada, "
    "RTX 5000 Ada, RTX 4500 Ada, RTX 4000 Ada, RTX 3500 Ada, RTX 3000 Ada, RTX 2000 Ada, "
    "RTX 1000 Ada, RTX 500 Ada, L4, L40, L40S, L20, L2",
    "8.6": "RTX 3090 Ti, RTX 3090, RTX 3080 Ti, RTX 3080, RTX 3070 Ti, RTX 3070, RTX 3060 Ti, "
    "RTX 3060, RTX 3050 Ti, RTX 3050, RTX 2050, MX570, RTX A6000, RTX A5500, RTX A5000, RTX "
    "A4500, RTX A4000, "
    "RTX A3000, RTX A2000, RTX A1000, RTX A500, RTX A400, A40, A16, A10, A10G, A2",
    "8.0": "A100, A100X, A800, A30",
    "7.5": "RTX 2080 Ti, RTX 2080 SUPER, RTX 2080, RTX 2070 SUPER, RTX 2070, RTX 2060 SUPER, "
    "RTX 2060, GTX 1660 Ti, GTX 1660 SUPER, GTX 1660, GTX 1650 Ti, GTX 1650 SUPER, "
    "GTX 1650, MX550, MX450, TITAN RTX, Quadro RTX 8000, Quadro RTX 6000, Quadro RTX 5000, "
    "Quadro RTX 4000, Quadro RTX 3000, T4, T4G, T1200, T1000, T600, T550, T500, T400",
    "7.0": "V100, V100S, TITAN V, Quadro GV100",
    "6.1": "GTX 1080 Ti, GTX 1080, GTX 1070 Ti, GTX 1070, GTX 1060, GTX 1050 Ti, GTX 1050, "
    "GT 1030, "
    "GT 1010, MX350, MX330, MX250, MX230, MX150, TITAN Xp, TITAN X Pascal, Quadro P6000, "
    "Quadro P5000, Quadro P4000, Quadro P2200, Quadro P2000, Quadro P1000, Quadro P620, Quadro "
    "P600, "
    "Quadro P400, P40, P6, P4",
    "6.0": "P100, Quadro GP100",
    "5.2": "GTX 980 Ti, GTX 980, GTX 970, GTX 965M, GTX 960, GTX 950, GTX TITAN X, M60, M40, M6, "
    "M4, "
    "Quadro M6000, Quadro M5000, Quadro M4000, Quadro M2000, Quadro M2200, "
    "Quadro M620, Quadro M5500M",
    "5.0": "GTX 750 Ti, GTX 750, GTX 960M, GTX 950M, 940MX, 940M, 930M, 920MX, MX130, MX110, M10, "
    "Quadro K2200, Quadro K1200, Quadro K620, Quadro M1200, Quadro M1000M",
    "3.7": "K80",
    "3.5": "K40, K20, K20X, GTX TITAN, GTX TITAN Black, GTX TITAN Z, GTX 780 Ti, GTX 780, GT 730, "
    "GT 710, Quadro K6000, Quadro K5200",
    "3.0": "K10, GTX 770, GTX 760, GTX 690, GTX 680, GTX 670, GTX 660 Ti, GTX 660, GTX 650, "
    "GT 640, "
    "Quadro K5000, Quadro K4200, Quadro K4000, Quadro K2000, GRID K520",
    # Data centre
    "9.0": "H100, H100 NVL, H200, H200 NVL, H800, H20, GH200",
    "10.0": "B100, B200, GB200",
    "10.3": "B300, GB300",
    # Systems on a chip
    "12.1": "GB10, DGX Spark",
    "11.0": "Jetson AGX Thor, Jetson Thor, Jetson T5000, Jetson T4000, DRIVE AGX Thor, Thor",
    "8.7": "Jetson AGX Orin, Jetson Orin NX, Jetson Orin Nano, Jetson Orin, IGX Orin, "
    "DRIVE AGX Orin, "
    "Orin",
    "7.2": "Jetson AGX Xavier, Jetson Xavier NX, Jetson Xavier, DRIVE AGX Xavier, Xavier",
    "6.2": "Jetson TX2, Tegra X2",
    "5.3": "Jetson TX1, Jetson Nano, Tegra X1",
    "3.2": "Jetson TK1, Tegra K1",
}

# Superchips with a Grace processor, and systems on a chip.
_IN_ARM64 = re.compile(r"G[HB]\d|DGX Spark|Jetson|IGX|DRIVE|Orin|Xavier|Thor|Tegra")
_MAKER = re.compile(
    r"\b(?:nvidia|geforce|tesla|corporation|gpu|graphics|card|cloud)\b|\(tm\)|\(r\)"
)
_KIND = re.compile(
    r"\b(?:laptop|mobile|max-?q|design|with|generation|gen|workstation|server|edition|blackwell|"
    r"founders|engineering|sample|grace|hopper|lite hash rate|nvgpu|3e|super ?chip|accelerator|"
    r"developer kit|dev kit|module|series|sff|"
    r"pcie?|sxm\d?|hgx|dgx(?! spark)|nvl\d*|oem|tensor core|hbm\d\w?|gddr\d\w?|lhr|vgpu|"
    r"mig \dg\.\d+gb(?:\+\w+)?|\d+ ?gi?b(?:-\w+)?)\b"
)
_SLICE = re.compile(r"^grid |-\d+[qcab]$")
_NOISE = re.compile(r"[\s_\-/,()]+")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that people know by name."""

    name: str
    capability: str
    generation: str
    arch: str = ""
    """The architecture of the machines that it is in, where they all have one."""


def _key(name: str) -> str:
    """Return what is left of a name without maker, form and memory, and without spaces."""
    plain = re.sub(r"[\s_]+", " ", name.lower()).strip()
    plain = _MAKER.sub(" ", plain)
    plain = _SLICE.sub("", plain.strip())
    plain = _KIND.sub(" ", plain)
    return _NOISE.sub("", plain)


def _catalogue() -> dict[str, Gpu]:
    found: dict[str, Gpu] = {}
    for capability, names in _SERIES.items():
        major, minor = capability.split(".")
        generation = GENERATIONS[int(major), int(minor)]
        for name in names.split(", "):
            arch = "arm64" if _IN_ARM64.match(name) else ""
            found.setdefault(_key(name), Gpu(name, capability, generation, arch))
    return found


GPUS = _catalogue()
"""The GPUs that are known, by the key of their name. Source: NVIDIA's pages of CUDA GPUs."""

_SHARED = {
    "rtx6000": ("Quadro RTX 6000", "RTX 6000 Ada", "RTX A6000", "RTX PRO 6000"),
    "rtx5000": ("Quadro RTX 5000", "RTX 5000 Ada", "RTX A5000", "RTX PRO 5000"),
    "rtx4000": ("Quadro RTX 4000", "RTX 4000 Ada", "RTX A4000", "RTX PRO 4000"),
    "rtx3000": ("Quadro RTX 3000", "RTX 3000 Ada", "RTX A3000", "RTX PRO 3000"),
    "titanx": ("GTX TITAN X", "TITAN X Pascal"),
}
"""Names that several GPUs bear in people's mouths."""


def find_gpu(name: str) -> Gpu | None:
    """Find a GPU by the name that people or nvidia-smi give it, or return None.

    A name that several generations bear, such as "RTX 6000", finds none.
    """
    key = _key(name[:_NAME_LIMIT])
    if key in _SHARED:
        return None
    # Some people name the line of workstation cards, and some leave it out.
    other = key.removeprefix("quadro") if key.startswith("quadro") else f"quadro{key}"
    return GPUS.get(key) or GPUS.get(other)


def similar_gpus(name: str) -> list[str]:
    """Return names of GPUs that may be meant by a name that finds none."""
    key = _key(name[:_NAME_LIMIT])
    if key in _SHARED:
        return list(_SHARED[key])
    close = difflib.get_close_matches(key, GPUS, n=_SUGGESTIONS, cutoff=0.7)
    return [GPUS[one].name for one in close]


def catalogue_for_programs() -> dict[str, Any]:
    """Return what another language needs to find a GPU by name as `find_gpu` does.

    `noise` holds the patterns that are taken out of a name, in the syntax that Python and
    JavaScript share.
    """
    return {
        "gpus": {key: [gpu.name, gpu.capability, gpu.arch] for key, gpu in GPUS.items()},
        "gpu_names": [gpu.name for gpu in GPUS.values()],
        "shared": {key: list(names) for key, names in _SHARED.items()},
        "noise": {
            "maker": _MAKER.pattern,
            "slice": _SLICE.pattern,
            "kind": _KIND.pattern,
            "noise": _NOISE.pattern,
        },
    }


_NAME_LIMIT = 100
_SUGGESTIONS = 3
