"""Checks of the package indexes that the user's pip settings and the chosen cells name.

Each index gets one small request. The clock of this machine is compared with theirs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envmatrix.resolve.fetching import Fetcher, NoAnswerError, Reply
from envmatrix.resolve.pages import ACCEPT
from envmatrix.resolve.pip_settings import (
    DEFAULT_INDEX,
    PipSettings,
    default_index,
    is_local,
    local_path,
    pip_settings,
    shown,
)
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.doctor import Finding, State, Work, fine, unknown, warning
from envmatrix.store.layout import Layout

ANSWER_SECONDS = 5.0
"""How long an index has for each part of its answer."""
CLOCK_SECONDS = 300.0
"""How far two clocks may be apart. With more, certificates and signatures begin to fail."""
AT_MOST = 8 * 2**20
_ASKED = "pip"
"""A name that every whole index has a page of, and a small index may lack."""
_OK, _UNKNOWN_NAME = 200, (404, 410)
_WHO = (401, 403)
_PROXY = 407


@dataclass(frozen=True, slots=True)
class _Index:
    """An index, how sentences name it, and the name whose page it is asked for.

    One that `may_lack` is not needed: wheels are first sought in the indexes of the user.
    """

    url: str
    title: str
    name: str = _ASKED
    may_lack: bool = False


def indexes(layout: Layout, work: Work | None) -> Iterator[Finding]:
    """Check each index. One that does not answer is missing where something is to be downloaded."""
    needed = work is not None and _has_to_download(layout, work)
    settings = pip_settings()
    for place in settings.find_links:
        if is_local(place) and not local_path(place).exists():
            yield warning(
                "index",
                "a folder of find-links in pip's settings does not exist",
                "python -m pip config list",
            )
    found = [one for one in _indexes(settings, work) if one.url]
    if not found:
        yield unknown("index", "pip's settings name none (no-index, or no pip)")
        return
    impatient = replace(settings, timeout=min(settings.timeout, ANSWER_SECONDS), retries=0)
    # A pool would wait for its threads at the end of the program, and a server may be slow.
    answers: queue.SimpleQueue[tuple[Finding, float | None]] = queue.SimpleQueue()
    for one in found:
        threading.Thread(
            target=lambda one=one: answers.put(_ask(impatient, one, needed=needed)), daemon=True
        ).start()
    told: list[Finding] = []
    for _ in found:
        finding, apart = answers.get()
        yield finding
        if apart is not None:
            told.append(_clock(apart))
    # One index that tells the right time is enough: another may have a wrong clock of its own.
    yield next(
        (one for one in told if one.state is State.OK),
        told[0] if told else unknown("clock", "no index told the time"),
    )


def _has_to_download(layout: Layout, work: Work) -> bool:
    """Return whether a lock, or a wheel of a lock, of the chosen cells is not here yet."""
    wheelhouse = Wheelhouse(layout.wheelhouse, lambda _: None)
    return bool(work.unlocked) or any(wheelhouse.missing(one.lock) for one in work.locked)


def _indexes(settings: PipSettings, work: Work | None) -> Iterator[_Index]:
    if not settings.no_index:
        if settings.index_url:
            yield _Index(settings.index_url, "the index of pip's settings")
        else:
            yield _Index(default_index(), DEFAULT_INDEX)
        for url in settings.extra_index_urls:
            yield _Index(url, "an extra index of pip's settings")
    own: Mapping[str, str] = {
        one.cell.index: _name_of(one.cell.requires)
        for one in (work.locked if work else ())
        if one.cell.index
    }
    for url, name in own.items():
        yield _Index(url, "an index of the matrix", name, may_lack=True)


def _name_of(requires: tuple[str, ...]) -> str:
    try:
        return canonicalize_name(Requirement(requires[0]).name)
    except (IndexError, InvalidRequirement):
        return _ASKED


def _ask(settings: PipSettings, index: _Index, *, needed: bool) -> tuple[Finding, float | None]:
    """Return what an index answers, and how many seconds this clock is before its own."""
    needed = needed and not index.may_lack
    place = f"{index.title} ({shown(index.url)})"
    if is_local(index.url):
        if local_path(index.url).exists():
            return fine("index", f"{place} is there"), None
        return _absent(f"{place} does not exist", "python -m pip config list", needed=needed), None
    started = time.monotonic()
    url = f"{index.url.rstrip('/')}/{index.name}/"
    try:
        reply = Fetcher(settings).get(url, headers={"Accept": ACCEPT}, at_most=AT_MOST)
    except NoAnswerError as error:
        return _absent(f"{place}: {error}", _remedy(str(error)), needed=needed), None
    took = f"{(time.monotonic() - started) * 1000:.0f} ms"
    apart = _apart(reply)
    if reply.status == _OK or (reply.status in _UNKNOWN_NAME and index.name == _ASKED):
        return fine("index", f"{place} answers ({reply.status}, {took})"), apart
    said = f"{place} answers {reply.status}"
    if reply.status in _WHO:
        remedy = "see the user and the password: `python -m pip config list`, and ~/.netrc"
    elif reply.status == _PROXY:
        remedy = "give the proxy its user: `python -m pip config set global.proxy URL`"
    else:
        remedy = "`python -m pip config list` shows the address; try again later"
    return _absent(said, remedy, needed=needed), apart


def _absent(said: str, remedy: str, *, needed: bool) -> Finding:
    return Finding("index", State.MISSING if needed else State.WARNING, said, remedy)


def _remedy(why: str) -> str:
    if why.startswith("TLS"):
        return "name the authorities of your network: `python -m pip config set global.cert FILE`"
    if "407" in why:
        return "give the proxy its user: `python -m pip config set global.proxy URL`"
    return (
        "check the network and the proxy, or name an index that can be reached: "
        "`python -m pip config set global.index-url URL`"
    )


# --- the clock -------------------------------------------------------------------------------


def _apart(reply: Reply) -> float | None:
    """Return the seconds of this clock minus those of a server; None where it does not tell.

    An answer from a cache is older by its Age.
    """
    age = reply.headers.get("age", "")
    try:
        date = parsedate_to_datetime(reply.headers.get("date", ""))
        return time.time() - date.timestamp() - (int(age) if age.isdigit() else 0)
    except (TypeError, ValueError, OverflowError):
        return None


def _clock(apart: float) -> Finding:
    if abs(apart) <= CLOCK_SECONDS:
        return fine("clock", "it agrees with that of an index")
    side = "ahead of" if apart > 0 else "behind"
    return warning(
        "clock",
        f"it is {abs(apart) / 60:.0f} minutes {side} that of an index: certificates and "
        "signatures may be refused",
        "sudo timedatectl set-ntp true",
    )
