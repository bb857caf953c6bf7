# /// probe
# name = "stack-modules"
# framework = "*"
# stack = "*"
# proves = "Every distribution of the stack imports, and no library of it lacks a symbol."
# required = true
# timeout = 300
# ///
"""Import what each distribution holds that the stack requires.

The names to import come from the distribution itself: its packages that lie in no other package.
Where one of them, or a folder of packages, has the name of the distribution, it alone is imported:
others are often tests, or helpers for a tool that is not there.

Some packages catch the failure of a library of theirs and only warn. A symbol that is missing there
means that the library was built for another build of the framework, so such a warning is a failure.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import time
import warnings
from importlib import metadata
from pathlib import PurePosixPath

MODULES_AT_MOST = 5
"""Modules of a distribution without any package that are imported, such as generated messages."""
NOT_THE_LIBRARY = {"benchmark", "benchmarks", "doc", "docs", "example", "examples", "test", "tests"}
UNDEFINED = "undefined symbol"


def report(**found: object) -> None:
    """Print what was found, as the last line of the output."""
    nonce = os.environ["ENVMATRIX_NONCE"]
    print(json.dumps({"probe": "stack-modules", "nonce": nonce, **found}))


def plain(name: str) -> str:
    """Return a name without what tells the name of a distribution from that of its module."""
    return re.sub(r"[-_.]", "", name).lower()


def modules_of(distribution: metadata.Distribution) -> list[str]:
    """Return the modules to import, as the files of a distribution name them."""
    packages, modules = set(), set()
    for file in distribution.files or ():
        path = PurePosixPath(str(file))
        name = path.name.split(".")[0]
        parts = path.parts[:-1] if name == "__init__" else (*path.parts[:-1], name)
        if path.suffix not in (".py", ".so") or not all(part.isidentifier() for part in parts):
            continue
        (packages if name == "__init__" else modules).add(".".join(parts))
    outermost = {name for name in packages if not inside(name, packages)}
    single = {name for name in modules if "." not in name}
    named = outermost | single
    folders = {name.partition(".")[0] for name in packages}
    own = {name for name in named | folders if plain(name) == plain(distribution.metadata["Name"])}
    public = {
        name for name in named if name[0] != "_" and NOT_THE_LIBRARY.isdisjoint(name.split("."))
    }
    return sorted(own or public) or sorted(modules)[:MODULES_AT_MOST]


def inside(name: str, packages: set[str]) -> bool:
    """Say whether a package lies in another one."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in packages for count in range(1, len(parts)))


def imported(name: str) -> None:
    """Import a module; a library that lacks a symbol is a failure, also where it only warns."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        importlib.import_module(name)
    for warning in told:
        if UNDEFINED in str(warning.message):
            raise ImportError(str(warning.message))


def main() -> None:
    """Run the probe."""
    started = time.monotonic()
    found = {}
    for name in os.environ["ENVMATRIX_STACK"].split():
        modules = modules_of(metadata.distribution(name))
        assert modules, f"the distribution {name} holds no module"
        for module in modules:
            imported(module)
        found[name] = modules
    report(observed={"imported": found, "seconds": round(time.monotonic() - started, 3)})


if __name__ == "__main__":
    main()
