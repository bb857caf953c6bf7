"""What an image is: of which cell, from which lock, with which evidence, and if it can be rebuilt.

Labels are claims: anybody can write them. What an image is, its layers say: an image is that of
some evidence where it has the layers (diff ids) of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envmatrix.model.digests import short
from envmatrix.model.evidence import Evidence, Inputs
from envmatrix.model.publications import Publications
from envmatrix.model.text import line

CELL, LOCK, BASE = (f"io.envmatrix.{name}" for name in ("cell", "lock", "base"))
"""The labels of our images: the cell, the hash of its lock, the hash of the folder of its base."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of an image.

    `claimed` is the cell that its labels name, and `is_declared` says whether the matrix has it.
    `evidence` is that of its layers. `obstacles` say why it would not be rebuilt here as it is.
    """

    claimed: str
    is_declared: bool
    lock: str
    layers: tuple[str, ...]
    evidence: Evidence | None
    published: str
    obstacles: tuple[str, ...]

    @property
    def told(self) -> Iterator[str]:
        """What is known, in lines."""
        if not self.claimed:
            yield "no image of envmatrix: it has no label io.envmatrix.cell"
            return
        found = self.evidence
        yield f"{self.claimed}" + ("" if self.is_declared else " (the matrix has no such cell)")
        if found:
            yield (
                f"  evidence:  {found.told} on {found.generated_at:%Y-%m-%d}, {found.tool}: "
                f"its {len(self.layers)} layers are these"
            )
        else:
            yield "  evidence:  none has these layers, so only its labels say what it is"
        wheels = f", {len(found.lock.wheels)} wheels" if found and found.lock else ""
        yield f"  lock:      {self.lock or 'not named'}{wheels}"
        yield f"  layers:    {len(self.layers)}: {', '.join(map(short, self.layers))}"
        if self.published:
            yield f"  published: {self.published}"
        if self.obstacles:
            yield "  rebuild:   not as it is: " + "; ".join(self.obstacles)
        else:
            yield f"  rebuild:   `envmatrix verify {self.claimed}` builds it anew and compares"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON names it."""
        found = self.evidence
        return {
            "cell": self.claimed or None,
            "declared": self.is_declared,
            "lock": self.lock or None,
            "layers": list(self.layers),
            "evidence": found
            and {
                "verdict": found.verdict.value,
                "generated_at": found.generated_at.isoformat(),
                "tool": found.tool,
                "lock": found.lock.sha256 if found.lock else None,
                "reproducible": found.reproducibility.status.value,
            },
            "published": self.published or None,
            "rebuildable": bool(self.claimed) and not self.obstacles,
            "obstacles": list(self.obstacles),
        }


def identify(
    labels: Mapping[str, Any],
    layers: Sequence[str],
    candidates: Iterable[Evidence],
    now: Inputs | None,
    publications: Publications,
    *,
    is_declared: bool,
    missing: Sequence[str] = (),
) -> Identity:
    """Return what an image is, from its labels and its layers.

    `candidates` is all evidence of the cell that the labels name, `now` are its inputs now, and
    `missing` is what this machine lacks to build it.
    """
    claimed, lock = (line(str(labels.get(name) or ""), _SHOWN) for name in (CELL, LOCK))
    found = next((one for one in candidates if one.layers == tuple(layers)), None)
    published = publications.of(found) if found else None
    return Identity(
        claimed,
        is_declared,
        lock,
        tuple(layers),
        found,
        published.reference if published else "",
        tuple(_obstacles(found, lock, now, is_declared=is_declared, missing=missing)),
    )


def _obstacles(
    evidence: Evidence | None,
    lock: str,
    now: Inputs | None,
    *,
    is_declared: bool,
    missing: Sequence[str],
) -> Iterator[str]:
    if not is_declared:
        yield "the matrix has no such cell"
        return
    if now is None:
        yield "its cell has no lock here"
    elif evidence is None or evidence.inputs is None:
        yield "no evidence says from which lock and Dockerfile it was built"
    elif not evidence.inputs.same_image(now):
        ours = ("lock", "dockerfile", "settings", "base")
        changed = [name for name in ours if getattr(now, name) != getattr(evidence.inputs, name)]
        yield "these have changed here: " + ", ".join(changed)
    if evidence and evidence.lock and lock and evidence.lock.sha256 != lock:
        yield "its label names another lock than its evidence"
    yield from missing
