"""Resolving: which wheels a cell gets, asked of uv for the cell's own Python, glibc and arch.

A resolution is one of three: a lock, a proof that the cell is impossible, or the reason why the
question could not be asked (`unknown`). Many problems pose nearly the same question, so the
resolver asks uv as seldom as it can.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import Problem, Resolution
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve.indexes import Indexes, Place, Trouble
from envmatrix.resolve.pages import File
from envmatrix.resolve.pip_settings import PipSettings, pip_settings, shown
from envmatrix.resolve.programs import StoppedError
from envmatrix.resolve.pylock import read_pylock
from envmatrix.resolve.tags import fits, supported_tags
from envmatrix.resolve.uv import run_uv
from envmatrix.resolve.uv_output import (
    Reading,
    blocked,
    mentioned,
    read,
    refused,
    searched,
    split_log,
)
from envmatrix.store.files import write_log
from envmatrix.store.records import RESOLVE_LOGS, Records
from envmatrix.store.resolutions import keep

_OWN_INDEXES = None
"""Stands for the indexes of the user's settings where an index is asked for."""
_EVERY_PYTHON = "every Python"
# pip looks at all indexes alike. uv by default stops at the first index that has the name.
_ALL_INDEXES = "unsafe-best-match"
_PAUSE_SECONDS = 0.5
_ROUNDS = 3
"""How often uv is asked at most before what it says is believed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What uv gave for a problem.

    `proof` is the judgement of uv's words where it gave no lock. `tried` are the file names of
    all wheels that its search took, and of those that it dropped again. `names` are the
    distributions on which the proof depends. `trouble` is what kept the proof from being believed.
    `alone` is what the user's indexes answered without that of the variant, which is in trouble.
    """

    resolution: Resolution
    proof: Judgement | None = None
    tried: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    reading: Reading | None = None
    trouble: Trouble | None = None
    alone: _Answer | None = None

    @property
    def is_proof(self) -> bool:
        """Whether uv says that there is no solution."""
        return self.proof is not None and self.proof.verdict is Verdict.IMPOSSIBLE


def _say_nothing(_: str) -> None:
    """Tell nobody."""


@dataclass
class Resolver:
    """Asks uv, and remembers which hosts cannot be reached, so that it waits for each once.

    `tell` gets what a user should know, such as that a question is asked again. `of_the_base` are
    the distributions that every base and every environment holds: where one of them is missing,
    that says nothing about a cell.
    """

    records: Records
    settings: PipSettings = field(default_factory=pip_settings)
    tell: Callable[[str], None] = _say_nothing
    of_the_base: frozenset[str] = frozenset()
    stopped: Event = field(default_factory=Event)
    _passed_over: set[Place] = field(default_factory=set, init=False)

    @cached_property
    def indexes(self) -> Indexes:
        """What the indexes answered in this run."""
        return Indexes(self.settings, self.stopped)

    def resolve_all(
        self, problems: Iterable[Problem], jobs: int, done: Callable[[Problem, Resolution], None]
    ) -> dict[str, Resolution]:
        """Resolve each problem once, and return the resolutions by the key of the problem.

        Problems with the same requirements on one architecture form a group and are resolved one
        after another, because the answer to one often settles the next. Different groups run side
        by side. uv waits long for a host that does not answer, so one group of each host goes
        ahead (the scout), and the others of this host wait for it.
        """
        by_question: dict[object, dict[str, Problem]] = {}
        for problem in problems:
            question = (problem.requires, problem.constraints, problem.index, problem.arch)
            by_question.setdefault(question, {})[problem.key] = problem
        groups = [list(group.values()) for group in by_question.values()]
        scouts = _scouts(groups)
        scout_is_back = {host: Event() for host in scouts}

        def resolve(group: Sequence[Problem]) -> dict[str, Resolution]:
            host = _host(group[0].index)
            if not host:
                return self._resolve_group(group, done)
            if group is not scouts[host]:
                scout_is_back[host].wait()
            try:
                if self.stopped.is_set():
                    raise StoppedError
                return self._resolve_group(group, done)
            finally:
                scout_is_back[host].set()

        found: dict[str, Resolution] = {}
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            try:
                for part in pool.map(resolve, _in_order(groups, scouts)):
                    found |= part
            except BaseException:
                # Ctrl-C, or a fault: programs at work are ended, and no other one starts.
                self.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _resolve_group(
        self, problems: Iterable[Problem], done: Callable[[Problem, Resolution], None]
    ) -> dict[str, Resolution]:
        settled: dict[str, Resolution] = {}
        last: dict[str, _Answer] = {}
        found: dict[str, Resolution] = {}
        # The newest glibc comes first, because `_carried` takes answers to older ones only.
        for problem in sorted(problems, key=lambda problem: -problem.uv_glibc):
            resolution = settled.get(_EVERY_PYTHON) or settled.get(problem.python)
            if resolution is None and problem.python in last:
                resolution = _carried(last[problem.python], problem)
            if resolution is None:
                answer = self._resolve(problem)
                resolution = answer.resolution
                last[problem.python] = answer
                if reach := _reach(answer, problem):
                    settled[reach] = resolution
            if resolution.lock:
                self._tell_what_is_passed_over(problem)
            if resolution.lasting:
                keep(self.records, problem, resolution)
            found[problem.key] = resolution
            done(problem, resolution)
        return found

    def _resolve(self, problem: Problem) -> _Answer:
        """Return the answer to a problem.

        uv is asked with the variant's own index. Where this index is in trouble, uv is asked with
        the user's settings alone. A lock that it finds then is as good as any, but "no solution"
        proves nothing then.
        """
        for place in self.indexes.own:
            if trouble := self.indexes.dead(place):
                return _in_trouble(trouble)
        if problem.index is None:
            return self._proven(problem, _OWN_INDEXES)
        first = self.indexes.places(problem.index)[0]
        trouble = self.indexes.dead(first)
        if trouble is None:
            answer = self._proven(problem, problem.index)
            if answer.trouble is None or answer.trouble.place != first:
                return answer
            trouble = answer.trouble
        alone = self._ask(problem, _OWN_INDEXES)
        if alone.resolution.lock:
            return alone
        # The cause names the variant's index by its own address: others of the host share it.
        return replace(_in_trouble(replace(trouble, place=first)), alone=alone)

    def _proven(self, problem: Problem, index: str | None) -> _Answer:
        """Return a lock, or a proof that is confirmed, or why the question has no answer now."""
        answer = self._ask(problem, index)
        witnessed: Judgement | None = None
        for attempt in range(_ROUNDS):
            if answer.resolution.lock:
                return answer
            trouble, believed = self._confirm(problem, index, answer)
            if believed or (trouble is None and witnessed and answer.proof == witnessed):
                return self._believed(problem, index, answer)
            if attempt == _ROUNDS - 1:
                break
            if trouble or not answer.is_proof:
                if attempt >= self.settings.retries or not _is_transient(trouble, answer):
                    break
                self._tell_of_retry(problem, trouble)
                self.stopped.wait(_PAUSE_SECONDS * (attempt + 1))
            witnessed = answer.proof if answer.is_proof and trouble is None else None
            self.indexes.forget(index, answer.names, all_of_them=trouble is None)
            self.indexes.forget_metadata()
            answer = self._ask(problem, index, refresh=True)
        if answer.resolution.lock:
            return answer
        if trouble:
            return replace(answer, resolution=_in_trouble(trouble).resolution, trouble=trouble)
        if not answer.is_proof:
            return answer
        cause = f"uv and {self.indexes.named(index)} contradict each other"
        return replace(answer, resolution=Resolution(None, blocked(cause)))

    def _tell_what_is_passed_over(self, problem: Problem) -> None:
        """Tell which of the user's further indexes refuses: uv locks without it, and says nothing.

        A lock that was found so may hold another release than one that the index would serve.
        """
        for place in self.indexes.own[1:]:
            for name in sorted(problem.roots):
                answer = self.indexes.ask(place, name)
                if isinstance(answer, Trouble) and place not in self._passed_over:
                    self._passed_over.add(place)
                    self.tell(f"locks are made without an index of yours: {answer.cause}")

    def _tell_of_retry(self, problem: Problem, trouble: Trouble | None) -> None:
        why = trouble.cause if trouble else "uv could not finish"
        self.tell(f"{problem.requires[0]} is asked for again: {why}")

    def _believed(self, problem: Problem, index: str | None, answer: _Answer) -> _Answer:
        proof = answer.proof
        assert proof is not None  # noqa: S101  (for the type checker: only proofs are believed)
        told = replace(proof, cause=f"{proof.cause} (according to {self.indexes.named(index)})")
        name = canonicalize_name(answer.reading.name) if answer.reading else ""
        if name in self.of_the_base or problem.roots <= self.of_the_base:
            return replace(answer, resolution=Resolution(None, _about_the_base(told)))
        return replace(answer, resolution=Resolution(None, told, self.settings.digest))

    def _confirm(
        self, problem: Problem, index: str | None, answer: _Answer
    ) -> tuple[Trouble | None, bool]:
        """Return the trouble that keeps a proof from being believed, and whether it is believed.

        Neither means: uv has to say it once more, and trust nothing that it kept.
        """
        if trouble := self.indexes.trouble(index, sorted(answer.names)):
            return trouble, False
        reading = answer.reading
        if not answer.is_proof or reading is None:
            return None, False
        name = canonicalize_name(reading.name)
        if name in problem.roots and _pages_say_so(
            reading, problem, list(self.indexes.files(index, name))
        ):
            return None, True
        for one in sorted(answer.names):
            for file in self.indexes.files(index, one):
                why = self.indexes.unsound(file) if file.filename in answer.tried else ""
                if why:
                    place = self.indexes.places(index)[0]
                    return Trouble(place, why, transient=True), False
        return None, False

    def _ask(self, problem: Problem, index: str | None, *, refresh: bool = False) -> _Answer:
        """Ask uv once."""
        with tempfile.TemporaryDirectory(prefix="envmatrix-") as folder:
            output = Path(folder) / "pylock.toml"
            result = run_uv(
                problem,
                index=index,
                strategy=_ALL_INDEXES,
                settings=self.settings,
                output=output,
                refresh=refresh,
                stopped=self.stopped,
            )
            said, tried = split_log(result.stderr)
            self._log(problem, said)
            if result.returncode == 0:
                return _lock_of(output, problem, tried)
        reading = self._in_our_words(read(said, index))
        names = mentioned(said, searched(result.stderr) | problem.roots)
        named = {canonicalize_name(reading.name)} if reading.name else set()
        return _Answer(
            Resolution(None, reading.judgement),
            proof=reading.judgement,
            tried=tried,
            names=names | named or problem.roots,
            reading=reading,
        )

    def _log(self, problem: Problem, said: str) -> None:
        """Keep what uv said last of a problem, for people to read."""
        asked = f"{' '.join(problem.requires)} for Python {problem.python}, glibc {problem.glibc}, "
        path = self.records.log_path(RESOLVE_LOGS, problem.key)
        write_log(path, f"{asked}{problem.arch}", said)

    def _in_our_words(self, reading: Reading) -> Reading:
        """Name a place of the settings as all messages do: the default index has no address."""
        judgement = reading.judgement
        for place in self.indexes.own:
            if place.host:
                cause = judgement.cause.replace(shown(place.url), place.shown)
                judgement = replace(judgement, cause=cause)
        return replace(reading, judgement=judgement)


def _lock_of(output: Path, problem: Problem, tried: frozenset[str]) -> _Answer:
    """Return the lock that uv wrote. One that cannot be used settles this question alone."""
    try:
        return _Answer(Resolution(read_pylock(output, problem), None), tried=tried)
    except (ToolError, OSError) as error:
        judgement = blocked(error.what if isinstance(error, ToolError) else "uv wrote no lock")
        return _Answer(Resolution(None, judgement), proof=judgement, names=problem.roots)


def _about_the_base(proof: Judgement) -> Judgement:
    """Return what a proof about a distribution that every base holds means for a cell."""
    return Judgement(
        Verdict.UNKNOWN,
        "base",
        "base-package",
        f"what every base holds cannot be locked: {proof.cause}",
        "give pip an index that has it, or change `base` in the matrix; then lock again",
    )


def _is_transient(trouble: Trouble | None, answer: _Answer) -> bool:
    """Return whether the same question may have another answer soon."""
    if trouble:
        return trouble.transient
    return answer.reading is not None and answer.reading.transient


def _in_trouble(trouble: Trouble) -> _Answer:
    judgement = (
        refused(trouble.cause, trouble.place.shown) if trouble.refused else blocked(trouble.cause)
    )
    return _Answer(Resolution(None, judgement), proof=judgement, trouble=trouble)


def _pages_say_so(reading: Reading, problem: Problem, files: Sequence[File]) -> bool:
    """Return whether the pages of a name alone prove what uv said of it.

    Whatever needs more than the pages, such as a range of versions or metadata, is not proven so.
    """
    kind = reading.judgement.kind
    if kind == "no-such-package":
        return not files
    try:
        version = Version(reading.version)
    except InvalidVersion:
        return False
    released = [file for file in files if file.version and _is(file.version, version)]
    if kind == "no-such-version":
        return bool(files) and not released
    if kind in ("no-wheel", "no-wheel-for-python", "no-wheel-for-platform", "glibc-too-old"):
        tags = frozenset(supported_tags(problem.python, f"2.{problem.uv_glibc}", problem.arch))
        return bool(released) and not any(fits(file.filename, tags) for file in released)
    return False


def _is(found: Version, asked: Version) -> bool:
    """Return whether a release is the one that was asked for. A local part counts where asked."""
    return found == asked or (asked.local is None and found.public == asked.public)


def _reach(answer: _Answer, problem: Problem) -> str | None:
    """Return the Pythons for which an answer holds in this group too, or None.

    A release that does not exist, exists for no Python and no glibc. A release that has no wheel
    for a Python, has none for any glibc. Both hold only for the requirements themselves: whether
    a dependency is needed at all can depend on the Python. An index that is in trouble is so for
    the same names again. What the user's indexes lack for one Python, they may have for another.
    """
    judgement = answer.resolution.judgement
    if judgement is None:
        return None
    if answer.alone is not None:
        return _reach(answer.alone, problem)
    if answer.trouble is not None:
        return _EVERY_PYTHON if answer.names <= problem.roots else None
    named = re.match(r"[A-Za-z0-9._-]+", judgement.cause)
    if named is None or canonicalize_name(named[0]) not in problem.roots:
        return None
    reach = {"no-such-version": _EVERY_PYTHON, "no-wheel-for-python": problem.python}
    return reach.get(judgement.kind)


def _carried(answer: _Answer, problem: Problem) -> Resolution | None:
    """Return the answer to a problem from the answer for a newer glibc, or None: ask uv.

    In uv's search the glibc decides one thing: which wheels of a release can be used, and so
    which wheel is the best. An older glibc takes wheels away and leaves the order of the others.
    Where all wheels that the search tried fit the older glibc too, each of them is still the best
    of its release, so the search takes the same steps to the same end. Wheels that it did not
    choose had no influence on it, so losing some of them changes nothing.

    The names of the tried wheels come from uv's log, and uv does not promise its form. The answer
    is not carried where the log does not name every wheel of the lock.
    """
    lock = answer.resolution.lock
    if lock is None or not {wheel.filename for wheel in lock.wheels} <= answer.tried:
        return None
    tags = frozenset(supported_tags(problem.python, f"2.{problem.uv_glibc}", problem.arch))
    if not all(fits(filename, tags) for filename in answer.tried):
        return None
    return Resolution(replace(lock, problem_key=problem.key, target=problem.target), None)


def _scouts(groups: Iterable[Sequence[Problem]]) -> dict[str, Sequence[Problem]]:
    """Return for each host of a variant's index the group that finds out whether it answers."""
    scouts: dict[str, Sequence[Problem]] = {}
    for group in groups:
        if host := _host(group[0].index):
            scouts.setdefault(host, group)
    return scouts


def _in_order(
    groups: Iterable[Sequence[Problem]], scouts: Mapping[str, Sequence[Problem]]
) -> list[Sequence[Problem]]:
    """Return scouts first, then groups that need no such host, then those that wait for a scout.

    No thread then waits for a scout while there is other work.
    """

    def rank(group: Sequence[Problem]) -> int:
        host = _host(group[0].index)
        return 1 if not host else 0 if scouts[host] is group else 2

    return sorted(groups, key=rank)


def _host(index: str | None) -> str | None:
    return urlsplit(index).netloc if index else None
