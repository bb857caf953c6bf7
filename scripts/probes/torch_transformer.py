# /// probe
# name = "torch-transformer"
# framework = "torch"
# proves = "A small transformer language model learns a text and writes from what it learned."
# required = true
# timeout = 90
# ///
"""Train a character-level transformer for seconds and let it write.

The loss is the mean cross-entropy of the next character, in nats. Guessing evenly costs ln 30 =
3.4, knowing how frequent each character of TEXT is costs 2.9, and knowing which one follows which
costs 2.0. The last losses must average below LOSS_BOUND, which is below all of these: it takes
attention to more than the character before. The model comes to about 1.0, so neither seed nor
kernels decide.
"""

import json
import math
import os
import time

import torch
from torch import nn

TEXT = """
shall i compare thee to a summer's day?
thou art more lovely and more temperate.
rough winds do shake the darling buds of may,
and summer's lease hath all too short a date.
sometime too hot the eye of heaven shines,
and often is his gold complexion dimmed;
and every fair from fair sometime declines,
by chance, or nature's changing course, untrimmed;
but thy eternal summer shall not fade,
nor lose possession of that fair thou ow'st,
nor shall death brag thou wand'rest in his shade,
when in eternal lines to time thou grow'st.
so long as men can breathe, or eyes can see,
so long lives this, and this gives life to thee.
"""
VOCABULARY = sorted(set(TEXT))

SEED = 0
THREADS = 1
CONTEXT = 32  # characters
WIDTH, HEADS, LAYERS = 64, 4, 2
BATCH, STEPS, LEARNING_RATE = 16, 100, 3e-3
LOSS_BOUND = 1.8  # nats
LAST = 10  # losses that are averaged to judge
SAMPLE_LENGTH = 40  # characters


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-transformer", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


class LanguageModel(nn.Module):
    """Characters in, scores of each next character out."""

    def __init__(self) -> None:
        super().__init__()
        self.character = nn.Embedding(len(VOCABULARY), WIDTH)
        self.position = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.scores = nn.Linear(WIDTH, len(VOCABULARY))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """Score every possible next character at every place."""
        length = characters.shape[1]
        hidden = self.character(characters) + self.position[:length]
        mask = self.mask[:length, :length]
        return self.scores(self.layers(hidden, mask=mask, is_causal=True))


def train(model: nn.Module, text: torch.Tensor) -> list[float]:
    """Fit the model to random windows of the text and return the losses."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    windows = text.unfold(0, CONTEXT + 1, 1)
    losses = []
    for _ in range(STEPS):
        batch = windows[torch.randint(len(windows), (BATCH,))]
        scores = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def write(model: nn.Module, text: torch.Tensor) -> str:
    """Go on from the beginning of the text, drawing each character by its probability."""
    characters = text[None, :CONTEXT]
    model.eval()
    for _ in range(SAMPLE_LENGTH):
        scores = model(characters[:, -CONTEXT:])[:, -1]
        drawn = torch.multinomial(scores.softmax(-1), 1)
        characters = torch.cat([characters, drawn], dim=1)
    return "".join(VOCABULARY[index] for index in characters[0, CONTEXT:].tolist())


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started = time.perf_counter()
    text = torch.tensor([VOCABULARY.index(character) for character in TEXT])
    model = LanguageModel()
    losses = train(model, text)
    final = sum(losses[-LAST:]) / LAST
    assert losses[0] > LOSS_BOUND, f"the untrained model already has a loss of {losses[0]:.3f}"
    assert final < LOSS_BOUND, (
        f"the loss fell from {losses[0]:.3f} to {final:.3f}, not to {LOSS_BOUND}"
    )
    sample = write(model, text)
    assert len(sample) == SAMPLE_LENGTH, f"wrote {len(sample)} characters, not {SAMPLE_LENGTH}"
    assert len(set(sample)) > 1, f"wrote one character only: {sample!r}"
    report(
        observed={
            "loss_of_even_guess": round(math.log(len(VOCABULARY)), 6),
            "loss_bound": LOSS_BOUND,
            "final_loss": round(final, 6),
            "losses": [round(loss, 6) for loss in losses],
            "sample": sample,
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
