"""The traceback of a defect of envmatrix: kept in a file, for whoever reports it."""

from __future__ import annotations

import os
import tempfile
import traceback

from envmatrix.model.text import inert


def traceback_of(error: Exception) -> str:
    """Return the traceback of an error, without credentials."""
    return inert("".join(traceback.format_exception(error)))


def keep_traceback(error: Exception) -> str:
    """Write a traceback to a new temporary file; return its path, or an empty text."""
    try:
        number, path = tempfile.mkstemp(prefix="envmatrix-defect-", suffix=".log")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(traceback_of(error))
    except OSError:
        return ""
    return path
