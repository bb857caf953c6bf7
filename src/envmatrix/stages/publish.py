"""The publish stage: it pushes the images that are proven, and moves the tags that may move.

Layers go through the engine. An image is pushed under its immutable tag, and the other tags then
name the manifest that the registry got: all of them have one digest. What was done is written to
`reports/published.json` at once, so a run that was stopped goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image
from envmatrix.engine.registry import Manifest, Registry, RemoteImage
from envmatrix.engine.retries import patiently
from envmatrix.model.cells import Cell
from envmatrix.model.digests import digest
from envmatrix.model.errors import EngineError, InputError, NetworkError
from envmatrix.model.evidence import Evidence
from envmatrix.model.image_names import cell_tag
from envmatrix.model.matrix import Matrix
from envmatrix.model.publications import (
    Publication,
    Publications,
    cell_tag_of,
    check_names,
    immutable_tag_of,
    layers_digest,
    repository_of,
    split_registry,
)
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.states import utc
from envmatrix.stages.image_records import NameRecord
from envmatrix.stages.moving_tags import BAD, MovingTags, Noted, State, TagOutcome
from envmatrix.stages.progress import Progress
from envmatrix.stages.report import Reporting
from envmatrix.store.records import Records

STAGE = "publish"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cell. `next_step` says what to do where it was refused or failed."""

    cell: str
    state: State
    why: str = ""
    next_step: str = ""
    publication: Publication | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a run of publish. A `dry` one changed nothing, and says what it would do."""

    cells: tuple[Outcome, ...]
    tags: tuple[TagOutcome, ...]
    dry: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether something that was asked was refused or failed."""
        states = [*(one.state for one in self.cells), *(one.state for one in self.tags)]
        return any(state in BAD for state in states)

    def to_json(self) -> dict[str, Any]:
        """Return it as one document."""
        return {
            "schema": 1,
            "dry": self.dry,
            "cells": [
                {
                    "id": one.cell,
                    "state": one.state.value,
                    "why": one.why,
                    "next": one.next_step,
                    "image": one.publication.to_json() if one.publication else None,
                }
                for one in self.cells
            ],
            "tags": [
                {
                    "repository": one.repository,
                    "tag": one.tag,
                    "cell": one.cell,
                    "state": one.state.value,
                    "why": one.why,
                }
                for one in self.tags
            ],
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asks of publish. `registry` may hold a path."""

    registry: str
    partial: bool = False
    emulated: bool = False
    dry: bool = False


Attach = Callable[[Registry, str, Manifest, Evidence], None]
"""Attaches documents to the image in a repository of a registry that has some evidence."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes cells of a matrix. `path` is where `published.json` lies.

    `attach` attaches documents to each image.
    """

    matrix: Matrix
    cells: Sequence[Cell]
    reporting: Reporting
    records: Records
    path: Path
    publications: Publications
    attach: Attach | None = None

    def publish(
        self, chosen: Sequence[Cell], asked: Asked, engine: Engine, progress: Progress
    ) -> Published:
        """Push the images of cells and move the tags that may move.

        A cell that fails ends no other.

        Raises:
            InputError: the registry cannot be named so, or two frameworks would be one repository.
            EngineError: the credentials for the registry cannot be read.
        """
        host, path = split_registry(asked.registry)
        check_names(list(dict.fromkeys(cell.framework for cell in self.cells)), path)
        registry = Registry.open(host, progress.tell, engine.cancelled)
        noted = Noted(self.path, self.publications)
        tags = MovingTags(
            self.matrix, self.cells, self.reporting, registry, noted, path, dry=asked.dry
        )
        work = _Work(self, asked, host, path, engine, registry, progress, tags)
        progress.expect(STAGE, len(chosen))
        outcomes = [work.cell(cell) for cell in chosen]
        done = [one.publication for one in outcomes if one.publication]
        by_id = {cell.id: cell for cell in chosen}
        for framework in dict.fromkeys(by_id[one.cell].framework for one in done):
            versions = [one.version for one in done if by_id[one.cell].framework == framework]
            tags.answers(framework, list(dict.fromkeys(versions)))
        return Published(tuple(outcomes), tuple(tags.outcomes), asked.dry)


@dataclass
class _Work:
    """One run of publish."""

    of: Publisher
    asked: Asked
    host: str
    path: str
    engine: Engine
    registry: Registry
    progress: Progress
    tags: MovingTags

    # --- cells

    def cell(self, cell: Cell) -> Outcome:
        """Publish a cell, and say what came of it."""
        self.progress.started(STAGE, cell.id)
        try:
            found = self._cell(cell)
        except (EngineError, NetworkError) as error:
            found = Outcome(cell.id, State.FAILED, error.what, error.next_step)
        self.progress.finished(
            STAGE, cell.id, found.state.value, reused=found.state is not State.PUSHED
        )
        return found

    def _cell(self, cell: Cell) -> Outcome:
        judgement, evidence = self.of.reporting.knowledge.of(cell)
        if outcome := self._unproven(cell, judgement, evidence):
            return outcome
        assert evidence is not None  # noqa: S101  (for the type checker: it is proven)
        repository = repository_of(cell.framework, self.path)
        tag = immutable_tag_of(cell, evidence.verdict, evidence.layers)
        remote = self.registry.image(repository, tag, cell.arch)
        moved: set[str] = set()
        state = State.THERE if remote else State.PUSHED
        if remote is None:
            image = self._image(cell, evidence)
            if isinstance(image, Outcome):
                return image
            if self.asked.dry:
                return self._plan(cell, evidence, repository, tag)
            self._push(cell, image, f"{self.host}/{repository}:{tag}", moved)
            remote = self.registry.image(repository, tag, cell.arch)
        if remote is None or remote.layers != evidence.layers:
            return _changed(cell, f"{self.host}/{repository}:{tag}")
        published = self._publication(cell, evidence, repository, tag, remote.manifest.digest)
        before = self.tags.noted.all.of(evidence, self.host)
        if state is State.PUSHED:
            published = published.model_copy(update={"pushed": _bytes_of(remote, moved)})
        elif before and before.digest == published.digest:
            kept = {"published_at": before.published_at, "pushed": before.pushed}
            published = published.model_copy(update=kept)
        self.tags.images[cell.id] = published
        if not self.asked.dry:
            self.tags.noted.keep(self.tags.noted.all.with_image(published))
            if self.of.attach:
                self.of.attach(self.registry, repository, remote.manifest, evidence)
        self.tags.move(cell_tag_of(cell, evidence.verdict), published, cell, remote.manifest)
        return Outcome(cell.id, state, publication=published)

    def _unproven(
        self, cell: Cell, judgement: Judgement, evidence: Evidence | None
    ) -> Outcome | None:
        """Return why a cell is not published, if nothing proves that it works."""
        if judgement.verdict in (Verdict.BROKEN, Verdict.IMPOSSIBLE):
            return Outcome(cell.id, State.LEFT_OUT, f"it is {judgement.verdict}")
        run = f"`envmatrix run {cell.id}`"
        if judgement.verdict is Verdict.UNKNOWN or evidence is None or not evidence.layers:
            why = f"there is no current evidence: {judgement.cause or judgement.kind}"
            return Outcome(cell.id, State.REFUSED, why, run)
        if judgement.verdict is Verdict.PARTIAL and not self.asked.partial:
            why = f"it is partial ({judgement.cause}), and --partial was not given"
            return Outcome(cell.id, State.LEFT_OUT, why)
        if evidence.emulated and not self.asked.emulated:
            return Outcome(
                cell.id,
                State.REFUSED,
                "it was built and run under emulation",
                f"run it on a machine that is {cell.arch}, or give --emulated",
            )
        return None

    def _image(self, cell: Cell, evidence: Evidence) -> Image | Outcome:
        """Return the image of the engine that has the layers of the evidence."""
        tag = cell_tag(cell)
        record = self.of.records.get("name", digest(tag), NameRecord)
        found = [
            image
            for name in ((record.id,) if record else ()) + (tag,)
            if (image := self.engine.images.find(name))
        ]
        ours = next((image for image in found if image.layers == evidence.layers), None)
        if ours:
            return ours
        why = (
            "the image on the engine has other layers than its evidence"
            if found
            else "the engine has no image of it"
        )
        return Outcome(cell.id, State.REFUSED, why, f"`envmatrix run {cell.id}`")

    def _push(self, cell: Cell, image: Image, name: str, moved: set[str]) -> None:
        """Push an image under a name, which it has here only meanwhile."""
        self.engine.images.tag(image, name)
        try:
            patiently(
                partial(self.engine.images.push, name, moved),
                self.progress.tell,
                self.engine.cancelled,
            )
        finally:
            self.engine.images.untag(image, name, cell_tag(cell))

    def _publication(
        self, cell: Cell, evidence: Evidence, repository: str, tag: str, image: str
    ) -> Publication:
        return Publication(
            cell=cell.id,
            version=cell.version,
            registry=self.host,
            repository=repository,
            digest=image,
            tag=tag,
            verdict=cast("Literal['works', 'partial']", evidence.verdict.value),
            cuda=self.of.matrix.axes.accelerator[cell.accelerator].cuda is not None,
            layers=layers_digest(evidence.layers),
            evidence_at=utc(evidence.generated_at),
            published_at=datetime.now(UTC).replace(microsecond=0),
            pushed=0,
        )

    def _plan(self, cell: Cell, evidence: Evidence, repository: str, tag: str) -> Outcome:
        """Return what a push would come to. Its digest is not known before."""
        published = self._publication(cell, evidence, repository, tag, _UNKNOWN)
        self.tags.images[cell.id] = published
        self.tags.move(cell_tag_of(cell, evidence.verdict), published, cell)
        return Outcome(cell.id, State.PUSHED, publication=published)


_UNKNOWN = f"sha256:{0:064}"
"""Stands for the digest of an image that a dry run did not push."""


def _changed(cell: Cell, name: str) -> Outcome:
    return Outcome(
        cell.id,
        State.REFUSED,
        f"the registry has another image under the immutable tag {name}: it is not overwritten",
        "ask who pushed it; remove that tag in the registry, then publish again",
    )


def _bytes_of(image: RemoteImage, moved: Iterable[str]) -> int:
    """Return the packed bytes of the layers that an engine moved, by the ids that it told."""
    told = {one for one in moved if one}
    total = 0
    with suppress(ValueError):
        for layer, (packed, size) in zip(image.layers, image.blobs, strict=True):
            if {layer.partition(":")[2][:12], packed.partition(":")[2][:12]} & told:
                total += max(0, size)
    return total


def refuse_nothing(found: Published) -> None:
    """Refuse a run that published nothing and was asked for something.

    Raises:
        InputError: every cell was left out.
    """
    if found.cells and all(one.state is State.LEFT_OUT for one in found.cells):
        first = found.cells[0]
        raise InputError(
            f"nothing of this can be published: {first.cell}: {first.why}",
            where="SELECT",
            next_step="select cells that work: `envmatrix plan verdict=works` lists them",
        )
