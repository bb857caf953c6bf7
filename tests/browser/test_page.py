"""The page of the table in a real browser: what people do with it, and what it must never do."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sites import PHONE, Watched, all_run, entries, hostile, workspace, written

from envmatrix.model.served import the_gpu
from envmatrix.report.answers import Facts
from envmatrix.report.answers import answer as answer_of
from envmatrix.report.questions import Question


def answer(page: Page) -> str:
    """Return the words of the answer."""
    return page.locator("#answer").inner_text()


def commands(page: Page) -> list[str]:
    """Return the commands of the answer."""
    return page.locator("#answer .command pre").all_inner_texts()


# --- the answer box --------------------------------------------------------------------------


def test_torch_on_a_python_is_answered_without_a_click_more(
    watched: Watched, published: Path
) -> None:
    """Choosing Python 3.11 gives a sentence with the verdict and a command that can be copied."""
    page = watched.open(published)
    page.get_by_label("Python", exact=True).select_option("3.11")
    assert re.search(r"✓ works PyTorch \d+\.\d+\.\d+ works on Python 3\.11", answer(page))
    assert any(command.startswith("envmatrix build torch-") for command in commands(page))
    assert any("docker run" in command for command in commands(page))
    assert any("uv pip install" in command for command in commands(page))


def test_a_gpu_and_a_driver_are_answered_with_their_limits(
    watched: Watched, published: Path
) -> None:
    """RTX 4090 with driver 570 gets a CUDA 12 build, and is told that the GPU was not run."""
    page = watched.open(published)
    page.get_by_label("My GPU").fill("RTX 4090")
    page.get_by_label("My NVIDIA driver").fill("570")
    text = answer(page)
    assert re.search(r"CUDA 12\.\d", text)
    assert "compute capability 8.9" in text
    assert "GPU not run" in text
    assert "driver 525 or newer" in text


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ("RTX 6000", "is the name of several GPUs"),
        ("Voodoo 2", "does not know a GPU"),
    ],
)
def test_a_gpu_that_nobody_knows_is_told(
    watched: Watched, published: Path, gpu: str, said: str
) -> None:
    """A name that stands for several GPUs or for none gets a sentence once it is whole.

    While somebody types, no half of a name is told to be wrong.
    """
    page = watched.open(published)
    before = answer(page)
    page.get_by_label("My GPU").press_sequentially(gpu)
    assert answer(page) == before
    page.keyboard.press("Tab")
    assert said in answer(page)
    assert commands(page) == []


def test_what_is_not_proven_names_the_nearest_that_is(watched: Watched, published: Path) -> None:
    """A GPU that no CUDA 13 build serves is told so, with what would have to change."""
    page = watched.open(published, "#framework=torch&version=2.13.0&gpu=GTX+1080")
    assert "no proof" in answer(page)
    assert "The nearest that is proven" in answer(page)
    assert page.locator("#answer a").count() > 0


def test_no_answer_without_evidence(watched: Watched, published: Path) -> None:
    """Each answer is a cell that was run and works, or works in part."""
    page = watched.open(published)
    known = {entry.id: entry for entry in entries()}
    pythons = page.locator("#python option").evaluate_all("all => all.map(one => one.value)")
    for framework in ("torch", "tensorflow"):
        for python in pythons:
            found = page.evaluate(
                "given => window.envmatrix.answer(given)",
                {"framework": framework, "python": python},
            )
            assert found is None or known[found].verdict in ("works", "partial")


GPUS = ["", "RTX 4090", "GTX 1080", "H100", "B200", "RTX 5090", "GH200", "12.1"]
DRIVERS = ["", "525", "535", "555", "570.86.10", "580"]


def test_the_page_answers_as_the_command_does(watched: Watched, published: Path) -> None:
    """Hundreds of questions get the same cell from the script and from the rules in Python."""
    page = watched.open(published)
    ours = workspace()
    known = ours.reporting.entries(ours.cells)
    facts = Facts(ours.matrix, {cell.id: cell for cell in ours.cells})
    systems, pythons = ["", *ours.matrix.axes.os], ["", *ours.matrix.axes.python]
    questions = [
        {"framework": framework, "python": python, "os": system, "gpu": gpu, "driver": driver}
        for framework, python in product(("torch", "tensorflow"), pythons)
        for system, gpu, driver in [
            *product(("",), GPUS, DRIVERS),
            *product(systems, ("", "RTX 4090"), ("",)),
        ]
    ]
    script = "all => all.map(one => window.envmatrix.answer(one))"
    found = page.evaluate(script, questions)
    for asked, cell in zip(questions, found, strict=True):
        gpus = (the_gpu(asked["gpu"], "gpu"),) if asked["gpu"] else ()
        question = Question(
            framework=asked["framework"],
            python=asked["python"],
            os=asked["os"],
            driver=asked["driver"],
            arch=next((gpu.arch for gpu in gpus if gpu.arch), "amd64"),
            gpus=gpus,
        )
        choice = answer_of(question, known, facts).choice
        assert cell == (choice.id if choice else None), asked
    assert len({cell for cell in found if cell}) > 5


# --- the address -----------------------------------------------------------------------------


def test_the_whole_state_is_in_the_address(watched: Watched, published: Path) -> None:
    """A link shows another person the same answer, the same filters and the same view."""
    page = watched.open(published)
    page.get_by_label("Framework").select_option("tensorflow")
    page.get_by_label("Python", exact=True).select_option("3.11")
    page.get_by_label("Verdict").select_option("works")
    page.get_by_role("button", name="Newest that works").click()
    before = answer(page), page.locator("#grid").inner_text()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")
    assert before == (answer(page), page.locator("#grid").inner_text())


def test_back_takes_back_the_last_choice(watched: Watched, published: Path) -> None:
    """The back button of the browser undoes one choice after the other."""
    page = watched.open(published)
    first = answer(page)
    page.get_by_label("Python", exact=True).select_option("3.13")
    second = answer(page)
    page.get_by_label("Python", exact=True).select_option("3.11")
    page.go_back()
    expect(page.get_by_label("Python", exact=True)).to_have_value("3.13")
    assert second == answer(page)
    page.go_back()
    expect(page.get_by_label("Python", exact=True)).to_have_value("")
    assert first == answer(page)


def test_a_link_to_a_cell_opens_it(watched: Watched, published: Path) -> None:
    """A cell that was never run has its verdict, its reason and the nearest with evidence."""
    unrun = next(one for one in entries() if one.verdict == "impossible")
    page = watched.open(published, f"#cell={unrun.id}")
    text = page.locator("#cell").inner_text()
    assert unrun.id in text
    assert "impossible" in text
    assert "Nearest with evidence" in text


@pytest.mark.parametrize("state", ["#python=9.9&framework=x&cell=nothing", "#%%%", "#compare=a+b"])
def test_a_wrong_address_does_no_harm(watched: Watched, published: Path, state: str) -> None:
    """What is no value of the matrix is named, and otherwise the page answers."""
    page = watched.open(published, state)
    if "python=9.9" in state:
        assert "The matrix has no Python “9.9”" in answer(page)
        page.get_by_label("Python", exact=True).select_option("3.11")
    assert commands(page)


# --- the grid --------------------------------------------------------------------------------


def fields(page: Page) -> list[str]:
    """Return what a screen reader says of each field of the grid."""
    buttons = page.locator("#grid table.grid button")
    found = buttons.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    return list(map(str, found))


def test_filters_leave_the_cells_that_have_the_values(watched: Watched, published: Path) -> None:
    """With the verdict broken chosen, each field is broken; without filters there are more."""
    page = watched.open(published)
    every = len(fields(page))
    page.get_by_label("Verdict").select_option("broken")
    found = fields(page)
    assert 0 < len(found) < every
    assert all(": broken." in text for text in found)
    page.get_by_label("OS", exact=True).select_option("ubuntu22.04")
    assert "No cell has these values" in page.locator("#grid").inner_text()


def test_a_field_shows_its_cells_and_each_leads_to_its_evidence(
    watched: Watched, published: Path
) -> None:
    """The cells behind a field are listed; the page of one names the evidence file."""
    page = watched.open(published, "#gverdict=works")
    page.locator("#grid table.grid button").first.click()
    page.locator("#grid section a.id").first.click()
    page.wait_for_selector("h1")
    link = page.locator("main a[href$='.json']")
    assert re.match(r"\.\./\.\./cells/.+\.json", link.get_attribute("href") or "")


def test_two_cells_stand_side_by_side(watched: Watched, published: Path) -> None:
    """What differs between two cells that were run is marked by a word."""
    page = watched.open(published)
    ids = [one.id for one in entries() if one.was_run][:2]
    page.goto(
        f"{published.as_uri()}#compare={ids[0].replace('+', '%2B')}+{ids[1].replace('+', '%2B')}"
    )
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    text = page.locator("#compare").inner_text()
    assert ids[0] in text
    assert ids[1] in text
    assert "differs" in text


def test_the_headline_says_what_the_evidence_says(watched: Watched, published: Path) -> None:
    """The counts of the first sentence are those of the entries."""
    page = watched.open(published)
    run = sum(one.was_run for one in entries())
    assert f"{run:,} combinations were built as images" in page.locator("header").inner_text()


# --- people ----------------------------------------------------------------------------------


def test_the_keyboard_alone_reaches_an_answer_and_a_cell(watched: Watched, published: Path) -> None:
    """Tab, letters, arrows and Enter do what the mouse does, and the focus stays in sight."""
    page = watched.open(published)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Go to the table")).to_be_focused()
    page.get_by_label("Framework").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Python", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert page.get_by_label("Python", exact=True).input_value() != ""
    page.locator("#grid table.grid button").first.focus()
    here = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowDown")
    there = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert here != there
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == there
    assert page.locator("#grid section").count() == 1


@pytest.mark.parametrize("state", ["", "#view=newest", "#at=torch+2.13.0%7C3.11"])
def test_nothing_is_cut_on_a_phone(browser: Browser, published: Path, state: str) -> None:
    """At the width of a phone only tables scroll sideways, and the page does not."""
    context = browser.new_context(viewport=PHONE, device_scale_factor=2)
    page = Watched(context.new_page()).open(published, state)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    context.close()
    assert width <= PHONE["width"]


MODES: list[dict[str, Any]] = [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}]


@pytest.mark.parametrize("mode", MODES, ids=["light", "dark", "forced colours"])
@pytest.mark.parametrize("state", ["", "#view=newest", "#at=torch+2.13.0%7C3.11"])
def test_nothing_keeps_people_out(
    browser: Browser, published: Path, mode: dict[str, Any], state: str
) -> None:
    """Axe finds no violation, in no mode and no view."""
    context = browser.new_context(bypass_csp=True, **mode)
    page = Watched(context.new_page()).open(published, state)
    found = Axe().run(page)
    report = found.generate_report()
    context.close()
    assert found.violations_count == 0, report


@pytest.mark.parametrize("verdict", ["works", "partial", "broken"])
def test_the_pages_of_cells_keep_nobody_out(
    browser: Browser, published: Path, verdict: str
) -> None:
    """Axe finds no violation on the page of a cell of each verdict."""
    cell = next(one for one in entries() if one.was_run and one.verdict == verdict)
    context = browser.new_context(bypass_csp=True)
    page = Watched(context.new_page()).open(published.parent / "cells" / f"{cell.id}.html")
    found = Axe().run(page)
    report = found.generate_report()
    context.close()
    assert found.violations_count == 0, report


def test_marks_and_words_stand_beside_each_other(watched: Watched, published: Path) -> None:
    """No verdict is told by its colour alone: each field holds a mark and the word."""
    page = watched.open(published)
    texts = page.locator("#grid table.grid button .mark").all_inner_texts()
    assert texts
    assert all(
        re.fullmatch(r"[✓~✗?-] (works|partial|broken|unknown|stale|impossible)(, emulated)?", one)
        for one in texts
    )


# --- trust -----------------------------------------------------------------------------------


def test_hostile_text_is_shown_and_does_nothing(watched: Watched, tmp_path: Path) -> None:
    """Text of machines and packages that looks like HTML is text, on every page."""
    first = written(tmp_path, hostile)
    page = watched.open(first, "#at=torch+2.13.0%7C3.11")
    assert "owned" not in page.title()
    assert "onerror" in page.locator("#grid section").inner_text()
    cell = next(one for one in entries() if one.was_run and one.verdict == "broken")
    page = watched.open(first.parent / "cells" / f"{cell.id}.html")
    assert "owned" not in page.title()
    assert page.locator("img").count() == 0
    assert "onerror" in page.locator("main").inner_text()


def test_every_link_within_the_site_leads_somewhere(watched: Watched, published: Path) -> None:
    """No link of the first page to a file of the site is dead."""
    page = watched.open(published)
    links = page.locator("a[href]").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    local = [link for link in links if not re.match(r"https?:|#|\.\./", link)]
    assert local
    assert [
        link for link in local if not (published.parent / link.replace("%2B", "+")).exists()
    ] == []


def test_the_first_page_is_small(published: Path) -> None:
    """The first page with its whole index stays under 600 kB."""
    assert published.stat().st_size < 600_000


# --- speed -----------------------------------------------------------------------------------

REPEATS = 9


def test_thousands_of_cells(
    watched: Watched, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With evidence for every cell the page still draws. The figures are for the report."""
    first = written(tmp_path, all_run)
    paints, filters = [], []
    for _ in range(REPEATS):
        page = watched.open(first)
        paints.append(
            page.evaluate(
                "performance.getEntriesByType('paint')"
                ".find(one => one.name === 'first-contentful-paint').startTime"
            )
        )
        for verdict in ("works", ""):
            page.get_by_label("Verdict").select_option(verdict)
        filters += page.evaluate(
            "performance.getEntriesByName('render').slice(1).map(one => one.duration)"
        )
    count = page.evaluate("JSON.parse(document.getElementById('data').textContent).cells.length")
    figures = {"cells": count, "first paint, ms": median(paints), "a filter, ms": median(filters)}
    record_property("figures", figures)
    sys.stderr.write(f"{json.dumps(figures)}\n")
    assert count >= 3000
