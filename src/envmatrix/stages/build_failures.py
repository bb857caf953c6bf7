"""What a build that failed says: the cell is at fault, or the surroundings are.

The cell is at fault only where a process of one of its steps ended with an error of its own. The
output of the step must not tell of the network, the disk, the memory or the engine. Where the
output explains nothing, the disk may be the reason all the same: programs hide that it is full.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from envmatrix.engine.builds import BuildError
from envmatrix.model.emulation import EMULATION, REMEDY, may_be_to_blame
from envmatrix.model.verdicts import Judgement, Verdict

OWN_CODES = range(1, 126)
"""The exit codes of a process that ended by itself with an error of its own."""

LEAST_FREE = 256 * 2**20
"""With less free disk than this, a step may fail for want of disk without a word about it."""

LEAST_FILES = 2000
"""With fewer files left to create than this, a step may fail for want of them."""

_SIGNALLED = 128
_HEADING = re.compile(r"\[(?:\S+ )?\d+/\d+\] |Step \d+/\d+ : | ---> ")
"""How a line of a build log begins that repeats an instruction, or tells of a classic build."""


@dataclass
class Room:
    """The least disk that a build saw free where the engine keeps its images.

    `folder` is None where the engine keeps them on another machine.
    """

    folder: Path | None
    free: int | None = None
    files: int | None = None

    def look(self) -> None:
        """Look how much is free now."""
        if self.folder is None:
            return
        try:
            free = shutil.disk_usage(self.folder).free
            files = os.statvfs(self.folder)
        except OSError:
            return
        self.free = free if self.free is None else min(free, self.free)
        if files.f_files:  # some file systems have no fixed number of files
            left = files.f_favail
            self.files = left if self.files is None else min(left, self.files)

    @property
    def is_short(self) -> bool:
        """Whether a step may have failed for want of disk."""
        return (self.free is not None and self.free < LEAST_FREE) or (
            self.files is not None and self.files < LEAST_FILES
        )


def judge_failure(
    step: str, error: BuildError, log: Path, room: Room, *, emulated: bool = False
) -> Judgement:
    """Judge a build that failed, by how it ended, by its log, and by the disk."""
    from envmatrix.model.causes import SURROUNDINGS, classify  # noqa: PLC0415  (loads slowly)

    output = log.read_text(encoding="utf-8", errors="replace")
    if found := classify(output, SURROUNDINGS):
        return Judgement(Verdict.UNKNOWN, step, found.kind, found.cause, found.remedy)
    told = [line for line in output.splitlines() if line.strip() and not _HEADING.match(line)]
    last = " ".join(told[-4:])[:400] or str(error)[:400]
    if error.code not in OWN_CODES:
        return _not_ended_by_itself(step, error, last)
    if room.is_short:
        return Judgement(
            Verdict.UNKNOWN,
            step,
            "disk-full",
            f"the step failed without a reason while the disk of the engine was nearly full "
            f"({(room.free or 0) / 2**20:.0f} MiB and {room.files} files were free): {last}",
            f"free some disk in {room.folder} (`docker system df` shows what takes it), then run "
            "it again",
        )
    if emulated and may_be_to_blame(output):
        cause = f"a step failed under emulation, which may be to blame: {last}"
        return Judgement(Verdict.UNKNOWN, step, EMULATION, cause, REMEDY)
    own = classify(output)
    return Judgement(
        Verdict.BROKEN,
        step,
        own.kind if own else "build-step",
        own.cause if own else last,
        own.remedy if own else "read the build log",
    )


def _not_ended_by_itself(step: str, error: BuildError, last: str) -> Judgement:
    """Judge a build of which no process ended by itself."""
    code = error.code
    log = "see the build log, and the engine's own log (`journalctl --unit docker`); then run again"
    if not code:
        cause = f"the engine ended the build, and no step failed by itself: {last}"
        return Judgement(Verdict.UNKNOWN, step, "engine", cause, log)
    if code > _SIGNALLED:
        cause = f"a signal ended a step (exit code {code}): {last}"
        return Judgement(Verdict.UNKNOWN, step, "killed", cause, log)
    cause = f"a command of the step could not be executed (exit code {code}): {last}"
    remedy = "check that the image of the OS in the matrix is the one that it names, then run again"
    return Judgement(Verdict.UNKNOWN, step, "command-missing", cause, remedy)
