"""Compares the image that evidence tells of with the one that is here, layer by layer.

The evidence may come from another machine. Engines write the same files as different layers, so
diff ids settle only what is equal. What layers contain settles the rest (decision 13). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, auto

from envmatrix.engine.layerdiff import EMPTY, ONLY_ONCE
from envmatrix.model.digests import CONTENT_SCHEME, content_scheme, short
from envmatrix.model.evidence import Difference, Evidence, Reproducibility, Reproducible

STEP_LIMIT = 120
"""Characters of an instruction that are shown."""
OTHER_LAYERS = "the image that was probed had other layers, though its inputs are the same"
_BELOW = "a layer below it is not the same"
_WORST_FIRST = (Reproducible.DIFFERS, Reproducible.NOT_CHECKED, Reproducible.PROVEN)


@dataclass(frozen=True, slots=True)
class Here:
    """An image of this engine. The lowest `system` layers are its operating system.

    `contents` are the digests of what the layers contain, or nothing where they are not known.
    `steps` are the instructions that made the layers; an unknown one is empty.
    """

    layers: tuple[str, ...]
    contents: tuple[str, ...]
    steps: tuple[str, ...]
    system: int
    engine: str


class _Pair(Enum):
    """How a layer compares with its counterpart."""

    EQUAL = auto()
    SAME_CONTENT = auto()
    OTHER = auto()
    NOT_KNOWN = auto()


_SAME = frozenset({_Pair.EQUAL, _Pair.SAME_CONTENT})


@dataclass(frozen=True, slots=True)
class _Layer:
    number: int
    layer: str
    content: str
    step: str = ""

    @property
    def named(self) -> str:
        """Its number, with its instruction where that is known."""
        return f"layer {self.number}" + (f" ({self.step})" if self.step else "")


def compare(there: Evidence, here: Here, other_system: Callable[[], str]) -> Reproducibility:
    """Compare the image that evidence tells of with the one that is here.

    Where their operating systems differ, `other_system` says why they may. Then only the layers
    above are judged. It says nothing where the two should be the same.
    """
    theirs = _held(there.layers, there.contents)
    ours = _held(here.layers, here.contents, here.steps)
    system = len(_held(here.layers[: here.system], ()))
    found = _Comparison(there, here, theirs, ours)
    same = len(theirs) >= system and _SAME.issuperset(map(found.pair, theirs[:system], ours))
    if not same and (reason := other_system()):
        return found.above(system, reason)
    if len(theirs) != len(ours):
        count = f"{len(there.layers)} / {len(here.layers)} layers"
        why = "an instruction is not the same, or a step that changes nothing makes no layer"
        return _differs(Difference(path="(layers)", what=count, cause=why))
    return found.whole()


def together(rebuilt: Reproducibility, compared: Reproducibility) -> Reproducibility:
    """Return the result for evidence from two: of the image here, and of comparing with it."""
    statuses = {rebuilt.status, compared.status}
    status = next(one for one in _WORST_FIRST if one in statuses)
    return Reproducibility(
        status=status,
        verified_at=verified_at(status),
        differences=(*rebuilt.differences, *compared.differences),
        notes=(*rebuilt.notes, *compared.notes),
    )


def verified_at(status: Reproducible) -> date | None:
    """Return the day of a comparison that has just ended; none where nothing was compared."""
    return None if status is Reproducible.NOT_CHECKED else datetime.now(UTC).date()


def instruction(step: str) -> str:
    """Return the words of an instruction from the history of an image, without its arguments.

    Arguments of the build may hold addresses, and those may hold credentials.
    """
    words = " ".join(step.removesuffix("# buildkit").split())
    _, shell, command = words.partition("/bin/sh -c ")
    if shell:
        words = command if command.startswith("#(nop)") else f"RUN {command}"
    elif words.startswith(("RUN |", "|")):
        return "RUN"
    words = words.removeprefix("#(nop) ").strip()
    words = re.sub(r'^RUN touch --date="[^"]*" \S+ && ', "RUN ", words)
    return words if len(words) <= STEP_LIMIT else words[: STEP_LIMIT - 3] + "..."


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two images, and those of their layers that hold anything."""

    there: Evidence
    here: Here
    theirs: Sequence[_Layer]
    ours: Sequence[_Layer]

    def pair(self, their: _Layer, our: _Layer) -> _Pair:
        """Compare two layers."""
        if their.layer == our.layer:
            return _Pair.EQUAL
        if not their.content:
            # One engine writes the same files as the same layer, so the diff ids settle it.
            same_engine = self.there.host.engine == self.here.engine != ""
            return _Pair.OTHER if same_engine else _Pair.NOT_KNOWN
        if content_scheme(their.content) != content_scheme(our.content):
            return _Pair.NOT_KNOWN
        return _Pair.SAME_CONTENT if their.content == our.content else _Pair.OTHER

    def whole(self) -> Reproducibility:
        """Judge two images with the same number of layers."""
        pairs = list(map(self.pair, self.theirs, self.ours))
        if _Pair.OTHER in pairs:
            return _differs(*self._differences(pairs))
        if _Pair.NOT_KNOWN in pairs:
            return _not_checked(f"{self._why_not_known()}; {self._next_step}")
        same = pairs.count(_Pair.SAME_CONTENT)
        return Reproducibility(
            status=Reproducible.PROVEN,
            verified_at=verified_at(Reproducible.PROVEN),
            notes=(f"{self._dialect()}: {same} of {len(pairs)} layers have other diff ids",)
            if same
            else (),
        )

    def above(self, system: int, reason: str) -> Reproducibility:
        """Judge the layers above the lowest `system` layers, which are not comparable."""
        ours = self.ours[system:]
        first = f"layers 1 to {system} are" if system > 1 else "layer 1 is"
        said = f"{first} not comparable: {reason}"
        if len(self.theirs) <= len(ours):
            count = f"its {len(self.theirs)} layers do not match the {len(self.ours)} here"
            return _not_checked(f"{said}; above, {count}; {self._next_step}")
        theirs = self.theirs[len(self.theirs) - len(ours) :]
        pairs = list(map(self.pair, theirs, ours))
        return _not_checked(f"{said}; {self._judged_above(ours, pairs)}; {self._next_step}")

    def _judged_above(self, ours: Sequence[_Layer], pairs: Sequence[_Pair]) -> str:
        same = sum(pair in _SAME for pair in pairs)
        others = [our.named for our, pair in zip(ours, pairs, strict=True) if pair is _Pair.OTHER]
        unknown = pairs.count(_Pair.NOT_KNOWN)
        said = f"above, {same} of {len(pairs)} layers {'is' if same == 1 else 'are'} the same"
        if _Pair.SAME_CONTENT in pairs:
            said += f" ({self._dialect()})"
        if others:
            said += f"; not the same: {', '.join(others)}"
        if unknown:
            said += f"; not known: {unknown} of them, because {self._why_not_known()}"
        return said

    def _differences(self, pairs: Sequence[_Pair]) -> list[Difference]:
        found: list[Difference] = []
        for their, our, pair in zip(self.theirs, self.ours, pairs, strict=True):
            if pair is _Pair.OTHER:
                known = their.content and our.content
                what = (
                    f"content {short(their.content)} / {short(our.content)}"
                    if known
                    else f"diff id {short(their.layer)} / {short(our.layer)}"
                )
                found.append(
                    Difference(
                        path=f"({our.named} of {len(self.here.layers)})",
                        what=what,
                        cause=_BELOW if found else ONLY_ONCE,
                    )
                )
        return found

    def _dialect(self) -> str:
        engines = f"({self.there.host.engine or 'unknown'} / {self.here.engine})"
        if self.there.host.engine == self.here.engine:
            return f"same content, written in another way by the same engine {engines}"
        return f"same content, written by another engine {engines}"

    def _why_not_known(self) -> str:
        forms = sorted(
            {content_scheme(one) for one in self.there.contents if one} - {CONTENT_SCHEME}
        )
        if not self.there.contents:
            engines = f"{self.there.host.engine or 'unknown'} / {self.here.engine}"
            return (
                "the diff ids differ, as they may between engines "
                f"({engines}), and the evidence has no digests of what its layers contain"
            )
        if forms:
            return (
                f"the evidence has digests of another form ({', '.join(forms)}), and this "
                f"envmatrix compares {CONTENT_SCHEME}"
            )
        return "the layers that are here could not be read"

    @property
    def _next_step(self) -> str:
        cell = self.there.id
        return f"to judge what is here: `envmatrix run {cell}`, then `envmatrix verify {cell}`"


def _held(
    layers: Sequence[str], contents: Sequence[str], steps: Sequence[str] = ()
) -> list[_Layer]:
    """Return the layers that hold anything. One builder makes empty ones, another does not."""
    nothing = [""] * len(layers)
    rows = zip(layers, contents or nothing, steps or nothing, strict=True)
    return [
        _Layer(number, layer, content, step)
        for number, (layer, content, step) in enumerate(rows, 1)
        if layer != EMPTY
    ]


def _differs(*differences: Difference) -> Reproducibility:
    status = Reproducible.DIFFERS
    return Reproducibility(
        status=status,
        verified_at=verified_at(status),
        differences=differences,
        notes=(OTHER_LAYERS,),
    )


def _not_checked(note: str) -> Reproducibility:
    return Reproducibility(status=Reproducible.NOT_CHECKED, notes=(note,))
