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
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from envmatrix.model.locks import Problem, Resolution
from envmatrix.model.verdicts import Judgement
from envmatrix.resolve.pip_settings import PipSettings, pip_settings
from envmatrix.resolve.pylock import read_pylock
from envmatrix.resolve.tags import fits, supported_tags
from envmatrix.resolve.uv import run_uv
from envmatrix.resolve.uv_output import (
    THE_INDEX,
    blocked,
    classify,
    last_cause,
    split_log,
    tells_of_no_connection,
)
from envmatrix.store.records import Records
from envmatrix.store.resolutions import keep

_OWN_INDEXES = None
"""Stands for the indexes of the user's settings where an index is asked for."""
_EVERY_PYTHON = "every Python"
# pip looks at all indexes alike. uv by default stops at the first index that has the name.
_ALL_INDEXES = "unsafe-best-match"
_FIRST_INDEX = "first-index"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What uv gave for a problem.

    `proof` is the judgement of uv's words where it gave no lock. `tried` are the file names of
    all wheels that its search took, and of those that it dropped again.
    """

    resolution: Resolution
    proof: Judgement | None = None
    tried: frozenset[str] = frozenset()


@dataclass
class Resolver:
    """Asks uv, and remembers which indexes cannot be reached, so that it waits for each once.

    `unreachable` gives the reason for an index by its address. Where there is no connection to a
    host at all, it gives the reason by the name of the host.
    """

    records: Records
    settings: PipSettings = field(default_factory=pip_settings)
    unreachable: dict[str | None, str] = field(default_factory=dict)

    def resolve_all(
        self, problems: Iterable[Problem], jobs: int, done: Callable[[Problem, Resolution], None]
    ) -> dict[str, Resolution]:
        """Resolve each problem once, and return the resolutions by the key of the problem.

        Problems with the same requirements form a group and are resolved one after another,
        because the answer to one often settles the next. Different groups run side by side. uv
        waits long for a host that does not answer, so one group of each host goes ahead (the
        scout), and the others of this host wait for it.
        """
        by_question: dict[object, dict[str, Problem]] = {}
        for problem in problems:
            question = (problem.requires, problem.constraints, problem.index)
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
                return self._resolve_group(group, done)
            finally:
                scout_is_back[host].set()

        found: dict[str, Resolution] = {}
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            for part in pool.map(resolve, _in_order(groups, scouts)):
                found |= part
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
                if reach := _reach(answer.proof, problem):
                    settled[reach] = resolution
            if resolution.lasting:
                keep(self.records, problem, resolution)
            found[problem.key] = resolution
            done(problem, resolution)
        return found

    def _resolve(self, problem: Problem) -> _Answer:
        """Return the answer to a problem.

        uv is asked with the variant's own index. Where this index cannot be reached, uv is asked
        with the user's settings alone. A lock that it finds then is as good as any, but "no
        solution" proves nothing then.
        """
        if cause := self._out_of_reach(_OWN_INDEXES):
            return _Answer(Resolution(None, blocked(cause)))
        if not self._out_of_reach(problem.index):
            answer = self._ask(problem, problem.index)
            if problem.index and answer.proof and answer.resolution.lasting:
                # uv silently passes over an index that refuses (401, 403) where another index has
                # the name. With this strategy the variant's index comes first and has to answer.
                self._ask(problem, problem.index, strategy=_FIRST_INDEX)
            if not self._out_of_reach(problem.index):
                return answer
        cause = self._out_of_reach(problem.index)
        answer = self._ask(problem, _OWN_INDEXES)
        if answer.resolution.lock:
            return answer
        return replace(answer, resolution=Resolution(None, blocked(cause)))

    def _out_of_reach(self, index: str | None) -> str:
        """Return why an index cannot be reached, or nothing where no reason is known."""
        reason = self.unreachable.get(index) or self.unreachable.get(_host(index))
        return f"{index or THE_INDEX} cannot be reached: {reason}" if reason else ""

    def _ask(self, problem: Problem, index: str | None, strategy: str = _ALL_INDEXES) -> _Answer:
        with tempfile.TemporaryDirectory(prefix="envmatrix-") as folder:
            output = Path(folder) / "pylock.toml"
            result = run_uv(
                problem, index=index, strategy=strategy, settings=self.settings, output=output
            )
            said, tried = split_log(result.stderr)
            if result.returncode == 0:
                return _Answer(Resolution(read_pylock(output, problem), None), tried=tried)
        judgement = classify(said, index)
        if judgement.kind == "blocked":
            failed = index if index and index in said else _OWN_INDEXES
            place = _host(failed) if tells_of_no_connection(said) else failed
            self.unreachable[place] = last_cause(said)
        return _Answer(Resolution(None, judgement), proof=judgement)


def _reach(proof: Judgement | None, problem: Problem) -> str | None:
    """Return the Pythons for which uv's words hold in this group too, or None.

    A release that does not exist, exists for no Python and no glibc. A release that has no wheel
    for a Python, has none for any glibc. Both hold only for the requirements themselves: whether
    a dependency is needed at all can depend on the Python.
    """
    if proof is None:
        return None
    roots = {re.split(r"[\[=<>!~]", requirement)[0].lower() for requirement in problem.requires}
    named = re.match(r"[A-Za-z0-9._-]+", proof.cause)
    if proof.kind == "blocked":
        return _EVERY_PYTHON
    if named is None or named[0].lower() not in roots:
        return None
    return {"no-such-version": _EVERY_PYTHON, "no-wheel-for-python": problem.python}.get(proof.kind)


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
