# /// probe
# name = "torch-dataloader"
# framework = "torch"
# proves = "DataLoader's worker processes deliver every sample once, in order or seeded shuffle."
# required = true
# timeout = 120
# ///
"""Load a data set by two worker processes, through shared memory, and check what arrives.

Workers start the way this Python starts processes by default, as they do for a user: fork until
Python 3.13, forkserver since 3.14, which takes longer because each worker imports torch again.
"""

import json
import multiprocessing
import os
import time

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

SEED = 0
WORKERS = 2
SAMPLES, BATCH = 40, 4
FEATURES = 1024  # numbers in a sample, so that batches are worth shared memory


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-dataloader", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class Squares(Dataset):
    """Samples that say their own index, its square, and which process made them."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, int]:
        return index, torch.full((FEATURES,), float(index**2)), os.getpid()


def load(loader: DataLoader) -> tuple[list[int], set[int]]:
    """Collect the indices in order of arrival, and the processes that they came from."""
    order, processes = [], set()
    for indices, features, pids in loader:
        expected = indices.float().square()[:, None].expand(-1, FEATURES)
        assert torch.equal(features, expected), f"wrong features for samples {indices.tolist()}"
        order += indices.tolist()
        processes |= set(pids.tolist())
    return order, processes


def main() -> None:
    """Run the probe."""
    started = time.perf_counter()
    samples, generator = Squares(), torch.Generator()
    shuffled = DataLoader(
        samples,
        BATCH,
        sampler=RandomSampler(samples, generator=generator),
        num_workers=WORKERS,
        persistent_workers=True,
    )
    generator.manual_seed(SEED)
    first, processes = load(shuffled)
    generator.manual_seed(SEED)
    second, _ = load(shuffled)
    unshuffled, _ = load(DataLoader(samples, BATCH, num_workers=1))
    everything = list(range(SAMPLES))
    assert unshuffled == everything, f"samples out of order: {unshuffled}"
    assert sorted(first) == everything != first, f"not a shuffle: {first}"
    assert first == second, f"one seed, two orders: {first} and {second}"
    workers = len(processes - {os.getpid()})
    assert workers == WORKERS, f"samples came from {workers} worker processes, not {WORKERS}"
    report(
        observed={
            "workers": workers,
            "start_method": multiprocessing.get_start_method(),
            "sharing_strategy": torch.multiprocessing.get_sharing_strategy(),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
