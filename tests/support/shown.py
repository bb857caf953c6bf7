"""What a command showed, and what must be true of every command."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from small_project import Folder


class Shown(NamedTuple):
    """The exit code of a command, and the text on its stdout and stderr."""

    code: int
    out: str
    err: str

    def document(self, code: int = 0) -> Any:
        """Return the JSON on stdout, which must be one document on one line."""
        assert code == self.code, self.err
        (line,) = self.out.splitlines()
        return json.loads(line)

    def is_refusal(self, code: int, *told: str) -> bool:
        """Assert that stdout is empty and that stderr tells what is wrong and what to do next."""
        assert (code, "") == (self.code, self.out), self
        assert self.err.startswith("error: ")
        for text in ("  next:  ", *told):
            assert text in self.err
        return True


class Commands:
    """Runs commands in this process, which stands in the folder of a project."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, project: Folder, *arguments: str) -> Shown:
        """Run a command; return what it showed."""
        self._capsys.readouterr()
        code = project.main(*arguments)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return Shown(code, out, err)
