"""The program: its commands, the options before them, and the one place that prints errors."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.models import CommandInfo

from envmatrix import __version__
from envmatrix.cli import (
    auditing,
    cleaning,
    comparing,
    completing,
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
    starting,
    updating,
)
from envmatrix.cli.exits import DEFECT
from envmatrix.cli.finding import find_matrix
from envmatrix.cli.helping import Commands, epilog
from envmatrix.cli.mistakes import PROGRAM, misused, with_command
from envmatrix.cli.printing import Level, loudness, say, say_error, warn
from envmatrix.cli.stopping import SIGNALLED, exit_code, stoppable
from envmatrix.cli.streams import finish, make_safe
from envmatrix.cli.workspace import Workspace
from envmatrix.model.errors import EnvmatrixError, InputError, SurroundingsError
from envmatrix.store.files import refusal

# The class of all that typer finds wrong. It has been in several modules, this one always.
_Misuse: type[Exception] = next(
    one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException"
)

app = typer.Typer(
    name=PROGRAM,
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which framework, Python, accelerator and OS combinations really work.",
    epilog=epilog(""),
)
BY_PURPOSE: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin, and look": (
        starting.init,
        doctoring.doctor,
        planning.plan,
        planning.explain,
        recommending.recommend,
        diagnosing.diagnose,
        comparing.diff,
    ),
    "Build and probe": (
        running.run,
        locking.lock,
        locking.render,
        running.build,
        running.probe,
        running.verify,
        shell.shell,
    ),
    "Report": (
        reporting.report,
        merging.merge,
    ),
    "Share images": (
        publishing.publish,
        publishing.pull,
        publishing.inspect,
        auditing.audit,
    ),
    "Keep up": (
        cleaning.clean,
        updating.outdated,
        planning.probes,
        reporting.schema,
        completing.completion,
    ),
}
for purpose, commands in BY_PURPOSE.items():
    for command in commands:
        app.command(rich_help_panel=purpose, epilog=epilog(command.__name__))(command)


@app.callback(invoke_without_command=True)
def _before_the_command(
    context: typer.Context,
    matrix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The matrix file. Default: matrix.yaml here, or in the nearest folder above.",
        ),
    ] = None,
    probes: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A further folder of probes.")
    ] = None,
    *,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only results and errors: no progress, no notes.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell more: each step, and where things lie.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if quiet and verbose:
        raise InputError(
            "--quiet and --verbose exclude each other", where=PROGRAM, next_step="give one of them"
        )
    loudness.level = Level.QUIET if quiet else Level.VERBOSE if verbose else Level.NORMAL
    if version:
        say(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), color=False)
        raise typer.Exit
    found = matrix.resolve() if matrix else find_matrix(Path.cwd())
    context.obj = Workspace(found, tuple(probes or ()))


def _exit(code: int) -> NoReturn:
    """End the process. Python would first look for garbage in all that is freed with it anyway."""
    gc.freeze()
    sys.exit(code)


def main(arguments: Sequence[str] | None = None, end: Callable[[int], Any] = _exit) -> None:
    """Run the command line, print what goes wrong once, and end with the exit code."""
    make_safe()
    given = list(sys.argv[1:] if arguments is None else arguments)
    loudness.level = Level.NORMAL
    code = _exit_code(given)
    with suppress(OSError):  # What is lost has been told.
        finish()
    end(code)


def _exit_code(given: Sequence[str]) -> int:  # noqa: PLR0911  (each end has words of its own)
    try:
        with stoppable() as asked:
            completing.answer_shell()
            program = _with_commands(given)
            code = program(args=list(given), prog_name=PROGRAM, standalone_mode=False)
            if asked:  # Typer takes every signal for Ctrl-C.
                code = SIGNALLED + asked[0]
            finish()
    except EnvmatrixError as error:
        say_error(with_command(error, given))
        return error.exit_code
    except _Misuse as error:
        wrong = misused(
            error, given, [one.__name__ for group in BY_PURPOSE.values() for one in group]
        )
        say_error(with_command(wrong, given))
        return wrong.exit_code
    except OSError as error:
        refused = _refused(error)
        say_error(refused)
        return refused.exit_code
    except (typer.Abort, KeyboardInterrupt) as stop:
        return exit_code(stop)
    except MemoryError:
        full = SurroundingsError(
            "this machine has no memory left",
            next_step="close other programs, or choose fewer cells, then run again",
        )
        say_error(full)
        return full.exit_code
    except Exception as error:  # noqa: BLE001  (what is not expected is ours, and is told as ours)
        _tell_defect(error)
        return DEFECT
    return code if isinstance(code, int) else 0


def _with_commands(given: Sequence[str]) -> typer.Typer:
    """Return the program with the command that the first word names, or with all.

    Typer builds each option of each command, and most are of commands that are not called.
    """
    named = [one for one in app.registered_commands if _name_of(one) in given[:1]]
    program = copy(app)
    program.registered_commands = named or app.registered_commands
    return program


def _name_of(command: CommandInfo) -> str:
    return command.callback.__name__ if command.callback else ""


def _refused(error: OSError) -> SurroundingsError:
    try:
        here = os.getcwd()  # noqa: PTH109  (Path.cwd says the same)
    except OSError:
        return SurroundingsError(
            "the current folder is not there any more, or cannot be read",
            where=".",
            next_step="go to a folder that is there, such as `cd /`",
        )
    if error.filename is None:
        error.filename = here
    return refusal(error, "the operating system refused")


def _tell_defect(error: Exception) -> None:
    """Say that envmatrix is wrong, and not the user, and where the traceback lies."""
    from envmatrix.cli.defects import keep_traceback, traceback_of

    warn(f"error: this is a defect of envmatrix: {type(error).__name__}: {error}", style="red")
    if loudness.level is Level.VERBOSE:
        warn(*traceback_of(error).splitlines())
    kept = keep_traceback(error)
    warn(f"  where: {kept}" if kept else "  where: `envmatrix -v ...` shows the traceback")
    warn("  next:  open an issue of envmatrix with this traceback and the command that you gave")
