"""The command that reads the output of any failed program: diagnose."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from envmatrix.cli.arguments import AsJson
from envmatrix.cli.printing import print_json
from envmatrix.model.errors import InputError
from envmatrix.model.text import line

if TYPE_CHECKING:
    from envmatrix.model.causes import Cause

READ_LIMIT = 4 * 2**20
"""The bytes that are read from the end of a file: the last exception stands there."""
STREAM_LIMIT = 256 * 2**20
"""The bytes that are taken from a stream, which has no end to go to, before it is given up."""

_BLOCK = 2**20
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def diagnose(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="The output of a program, or - for stdin.")
    ],
    exit_code: Annotated[
        int | None,
        typer.Option(
            "--exit-code", min=-64, max=255, help="How the program ended: 132, 139 and the like."
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell what the output of a failed program means, and what to do."""
    # The known failures take a tenth of a short command's time to load.
    from envmatrix.model.causes import diagnose_output

    text, whole = _read(file)
    found = diagnose_output(text, exit_code)
    if as_json:
        print_json(_document(found, whole=whole))
        return
    sys.stdout.write(f"class:  {found.kind}\ncause:  {found.cause}\nremedy: {found.remedy}\n")
    if found.line:
        place = f"line {found.line.number}" if whole else "a line near the end"
        sys.stdout.write(f"said by {place}: {found.line.text.strip()}\n")


def _document(found: Cause, *, whole: bool) -> dict[str, object]:
    said_by = found.line and {
        "number": found.line.number if whole else None,
        "text": found.line.text.strip(),
    }
    return {
        "schema": 1,
        "class": found.kind,
        "cause": found.cause,
        "remedy": found.remedy,
        "line": said_by,
    }


def _read(name: str) -> tuple[str, bool]:
    """Return the text of a file or its end, and whether that is the whole file.

    Raises:
        InputError: the file cannot be read.
    """
    if name == "-" and sys.stdin is None:
        raise InputError(
            "stdin is closed",
            where="diagnose",
            next_step="give the file itself: `envmatrix diagnose FILE`",
        )
    try:
        if name == "-":
            data, whole = _last_of_stream(sys.stdin.buffer)
        else:
            with Path(name).open("rb") as file:
                data, whole = _last_of_file(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{line(name)} cannot be read: {line(reason)}",
            where="diagnose",
            next_step="give the file that holds the output of the program, or - for stdin",
        ) from error
    return _decoded(data), whole


def _last_of_file(file: BinaryIO) -> tuple[bytes, bool]:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return _last_of_stream(file)
    start = max(found.st_size - READ_LIMIT, 0)
    file.seek(start)
    return file.read(READ_LIMIT), start == 0


def _last_of_stream(stream: BinaryIO) -> tuple[bytes, bool]:
    """Return the last bytes of a stream; of an endless one those before the limit."""
    kept = bytearray()
    whole = True
    for _ in range(STREAM_LIMIT // _BLOCK):
        block = stream.read(_BLOCK)
        if not block:
            break
        kept += block
        if len(kept) > READ_LIMIT:
            del kept[:-READ_LIMIT]
            whole = False
    return bytes(kept), whole


def _decoded(data: bytes) -> str:
    """Decode UTF-8, or the UTF-16 that PowerShell writes into files."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8-sig", "replace")
