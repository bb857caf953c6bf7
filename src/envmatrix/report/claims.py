"""What vendors declare, compared with what was observed.

1. A Python is confirmed where a cell with it works or is partial. It is contradicted where the
   resolver proved of every cell of the release with that Python that there is no wheel for it.
2. A Python that works and that the source leaves out contradicts it, unless the claim is partial.
3. A CUDA line is confirmed where a build tells it. One that a build tells and that the source
   leaves out contradicts it, unless the claim is partial.
4. The cuDNN of a build is what the framework says that it was compiled against. It is compared with
   what is declared as far as both go; a major version alone confirms nothing finer.
5. The glibc is what the tag of the framework's wheel in the committed lock asks for. Only a newer
   one than is declared contradicts it.
6. Everything else is unchecked. Only current evidence and proofs count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from envmatrix.model.claims import Claim, Claims
from envmatrix.model.evidence import Axes
from envmatrix.model.matrix import STACKED
from envmatrix.model.part import Part
from envmatrix.model.verdicts import RULE, Verdict
from envmatrix.report.entries import Entry

NO_WHEEL = "no-wheel-for-python"
"""The class of a proof that no wheel of a release is for a Python."""
WHAT = {"python": "Python", "glibc": "glibc", "cuda": "CUDA", "cudnn": "cuDNN"}
"""What a claim is about, in the words of people."""
Floors = Mapping[str, str]
"""By cell id: the lowest glibc that the wheel of the framework in the committed lock asks for."""

_NUMBERS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,5}")
_CUDA = re.compile(r"cu([0-9]{1,3})([0-9])")


class Agreement(StrEnum):
    """How something that is declared compares with what was observed."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNCHECKED = "unchecked"


class Place(Part):
    """Where something is declared."""

    title: Annotated[str, Field(description="The page of the vendor, by its title.")]
    # Pages make a link of it.
    url: Annotated[
        str, Field(pattern=r"^https?://[A-Za-z0-9._~:/?#=&%+*-]+$", description="Its address.")
    ]
    read: Annotated[str, Field(description="The day on which it was read.")]


class Comparison(Part):
    """One thing that a vendor declares of a release, and what was observed of it."""

    framework: Annotated[str, Field(description="The framework, without a stack.")]
    version: Annotated[str, Field(description="The release.")]
    field: Annotated[
        Literal["python", "glibc", "cuda", "cudnn"], Field(description="What it is about.")
    ]
    declared: Annotated[str, Field(description="What is declared, in a few words.")]
    observed: Annotated[str, Field(description="What was observed; empty: nothing.")]
    result: Annotated[Agreement, Field(description="Whether the two agree.")]
    source: Annotated[Place, Field(description="Where it is declared.")]
    cells: Annotated[
        tuple[str, ...], Field(description="The cells that it was observed of, by id.")
    ] = ()
    evidence: Annotated[
        tuple[str, ...],
        Field(description="Those of them that were run: the names of their files of evidence."),
    ] = ()


def compare(claims: Claims, entries: Iterable[Entry], floors: Floors) -> list[Comparison]:
    """Compare all claims with what is known of cells, in the order of the claims."""
    releases: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        releases.setdefault(release_of(entry.axes), []).append(entry)
    found: list[Comparison] = []
    for claim in claims.claims:
        source = claims.sources[claim.source]
        place = Place(title=source.title, url=source.url, read=source.read)
        for (framework, version), cells in releases.items():
            if claim.is_about(framework, version):
                meant = tuple(cell for cell in cells if _is_meant(claim, cell))
                found += _Compared(claim, place, version, meant, floors).all()
    return found


def disagreements(claims: Claims, entries: Iterable[Entry], floors: Floors) -> list[Comparison]:
    """Return what is declared and contradicted by what was observed."""
    return contradicted(compare(claims, entries, floors))


def contradicted(found: Iterable[Comparison]) -> list[Comparison]:
    """Return the comparisons that do not agree."""
    return [one for one in found if one.result is Agreement.CONTRADICTED]


def counted(found: Iterable[Comparison]) -> dict[str, int]:
    """Return how often each result is there, with all results named."""
    results = Counter(one.result for one in found)
    return {result.value: results[result] for result in Agreement}


@dataclass(frozen=True, slots=True)
class _Compared:
    """One claim beside the cells of one release."""

    claim: Claim
    place: Place
    version: str
    cells: Sequence[Entry]
    floors: Floors

    def all(self) -> Iterator[Comparison]:
        yield from self._pythons(self.claim.pythons or ())
        yield from self._glibc()
        yield from self._cuda(self.claim.cuda or ())
        yield from self._cudnn()

    def _made(
        self,
        field: Literal["python", "glibc", "cuda", "cudnn"],
        declared: str,
        result: Agreement,
        observed: str = "",
        cells: Sequence[Entry] = (),
    ) -> Comparison:
        return Comparison(
            framework=self.claim.framework,
            version=self.version,
            field=field,
            declared=declared,
            observed=observed,
            result=result,
            source=self.place,
            cells=tuple(cell.id for cell in cells),
            evidence=tuple(cell.id for cell in cells if cell.evidence),
        )

    def _pythons(self, declared: Sequence[str]) -> Iterator[Comparison]:
        for python in declared:
            cells = [cell for cell in self.cells if cell.axes.python == python]
            proven = [cell for cell in cells if _is_plain(cell)]
            if running := [cell for cell in cells if _runs(cell)]:
                said = _running(python, running)
                yield self._made("python", python, Agreement.CONFIRMED, said, running)
            elif proven and all(_has_no_wheel(cell) for cell in proven):
                said = f"no wheel for {python}"
                yield self._made("python", python, Agreement.CONTRADICTED, said, proven)
            else:
                yield self._made("python", python, Agreement.UNCHECKED)
        if not declared or self.claim.partial:
            return
        working = dict.fromkeys(cell.axes.python for cell in self.cells if _runs(cell))
        for python in (one for one in working if one not in declared):
            running = [cell for cell in self.cells if cell.axes.python == python and _runs(cell)]
            only = f"only {', '.join(declared)}"
            said = _running(python, running)
            yield self._made("python", only, Agreement.CONTRADICTED, said, running)

    def _glibc(self) -> Iterator[Comparison]:
        declared = self.claim.glibc
        if declared is None:
            return
        known = [cell for cell in self.cells if cell.id in self.floors]
        same = [cell for cell in known if self.floors[cell.id] == declared]
        # Tags of older wheels promise more than the wheels keep, so a lower one proves nothing.
        if other := [cell for cell in known if _minor(self.floors[cell.id]) > _minor(declared)]:
            floors = ", ".join(sorted({self.floors[cell.id] for cell in other}))
            said = f"{floors}, by the tag of the wheel"
            yield self._made("glibc", declared, Agreement.CONTRADICTED, said, other)
        elif same:
            yield self._made("glibc", declared, Agreement.CONFIRMED, declared, same)
        else:
            yield self._made("glibc", declared, Agreement.UNCHECKED)

    def _cuda(self, declared: Sequence[str]) -> Iterator[Comparison]:
        told: dict[str, list[Entry]] = {}
        for cell in self.cells:
            if line := _cuda_of(cell):
                told.setdefault(line, []).append(cell)
        lines = {".".join(text.split(".")[:2]): text for text in declared}
        other = {} if self.claim.partial or not declared else told.keys() - lines.keys()
        for line, text in lines.items():
            if line in told:
                yield self._made("cuda", text, Agreement.CONFIRMED, line, told[line])
            elif not (other and len(lines) == 1):  # The contradiction says enough of a single one.
                yield self._made("cuda", text, Agreement.UNCHECKED)
        for line in sorted(other):
            said = ", ".join(declared)
            yield self._made("cuda", said, Agreement.CONTRADICTED, line, told[line])

    def _cudnn(self) -> Iterator[Comparison]:
        declared = self.claim.cudnn
        if declared is None:
            return
        told = [(cell, version) for cell in self.cells if (version := _cudnn_of(cell))]
        other = [(cell, version) for cell, version in told if not _may_be(declared, version)]
        same = [(cell, version) for cell, version in told if _is(declared, version)]
        for found, result in ((other, Agreement.CONTRADICTED), (same, Agreement.CONFIRMED)):
            if found:
                said = ", ".join(dict.fromkeys(version for _, version in found))
                cells = [cell for cell, _ in found]
                yield self._made("cudnn", declared, result, said, cells)
                return
        yield self._made("cudnn", declared, Agreement.UNCHECKED)


# --- what is known of one cell ---------------------------------------------------------------


def release_of(axes: Axes) -> tuple[str, str]:
    """Return the framework, without its stack, and the version of a cell."""
    return axes.framework.partition(STACKED)[0], axes.version


def _is_meant(claim: Claim, cell: Entry) -> bool:
    """Return whether a claim is about the build of a cell. What it holds counts, not its name."""
    told = cell.evidence.observed.accelerator if cell.evidence else None
    accelerator = told or cell.axes.accelerator
    return claim.arch in (None, cell.axes.arch) and claim.accelerator in (None, accelerator)


def _runs(cell: Entry) -> bool:
    return cell.verdict.is_usable


def _running(python: str, cells: Iterable[Entry]) -> str:
    works = any(cell.verdict is Verdict.WORKS for cell in cells)
    return f"{python} works" if works else f"{python} is partial"


def _is_plain(cell: Entry) -> bool:
    """Return whether a cell is the framework alone, and no rule excludes it."""
    return STACKED not in cell.axes.framework and cell.judgement.stage != RULE


def _has_no_wheel(cell: Entry) -> bool:
    return cell.verdict is Verdict.IMPOSSIBLE and cell.judgement.kind == NO_WHEEL


def _cuda_of(cell: Entry) -> str:
    """Return the CUDA line that the build in a cell tells, such as 13.0; nothing without CUDA."""
    if not (cell.evidence and cell.evidence.observed.version == cell.axes.version):
        return ""
    found = _CUDA.fullmatch(cell.evidence.observed.accelerator or "")
    return f"{found[1]}.{found[2]}" if found else ""


def _cudnn_of(cell: Entry) -> str:
    """Return the cuDNN of the build in a cell; nothing if it tells none.

    It is the one that the build loads, which a release brings. That may be newer than the one that
    it was compiled against: torch 2.9 brings 9.10.2, and was compiled against 9.8.0. The latter
    counts where none was loaded.
    """
    if not (cell.evidence and _cuda_of(cell)):
        return ""
    told = dict(cell.evidence.observed.items())
    known = (told.get(name) for name in ("cudnn_loaded", "cudnn_compiled"))
    versions = (one for one in known if isinstance(one, str) and _NUMBERS.fullmatch(one))
    return next(versions, "")


def _minor(glibc: str) -> int:
    return int(glibc.split(".")[1])


def _may_be(declared: str, observed: str) -> bool:
    """Return whether two versions are equal as far as both go."""
    pairs = zip(declared.split("."), observed.split("."), strict=False)
    return all(int(one) == int(other) for one, other in pairs)


def _is(declared: str, observed: str) -> bool:
    """Return whether two versions are equal, and not only by a major version alone."""
    finer = "." in observed or "." not in declared
    return finer and _may_be(declared, observed)
