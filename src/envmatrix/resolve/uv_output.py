"""Reading what uv says: why it gave no lock, and which wheels its search tried.

Only uv's own proof ("No solution found") makes a cell impossible. An index that uv cannot reach
proves nothing.
"""

from __future__ import annotations

import re

from envmatrix.model.locks import MACHINES
from envmatrix.model.verdicts import Judgement, Verdict

THE_INDEX = "the package index"
"""The name in our messages of the user's own indexes, whose addresses can hold passwords."""

_PROOF = "No solution found"
# Hints that uv adds where an index did not answer, or was not asked. The proof is none then.
_NOT_ASKED = re.compile(
    r"returned a \d+ |could not be queried|the network was disabled|index lookups were disabled"
)
_MISSING_TAG = re.compile(
    r"(\S+?)==(\S+) has no wheels with a matching (Python ABI|Python implementation|platform) tag"
)
_TAGS_THAT_EXIST = re.compile(r"following (?:Python \w+ tags?|platforms?): (.*)")
# Proofs in the order in which they are looked for: class, what uv writes, the cause in our words.
_PROOFS = (
    (
        "no-such-version",
        re.compile(r"there (?:is|are) no versions? of (?P<name>[^\s=<>]+)(?:==)?(?P<version>\S*)"),
        "{name} has no release {version}",
    ),
    (
        "no-such-package",
        re.compile(r"(?P<name>\S+) was not found in the package registry"),
        "{name} is not in the package index",
    ),
    (
        "no-wheel",
        re.compile(r"(?P<name>[^\s=<>]+)(?:==)?(?P<version>\S*) has no usable wheels"),
        "{name} {version} comes as source only",
    ),
    (
        "no-wheel-for-python",
        re.compile(r"(?P<name>[^\s=]+)==(?P<version>\S+) depends on Python(?P<python>\S+)"),
        "{name} {version} needs Python {python}",
    ),
)
_REMEDIES = {
    "no-wheel-for-python": "take one of the Pythons it has wheels for",
    "glibc-too-old": "take an OS with a newer C library, or an older release",
    "no-such-version": "take a release that exists",
    "no-such-package": "correct the name in the matrix",
    "no-wheel": "take a release that comes as a wheel",
    "conflict": "loosen one of the pins that contradict each other",
}
_ADDRESS = re.compile(r"(?:https?|file)://\S+")
_LOG_LINE = re.compile(r"^(?:DEBUG| INFO| WARN|ERROR) .*\n?", re.MULTILINE)
_TRIED = re.compile(r"^DEBUG Selecting: .* \((.+)\)$", re.MULTILINE)


def split_log(stderr: str) -> tuple[str, frozenset[str]]:
    """Return what uv says to the user, and the file names of all wheels that its search tried.

    A wheel that the search took and dropped again is among them.
    """
    return _LOG_LINE.sub("", stderr), frozenset(_TRIED.findall(stderr))


def classify(said: str, index: str | None) -> Judgement:
    """Judge what uv said when it gave no lock. `index` was asked besides the user's own.

    Where one distribution is at fault, the cause begins with its name.
    """
    if _PROOF not in said or _NOT_ASKED.search(said):
        place = index if index and index in said else THE_INDEX
        return blocked(f"{place} cannot be reached: {last_cause(said)}")
    line = " ".join(line.strip() for line in said.splitlines())
    if "exclude-newer" in line:
        return Judgement(
            verdict=Verdict.UNKNOWN,
            stage="lock",
            kind="filtered-by-date",
            cause=_sentence(line),
            remedy="the index gives no upload times, or as_of in the matrix is too early",
        )
    if match := _MISSING_TAG.search(line):
        return _missing_tag(match, line)
    for kind, pattern, cause in _PROOFS:
        if match := pattern.search(line):
            return _impossible(kind, cause.format(**match.groupdict()))
    return _impossible("conflict", _sentence(line))


def blocked(cause: str) -> Judgement:
    """Return the judgement that the question could not be asked."""
    return Judgement(
        verdict=Verdict.UNKNOWN,
        stage="lock",
        kind="blocked",
        cause=cause,
        remedy="lock again from where the index can be reached, or give pip a mirror of it",
    )


def last_cause(said: str) -> str:
    """Return the last of the causes that uv lists, without addresses: these can hold passwords."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "uv said nothing"
    return _ADDRESS.sub("<address>", last.removeprefix("cause: ").removeprefix("error: "))


def tells_of_no_connection(said: str) -> bool:
    """Return whether uv got no connection to a host at all, so that no index on it can answer."""
    return "client error (Connect)" in said


def _missing_tag(match: re.Match[str], said: str) -> Judgement:
    name, version, tag = match.groups()
    existing = _TAGS_THAT_EXIST.search(said)
    tags = re.findall(r"`([^`]+)`", existing[1]) if existing else []
    if tag != "platform":
        return _impossible(
            "no-wheel-for-python", f"{name} {version} has wheels for {', '.join(tags)} only"
        )
    ours = [name for name in tags if name.endswith(tuple(MACHINES.values())) and "linux" in name]
    kind = "glibc-too-old" if ours else "no-wheel-for-platform"
    return _impossible(kind, f"{name} {version} has wheels for {', '.join(ours or tags)} only")


def _impossible(kind: str, cause: str) -> Judgement:
    return Judgement(
        verdict=Verdict.IMPOSSIBLE,
        stage="lock",
        kind=kind,
        cause=cause,
        remedy=_REMEDIES.get(kind, ""),
    )


def _sentence(said: str) -> str:
    _, _, reason = said.partition("cause: ")
    return _ADDRESS.sub(THE_INDEX, (reason or said).partition(" hint: ")[0]).strip()[:400]
