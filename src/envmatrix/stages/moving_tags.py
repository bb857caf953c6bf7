"""Moving tags: which image each names now, and whether it may name another.

The rules stand in `model/publications.py`. A move is one request, in which no layer moves. What was
done is noted in `reports/published.json` at once, so a run that was stopped goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from envmatrix.engine.registry import Manifest, Registry
from envmatrix.model.cells import Cell
from envmatrix.model.digests import short
from envmatrix.model.errors import EngineError
from envmatrix.model.matrix import DEFAULT_ARCH, Matrix
from envmatrix.model.publications import (
    LATEST,
    MovingTag,
    Publication,
    Publications,
    layers_digest,
    repository_of,
    version_tag_of,
)
from envmatrix.model.verdicts import Verdict
from envmatrix.report.answers import Facts, answer
from envmatrix.report.questions import Question
from envmatrix.stages.report import Reporting
from envmatrix.store.files import to_text, write_text


class State(StrEnum):
    """What came of publishing a cell, or of moving a tag."""

    PUSHED = "pushed"
    THERE = "there"
    LEFT_OUT = "left out"
    REFUSED = "refused"
    FAILED = "failed"
    MOVED = "moved"
    HELD = "held back"


BAD = (State.REFUSED, State.FAILED)


@dataclass(frozen=True, slots=True)
class TagOutcome:
    """What came of one moving tag, which was meant for a cell."""

    repository: str
    tag: str
    cell: str
    state: State
    why: str = ""


@dataclass
class Noted:
    """What is published, in memory and in its file."""

    path: Path
    all: Publications

    def keep(self, publications: Publications) -> None:
        """Write what is published now, if that is new."""
        if publications != self.all:
            self.all = publications
            write_text(self.path, to_text(publications.to_json()))


@dataclass
class MovingTags:
    """Moves the tags of one registry. A `dry` one moves none, and says what it would do.

    `path` is that of repositories in the registry. `images` are those of this run, by cell.
    """

    matrix: Matrix
    cells: Sequence[Cell]
    reporting: Reporting
    registry: Registry
    noted: Noted
    path: str
    dry: bool = False
    images: dict[str, Publication] = field(default_factory=dict)
    outcomes: list[TagOutcome] = field(default_factory=list)

    @property
    def _host(self) -> str:
        return self.registry.access.host

    def answers(self, framework: str, versions: Iterable[str]) -> None:
        """Move the tags of versions, and `latest`, to the images that answer for them."""
        entries = self.reporting.entries(self.cells)
        by_id = {cell.id: cell for cell in self.cells}
        facts = Facts(self.matrix, by_id)
        arches = self.matrix.axes.arch
        usual = DEFAULT_ARCH if DEFAULT_ARCH in arches else arches[0]
        asked = Question(framework=framework, arch=usual)
        questions = {version_tag_of(one): replace(asked, version=one) for one in versions}
        for tag, question in {**questions, LATEST: asked}.items():
            choice = answer(question, entries, facts).choice
            if choice is None:
                continue
            cell = by_id[choice.id]
            why = "" if choice.verdict is Verdict.WORKS else f"its answer is {choice.verdict}"
            evidence = self.reporting.knowledge.current(cell)
            image = self.images.get(cell.id)
            if image is None and evidence:
                image = self.noted.all.of(evidence, self._host)
            repository = repository_of(framework, self.path)
            if why or image is None or image.repository != repository:
                why = why or "its answer is not published here"
                self.outcomes.append(TagOutcome(repository, tag, cell.id, State.HELD, why))
                continue
            self.move(tag, image, cell)

    def move(
        self, tag: str, image: Publication, cell: Cell, manifest: Manifest | None = None
    ) -> None:
        """Let a moving tag name an image if it may, and note what came of it."""
        try:
            state, why = self._moved(tag, image, cell, manifest)
        except EngineError as error:
            state, why = State.FAILED, f"{error.what}; {error.next_step}"
        self.outcomes.append(TagOutcome(image.repository, tag, cell.id, state, why))

    def _moved(
        self, tag: str, image: Publication, cell: Cell, manifest: Manifest | None
    ) -> tuple[State, str]:
        now = self.registry.digest_of(image.repository, tag)
        publications = self.noted.all
        if now == image.digest:
            if not self.dry:
                self.noted.keep(publications.with_tag(MovingTag.on(tag, image)))
            return State.THERE, ""
        if now and (hindrance := self._hindrance(tag, image, cell, now)):
            return hindrance
        if self.dry:
            return State.MOVED, ""
        manifest = manifest or self.registry.manifest(image.repository, image.digest)
        if manifest is None:
            return State.FAILED, f"the registry has lost the image {short(image.digest)}"
        self.registry.tag(image.repository, manifest, tag)
        self.noted.keep(self.noted.all.with_tag(MovingTag.on(tag, image)))
        return State.MOVED, ""

    def _hindrance(
        self, tag: str, image: Publication, cell: Cell, now: str
    ) -> tuple[State, str] | None:
        """Return why a tag that names another image now stays there; None: it may move."""
        holder = self.noted.all.holder(self._host, image.repository, tag, now)
        if holder:
            why = holder.hindrance(image)
            return (State.HELD, why) if why else None
        there = self.registry.image(image.repository, now, cell.arch)
        if there and layers_digest(there.layers) == image.layers:
            return State.THERE, "somebody else pushed the same layers"
        return State.REFUSED, (
            f"somebody else moved it to {short(now)}, which reports/published.json does not know: "
            "take the newest from git (`git pull`), or remove the tag there"
        )
