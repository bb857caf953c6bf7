"""Asking which vulnerabilities of wheels are known.

The index that pip's settings name is asked through its JSON API, with pip's certificates, proxy and
credentials. So no name of a package leaves a company that has an index of its own. The database OSV
is asked by the program pip-audit, which is the extra `audit`, where that is chosen.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from envmatrix.model.audits import AskedWheel, Vulnerability
from envmatrix.model.errors import ToolError
from envmatrix.model.text import line
from envmatrix.resolve.fetching import Fetcher, NoAnswerError
from envmatrix.resolve.pip_settings import PipSettings, default_index, is_local, shown
from envmatrix.resolve.programs import TooSlowError, run_program

Service = Literal["index", "osv"]
_LARGEST_ANSWER = 8 * 2**20
_SECONDS = 300.0
_SIMPLE = "/simple"
_SHOWN = 300
_OSV_URL = "PIP_AUDIT_OSV_URL"
"""The variable of pip-audit with the address of an OSV of one's own."""

_Wheel = tuple[str, str]
_Answer = str | tuple[Vulnerability, ...]
"""Why a wheel was not asked about, or its vulnerabilities."""


@dataclass(frozen=True)
class Vulnerabilities:
    """Asks a service about wheels, about each once."""

    settings: PipSettings
    service: Service = "index"
    stopped: threading.Event = field(default_factory=threading.Event)
    _answers: dict[_Wheel, _Answer] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """Which service is asked."""
        if self.service == "osv":
            return "OSV"
        return shown(self.settings.index_url) if self.settings.index_url else "the default index"

    def of(self, wheels: Iterable[_Wheel]) -> list[AskedWheel]:
        """Return what is known of wheels, each given by name and version.

        Raises:
            ToolError: pip-audit is needed, and is not installed.
            StoppedError: the run was stopped.
        """
        given = list(dict.fromkeys(wheels))
        asked = {one: (canonicalize_name(one[0]), _public(one[1])) for one in given}
        new = [one for one in dict.fromkeys(asked.values()) if one not in self._answers]
        self._answers.update(self._osv(new) if self.service == "osv" else self._index(new))
        return [_wheel(one, self._answers[asked[one]]) for one in given]

    # --- the index

    def _index(self, wheels: Sequence[_Wheel]) -> dict[_Wheel, _Answer]:
        url = (self.settings.index_url or default_index()).rstrip("/")
        if self.settings.no_index or not url:
            return dict.fromkeys(wheels, "pip's settings name no index")
        if is_local(url) or not url.endswith(_SIMPLE):
            return dict.fromkeys(wheels, "the index has no JSON API that is known")
        fetcher, root = Fetcher(self.settings, self.stopped), url.removesuffix(_SIMPLE)
        found: dict[_Wheel, _Answer] = {}
        dead = ""
        for name, version in wheels:
            answer: _Answer = dead
            if not dead:
                try:
                    answer = _asked(fetcher, f"{root}/pypi/{name}/{version}/json")
                except NoAnswerError as error:
                    answer = f"the index does not answer: {line(str(error), _SHOWN)}"
                    dead = "" if error.connected else answer
            found[name, version] = answer
        return found

    # --- OSV

    def _osv(self, wheels: Sequence[_Wheel]) -> dict[_Wheel, _Answer]:
        if importlib.util.find_spec("pip_audit") is None:
            raise ToolError(
                "OSV is asked by pip-audit, which is not installed",
                where="the extra `audit` of envmatrix",
                next_step='install it: `python -m pip install "envmatrix[audit]"`, '
                "or ask the index: `envmatrix audit --service index`",
            )
        if not wheels:
            return {}
        with tempfile.TemporaryDirectory(prefix="envmatrix-") as folder:
            listed = Path(folder, "requirements.txt")
            text = "".join(f"{name}=={version}\n" for name, version in wheels)
            listed.write_text(text, encoding="utf-8")
            command = [sys.executable, "-m", "pip_audit", "--requirement", str(listed)]
            command += ["--no-deps", "--disable-pip", "--format", "json", "--aliases", "on"]
            command += ["--desc", "on", "--progress-spinner", "off", "--cache-dir", folder]
            command += ["--vulnerability-service", self.service]
            try:
                done = run_program(
                    command,
                    environment=self._environment(),
                    folder=Path(folder),
                    seconds=_SECONDS,
                    stopped=self.stopped,
                )
            except TooSlowError as error:
                return dict.fromkeys(wheels, f"pip-audit {error}")
        return read_pip_audit(done.stdout, done.stderr, wheels)

    def _environment(self) -> dict[str, str]:
        """Return the environment of pip-audit: pip's settings count, and not its own.

        PIP_AUDIT_OUTPUT, for one, would put the answer elsewhere.
        """
        ours = {"REQUESTS_CA_BUNDLE": self.settings.cert, "HTTPS_PROXY": self.settings.proxy}
        kept = {
            name: text
            for name, text in os.environ.items()
            if name == _OSV_URL or not name.startswith("PIP_AUDIT_")
        }
        return kept | {name: text for name, text in ours.items() if text}


def read_pip_audit(out: str, err: str, wheels: Sequence[_Wheel]) -> dict[_Wheel, _Answer]:
    """Return what pip-audit told of each wheel. What it skipped, or does not tell, was not asked.

    It says "No known vulnerabilities" and ends with 0 also where it could ask about nothing.
    """
    try:
        told = json.loads(out)["dependencies"]
        by_name = {canonicalize_name(one["name"]): one for one in told}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        said = [text for text in err.splitlines() if text.strip()][-1:] or ["it says nothing"]
        return dict.fromkeys(wheels, f"pip-audit failed: {line(said[0], _SHOWN)}")
    found: dict[_Wheel, _Answer] = {}
    for name, version in wheels:
        one = by_name.get(canonicalize_name(name), {})
        if "skip_reason" in one:
            found[name, version] = f"pip-audit: {line(str(one['skip_reason']), _SHOWN)}"
        elif one.get("version") != version:
            found[name, version] = "pip-audit tells nothing of it"
        else:
            found[name, version] = _read(one.get("vulns"), "fix_versions", "description")
    return found


def _asked(fetcher: Fetcher, url: str) -> _Answer:
    reply = fetcher.get(url, headers={"Accept": "application/json"}, at_most=_LARGEST_ANSWER)
    if reply.status == HTTPStatus.NOT_FOUND:
        return "the index has no JSON API, or does not know it (404)"
    if reply.status != HTTPStatus.OK:
        return f"the index answers {reply.status}"
    try:
        fields = json.loads(reply.body)
        return _read(fields["vulnerabilities"], "fixed_in", "summary")
    except (ValueError, KeyError, TypeError, RecursionError):
        return "the index tells no vulnerabilities in its JSON API"


def _read(found: object, fixed: str, summary: str) -> _Answer:
    if not isinstance(found, list):
        return "the answer has no list of vulnerabilities"
    try:
        return tuple(_vulnerability(one, fixed, summary) for one in found)
    except (ValidationError, KeyError, TypeError, AttributeError, ValueError):
        return "the answer has a vulnerability in an unknown form"


def _vulnerability(one: Mapping[str, Any], fixed: str, summary: str) -> Vulnerability:
    return Vulnerability(
        id=one["id"],
        aliases=tuple(one.get("aliases") or ()),
        fixed_in=tuple(one.get(fixed) or ()),
        summary=line(str(one.get(summary) or one.get("details") or ""), _SHOWN),
        withdrawn=bool(one.get("withdrawn")),
    )


def _wheel(given: _Wheel, answer: _Answer) -> AskedWheel:
    name, version = given
    if isinstance(answer, str):
        return AskedWheel(name=name, version=version, not_asked=answer)
    return AskedWheel(name=name, version=version, vulnerabilities=answer)


def _public(version: str) -> str:
    """Return a version without its local part, such as `+cpu`, which only builds have."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version
