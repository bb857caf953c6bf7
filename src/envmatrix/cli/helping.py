"""What `--help` shows beside names and options: groups of commands, examples, exit codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperGroup

from envmatrix.cli.exits import TOLD
from envmatrix.cli.mistakes import no_such_command

EXAMPLES: Mapping[str, Sequence[str]] = {
    "": (
        "envmatrix init                        write a first matrix.yaml",
        "envmatrix plan                        what is there, and what is known of it",
        "envmatrix run                         build and probe the cells of the profile quick",
        "envmatrix recommend                   which environment to take on this machine",
        "envmatrix --matrix other.yaml plan    options of the program stand before the command",
    ),
    "init": ("envmatrix init", "envmatrix init my-project"),
    "doctor": ("envmatrix doctor", "envmatrix doctor --profile published --json"),
    "clean": ("envmatrix clean", "envmatrix clean images wheelhouse --yes"),
    "plan": (
        "envmatrix plan",
        "envmatrix plan '*' --grid",
        "envmatrix plan framework=torch 'version=>=2.11' --json",
        "envmatrix plan verdict=broken",
    ),
    "lock": ("envmatrix lock framework=torch", "envmatrix lock --profile published --check"),
    "render": ("envmatrix render", "envmatrix render --check"),
    "build": ("envmatrix build torch-2.13.0-py3.11-debian12-cpu",),
    "probe": (
        "envmatrix probe torch-2.13.0-py3.11-debian12-cpu",
        "envmatrix probe --host",
        "envmatrix probe --host --python .venv/bin/python --json",
    ),
    "run": (
        "envmatrix run",
        "envmatrix run --profile cpu --prune",
        "envmatrix run framework=torch os=debian12 accelerator=cpu",
        "envmatrix run --shard 2/8 --junit results.xml",
    ),
    "verify": ("envmatrix verify torch-2.13.0-py3.11-debian12-cpu",),
    "report": (
        "envmatrix report --profile published --out reports",
        "envmatrix report --profile published --out reports --site --readme README.md",
        "envmatrix report --max-age 90d",
    ),
    "merge": ("envmatrix merge shards --out reports", "envmatrix merge shard-1 shard-2"),
    "diff": ("envmatrix diff week", "envmatrix diff HEAD~3 --fail-on-regression"),
    "recommend": (
        "envmatrix recommend",
        "envmatrix recommend --framework torch --gpu 'RTX 4090' --driver 570",
        "envmatrix recommend --framework tensorflow --python 3.12 --no-host",
    ),
    "explain": ("envmatrix explain torch-2.13.0-py3.11-debian12-cpu --verbose",),
    "diagnose": (
        "envmatrix diagnose build.log",
        "python train.py 2>&1 | envmatrix diagnose -",
    ),
    "shell": (
        "envmatrix shell torch-2.13.0-py3.11-debian12-cpu",
        "envmatrix shell torch-2.13.0-py3.11-debian12-cpu --mount -- python train.py",
    ),
    "probes": ("envmatrix probes", "envmatrix --probes my-probes probes --json"),
    "outdated": ("envmatrix outdated", "envmatrix outdated --write"),
    "publish": (
        "envmatrix publish --registry registry.example.org/team --dry-run",
        "envmatrix publish verdict=works --registry registry.example.org/team --attestations",
    ),
    "pull": ("envmatrix pull torch-2.13.0-py3.11-debian12-cpu",),
    "audit": (
        "envmatrix audit torch-2.13.0-py3.11-debian12-cpu",
        "envmatrix audit verdict=works --service osv",
    ),
    "inspect": ("envmatrix inspect envmatrix/cell:torch-2.13.0-py3.11-debian12-cpu",),
    "schema": ("envmatrix schema > matrix.schema.json", "envmatrix schema report"),
    "completion": (
        'eval "$(envmatrix completion bash)"',
        "envmatrix completion fish > ~/.config/fish/completions/envmatrix.fish",
    ),
}
"""Commands that can be typed, by the name of the command; of the program under an empty name."""


def epilog(name: str) -> str:
    """Return what stands below the options of a command: examples and exit codes."""
    # A line with this mark alone keeps the lines below it as they are.
    parts = ["\b\nExit codes:\n" + "\n".join(f"  {text}" for text in TOLD)]
    if examples := EXAMPLES.get(name):
        parts.insert(0, "\b\nExamples:\n" + "\n".join(f"  {text}" for text in examples))
    return "\n\n".join(parts)


class Commands(TyperGroup):
    """The commands, shown by purpose. A word that is none is answered with those near it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write a list of the commands for each purpose."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            if not command.hidden:
                paragraph = (command.help or "").partition("\n\n")[0]
                sentence = paragraph.partition(". ")[0].rstrip(".")
                panels.setdefault(panel, []).append((f"{name:<{_WIDTH}}", sentence))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """Return a command.

        Raises:
            InputError: there is none of this name.
        """
        found = super().get_command(ctx, cmd_name)
        if found is None and not ctx.resilient_parsing and not cmd_name.startswith("-"):
            raise no_such_command(cmd_name, list(self.commands))
        return found


_WIDTH = 10
"""The columns of the names of commands."""
