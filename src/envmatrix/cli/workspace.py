"""A workspace: what the commands work with, put together for one matrix file.

Each part is made when a command first asks for it. What talks to the engine is imported then.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from envmatrix.cli.finding import matrix_of
from envmatrix.cli.printing import detail, note
from envmatrix.model.amendments import Amendments, read_amendments
from envmatrix.model.cells import Cell, expand
from envmatrix.model.claims import Claims, read_claims
from envmatrix.model.digests import digest
from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Inputs
from envmatrix.model.expectations import Expected, expected
from envmatrix.model.matrix import Matrix
from envmatrix.model.publications import Publications, read_publications
from envmatrix.model.selection import choose, published
from envmatrix.store.book import Book
from envmatrix.store.contents import Contents
from envmatrix.store.knowledge import Knowledge
from envmatrix.store.layout import Layout
from envmatrix.store.packages import SystemPackages
from envmatrix.store.pulled import PulledSystems
from envmatrix.store.rebuilds import Rebuilds
from envmatrix.store.records import Records
from envmatrix.store.resolutions import Resolutions

if TYPE_CHECKING:
    from envmatrix.probes.headers import Probes
    from envmatrix.render.folders import Folders
    from envmatrix.render.sharing import Sharing
    from envmatrix.render.tree import Tree
    from envmatrix.stages.attesting import Attesting
    from envmatrix.stages.auditing import Auditing
    from envmatrix.stages.lock import Locking
    from envmatrix.stages.merge import Merger
    from envmatrix.stages.publish import Publisher
    from envmatrix.stages.pulling import Pulling
    from envmatrix.stages.report import Reporting
    from envmatrix.stages.run import Runner
    from envmatrix.stages.shards import Cutter
    from envmatrix.stages.site import SiteWriter
    from envmatrix.stages.verify import Verifier


@dataclass(frozen=True)
class Workspace:
    """The parts of envmatrix for one matrix file, and the user's own folders of probes."""

    matrix_path: Path
    extra_probes: tuple[Path, ...] = ()

    @cached_property
    def layout(self) -> Layout:
        """Where things lie."""
        return Layout(self.matrix_path)

    @cached_property
    def matrix(self) -> Matrix:
        """The checked matrix.

        Raises:
            InputError: the file cannot be read, or is wrong.
        """
        detail(f"matrix: {self.matrix_path}")
        return matrix_of(self.matrix_path, self.layout.shown(self.matrix_path))

    @cached_property
    def cells(self) -> Sequence[Cell]:
        """Every declared cell."""
        return expand(self.matrix)

    @cached_property
    def expected(self) -> Expected:
        """What the matrix knows to be broken, by cell id."""
        return expected(self.matrix, self.cells)

    @cached_property
    def published(self) -> Sequence[Cell]:
        """The cells whose folders and evidence are committed."""
        return published(self.matrix, self.cells)

    def choose(self, select: Sequence[str] | None, profile: str | None) -> list[Cell]:
        """Return the cells that the user asked for.

        Raises:
            InputError: a selector or the profile matches nothing.
        """
        chosen = choose(
            self.matrix, self.cells, select or (), profile, native_arch(), known=self.knowledge
        )
        if not chosen:
            raise InputError(
                f"the profile {profile or 'quick'} matches no cell",
                where=self.layout.shown(self.matrix_path),
                next_step="correct the profile; `envmatrix plan '*'` lists every cell",
            )
        return chosen

    def only(self, selector: str) -> Cell:
        """Return the one cell that a selector names.

        Raises:
            InputError: it names none, or several.
        """
        chosen = self.choose([selector], None)
        if len(chosen) != 1:
            raise InputError(
                f"{selector!r} matches {len(chosen)} cells",
                where="CELL",
                next_step="give one cell id, such as " + chosen[0].id,
            )
        return chosen[0]

    # --- what lies on disk

    @cached_property
    def records(self) -> Records:
        """What this machine has done."""
        return Records(self.layout.state, self.layout.images)

    @cached_property
    def resolutions(self) -> Resolutions:
        """What is known of locks."""
        return Resolutions(self.matrix, self.layout, self.records)

    @cached_property
    def book(self) -> Book:
        """The evidence files."""
        return Book(self.layout, self.amendments)

    @cached_property
    def amendments(self) -> Amendments:
        """The evidence that is marked invalid.

        Raises:
            InputError: the file cannot be read, or is wrong.
        """
        return read_amendments(self.layout.amendments, datetime.now(UTC))

    @cached_property
    def claims(self) -> Claims:
        """What vendors declare.

        Raises:
            InputError: the file cannot be read, or is wrong.
        """
        return read_claims(self.layout.claims)

    def check_claims(self) -> None:
        """Read `claims.yaml` before work whose report or JSON tells it, so that a mistake is told.

        Raises:
            InputError: the file cannot be read, or is wrong.
        """
        _ = self.claims

    @cached_property
    def publications(self) -> Publications:
        """The images that were pushed to registries.

        Raises:
            InputError: the file cannot be read, or is damaged.
        """
        return read_publications(self.layout.publications)

    @cached_property
    def packages(self) -> SystemPackages:
        """The packages of bootstrapped systems."""
        return SystemPackages(self.layout, self.records)

    @cached_property
    def pulled(self) -> PulledSystems:
        """What the references of pulled systems name."""
        return PulledSystems(self.matrix, self.layout, self.records)

    @cached_property
    def rebuilds(self) -> Rebuilds:
        """What came of rebuilding images."""
        return Rebuilds(self.records)

    @cached_property
    def knowledge(self) -> Knowledge:
        """What is known of a cell now."""
        return Knowledge(self.resolutions, self.book, self._inputs_of)

    def committed_lock(self, cell_id: str) -> str:
        """Return the path of the committed lock of a cell; an empty text where there is none."""
        path = self.layout.lock(cell_id)
        return self.layout.shown(path) if path.exists() else ""

    def shown(self, path: str) -> str:
        """Return a path of a document, which is relative to the matrix, as a person pastes it."""
        return self.layout.shown(self.layout.root / path)

    def _inputs_of(self, cell: Cell) -> Inputs | None:
        return self.folders.inputs(cell, self.probes.hashes(cell), self._runner_hash)

    @cached_property
    def _runner_hash(self) -> str:
        return digest(self.probe_runner)

    @cached_property
    def probe_runner(self) -> str:
        """The source of the program that runs the probes of a cell in one container."""
        return self.layout.runner().read_text(encoding="utf-8")

    # --- what is rendered

    @cached_property
    def sharing(self) -> Sharing:
        """How cells share layers."""
        from envmatrix.render.sharing import Sharing

        return Sharing(self.published, self.resolutions.committed_lock)

    @cached_property
    def folders(self) -> Folders:
        """The rendered folders of bases and cells."""
        from envmatrix.render.dockerfiles import Renderer
        from envmatrix.render.folders import Folders

        own = self.layout.own_templates
        renderer = Renderer(self.matrix, *([own] if own else ()), self.layout.templates())
        if own and (replaced := renderer.replaced):
            names = ", ".join(replaced)
            note(f"{self.layout.shown(own)}: these templates replace those of envmatrix: {names}")
        return Folders(self.matrix, renderer, self.resolutions, self.sharing)

    @cached_property
    def tree(self) -> Tree:
        """The committed tree under images/."""
        from envmatrix.render.tree import Tree

        return Tree(self.layout, self.resolutions, self.folders, self.records)

    # --- the stages

    @cached_property
    def probes(self) -> Probes:
        """The probes: those of envmatrix, of the project, and of folders that the user named."""
        from envmatrix.probes.headers import Probes, Sources

        # In the checkout of envmatrix every probe counts. Elsewhere, only what the matrix needs.
        elsewhere = self.layout.root / "scripts/probes" != self.layout.probes()
        has_matrix = self.layout.matrix.exists()
        named = self.matrix.frameworks if elsewhere and has_matrix else None
        sources = Sources(self.layout.probes(), self.layout.own_probes, named, note)
        further = self.matrix.probes if has_matrix else ()
        return Probes(self.layout.probe_folders(further, self.extra_probes), sources)

    def tell_of_idle_probes(self) -> None:
        """Say which probes belong to no cell of the matrix: a name in a header may be wrong.

        Raises:
            InputError: the header of a probe is wrong.
        """
        from envmatrix.probes.headers import idle_probes, load_probes

        # Elsewhere than in the checkout of envmatrix, its own probes are for more than the matrix.
        own = self.layout.probes()
        ours = load_probes([own]) if self.layout.root / "scripts/probes" != own else []
        for one, whose in idle_probes(self.probes.all, ours, self.cells):
            note(f"note: the probe {one.name} is for {whose}, which no cell of the matrix has")

    @cached_property
    def locking(self) -> Locking:
        """The lock stage."""
        from envmatrix.stages.lock import Locking

        return Locking(self.resolutions, self.records, self.layout.wheelhouse)

    @cached_property
    def reporting(self) -> Reporting:
        """The report stage."""
        from envmatrix.stages.evidence import EvidenceMaker
        from envmatrix.stages.report import Reporting

        maker = EvidenceMaker(
            self.matrix,
            self.layout,
            self.records,
            self.resolutions,
            self.rebuilds,
            Contents(self.records),
            self._inputs_of,
        )
        return Reporting(
            maker,
            self.knowledge,
            self.packages,
            self.book,
            self.expected,
            lambda: self.claims,
            self.cells,
        )

    @cached_property
    def cutter(self) -> Cutter:
        """What cuts cells into shards."""
        from envmatrix.stages.shards import Cutter

        return Cutter(self.resolutions, self.sharing, self.book)

    @cached_property
    def merger(self) -> Merger:
        """What merges reports of shards."""
        from envmatrix.stages.merge import Merger

        return Merger(self.reporting, self.cutter)

    @cached_property
    def site(self) -> SiteWriter:
        """The stage that writes the site."""
        from envmatrix.stages.site import SiteWriter

        proves = {one.name: one.proves for one in self.probes.all}
        return SiteWriter(self.matrix, self.layout, self.cells, proves, self.publications)

    @cached_property
    def runner(self) -> Runner:
        """All stages of a run."""
        from envmatrix.stages.build import Building
        from envmatrix.stages.probe import Probing
        from envmatrix.stages.run import Runner

        building = Building(
            self.matrix,
            self.layout,
            self.records,
            self.resolutions,
            self.folders,
            self.sharing,
            self.packages,
            self.pulling,
        )
        probing = Probing(
            self.matrix, self.records, self.probes, self.probe_runner, self.amendments
        )
        return Runner(
            self.locking, building, probing, self.reporting.maker, self.knowledge, self.book
        )

    @cached_property
    def pulling(self) -> Pulling:
        """What takes published images from registries."""
        from envmatrix.stages.pulling import Pulling

        return Pulling(self.publications, self.book, self.folders, self._inputs_of)

    @cached_property
    def attesting(self) -> Attesting:
        """What makes documents for supply chains."""
        from envmatrix.stages.attesting import Attesting

        by_id = {cell.id: cell for cell in self.cells}
        return Attesting(self.layout, self.resolutions, self.packages, self.publications, by_id)

    @cached_property
    def auditing(self) -> Auditing:
        """What asks for known vulnerabilities, and knows what was told."""
        from envmatrix.stages.auditing import Auditing

        return Auditing(self.layout, self.resolutions)

    @cached_property
    def publisher(self) -> Publisher:
        """The publish stage."""
        from envmatrix.stages.publish import Publisher

        return Publisher(
            self.matrix,
            self.cells,
            self.reporting,
            self.records,
            self.layout.publications,
            self.publications,
        )

    @cached_property
    def verifier(self) -> Verifier:
        """The verify stage."""
        from envmatrix.stages.verify import Verifier

        return Verifier(self.runner, self.rebuilds, self.packages)


def native_arch() -> str:
    """Return the architecture of this machine in the words of the matrix, where it has one.

    The engine may be on another machine. It is not asked, because `plan` needs none.
    """
    return arch_of(platform.machine())


def arch_of(machine: str) -> str:
    """Return an architecture, as a machine names its own, in the words of the matrix."""
    name = machine.lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)


def workspace_of(context: typer.Context) -> Workspace:
    """Return the workspace that the options before the command ask for."""
    found = context.obj
    assert isinstance(found, Workspace)  # noqa: S101  (for the type checker: app.py puts it there)
    return found
