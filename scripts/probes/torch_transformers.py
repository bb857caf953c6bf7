# /// probe
# name = "torch-transformers"
# framework = "torch"
# stack = "transformers"
# proves = "A tiny GPT-2 of Transformers trains, generates, and survives saving and loading."
# required = true
# timeout = 120
# ///
"""Teach a one-layer GPT-2 of random weights to count, and let it go on counting.

Sequences count upwards, from a random number and round a circle of NUMBERS. Guessing evenly costs
ln 16 = 2.77 nats a number. Which number follows is a function of the last one, so a model that
learned costs almost nothing (about 0.01); LOSS_BOUND is far from both. Greedy generation must then
count exactly. Loaded weights are the saved ones, on the same kernels: equality is bit by bit.
"""

import json
import os
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is asked from outside, and nothing waits for it

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

SEED = 0
THREADS = 1
NUMBERS, LENGTH = 16, 12
BATCH, STEPS, LEARNING_RATE = 16, 60, 1e-2
LOSS_BOUND = 0.5  # nats a number
LAST = 5  # losses that are averaged to judge


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-transformers", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def build() -> GPT2LMHeadModel:
    """Make the model; nothing is loaded."""
    config = GPT2Config(
        vocab_size=NUMBERS,
        n_positions=2 * LENGTH,
        n_embd=32,
        n_layer=1,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return GPT2LMHeadModel(config)


def count_from(starts: torch.Tensor, length: int) -> torch.Tensor:
    """Count upwards, in each row from another start."""
    return (starts[:, None] + torch.arange(length)) % NUMBERS


def train(model: GPT2LMHeadModel) -> list[float]:
    """Fit the model to counting and return the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    model.train()
    losses = []
    for _ in range(STEPS):
        batch = count_from(torch.randint(NUMBERS, (BATCH,)), LENGTH)
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def check_generation(model: GPT2LMHeadModel) -> list[int]:
    """Let the model go on greedily from every number, and return one row."""
    starts = torch.arange(NUMBERS)
    begun = count_from(starts, 2)
    written = model.generate(
        begun,
        attention_mask=torch.ones_like(begun),
        max_new_tokens=LENGTH - 2,
        do_sample=False,
        pad_token_id=0,
    )
    expected = count_from(starts, LENGTH)
    assert torch.equal(written, expected), f"it counts {written.tolist()}"
    return written[-1].tolist()


@torch.no_grad()
def check_saving(model: GPT2LMHeadModel) -> list[str]:
    """Send the model through its files and return their names."""
    batch = count_from(torch.arange(NUMBERS), LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = sorted(os.listdir(folder))
        loaded = GPT2LMHeadModel.from_pretrained(folder).eval()
        same = torch.equal(loaded(batch).logits, model(batch).logits)
    assert same, "the loaded model computes other scores than the saved one"
    return files


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    model = build()
    losses = train(model)
    final = sum(losses[-LAST:]) / LAST
    assert losses[0] > LOSS_BOUND, f"the untrained model already has a loss of {losses[0]:.3f}"
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    model.eval()
    sample = check_generation(model)
    files = check_saving(model)
    report(
        observed={
            "transformers": transformers.__version__,
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses],
            "sample": sample,
            "files": files,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
