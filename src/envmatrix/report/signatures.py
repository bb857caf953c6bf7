"""What is known of the signatures of a published image, document by document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from envmatrix.model.bundles import DOCUMENTS, Bundle, State, read_bundle, read_statement
from envmatrix.model.text import line

Check = Callable[[Bundle], tuple[State, str]]
"""Tells whether the signature of a bundle is good, and else why not."""
_BEST = tuple(State)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is known of one document. `kind` is its predicate type; empty: it cannot be read."""

    kind: str
    state: State
    why: str = ""

    @property
    def told(self) -> str:
        """It as a line."""
        return f"{_word(self.kind)}: {self.state}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Signatures:
    """The signatures of an image. `image` is its reference, and `by` who should have signed.

    `documents` has the best that is known of each document that is expected. `others` tells of what
    else is attached: it changes nothing.
    """

    image: str
    by: str
    documents: tuple[Signed, ...]
    others: tuple[Signed, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether each document has a good signature of who should have signed, and is about it."""
        return all(one.state is State.VERIFIED for one in self.documents)

    @property
    def told(self) -> Iterator[str]:
        """It in lines."""
        answer = "verified" if self.is_verified else "NOT verified"
        yield f"  signed:    {answer}, by {self.by}"
        for one in (*self.documents, *self.others):
            yield f"             {one.told}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON names it."""
        return {
            "image": self.image,
            "by": self.by,
            "verified": self.is_verified,
            "documents": [_json(one) for one in self.documents],
            "others": [_json(one) for one in self.others],
        }


def judge(texts: Iterable[bytes | str], cell: str, digest: str, check: Check) -> list[Signed]:
    """Return what is known of each attached document; a text says why it could not be had.

    A good signature proves only what is signed: the statement has to be about this image, by its
    digest, and about this cell.
    """
    return [_judged(one, cell, digest.removeprefix("sha256:"), check) for one in texts]


def signatures(image: str, by: str, found: Iterable[Signed]) -> Signatures:
    """Return the signatures of an image from what is known of each attached document."""
    ranked = sorted(found, key=lambda one: _BEST.index(one.state))
    best = {one.kind: one for one in reversed(ranked)}
    documents = tuple(best.get(kind, Signed(kind, State.NOT_SIGNED)) for kind in DOCUMENTS)
    others = [one for one in ranked if not any(one is other for other in documents)]
    return Signatures(image, by, documents, tuple(others))


def _judged(text: bytes | str, cell: str, digest: str, check: Check) -> Signed:
    if isinstance(text, str):
        return Signed("", State.UNREADABLE, line(text, 300))
    try:
        bundle = read_bundle(text)
        statement = read_statement(bundle.payload)
    except ValueError as error:
        return Signed("", State.UNREADABLE, line(str(error), 300))
    state, why = check(bundle)
    if state is State.VERIFIED:
        named = [name for name, held in statement.subjects if held == digest]
        if not named:
            state, why = State.ANOTHER, f"about {_told(statement.subjects)}"
        elif cell not in named:
            state, why = State.ANOTHER, f"about the cell {named[0]}"
    return Signed(statement.kind, state, why)


def _told(subjects: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} sha256:{digest[:12]}" for name, digest in subjects)


def _word(kind: str) -> str:
    return DOCUMENTS.get(kind) or line(kind, 80) or "a document"


def _json(one: Signed) -> dict[str, Any]:
    return {"kind": one.kind or None, "state": one.state.value, "why": one.why or None}
