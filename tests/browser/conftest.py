"""A real browser on pages that were written for the test. Nothing but files may be asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from sites import Watched, written

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window. Where CI asks for it, its absence is a failure."""
    if CHROMIUM is None:
        if os.environ.get("ENVMATRIX_REQUIRE_BROWSER"):
            pytest.fail("chromium is not here: `scripts/setup-browser` installs it")
        pytest.skip("chromium is not here: `scripts/setup-browser` installs it")
    with sync_playwright() as playwright:
        # In a container and as root, Chromium's own sandbox does not start.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of the site of the committed evidence."""
    return written(tmp_path_factory.mktemp("published"))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new profile of a desktop, in a clean state."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Watched]:
    """A page. When its test ends, it has said no error and asked for nothing but files."""
    found = Watched(context.new_page())
    yield found
    assert found.errors == []
    assert found.outside == []
