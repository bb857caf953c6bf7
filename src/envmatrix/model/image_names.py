"""The local names of the images that this project makes, and the user inside them."""

from __future__ import annotations

from envmatrix.model.cells import Cell
from envmatrix.model.matrix import STACKED

REPOSITORY = "envmatrix"
USER = 65532
"""The user id in images, the same as in distroless images.

Engines before 23 write the name that the host has for a user id into layers. No host has a name
for this one, so the layers do not depend on the host.
"""


def os_tag(cell: Cell) -> str:
    """Return the local name of the operating system image below a cell."""
    return f"{REPOSITORY}/os:{cell.system_id}"


def base_tag(cell: Cell) -> str:
    """Return the local name of the base of a cell."""
    return f"{REPOSITORY}/base:{cell.base_id}"


def layer_tag(run: str, name: str) -> str:
    """Return the local name of an image that ends after steps which several cells share.

    It is of one run: another run, also of another checkout, neither takes nor drops it.
    """
    return run_tag("layer", run, name)


def run_tag(kind: str, run: str, name: str) -> str:
    """Return a local name that one run gives and takes away. If the run is killed, it stays."""
    return f"{REPOSITORY}/{kind}:{run}-{name}"


def run_tags(run: str) -> str:
    """Return the pattern of all names that only one run gives."""
    return run_tag("*", run, "*")


def cell_tag(cell: Cell) -> str:
    """Return the local name of the image of a cell. A tag cannot hold the plus of a stack."""
    return f"{REPOSITORY}/cell:{cell.id.replace(STACKED, '_')}"


SHARED_MEMORY = "1g"
"""The size of /dev/shm in the commands that we tell. Docker gives 64 MB, and worker processes pass
whole batches through it: a DataLoader of PyTorch with workers then ends with a bus error."""


def run_command(tag: str, *, gpus: bool) -> str:
    """Return a command that starts a local image, with all GPUs if `gpus` is set.

    It never pulls: a registry may serve another image under the same name.
    """
    devices = " --gpus all" if gpus else ""
    return f"docker run --rm -it --pull never{devices} --shm-size {SHARED_MEMORY} {tag}"
