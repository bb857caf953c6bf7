"""Reading what uv says: why it gave no lock, and which wheels its search tried.

Only uv's own proof ("No solution found") can make a cell impossible, and the resolver confirms it
before it believes it. An index that uv cannot reach proves nothing, nor does a damaged file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from envmatrix.model.locks import MACHINES
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve.pip_settings import shown

THE_INDEX = "the package index"
"""The name in our messages of the user's own indexes, whose addresses can hold passwords."""

_PROOF = "No solution found"
# Hints that uv adds where an index did not answer, or was not asked. The proof is none then.
_NOT_ASKED = re.compile(
    r"returned a \d+ |could not be queried|the network was disabled|index lookups were disabled"
)
# What uv says of a file that it could not read. The index gave something else in its place.
_DAMAGED = re.compile(
    r"(?P<what>[^\s<>=]+(?:==\S+)?) ha(?:s|ve) (?:an )?"
    r"(?:invalid|inconsistent|unavailable|unknown) (?:metadata|package format)|"
    r"structure of \S+ \(\S+\) was invalid|could not be parsed|Failed to read from zip file"
)
# What may go well at a second try: a connection that failed, or an answer that was cut.
_TRANSIENT = re.compile(
    r"Failed to (?:fetch|download)|error sending request|Request failed|unexpected (?:JSON|HTML)|"
    r"error decoding response|connection"
)
_FETCHED = re.compile(
    r"(?:Failed to fetch: |Failed to download: |unexpected (?:JSON|HTML) from )"
    r"`?(?P<url>https?://[^\s`]+)"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_MISSING_TAG = re.compile(
    r"(\S+?)==(\S+) has no wheels with a matching (Python ABI|Python implementation|platform) tag"
    r"(?: \(e\.g\., `manylinux_\d+_\d+_(?P<machine>\w+)`\))?"
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
        re.compile(r"all versions of (?P<name>\S+)(?P<version>) have no usable wheels"),
        "{name} comes as source only",
    ),
    (
        "no-wheel",
        re.compile(r"(?P<name>[^\s=<>]+)(?:==)?(?P<version>\S*) ha(?:s|ve) no usable wheels"),
        "{name} {version} comes as source only",
    ),
    (
        "no-wheel",
        re.compile(
            r"all versions of (?P<name>\S+)(?P<version>) have no wheels with a matching "
            r"(?P<tag>Python ABI|Python implementation|platform) tag"
        ),
        "no version of {name} has a wheel with a matching {tag} tag",
    ),
    (
        "no-wheel",
        re.compile(
            r"(?P<name>[^\s=<>]+)(?P<version>[<>]\S+) have no wheels with a matching "
            r"(?P<tag>Python ABI|Python implementation|platform) tag"
        ),
        "no version of {name} {version} has a wheel with a matching {tag} tag",
    ),
    (
        "no-wheel-for-python",
        re.compile(
            r"(?P<name>[^\s=]+)==(?P<version>\S+) (?:depends on|requires) Python ?(?P<python>\S+)"
        ),
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
# Addresses, also those without a scheme that begin with a user or a token, and paths.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+|\S+@\S+|(?<!\S)[`'\"(]?/\S+/\S*")
_LOG_LINE = re.compile(r"^(?:DEBUG| INFO| WARN|ERROR) .*\n?", re.MULTILINE)
_SEARCHED = re.compile(r"^DEBUG Searching for a compatible version of (\S+) ", re.MULTILINE)
_TRIED = re.compile(r"^DEBUG Selecting: .* \((.+)\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What uv's words mean: a judgement, and the distribution at fault where there is one."""

    judgement: Judgement
    name: str = ""
    version: str = ""
    transient: bool = False


def split_log(stderr: str) -> tuple[str, frozenset[str]]:
    """Return what uv says to the user, and the file names of all wheels that its search tried.

    A wheel that the search took and dropped again is among them.
    """
    return _LOG_LINE.sub("", stderr), frozenset(_TRIED.findall(stderr))


def searched(stderr: str) -> frozenset[str]:
    """Return the names of the distributions that uv's search looked for."""
    found = _SEARCHED.findall(stderr)
    return frozenset(canonicalize_name(name.partition("[")[0]) for name in found)


def mentioned(said: str, names: frozenset[str]) -> frozenset[str]:
    """Return those of the names that uv's words mention."""
    return names & {canonicalize_name(word) for word in _NAME.findall(said)}


def classify(said: str, index: str | None) -> Judgement:
    """Judge what uv said when it gave no lock. `index` was asked besides the user's own.

    Where one distribution is at fault, the cause begins with its name.
    """
    return read(said, index).judgement


def read(said: str, index: str | None) -> Reading:
    """Judge what uv said when it gave no lock, and name the distribution at fault."""
    if _PROOF not in said or _NOT_ASKED.search(said):
        return _no_proof(said, index)
    line = " ".join(line.strip() for line in said.splitlines())
    if damaged := _DAMAGED.search(line):
        what = (damaged["what"] or "a file").replace("==", " ").strip("`")
        why = without_addresses(line.partition("hint: ")[2])[:200]
        judgement = blocked(f"{what} cannot be read as an index gives it: {why}")
        return Reading(judgement, transient=True)
    if "exclude-newer" in line:
        return Reading(
            Judgement(
                verdict=Verdict.UNKNOWN,
                stage="lock",
                kind="filtered-by-date",
                cause=_sentence(line),
                remedy="the index gives no upload times, or as_of in the matrix is too early",
            )
        )
    return _proof(line)


def _no_proof(said: str, index: str | None) -> Reading:
    if fetched := _FETCHED.search(said):
        return _not_fetched(fetched["url"], said, index)
    place = index if index and index in said else THE_INDEX
    unreached = bool(_TRANSIENT.search(said) or _PROOF in said)
    what = f"{place} cannot be reached" if unreached else "uv found no answer"
    return Reading(blocked(f"{what}: {last_cause(said)}"), transient=unreached)


def _proof(line: str) -> Reading:
    if match := _MISSING_TAG.search(line):
        return Reading(_missing_tag(match, line), match[1], match[2])
    for kind, pattern, cause in _PROOFS:
        if match := pattern.search(line):
            found = match.groupdict()
            judgement = _impossible(kind, cause.format(**found).rstrip())
            return Reading(judgement, found["name"], found.get("version") or "")
    return Reading(_impossible("conflict", _sentence(line)))


def _not_fetched(url: str, said: str, index: str | None) -> Reading:
    """Judge that uv could not fetch a page or a file, and name the host that did not give it."""
    end = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    is_page = url.endswith("/")
    place = index if index and index in url else shown(url)
    what = "" if is_page else f" for {end.removesuffix('.metadata')}" if ".whl" in end else ""
    cause = f"{place} cannot be reached{what}: {last_cause(said)}"
    refusal = re.search(r"\((401|403|407) ", said)
    judgement = refused(cause, place) if refusal else blocked(cause)
    return Reading(judgement, canonicalize_name(end) if is_page else "", transient=not refusal)


def blocked(cause: str) -> Judgement:
    """Return the judgement that the question could not be asked."""
    return Judgement(
        verdict=Verdict.UNKNOWN,
        stage="lock",
        kind="blocked",
        cause=cause,
        remedy="lock again from where the index can be reached, or give pip a mirror of it",
    )


def refused(cause: str, place: str) -> Judgement:
    """Return the judgement that an index wants credentials which it did not get."""
    return Judgement(
        verdict=Verdict.UNKNOWN,
        stage="lock",
        kind="credentials",
        cause=cause,
        remedy=f"put a user and a password or a token for {place} into ~/.netrc or into pip's "
        "index-url, then lock again",
    )


def last_cause(said: str) -> str:
    """Return the last of the causes that uv lists, without addresses: these can hold passwords."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "uv said nothing"
    return without_addresses(last.removeprefix("cause: ").removeprefix("error: "))


def without_addresses(text: str) -> str:
    """Return a text with every address and path replaced: these can hold passwords and tokens."""
    return _ADDRESS.sub("<address>", text).replace(" for url (<address>", "")


def tells_of_no_connection(said: str) -> bool:
    """Return whether uv got no connection to a host at all, so that no index on it can answer."""
    return "client error (Connect)" in said


def _missing_tag(match: re.Match[str], said: str) -> Judgement:
    name, version, tag = match.group(1, 2, 3)
    existing = _TAGS_THAT_EXIST.search(said)
    tags = re.findall(r"`([^`]+)`", existing[1]) if existing else []
    if tag != "platform":
        return _impossible(
            "no-wheel-for-python", f"{name} {version} has wheels for {', '.join(tags)} only"
        )
    machines = match["machine"] or tuple(MACHINES.values())
    ours = [name for name in tags if name.endswith(machines) and "linux" in name]
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
