"""What an index tells of vulnerabilities: its JSON API on loopback, and OSV beside it.

    with FakeAdvisories() as advisories:
        advisories.tell("jinja2", "3.1.6", [{"id": "X-1", "fixed_in": ["3.1.7"]}])

A release that nobody told of is unknown to the index (404). OSV knows all, and tells the same.
"""

from __future__ import annotations

import re
from typing import Any

from fake_http import Answer, HttpServer, OnLoopback, Request, json_answer

_RELEASE = re.compile(r"/pypi/([^/]+)/([^/]+)/json")


class FakeAdvisories(OnLoopback):
    """An index that answers inside a `with` block. `answer` is what it says instead, if any."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Answer | None = None
        self._told: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._server = HttpServer(self._answer)

    @property
    def url(self) -> str:
        """The address of the index, with a user and a password."""
        return f"http://me:not-secret-1@127.0.0.1:{self._port}/simple/"

    @property
    def osv(self) -> str:
        """The address of OSV."""
        return f"http://127.0.0.1:{self._port}/v1/query"

    def tell(self, name: str, version: str, found: list[dict[str, Any]] | None = None) -> None:
        """Tell the vulnerabilities of a release."""
        self._told[name, version] = found or []

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answer:
            return self.answer
        if request.path == "/v1/query":
            asked = request.json()
            key = asked["package"]["name"], asked["version"]
            return json_answer({"vulns": [_osv(key[0], one) for one in self._told.get(key, [])]})
        found = _RELEASE.fullmatch(request.path)
        key = (found[1], found[2]) if found else ("", "")
        if key not in self._told:
            return Answer(404, b"{}")
        return json_answer({"info": {}, "vulnerabilities": self._told[key]})


def _osv(name: str, one: dict[str, Any]) -> dict[str, Any]:
    events = [{"introduced": "0"}, *({"fixed": text} for text in one.get("fixed_in", []))]
    package = {"name": name, "ecosystem": "PyPI"}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"summary": "", **one, "affected": [affected]}
