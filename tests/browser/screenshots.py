"""Draw pictures of the page of the committed evidence, for README and docs.

    nox -s screenshots

The pictures go to docs/images. They show what a visitor sees, at the size of a desktop and of a
phone.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from sites import ROOT, written

PICTURES = ROOT / "docs" / "pictures"
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


def draw(browser: Browser, page: Path, name: str, state: str, size: dict[str, int]) -> None:
    """Draw what stands at the top of the page, with a state in its address."""
    context = browser.new_context(viewport=size)  # type: ignore[arg-type]
    opened = context.new_page()
    opened.goto(f"{page.as_uri()}{state}")
    opened.wait_for_selector("html[data-ready=yes]")
    opened.screenshot(path=PICTURES / f"{name}.png")
    context.close()


def main() -> None:
    """Draw every picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = written(Path(folder))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        draw(browser, page, "page", "#python=3.11", DESKTOP)
        draw(browser, page, "phone", "#gpu=RTX+4090&driver=570", PHONE)
        browser.close()


if __name__ == "__main__":
    main()
