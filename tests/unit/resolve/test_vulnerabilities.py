"""Known vulnerabilities: what could not be asked is never taken for nothing known."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator

import pytest
from fake_advisories import FakeAdvisories
from fake_http import Answer, json_answer

from envmatrix.model.errors import ToolError
from envmatrix.resolve.pip_settings import PipSettings
from envmatrix.resolve.vulnerabilities import Vulnerabilities, read_pip_audit

FOUND = {
    "id": "PYSEC-2025-1",
    "aliases": ["CVE-2025-1"],
    "fixed_in": ["2.6.0", "2.5.2"],
    "summary": "\x1b[31mIt runs code",
    "withdrawn": None,
}
TORCH = ("torch", "2.5.1+cpu")
NOTHING_LISTENS = "http://127.0.0.1:9/simple/"


@pytest.fixture
def index() -> Iterator[FakeAdvisories]:
    """An index in which nothing goes wrong by itself."""
    with FakeAdvisories() as found:
        yield found
    assert found.errors == []


def asking(index: FakeAdvisories) -> Vulnerabilities:
    """Return what asks this index, as pip's settings name it."""
    return Vulnerabilities(PipSettings(index_url=index.url, timeout=5, retries=0))


def test_the_index_of_pip_is_asked(index: FakeAdvisories) -> None:
    """It is asked for the public version, with the user of its address, and about each once."""
    index.tell("torch", "2.5.1", [FOUND, {**FOUND, "id": "X-2", "withdrawn": "2025-02-02"}])
    index.tell("jinja2", "3.1.6")
    vulnerabilities = asking(index)
    torch, jinja = vulnerabilities.of([TORCH, ("Jinja2", "3.1.6")])
    assert (torch.name, torch.version, torch.not_asked) == ("torch", "2.5.1+cpu", "")
    first, second = torch.vulnerabilities
    assert (first.id, first.aliases, first.fixed_in) == (
        "PYSEC-2025-1",
        ("CVE-2025-1",),
        ("2.6.0", "2.5.2"),
    )
    assert (first.summary, first.withdrawn, second.withdrawn) == ("It runs code", False, True)
    assert (jinja.not_asked, jinja.vulnerabilities) == ("", ())
    told = "Basic " + base64.b64encode(b"me:not-secret-1").decode()
    assert {one.headers["authorization"] for one in index.requests} == {told}
    assert "not-secret-1" not in vulnerabilities.told
    vulnerabilities.of([TORCH])
    assert len(index.requests) == 2


def test_what_the_index_does_not_know_was_not_asked(index: FakeAdvisories) -> None:
    """A release that is not there, as every one where there is no JSON API."""
    (one,) = asking(index).of([TORCH])
    assert one.not_asked == "the index has no JSON API, or does not know it (404)"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(403), "the index answers 403"),
        (Answer(200, b"<html>log in</html>"), "tells no vulnerabilities"),
        (Answer(200, b"[" * 100_000), "tells no vulnerabilities"),
        (Answer(200, b" " * (9 * 2**20)), "too large"),
        (json_answer({"info": {}}), "tells no vulnerabilities"),
        (json_answer([]), "tells no vulnerabilities"),
        (json_answer({"vulnerabilities": {}}), "no list of vulnerabilities"),
        (json_answer({"vulnerabilities": ["x"]}), "in an unknown form"),
        (json_answer({"vulnerabilities": [{"id": ""}]}), "in an unknown form"),
        (json_answer({"vulnerabilities": [{"id": "x", "fixed_in": 7}]}), "in an unknown form"),
    ],
)
def test_an_odd_answer_is_no_answer(index: FakeAdvisories, answer: Answer, why: str) -> None:
    """Whatever it is, it is not that nothing is known."""
    index.answer = answer
    (one,) = asking(index).of([TORCH])
    assert why in one.not_asked
    assert one.vulnerabilities == ()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (PipSettings(no_index=True), "pip's settings name no index"),
        (PipSettings(index_url="file:///srv/simple"), "no JSON API that is known"),
        (PipSettings(index_url="https://index.example/root"), "no JSON API that is known"),
        (PipSettings(index_url=NOTHING_LISTENS, timeout=5), "the index does not answer"),
    ],
)
def test_without_an_index_that_answers(settings: PipSettings, why: str) -> None:
    """Each wheel is said not to have been asked about."""
    found = Vulnerabilities(settings).of([TORCH, ("jinja2", "3.1.6")])
    assert [why in one.not_asked for one in found] == [True, True]


# --- pip-audit -------------------------------------------------------------------------------


WHEELS = [("torch", "2.5.1"), ("jinja2", "3.1.6")]


def test_what_pip_audit_skips_was_not_asked() -> None:
    """It ends with 0 and says that nothing is known, where it could ask about nothing."""
    told = {"name": "torch", "skip_reason": "Dependency not found and could not be audited"}
    clean = {"name": "Jinja2", "version": "3.1.6", "vulns": []}
    found = read_pip_audit(json.dumps({"dependencies": [told, clean]}), "", WHEELS)
    assert found == {
        WHEELS[0]: "pip-audit: Dependency not found and could not be audited",
        WHEELS[1]: (),
    }


@pytest.mark.parametrize(
    ("out", "err", "why"),
    [
        ("", "Traceback ...\nConnectionError: no route\n\n", "failed: ConnectionError: no route"),
        ("", "", "failed: it says nothing"),
        ("{}", "", "failed: it says nothing"),
        ('{"dependencies": ["x"]}', "", "failed: it says nothing"),
        ('{"dependencies": []}', "", "tells nothing of it"),
        ('{"dependencies": [{"name": "torch", "version": "9"}]}', "", "tells nothing of it"),
        ('{"dependencies": [{"name": "torch", "version": "2.5.1"}]}', "", "no list"),
    ],
)
def test_pip_audit_that_fails(out: str, err: str, why: str) -> None:
    """Its last words are told."""
    found = read_pip_audit(out, err, WHEELS)
    assert why in str(found[WHEELS[0]])
    assert isinstance(found[WHEELS[1]], str)


def test_a_missing_pip_audit_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional, and the error says how to get it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        Vulnerabilities(PipSettings(), "osv").of([TORCH])
    assert '`python -m pip install "envmatrix[audit]"`' in caught.value.next_step


def test_osv_is_asked_by_pip_audit(index: FakeAdvisories, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real program asks a service on loopback. Its own settings count for nothing else."""
    pytest.importorskip("pip_audit", reason="the extra audit is not installed")
    index.tell("torch", "2.5.1", [{"id": "GHSA-1", "fixed_in": ["2.6.0"], "summary": "It is bad"}])
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", index.osv)
    monkeypatch.setenv("PIP_AUDIT_OUTPUT", "/nowhere/else")
    vulnerabilities = Vulnerabilities(PipSettings(), "osv")
    torch, jinja = vulnerabilities.of([TORCH, ("jinja2", "3.1.6")])
    (one,) = torch.vulnerabilities
    assert (one.id, one.fixed_in, one.summary) == ("GHSA-1", ("2.6.0",), "It is bad")
    assert (jinja.not_asked, jinja.vulnerabilities, vulnerabilities.told) == ("", (), "OSV")
    assert vulnerabilities.of([]) == []
