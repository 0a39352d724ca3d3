"""Paper, keys and ears: what is printed, what Tab reaches, and what a screen reader is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browsing import Visit
from site_in_thread import Site
from test_page_layout import report, step

from luthier.jobs.records import NewEvent

MOST_TABS = 90


@pytest.fixture(scope="module")
def runs(site: Site) -> list[str]:
    """Two finished runs with curves, both of one name, as a run and its longer one have."""
    steps = [NewEvent(f"step:{i}", f"Step {i}", type="metrics", data=step(i)) for i in range(1, 41)]
    return [site.reported(report(), metadata={"name": "letters"}, events=steps).id for _ in range(2)]


def drawn(visit: Visit, charts: int) -> None:
    """So many charts hold a picture, and keep it."""
    visit.page.wait_for_function(f"() => document.querySelectorAll('[data-drawn] .main-svg .trace').length >= {charts}")
    visit.page.wait_for_timeout(700)  # a later update must not take it away
    assert visit.page.locator("[data-drawn]:not(:has(.main-svg))").count() == 0


def test_a_run_is_printed_whole_and_light(site: Site, runs: list[str], open_page: Any) -> None:
    visit: Visit = open_page(site.base_url, site.secret, scheme="dark")
    page = visit.page
    visit.expected = ("404",)  # the stored run has a report alone
    visit.go(f"/runs/{runs[0]}").settled()
    page.wait_for_selector("#report .verdict")
    drawn(visit, 1)
    text = "() => getComputedStyle(document.body).color"
    dark = page.evaluate(text)
    line = "() => getComputedStyle(document.querySelector('.plot .trace path')).stroke"
    lines = {page.evaluate(line)}
    page.evaluate("() => addEventListener('afterprint', () => { window.printed = true; }, {once: true})")
    page.evaluate(
        "() => { const root = document.documentElement; new MutationObserver(() => {"
        " if (root.dataset.theme === 'light') window.light = true; }).observe(root, {attributes: true}); }"
    )
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.wait_for_function("() => window.printed && window.light && !document.documentElement.dataset.theme")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(text) != dark
    assert not page.is_visible(".bar")
    assert not page.is_visible("role=tablist")
    for words in ("Each label", "It never came", "Training took"):  # of tabs that are not chosen
        page.wait_for_selector(f"#report >> text={words} >> nth=0", state="attached")
    shown = page.locator("#report [role=tabpanel]").evaluate_all("all => all.map(one => one.offsetHeight > 0)")
    assert len(shown) >= 4
    assert all(shown)
    visit.shot("run-paper")
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_timeout(700)
    assert page.evaluate(text) == dark
    assert page.evaluate(line) in lines  # its colours are back
    visit.clean()


def test_runs_of_one_name_are_told_apart_and_their_charts_are_drawn(site: Site, runs: list[str], visit: Visit) -> None:
    visit.go(f"/compare?runs={','.join(runs)}").settled()
    drawn(visit, 4)
    names = visit.page.locator("#picked a").all_inner_texts()
    assert names == [f"letters ({id[-6:]})" for id in runs]
    visit.page.emulate_media(media="print")
    assert not visit.page.is_visible("#picker-h")
    visit.shot("compare-paper")
    visit.page.emulate_media(media="screen")
    visit.clean()


MAIN_ACTIONS = {
    "/data": "Choose a file", "/new": "Choose a file", "/runs": "New run", "/searches": "New search",
    "/decisions": "New decision", "/models": "Deploy a model", "/settings": "Make a key", "run": "Train longer",
    "/": "All runs", "/try": "Add a model",
}  # fmt: skip


@pytest.mark.parametrize("path", MAIN_ACTIONS)
def test_tab_comes_to_what_a_page_is_for_and_shows_it(site: Site, runs: list[str], visit: Visit, path: str) -> None:
    visit.expected = ("404",)  # the stored run has a report alone
    visit.go(f"/runs/{runs[0]}" if path == "run" else path).settled()
    page = visit.page
    page.wait_for_selector(f"text={MAIN_ACTIONS[path]} >> nth=0")
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.innerText") == MAIN_ACTIONS[path]:
            break
    else:
        raise AssertionError(f"Tab never came to {MAIN_ACTIONS[path]!r}")
    style = page.evaluate(
        "() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]; }"
    )
    assert style == ["solid", "2px"]
    visit.clean()


def test_a_dialog_takes_the_focus_and_gives_it_back(site: Site, visit: Visit) -> None:
    page = visit.page
    visit.go("/settings").settled()
    page.focus("#new-key")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog")
    for _ in range(12):  # the focus stays inside
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.matches('body, dialog *')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("() => document.activeElement.id") == "new-key"
    visit.clean()


def test_a_list_that_is_drawn_again_keeps_the_focus(site: Site, runs: list[str], visit: Visit) -> None:
    page = visit.go("/").settled().page
    page.focus(f"#recent a[href='/runs/{runs[0]}']")
    page.evaluate("() => { window.before = document.activeElement; }")
    page.wait_for_function("() => !window.before.isConnected")  # every few seconds
    assert page.evaluate("() => document.activeElement.getAttribute('href')") == f"/runs/{runs[0]}"
    visit.clean()


def test_a_screen_reader_is_told_of_charts_tables_and_news(site: Site, runs: list[str], visit: Visit) -> None:
    page = visit.page
    visit.expected = ("404",)  # the stored run has a report alone
    visit.go(f"/runs/{runs[0]}").settled()
    page.wait_for_selector("#report .verdict")
    drawn(visit, 1)
    tree = page.locator("main").aria_snapshot()
    assert re.search(r'img "Loss: Training from 2 to 0\.050 in 40 points, Validation from .* in 4 points"', tree), tree
    for name in ("Metrics on the test rows",):
        assert f'table "{name}"' in tree
    assert 'tablist "Parts of the report"' in tree
    assert 'list "Events, newest first"' in tree
    for path in ("/runs", "/settings", "/models", "/data", "/"):
        visit.go(path).settled()
        nameless = page.locator("table:not(:has(caption))").count()
        assert nameless == 0, path
        assert page.locator("#toasts[role=status]").count() == 1
        nameless = page.locator("button:empty:not([aria-label])").count()
        assert nameless == 0, path
    visit.clean()
