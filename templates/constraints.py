"""Write what pip and uv must keep in this environment. An image runs it when it is built.

constraints.txt beside this file holds the pins. What a package here asks of another is added where
a pinned package requires that other one, or an argument names it.
"""

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

FOLDER = Path(__file__).parent
SPECIFIER = r"(?:===?|[~!<>]=|[<>]) *[0-9][0-9A-Za-z.*+!]*"
MARKER = r"""[a-z_]+ *(?:[<>=!~]+|in|not in) *["\u0027][^"\u0027@]*["\u0027]"""
REQUIREMENT = re.compile(
    r"([A-Za-z0-9._-]+) *(?:\[[^]]*\])? *"
    rf"\(?((?:{SPECIFIER} *,? *)*)\)?"
    rf"(?: *; *((?:[() ]*{MARKER}[() ]*(?:and|or)?)+))?"
)


def normalized(name: str) -> str:
    """Return a name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


pins = (FOLDER / "constraints.txt").read_text().split()
pinned = {pin.partition("===")[0] for pin in pins}
asked = [
    (normalized(one.metadata["Name"] or ""), normalized(found[1]), found[2], found[3] or "")
    for one in distributions()
    for found in map(REQUIREMENT.fullmatch, one.requires or ())
    if found and "extra" not in (found[3] or "")
]
kept = {*map(normalized, sys.argv[1:]), *(name for by, name, *_ in asked if by in pinned)}
added = {
    name + versions.replace(" ", "") + (f"; {marker.strip()}" if marker else "")
    for _, name, versions, marker in asked
    if versions and name in kept - pinned
}
lines = [*pins, *sorted(added)]
(FOLDER / "constraints.txt").write_text("".join(f"{line}\n" for line in lines))
(FOLDER / "uv.toml").write_text(f"constraint-dependencies = {json.dumps(lines, indent=2)}\n")
