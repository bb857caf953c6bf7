"""Sites for the tests, of the committed evidence and of worse, and the pages that open them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, ViewportSize

from envmatrix.cli.workspace import Workspace
from envmatrix.report.entries import Entry

PHONE: ViewportSize = {"width": 390, "height": 844}
ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
Change = Callable[[Sequence[Entry]], Sequence[Entry]]


def workspace() -> Workspace:
    """Return the workspace of the checkout."""
    return Workspace(ROOT / "matrix.yaml")


def entries() -> list[Entry]:
    """Return what the committed evidence says of every cell."""
    ours = workspace()
    return ours.reporting.entries(ours.cells)


def written(folder: Path, change: Change | None = None) -> Path:
    """Write the site, with its entries changed; return its first page."""
    ours = workspace()
    found: Sequence[Entry] = ours.reporting.entries(ours.cells)
    if change:
        found = change(found)
    return ours.site.write(found, ours.reporting, folder)


def all_run(found: Sequence[Entry]) -> list[Entry]:
    """Give every cell the evidence of one that was run, under its own id and axes."""
    held = next(one.evidence for one in found if one.was_run and one.evidence)
    return [
        one
        if one.was_run
        else replace(
            one,
            judgement=held.judgement,
            evidence=held.model_copy(update={"id": one.id, "axes": one.axes}),
        )
        for one in found
    ]


HOSTILE = (
    '</script><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
    "<svg onload=\"document.title='owned'\">{{7*7}}${7*7}\u202eevil"
)


def hostile(found: Sequence[Entry]) -> list[Entry]:
    """Put hostile text where people's machines and packages put theirs."""
    changed = []
    for one in found:
        judgement = replace(one.judgement, cause=HOSTILE, remedy=HOSTILE)
        evidence = one.evidence and one.evidence.model_copy(
            update={
                "cause": HOSTILE,
                "remedy": HOSTILE,
                "probes": tuple(
                    probe.model_copy(update={"cause": HOSTILE, "log_tail": HOSTILE})
                    for probe in one.evidence.probes
                ),
            }
        )
        changed.append(replace(one, judgement=judgement, evidence=evidence))
    return changed


class Watched:
    """A page whose errors and requests are written down."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith("file://"):
            self.outside.append(url)

    def open(self, path: Path, state: str = "") -> Page:
        """Open a page of the site with a state in its address, and wait until it is drawn."""
        self.page.goto(f"{path.as_uri()}{state}")
        if path.name == "index.html":
            self.page.wait_for_selector("html[data-ready=yes]")
        return self.page
