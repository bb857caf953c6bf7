"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from envmatrix.cli.completing import cells, profiles, selectors

Select = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SELECT]...",
        autocompletion=selectors,
        help="Cell id, glob on ids, axis=value, verdict=works, driver=570, or gpu=NAME. Several "
        "narrow down.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        metavar="PROFILE",
        autocompletion=profiles,
        help="Cells of a profile. Default: quick, or all where SELECT is given.",
    ),
]
OneCell = Annotated[
    str,
    typer.Argument(
        metavar="CELL", autocompletion=cells, help="A cell id, or a selector that leaves one cell."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=64,
        help="Cells at work side by side. Default: by cores and memory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Take nothing from earlier runs.")]
BaseOrigin = Annotated[str, typer.Option("--base", help="Base images: auto, pull or bootstrap.")]
Isolated = Annotated[
    bool, typer.Option("--isolated", help="Run each probe alone, in a container of its own.")
]
Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail on any difference.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit code 3 also where a cell is only partial.")
]
ShardText = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the cells of a shard, such as 2/8. `plan --shards 8` shows which these are.",
    ),
]
