"""Known vulnerabilities of the wheels of a lock, as a service told them on a day.

They say nothing about whether a cell works. A wheel that could not be asked about is told apart
from one of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError

from envmatrix.model.errors import InputError
from envmatrix.model.evidence import Evidence
from envmatrix.model.part import Handle, Part

SCHEMA: Final = 1
LARGEST_AUDIT = 16 * 2**20
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Text = Annotated[str, StringConstraints(max_length=1000)]
_Words = Annotated[tuple[_Word, ...], Field(max_length=200)]


class Vulnerability(Part):
    """A known vulnerability of a wheel. `fixed_in` are versions; none: no fixed one is known."""

    id: _Word
    aliases: _Words = ()
    fixed_in: _Words = ()
    summary: _Text = ""
    withdrawn: bool = False

    @property
    def told(self) -> str:
        """It as a line."""
        also = f" ({', '.join(self.aliases)})" if self.aliases else ""
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no fix is known"
        return f"{self.id}{also}: {fixed}" + ("; withdrawn" if self.withdrawn else "")


class AskedWheel(Part):
    """A wheel of a lock. `version` is asked without its local part, which no service knows.

    `not_asked` says why nothing is known of it; empty: it was asked about.
    """

    name: _Word
    version: _Word
    not_asked: _Text = ""
    vulnerabilities: Annotated[tuple[Vulnerability, ...], Field(max_length=1000)] = ()


class Audit(Part):
    """What a service told of the wheels of a cell, and when. `lock` is the hash of their lock."""

    form: Literal[1] = Field(default=SCHEMA, alias="schema")
    cell: Handle
    lock: _Word
    service: _Text
    asked_at: AwareDatetime
    wheels: Annotated[tuple[AskedWheel, ...], Field(max_length=5000)]

    @property
    def asked(self) -> tuple[AskedWheel, ...]:
        """The wheels that were asked about."""
        return tuple(one for one in self.wheels if not one.not_asked)

    @property
    def told(self) -> str:
        """What is known, in one line."""
        of, day = len(self.wheels), f"{self.asked_at:%Y-%m-%d}"
        missing = [one for one in self.wheels if one.not_asked]
        reasons = "; ".join(dict.fromkeys(one.not_asked for one in missing))
        if not self.asked:
            return f"not asked: {reasons or 'the lock has no wheels'} ({self.service}, {day})"
        bad = [one for one in self.asked if one.vulnerabilities]
        count = sum(len(one.vulnerabilities) for one in bad)
        known = f"{count} known in {len(bad)}" if count else f"none known in {len(self.asked)}"
        said = f"{known} of {of} wheels ({self.service}, {day})"
        return said + (f"; {len(missing)} not asked: {reasons}" if missing else "")

    @property
    def lines(self) -> Iterator[str]:
        """Each vulnerability as a line."""
        for wheel in self.wheels:
            for one in wheel.vulnerabilities:
                yield f"{wheel.name} {wheel.version}: {one.told}"

    def told_of(self, evidence: Evidence) -> str:
        """Return what is known, and whether the evidence has the lock that was asked about."""
        if evidence.lock and evidence.lock.sha256 == self.lock:
            return self.told
        return f"not asked: {self.asked_at:%Y-%m-%d} another lock of the cell was asked about"


def read_audit(path: Path) -> Audit | None:
    """Return the audit in a file; None: there is no file.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            # What is larger is cut, so it is no JSON any more.
            return Audit.model_validate_json(file.read(LARGEST_AUDIT))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        if isinstance(error, OSError):
            why = error.strerror or str(error)
        else:
            first = error.errors()[0]
            why = f"it is damaged at {'.'.join(map(str, first['loc'])) or 'its beginning'}"
        raise InputError(
            f"the list of known vulnerabilities cannot be read: {why}",
            where=str(path),
            next_step=f"make it again: `envmatrix audit {path.name.partition('.vuln')[0]}`",
        ) from error
