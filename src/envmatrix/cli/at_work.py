"""How commands change the state: alone in it, with progress shown, and stopped by signals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from envmatrix.cli.printing import err, warn
from envmatrix.cli.progress import make_progress
from envmatrix.cli.stopping import exit_code
from envmatrix.cli.workspace import Workspace
from envmatrix.stages.progress import Progress


@contextmanager
def at_work(workspace: Workspace) -> Iterator[Progress]:
    """Hold the state of a workspace alone, and yield the progress that the user sees.

    Ctrl-C, SIGTERM and SIGHUP end the command; the stages have stopped their work by then.

    Raises:
        SurroundingsError: another process works in the same folder, or it cannot be written.
    """
    try:
        with workspace.records.exclusive(), make_progress(err) as progress:
            yield progress
    except KeyboardInterrupt as stop:
        warn("stopped; what was done is kept")
        raise typer.Exit(exit_code(stop)) from None
