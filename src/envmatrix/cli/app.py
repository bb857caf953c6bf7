"""The program: its commands, the options before them, and the one place that prints errors."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from envmatrix import __version__
from envmatrix.cli import (
    cleaning,
    comparing,
    diagnosing,
    doctoring,
    locking,
    merging,
    planning,
    publishing,
    recommending,
    reporting,
    running,
    shell,
    updating,
)
from envmatrix.cli.printing import say, say_error
from envmatrix.cli.workspace import Workspace
from envmatrix.model.errors import EnvmatrixError, SurroundingsError

_Given = ParamSpec("_Given")


def _read_or_not(command: Callable[_Given, None]) -> Callable[_Given, None]:
    """Return a command that ends well where the reader of its output, such as head, has left.

    Typer would end the program with 1, which stands for a broken cell.
    """

    @functools.wraps(command)
    def run(*arguments: _Given.args, **options: _Given.kwargs) -> None:
        try:
            try:
                command(*arguments, **options)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None

    return run


app = typer.Typer(
    name="envmatrix",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which framework, Python, accelerator and OS combinations really work.",
)
for command in (
    planning.plan,
    locking.lock,
    locking.render,
    running.build,
    running.probe,
    running.run,
    reporting.report,
    merging.merge,
    running.verify,
    publishing.publish,
    publishing.pull,
    publishing.inspect,
    planning.explain,
    recommending.recommend,
    comparing.diff,
    diagnosing.diagnose,
    doctoring.doctor,
    cleaning.clean,
    planning.probes,
    shell.shell,
    updating.outdated,
    reporting.schema,
):
    app.command()(_read_or_not(command))


@app.callback(invoke_without_command=True)
def _before_the_command(
    context: typer.Context,
    matrix: Annotated[Path, typer.Option(help="The matrix file.")] = Path("matrix.yaml"),
    probes: Annotated[list[Path] | None, typer.Option(help="A further folder of probes.")] = None,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    context.obj = Workspace(matrix.resolve(), tuple(probes or ()))
    if version:
        say(f"envmatrix {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None, end: Callable[[int], Any] = sys.exit) -> None:
    """Run the command line, print what goes wrong once, and end with the exit code."""
    try:
        app(args=arguments, standalone_mode=True)
    except EnvmatrixError as error:
        say_error(error)
        end(error.exit_code)
    except OSError as error:
        refused = SurroundingsError(
            f"the operating system refused: {error.strerror or error}",
            where=str(error.filename or Path.cwd()),
            next_step="check the disk and the permissions, then run again",
        )
        say_error(refused)
        end(refused.exit_code)
