"""What two reports know: read from a folder, a file, a commit of git, or the history."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from envmatrix.model.errors import InputError, ToolError
from envmatrix.report.history import AGO, moment_of
from envmatrix.report.states import Snapshot, read_report
from envmatrix.resolve.programs import TooSlowError, run_program
from envmatrix.stages.report import history_of, text_of
from envmatrix.store.layout import HISTORY, REPORT, Layout

# No option, no range, no path, no pattern: git reads nothing but one commit out of it.
_REVISION: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]*([~^][0-9]*)*")
_GIT_SECONDS: Final = 60
_FORMS: Final = (
    "give a folder or a file of a report, a commit such as HEAD~3, or a time such as week or "
    "2026-11-20"
)


@dataclass(frozen=True, slots=True)
class Past:
    """Finds what was known of each cell of a project."""

    layout: Layout

    def states(self, named: str, now: datetime) -> Snapshot:
        """Return the states that a word of the user names.

        A time comes first, then a folder or a file, then a commit: `./week` is a folder.

        Raises:
            InputError: it names none of these, or what it names is no report.
            SurroundingsError: git or the disk failed.
        """
        if moment := moment_of(named, now):
            return self._by_history(named, moment, now)
        path = Path(named)
        if path.is_dir() and (path / REPORT).exists():
            path /= REPORT
        if path.is_file():
            return read_report(text_of(path), named)
        return self._of_commit(named)

    def at_hand(self) -> Snapshot:
        """Return the states of the published report.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        path = self.layout.reports / REPORT
        if not path.is_file():
            raise InputError(
                "there is no report to compare with",
                where=self.layout.shown(path),
                next_step="make one: `envmatrix report --profile published --out reports`",
            )
        return read_report(text_of(path), self.layout.shown(path))

    def _by_history(self, named: str, moment: datetime, now: datetime) -> Snapshot:
        path = self.layout.reports / HISTORY
        history = history_of(path, self.layout.shown(path))
        if history.begins is None:
            raise InputError(
                "there is no history of reports here",
                where=self.layout.shown(path),
                next_step="run in the folder that holds matrix.yaml and reports, or give a commit "
                "of git: `envmatrix diff HEAD~1`",
            )
        if moment > now and named not in AGO:
            raise InputError(
                f"{named} is not over yet",
                where="diff",
                next_step="give a day of the past, or `day`, `week`, `month`",
            )
        if history.begins > moment:
            first = history.begins
            title = f"{named}: the first report, {first:%Y-%m-%d %H:%M} UTC, since none is older"
            return Snapshot(title, history.at(first))
        return Snapshot(f"{named}: {moment:%Y-%m-%d %H:%M} UTC, by the history", history.at(moment))

    def _of_commit(self, named: str) -> Snapshot:
        if not _REVISION.fullmatch(named):
            raise InputError(
                f"{named!r} is neither a report, nor a time, nor the plain name of a commit",
                where="diff",
                next_step=_FORMS,
            )
        name = f"{self.layout.reports.name}/{REPORT}"
        # cat-file applies no filter and no conversion that the repository may ask for.
        command = ["git", "cat-file", "blob", f"{named}:./{name}"]
        environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        try:
            ran = run_program(
                command,
                environment=environment,
                folder=self.layout.root,
                seconds=_GIT_SECONDS,
                stopped=threading.Event(),
            )
        except (OSError, TooSlowError) as error:
            raise ToolError(
                f"git cannot be run: {error}",
                where=" ".join(command),
                next_step="install git, or give the folder of a report instead of a commit",
            ) from error
        if ran.returncode:
            told = ran.stderr.strip().splitlines()
            raise InputError(
                f"{named} is neither a time, nor a report here, nor a commit that has one (git: "
                f"{told[-1].removeprefix('fatal: ') if told else 'it said nothing'})",
                where="diff",
                next_step=f"{_FORMS}; a clone without its past gets it by `git fetch --unshallow`",
            )
        return read_report(ran.stdout, f"{named}:{name}")
