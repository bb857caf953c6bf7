"""Acts at a write of a program under test. Python imports this module by itself, from PYTHONPATH.

Every file that must not be lost is written beside its place and then renamed. `AT_A_WRITE` holds
JSON: `root`, the folder whose files count; `log`, the file that gets the path of each write;
`path`, the pattern of the write to act at; and `do`, a shell command, or nothing. Without a command
SIGKILL ends the program just before the rename, so that the new file lies beside the old one. A
command runs just after it.
"""

import fnmatch
import json
import os
import signal
import subprocess
from pathlib import Path

_asked = json.loads(os.environ.get("AT_A_WRITE", "{}"))
_replace = os.replace


def _acting(source: str, target: str, **more: int | None) -> None:
    path = os.path.relpath(os.fsdecode(target), _asked["root"])
    if not path.startswith(".."):
        with Path(_asked["log"]).open("a", encoding="utf-8") as log:
            log.write(f"{path}\n")
        if _asked.get("path") and fnmatch.fnmatch(path, _asked["path"]):
            if not _asked.get("do"):
                os.kill(os.getpid(), signal.SIGKILL)
            _replace(source, target, **more)
            command, _asked["do"], _asked["path"] = _asked["do"], "", ""
            subprocess.run(["sh", "-c", command], check=True)
            return
    _replace(source, target, **more)


if _asked:
    os.replace = _acting  # type: ignore[assignment]
